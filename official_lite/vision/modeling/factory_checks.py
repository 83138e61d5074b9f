"""What the factories of models check before they build."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from official_lite import errors

__all__ = ['check_input_size', 'check_levels', 'check_num_classes', 'located']


@contextlib.contextmanager
def located(where: str) -> Iterator[None]:
    """Says of a refusal which part of the config it is about."""
    try:
        yield
    except errors.OfficialLiteError:
        raise
    except ValueError as error:
        raise errors.UsageError(str(error), where=where) from error


def check_num_classes(num_classes: int) -> None:
    """Refuses a detector without classes."""
    if num_classes < 2:
        raise errors.UsageError(
            'a detector needs at least one class besides background, which counts as one',
            where='task.model.num_classes',
            expected='2 or more',
            received=str(num_classes),
        )


def check_input_size(sides: Any, max_level: int) -> None:
    """Refuses images whose sides, where known, the strides of the levels do not divide."""
    stride = 2**max_level
    known = [side for side in sides if side is not None]
    if any(side % stride for side in known):
        fitting = [
            None if side is None else max(stride, round(side / stride) * stride) for side in sides
        ]
        raise errors.UsageError(
            f'feature maps of level {max_level} are {stride} times smaller than images',
            where='task.model.input_size',
            expected=f'multiples of {stride}',
            received=f'{list(sides)}',
            hint=f'for example {fitting}, or a lower max_level',
        )


def check_levels(features: Mapping[str, Any], model_config: Any) -> None:
    """Refuses levels that there are no features of."""
    wanted = [str(level) for level in range(model_config.min_level, model_config.max_level + 1)]
    missing = [level for level in wanted if level not in features]
    if missing:
        raise errors.UsageError(
            f'there are no features of level {", ".join(missing)}',
            where='task.model',
            expected=f'min_level and max_level among {sorted(features)}',
            received=f'min_level={model_config.min_level}, max_level={model_config.max_level}',
            hint="decoder.type='fpn' makes further levels",
        )
