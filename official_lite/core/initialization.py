"""Starting from the weights of another run: `init_checkpoint`."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from official_lite import errors, manifest
from official_lite.core import (
    checkpoint_files,
    checkpoint_misfits,
    checkpoints,
    garden_checkpoints,
)

ALL = 'all'
LEAVE_OUT = '-'
_MAX_MISFITS = 8


class Source(Protocol):
    """Where weights come from.

    Attributes:
        path: Prefix of the files.
        shapes: Shape of every variable, by the key of the model's variable that it is for.
    """

    path: str
    shapes: dict[str, tuple[int, ...]]

    def read(self, key: str) -> Any:
        """The value under `key`, a NumPy array."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What a pretrained checkpoint gave to a model; all are variable keys, sorted.

    Attributes:
        path: Prefix of the checkpoint.
        matched: Loaded.
        missing: Chosen in the model, but not in the checkpoint; they keep their initial values.
        left_over: Chosen in the checkpoint, but not in the model.
        not_chosen: In the model, but not among the chosen modules.
        origin: Who wrote the checkpoint, '' for this package.
        notes: Where the model computes something else with these weights than their origin did.
    """

    path: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    not_chosen: tuple[str, ...]
    origin: str = ''
    notes: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every variable of the model was loaded."""
        return not self.missing and not self.not_chosen

    def describe(self) -> str:
        """The report in a few lines."""
        origin = f' (of {self.origin})' if self.origin else ''
        lines = [f'Initialized from {self.path}{origin}: {len(self.matched)} variables matched.']
        for what, keys in (
            ('missing in the checkpoint, initialized at random', self.missing),
            ('left over in the checkpoint', self.left_over),
            ('of modules that were not asked for, initialized at random', self.not_chosen),
        ):
            if keys:
                lines.append(f'  {len(keys)} {what}: {checkpoints.shorten(keys)}')
        lines += [f'  Not as there: {note}' for note in self.notes]
        return '\n'.join(lines)


def load_pretrained(
    model: keras.Model,
    path: str,
    *,
    modules: str | Sequence[str] = ALL,
    use_averages: bool = False,
) -> Report:
    """Sets variables of `model` from a checkpoint of this package's or of Model Garden's.

    Args:
        model: The model, built.
        path: Prefix of a checkpoint, or a folder: the newest checkpoint in it, or the variables of the
            SavedModel that it is. Or a name such as `keras_applications:ResNet50` (`open_source`).
        modules: 'all', or what to load: prefixes of variable keys (`backbone`, `head/classifier`) or
            regular expressions that match whole keys (`head/.*kernel`); a list, or joined by commas.
            One that begins with `-` is left out (`-head/classifier`): of those that are named, or of
            all if none is.
        use_averages: Whether moving averages are taken for weights. (In what was exported the weights
            are the averages already.)

    Returns:
        What matched, what was missing and what was left over.

    Raises:
        CheckpointError: there is no such checkpoint, a module matches nothing in the model or in the
            checkpoint, or a shape differs. The model is unchanged then.
    """
    source = open_source(model, path, use_averages=use_averages)
    targets = {k: v for k, v in checkpoints.model_variables(model).items() if not _is_seed(v)}
    offered = [k for k in source.shapes if not checkpoints.is_run_key(k)]
    patterns, excluded = _split(modules)
    wanted = _choose(targets, patterns, excluded)
    chosen = _choose(offered, patterns, excluded)
    for pattern in excluded:
        _check_known(pattern, targets, offered, source.path)
    for pattern in patterns or [ALL]:
        _check_found(pattern, targets, offered, source.path)
    matched = sorted(wanted & chosen)
    _check_shapes(model, matched, wanted, targets, source)
    values = {key: source.read(key) for key in matched}
    for key, value in values.items():
        targets[key].assign(tf.cast(value, targets[key].dtype))
    return Report(
        path=source.path,
        matched=tuple(matched),
        missing=tuple(sorted(wanted - chosen)),
        left_over=tuple(sorted(chosen - wanted)),
        not_chosen=tuple(sorted(set(targets) - wanted)),
        origin=getattr(source, 'origin', ''),
        notes=tuple(getattr(source, 'notes', ())),
    )


def open_source(model: keras.Model, path: str, *, use_averages: bool = False) -> Source:
    """Opens a checkpoint, of whichever kind it is, as weights of `model`.

    A name such as `keras_applications:ResNet50` is opened by the module that `manifest.WEIGHT_SOURCES`
    tells.
    """
    scheme, colon, _ = path.partition(':')
    if colon and scheme in manifest.WEIGHT_SOURCES:
        module = importlib.import_module(manifest.WEIGHT_SOURCES[scheme])
        return module.open_source(model, path)
    source = checkpoints.CheckpointSource(checkpoint_files.find_checkpoint(path))
    graph = garden_checkpoints.read_object_graph(source)
    if graph is not None:
        return garden_checkpoints.GardenSource(source, graph, model, use_averages=use_averages)
    return _AveragedSource(source) if use_averages else source


class _AveragedSource:
    """A checkpoint of a run of this package, with moving averages for weights where it has them."""

    def __init__(self, source: checkpoints.CheckpointSource) -> None:
        has_averages = any(key.endswith('/average') for key in source.shapes)
        if not has_averages and any(key.startswith('optimizer/') for key in source.shapes):
            raise checkpoints.make_no_averages_error(source.path)
        self.path = source.path
        self.shapes = source.shapes
        self._source = source

    def read(self, key: str) -> Any:
        average = f'optimizer/default/{key}/average'
        return self._source.read(average if average in self.shapes else key)


def _split(modules: str | Sequence[str]) -> tuple[list[str], list[str]]:
    """Patterns of `modules`, of which an empty list means all, and those of what is left out."""
    if isinstance(modules, str):
        modules = modules.split(',')
    patterns = [pattern.strip() for pattern in modules if pattern.strip()]
    excluded = [p.removeprefix(LEAVE_OUT) for p in patterns if p.startswith(LEAVE_OUT)]
    included = [p for p in patterns if not p.startswith(LEAVE_OUT)]
    return [] if ALL in included else included, excluded


def _matches(pattern: str, key: str) -> bool:
    if pattern == ALL or key == pattern or key.startswith(pattern.rstrip('/') + '/'):
        return True
    try:
        return re.fullmatch(pattern.removesuffix(':0'), key) is not None
    except re.error as error:
        raise errors.CheckpointError(
            f'{pattern!r} is not a regular expression: {error}', where='init_checkpoint_modules'
        ) from error


def _choose(keys: Iterable[str], patterns: Sequence[str], excluded: Sequence[str] = ()) -> set[str]:
    return {
        key
        for key in keys
        if (not patterns or any(_matches(p, key) for p in patterns))
        and not any(_matches(p, key) for p in excluded)
    }


def _check_known(
    pattern: str, targets: Mapping[str, tf.Variable], offered: Sequence[str], path: str
) -> None:
    if not _choose([*targets, *offered], [pattern]):
        raise errors.CheckpointError(
            f'{LEAVE_OUT + pattern!r} leaves nothing out',
            where=path,
            expected=f'something of the model ({_list_modules(targets)})',
        )


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
    near = difflib.get_close_matches(pattern, _list_modules(keys).split(', '), n=1)
    raise errors.CheckpointError(
        f'{pattern!r} matches nothing in {where}'
        if not (in_model and in_file)
        else f'no variable of the checkpoint matches one of the model ({pattern!r})',
        where=path,
        expected=f'one of its modules ({_list_modules(keys) or "it has none"}), or a pattern over its '
        f'keys, such as {checkpoints.shorten(sorted(keys), 2) or "-"}',
        hint=f'did you mean {near[0]!r}?' if near else '',
    )


def _list_modules(keys: Iterable[str]) -> str:
    return ', '.join(sorted({key.split('/')[0] for key in keys}))


def _check_shapes(
    model: keras.Model,
    keys: Collection[str],
    wanted: Collection[str],
    targets: Mapping[str, tf.Variable],
    source: Source,
) -> None:
    misfits: dict[str, tuple[int, ...] | None] = {
        key: source.shapes[key] for key in keys if source.shapes[key] != tuple(targets[key].shape)
    }
    texts = [
        f'{key} is {misfits[key]} there and {tuple(targets[key].shape)} here' for key in misfits
    ]
    conflicts: Mapping[str, str] = getattr(source, 'conflicts', {})
    misfits |= {key: None for key in conflicts if key in wanted}
    texts += sorted({text for key, text in conflicts.items() if key in wanted})
    if misfits:
        chosen = {key: targets[key] for key in wanted}
        raise errors.CheckpointError(
            'shapes differ',
            where=source.path,
            received=checkpoints.shorten(texts, _MAX_MISFITS),
            hint=checkpoint_misfits.advise(model, chosen, misfits),
        )


def _is_seed(variable: tf.Variable) -> bool:
    """Whether it is the state of a seed generator, which belongs to a run and not to a model."""
    return variable.dtype.is_integer and 'seed_generator_state' in variable.name
