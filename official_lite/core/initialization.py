"""Starting from the weights of another run: `init_checkpoint`."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoints

ALL = 'all'


@dataclasses.dataclass(frozen=True)
class Report:
    """What a pretrained checkpoint gave to a model; all are variable keys, sorted.

    Attributes:
        path: Prefix of the checkpoint.
        matched: Loaded.
        missing: Chosen in the model, but not in the checkpoint; they keep their initial values.
        left_over: Chosen in the checkpoint, but not in the model.
        not_chosen: In the model, but not among the chosen modules.
    """

    path: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    not_chosen: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every variable of the model was loaded."""
        return not self.missing and not self.not_chosen

    def describe(self) -> str:
        """The report in a few lines."""
        lines = [f'Initialized from {self.path}: {len(self.matched)} variables matched.']
        for what, keys in (
            ('missing in the checkpoint, initialized at random', self.missing),
            ('left over in the checkpoint', self.left_over),
            ('of modules that were not asked for, initialized at random', self.not_chosen),
        ):
            if keys:
                lines.append(f'  {len(keys)} {what}: {checkpoints.shorten(keys)}')
        return '\n'.join(lines)


def load_pretrained(model: keras.Model, path: str, *, modules: str | Sequence[str] = ALL) -> Report:
    """Sets variables of `model` from a checkpoint that this package wrote.

    Args:
        model: The model, built.
        path: Prefix of a checkpoint, or a folder (the newest in it).
        modules: 'all', or what to load: prefixes of variable keys (`backbone`, `head/classifier`) or
            regular expressions that match whole keys (`head/.*kernel`); a list, or joined by commas.

    Returns:
        What matched, what was missing and what was left over.

    Raises:
        CheckpointError: there is no such checkpoint, a module matches nothing in the model or in the
            checkpoint, or a shape differs. The model is unchanged then.
    """
    source = checkpoints.CheckpointSource(checkpoints.find_checkpoint(path))
    targets = {k: v for k, v in checkpoints.model_variables(model).items() if not _is_seed(v)}
    offered = [k for k in source.shapes if not checkpoints.is_run_key(k)]
    patterns = _split(modules)
    wanted = _choose(targets, patterns)
    chosen = _choose(offered, patterns)
    for pattern in patterns or [ALL]:
        _check_found(pattern, targets, offered, source.path)
    matched = sorted(wanted & chosen)
    _check_shapes(matched, targets, source)
    values = {key: source.read(key) for key in matched}
    for key, value in values.items():
        targets[key].assign(tf.cast(value, targets[key].dtype))
    return Report(
        path=source.path,
        matched=tuple(matched),
        missing=tuple(sorted(wanted - chosen)),
        left_over=tuple(sorted(chosen - wanted)),
        not_chosen=tuple(sorted(set(targets) - wanted)),
    )


def _split(modules: str | Sequence[str]) -> list[str]:
    """Patterns of `modules`; an empty list means all."""
    if isinstance(modules, str):
        modules = modules.split(',')
    patterns = [pattern.strip() for pattern in modules if pattern.strip()]
    return [] if ALL in patterns else patterns


def _matches(pattern: str, key: str) -> bool:
    if pattern == ALL or key == pattern or key.startswith(pattern.rstrip('/') + '/'):
        return True
    try:
        return re.fullmatch(pattern.removesuffix(':0'), key) is not None
    except re.error as error:
        raise errors.CheckpointError(
            f'{pattern!r} is not a regular expression: {error}', where='init_checkpoint_modules'
        ) from error


def _choose(keys: Iterable[str], patterns: Sequence[str]) -> set[str]:
    return {key for key in keys if not patterns or any(_matches(p, key) for p in patterns)}


def _check_found(
    pattern: str, targets: Mapping[str, tf.Variable], offered: Sequence[str], path: str
) -> None:
    in_model = _choose(targets, [pattern])
    in_file = _choose(offered, [pattern])
    if in_model & in_file:
        return
    if not in_model:
        where, keys = 'the model', list(targets)
    else:
        where, keys = 'the checkpoint', list(offered)
    modules = sorted({key.split('/')[0] for key in keys})
    near = difflib.get_close_matches(pattern, modules, n=1)
    raise errors.CheckpointError(
        f'{pattern!r} matches nothing in {where}'
        if not (in_model and in_file)
        else f'no variable of the checkpoint matches one of the model ({pattern!r})',
        where=path,
        expected=f'one of its modules ({", ".join(modules) or "it has none"}), or a pattern over its keys, '
        f'such as {checkpoints.shorten(sorted(keys), 2) or "-"}',
        hint=f'did you mean {near[0]!r}?' if near else '',
    )


def _check_shapes(
    keys: Iterable[str], targets: Mapping[str, tf.Variable], source: checkpoints.CheckpointSource
) -> None:
    differing = [
        f'{key} is {source.shapes[key]} there and {tuple(targets[key].shape)} here'
        for key in keys
        if source.shapes[key] != tuple(targets[key].shape)
    ]
    if differing:
        raise errors.CheckpointError(
            'shapes differ',
            where=source.path,
            received=checkpoints.shorten(differing),
            hint='choose the modules that fit with task.init_checkpoint_modules, e.g. backbone',
        )


def _is_seed(variable: tf.Variable) -> bool:
    """Whether it is the state of a seed generator, which belongs to a run and not to a model."""
    return variable.dtype.is_integer and 'seed_generator_state' in variable.name
