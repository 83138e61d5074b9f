"""Variables that training leaves as they are, by patterns over their keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from official_lite import errors
from official_lite.modeling import norm, variable_keys

_BATCH_NORM = (norm.BatchNormalization, keras.layers.BatchNormalization)


class FreezeError(errors.UsageError, ValueError):
    """A pattern that freezes nothing, or patterns that freeze everything."""


def freeze(
    model: keras.Model,
    keys: Mapping[str, Any],
    patterns: Sequence[str],
    *,
    where: str = 'task.freeze',
) -> tuple[str, ...]:
    """Takes variables out of training, before the optimizer is built.

    A BatchNorm layer of which all variables are frozen goes into inference mode, so that its moving
    statistics stay too; of one that is frozen in part only they go on moving. Keys do not change.

    Args:
        model: The model, built.
        keys: Its variables by key, as `variable_keys` returns them.
        patterns: What to freeze: prefixes of keys (`backbone`, `head/classifier`), or regular
            expressions that match a key or such a prefix as a whole (`backbone/.*/kernel`).
        where: The config field that the patterns come from, for errors.

    Returns:
        The keys of the frozen variables.

    Raises:
        FreezeError: a pattern is no regular expression or matches nothing, or nothing is left to
            train.
    """
    frozen: dict[str, Any] = {}
    for pattern in patterns:
        compiled = _compile(pattern, where)
        matched = {key: v for key, v in keys.items() if compiled.fullmatch(key)}
        if not matched:
            raise _nothing_matched(pattern, keys, where)
        frozen.update(matched)
    freeze_variables(model, frozen.values())
    if frozen and not model.trainable_variables:
        raise FreezeError(
            'nothing is left to train', where=where, expected='patterns that spare some variables'
        )
    return tuple(frozen)


def freeze_variables(model: keras.Model, variables: Iterable[Any]) -> None:
    """Takes these variables out of training, and whole BatchNorm layers of them into inference mode."""
    identities = {variable_keys.identity(variable) for variable in variables}
    # Keras' own objects: `trainable_variables` asks these, and not the tf.Variable inside.
    for variable in model.variables:
        if variable_keys.identity(variable) in identities:
            variable.trainable = False
    for layer in _iterate_batch_norm(model):
        if all(variable_keys.identity(v) in identities for v in layer.variables):
            layer.trainable = False


def _iterate_batch_norm(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, _BATCH_NORM):
            yield layer


def _compile(pattern: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(f'(?:{pattern.removesuffix(":0").rstrip("/")})(?:/.*)?')
    except re.error as error:
        raise FreezeError(
            f'{pattern!r} is not a regular expression ({error})', where=where
        ) from error


def _nothing_matched(pattern: str, keys: Iterable[str], where: str) -> FreezeError:
    keys = list(keys)
    parts = [key.split('/') for key in keys]
    paths = dict.fromkeys('/'.join(p[:n]) for p in parts for n in range(1, len(p) + 1))
    nearest = difflib.get_close_matches(pattern, paths, n=3)
    modules = ', '.join(dict.fromkeys(p[0] for p in parts))
    return FreezeError(
        f'{pattern!r} matches no variable',
        where=where,
        expected=f'a prefix of variable keys ({modules}), or a regular expression over them',
        hint=f'did you mean {" or ".join(map(repr, nearest))}?' if nearest else '',
    )
