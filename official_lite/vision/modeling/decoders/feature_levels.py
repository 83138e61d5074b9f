"""Which of a backbone's feature maps a pyramid reads, and whether they fit onto one another."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ['check_sizes', 'find_input_levels']


def find_input_levels(
    specs: Mapping[str, Any], min_level: int, max_level: int, *, decoder: str
) -> list[int]:
    """Returns the backbone's levels that a pyramid from `min_level` to `max_level` reads.

    Args:
        specs: Shapes of the backbone's feature maps by level; features that are not of a level,
            such as '2/depthwise', are ignored.
        min_level: Finest level of the pyramid.
        max_level: Coarsest level of the pyramid.
        decoder: The decoder's name, for messages.

    Raises:
        ValueError: If there are none, or one between others is missing.
    """
    available = sorted(int(level) for level in specs if level.isdecimal())
    last = min(max_level, max(available, default=0))
    levels = list(range(min_level, last + 1))
    missing = [level for level in levels if level not in available]
    if not levels or missing:
        raise ValueError(
            f'The {decoder} starts at level {min_level}, for which the backbone has no features. '
            f'Expected min_level to be one of its levels {available}. '
            f'Received: min_level={min_level}, max_level={max_level}'
        )
    return levels


def check_sizes(shapes: Mapping[str, Any], levels: Sequence[int], *, coarsest: int) -> None:
    """Checks that each map is twice as large as the next coarser one.

    Args:
        shapes: [batch, height, width, channels] by level; None is not checked.
        levels: Levels to look at, from fine to coarse.
        coarsest: Level of the coarsest map that is laid onto finer ones; those above the last of
            `levels` are made by halving it.

    Raises:
        ValueError: If maps do not fit; says of what the image's size must be a multiple, or that no
            size will do.
    """
    for side, name in ((1, 'height'), (2, 'width')):
        sizes = {level: shapes[str(level)][side] for level in levels}
        for fine, coarse in itertools.pairwise(levels):
            small, large = sizes[coarse], sizes[fine]
            if None not in (small, large) and large != 2 * small:
                # Maps that are halved are rounded up: 5 becomes 3.
                expected = (
                    f'an image {name} that is a multiple of {2**coarsest}'
                    if large == 2 * small - 1
                    else f'a backbone whose maps are halved from level to level, or a max_level of '
                    f'at most {fine}'
                )
                raise ValueError(
                    f'Feature maps do not fit onto one another: {name} {large} at level {fine} '
                    f'is not twice the {small} at level {coarse}. Expected {expected}.'
                )
        last = sizes[levels[-1]]
        if last is not None and last % 2 ** (coarsest - levels[-1]):
            raise ValueError(
                f'Feature maps do not fit onto one another: {name} {last} at level {levels[-1]} '
                f'cannot be halved down to level {coarsest}. '
                f'Expected an image {name} that is a multiple of {2**coarsest}.'
            )
