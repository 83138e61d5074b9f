"""Checkpoints as flat maps from keys of our own to variables.

Keys are those of `modeling.variable_keys` for the model (`backbone/stem/conv/kernel`),
`optimizer/<name>/<variable key>/<slot>` for optimizers, and `step`, `data/...` and `random/...` for
the run. They are written with `tf.train.Checkpoint` and read by name, so neither the order in which things
were built nor Keras' auto-generated names matter, and every difference between a file and a model is found
before anything is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoint_fit
from official_lite.modeling import model_keys as keys_lib
from official_lite.modeling import variable_keys

METADATA_KEY = 'metadata'
STEP_KEY = 'step'
NUM_BATCHES_KEY = 'data/num_batches'
EPOCH_KEY = 'data/epoch'
# First parts of the keys that belong to a run and not to the model.
RUN_ITEMS = ('optimizer', 'data', 'random', STEP_KEY, METADATA_KEY)
_VALUE_SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'
_STATE_SUFFIX = '/.ATTRIBUTES/py_state'
_MAX_NAMES = 5


def model_variables(model: keras.Model) -> dict[str, tf.Variable]:
    """Key to variable for everything in `model`.

    The names of `model.checkpoint_items` (`backbone`, `decoder`, `head`) come first; what only the model
    itself holds is under `model`.

    Raises:
        CheckpointError: two variables have one key, or a variable cannot be reached.
    """
    _check_item_names(getattr(model, 'checkpoint_items', None) or {})
    found = keys_lib.find_variables(model)
    return {key: variable_keys.to_tf_variable(v) for key, v in found.items()}


def optimizer_variables(
    optimizer: keras.optimizers.Optimizer,
    model_keys: Mapping[str, tf.Variable],
    name: str = 'default',
) -> dict[str, tf.Variable]:
    """`optimizer/<name>/...` to variable for the state of `optimizer`.

    Args:
        optimizer: One of `modeling.optimization`, which knows the keys of its state, or a stock Keras
            optimizer, in which every list as long as the trainable variables is taken for a slot.
        model_keys: What `model_variables` returned.
        name: Name of this optimizer; a task with several has several names.
    """
    if hasattr(optimizer, 'checkpoint_variables'):
        state = optimizer.checkpoint_variables()
    else:
        state = _keras_state(optimizer, model_keys)
    return {f'optimizer/{name}/{k}': variable_keys.to_tf_variable(v) for k, v in state.items()}


class FlatCheckpoint:
    """Named variables that are written and read together.

    Attributes:
        variables: Key to variable.
        metadata: JSON text stored with them.
    """

    def __init__(
        self,
        variables: Mapping[str, tf.Variable],
        metadata: str = '',
        *,
        slots_like_weights: Collection[str] = (),
    ) -> None:
        """Takes note of the variables.

        Args:
            variables: Key to variable.
            metadata: JSON text to store with them.
            slots_like_weights: Names of optimizer slots that begin at their variable's value, where
                a checkpoint has none.
        """
        self.variables = dict(variables)
        self._slots_like_weights = tuple(slots_like_weights)
        self.metadata = metadata
        self._writer: tf.train.Checkpoint | None = None

    def write(self, path_prefix: str) -> str:
        """Writes all variables; returns the prefix.

        Raises:
            CheckpointError: the file cannot be written.
        """
        if self._writer is None:
            self._writer = _make_writer(self.variables, self.metadata)
        try:
            tf.io.gfile.makedirs(os.path.dirname(path_prefix))
            return str(self._writer.write(path_prefix))
        except (tf.errors.OpError, OSError) as error:
            raise errors.CheckpointError(
                'cannot write the checkpoint', where=path_prefix, received=_first_line(error)
            ) from error

    def read(self, path_prefix: str) -> None:
        """Sets every variable from the file.

        What may differ is said in `checkpoint_fit`: a variable that was not trained then has no state in
        the optimizer, which begins anew; of one that is not trained any more it is left out.

        Raises:
            CheckpointError: the file is missing or damaged, lacks a variable, has one too many, or has one of
                another shape. Nothing is changed then.
        """
        source = CheckpointSource(path_prefix)
        _check_same(self.variables, source, source.shapes)
        values = {key: source.read(key) for key in self.variables if key in source.shapes}
        for key in self.variables.keys() - values.keys():
            weight = checkpoint_fit.variable_of_slot(key, self._slots_like_weights)
            if weight is not None:
                values[key] = values[weight]
        for key, value in values.items():
            self.variables[key].assign(tf.cast(value, self.variables[key].dtype))


class CheckpointSource:
    """A checkpoint file, read by key.

    Attributes:
        path: Prefix of the files.
        shapes: Key to shape, of all variables in it.
        metadata: The JSON text stored with them, or ''.
        is_ours: Whether this package wrote it.
    """

    def __init__(self, path_prefix: str) -> None:
        """Opens the file; raises `CheckpointError` when it is missing or damaged."""
        self.path = str(path_prefix)
        self._reader = self._guard(lambda: tf.train.load_checkpoint(self.path))
        self._file_keys = {
            unescape(name.removesuffix(_VALUE_SUFFIX)): name
            for name in self._reader.get_variable_to_shape_map()
            if name.endswith(_VALUE_SUFFIX)
        }
        shapes = self._reader.get_variable_to_shape_map()
        self.shapes = {key: tuple(shapes[name]) for key, name in self._file_keys.items()}
        state = METADATA_KEY + _STATE_SUFFIX
        self.is_ours = state in shapes
        self.metadata = (self.read_raw(state) or b'').decode('utf-8')

    def read(self, key: str) -> Any:
        """The value under `key`, a NumPy array."""
        return self._guard(lambda: self._reader.get_tensor(self._file_keys[key]))

    def read_raw(self, name: str) -> bytes | None:
        """The text under a name of the file that is not a variable's, or None."""
        if not self._reader.has_tensor(name):
            return None
        return bytes(self._guard(lambda: self._reader.get_tensor(name)))

    def _guard(self, action: Any) -> Any:
        try:
            return action()
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
            is_there = tf.io.gfile.exists(self.path + '.index')
            damaged = f'if it is damaged, delete {self.path}.index to go on from the one before it'
            raise errors.CheckpointError(
                'cannot read the checkpoint',
                where=self.path,
                received=_first_line(error),
                hint=damaged if is_there else 'give the path without .index, or its folder',
            ) from error


def read_model(
    variables: Mapping[str, tf.Variable], path_prefix: str, *, use_averages: bool = False
) -> int:
    """Sets the variables of a model from a checkpoint of a run, or from an exported one.

    Args:
        variables: What `model_variables` returned.
        path_prefix: The checkpoint.
        use_averages: Whether moving averages are taken where the checkpoint has them. (In what is exported
            the weights are the averages already.)

    Returns:
        The step at which it was saved.

    Raises:
        CheckpointError: as `FlatCheckpoint.read`.
    """
    source = CheckpointSource(path_prefix)
    _check_same(variables, source, [key for key in source.shapes if not is_run_key(key)])
    average = 'optimizer/default/{}/average'.format
    values = {
        key: source.read(average(key) if use_averages and average(key) in source.shapes else key)
        for key in variables
        if key in source.shapes
    }
    for key, value in values.items():
        variables[key].assign(tf.cast(value, variables[key].dtype))
    return int(source.read(STEP_KEY))


def is_run_key(key: str) -> bool:
    """Whether `key` belongs to a run (optimizer, step, position, ...) and not to the model."""
    return key.split('/', 1)[0] in RUN_ITEMS


def make_no_averages_error(path: str) -> errors.CheckpointError:
    """The error for moving averages that a run did not make."""
    return errors.CheckpointError(
        'the checkpoint has no moving averages',
        where=path,
        expected='one of a run with trainer.optimizer_config.ema',
        hint='set task.init_checkpoint_averages=false',
    )


def make_foreign_error(path: str) -> errors.CheckpointError:
    """The error for a run that would go on from a checkpoint that this package did not write."""
    return errors.CheckpointError(
        'Model Garden or another program wrote the checkpoint, and a run cannot go on from it',
        where=path,
        hint=f'start in another folder from its weights: task.init_checkpoint={path}, or convert it: '
        f'official-lite import-checkpoint {path} NEW_FOLDER',
    )


def _keras_state(
    optimizer: keras.optimizers.Optimizer, model_keys: Mapping[str, tf.Variable]
) -> dict[str, Any]:
    """`<variable key>/<slot>` to variable for a stock Keras optimizer, and the rest by name."""
    keys = {variable_keys.identity(v): key for key, v in model_keys.items()}
    trained = [keys[variable_keys.identity(v)] for v in optimizer._trainable_variables]
    state: dict[str, Any] = {}
    for attribute, value in vars(optimizer).items():
        is_own = attribute not in ('_trainable_variables', '_variables')
        if is_own and isinstance(value, list) and value and len(value) == len(trained):
            slots = [(key, v) for key, v in zip(trained, value) if variable_keys.is_variable(v)]
            state |= {f'{key}/{attribute.strip("_")}': slot for key, slot in slots}
    known = {variable_keys.identity(v) for v in state.values()}
    rest = [v for v in optimizer.variables if variable_keys.identity(v) not in known]
    return state | {variable.name: variable for variable in rest}


def _check_item_names(items: Mapping[str, object]) -> None:
    reserved = {*RUN_ITEMS, 'model'}
    for name in items:
        if name in reserved:
            raise errors.CheckpointError(
                f'checkpoint item {name!r} has a reserved name',
                where='model.checkpoint_items',
                expected=f'a name other than {", ".join(sorted(reserved))}',
            )


def _make_writer(variables: Mapping[str, tf.Variable], metadata: str) -> tf.train.Checkpoint:
    """A `tf.train.Checkpoint` whose keys in the file are those of `variables`."""
    tree: dict[str, Any] = {}
    for key, variable in variables.items():
        *parents, name = key.split('/')
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise errors.CheckpointError(f'{key!r}: a part of this key is a variable itself')
        if name in node:
            raise errors.CheckpointError(f'the key {key!r} is also the beginning of another one')
        node[name] = variable
    return tf.train.Checkpoint(**tree, **{METADATA_KEY: _Text(metadata)})


class _Text(tf.train.experimental.PythonState):
    """A text inside a checkpoint."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def serialize(self) -> str:
        return self._text

    def deserialize(self, string_value: str) -> None:
        self._text = string_value


def _check_same(
    variables: Mapping[str, tf.Variable], source: CheckpointSource, offered: Iterable[str]
) -> None:
    """Raises `CheckpointError` unless `offered`, keys of `source`, are those of `variables`."""
    ours, theirs = set(variables), set(source.shapes)
    missing = sorted(ours - theirs - checkpoint_fit.find_optional(ours, theirs))
    surplus = sorted(set(offered) - ours - checkpoint_fit.find_optional(theirs, ours))
    differing = sorted(
        f'{key} {source.shapes[key]} instead of {tuple(v.shape)}'
        for key, v in variables.items()
        if key in source.shapes and source.shapes[key] != tuple(v.shape)
    )
    if (missing or surplus or differing) and not source.is_ours:
        raise make_foreign_error(source.path)
    if missing or surplus or differing:
        parts = [
            f'{len(names)} {what}: {shorten(names)}'
            for what, names in (
                ('missing', missing),
                ('that the model or optimizer does not have', surplus),
                ('of another shape', differing),
            )
            if names
        ]
        raise errors.CheckpointError(
            'the checkpoint does not fit',
            where=source.path,
            expected=f'the {len(variables)} variables of this model, optimizer and run',
            received='; '.join(parts),
            hint='to take over the weights of another model, name it as task.init_checkpoint',
        )


def shorten(names: Iterable[str], limit: int = _MAX_NAMES) -> str:
    """The first few of `names`, and how many more there are."""
    names = list(names)
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def unescape(name: str) -> str:
    """Undoes TensorFlow's escapes in checkpoint keys: `..` is `.`, `.S` is `/`."""
    return re.sub(r'\.(.)', lambda match: '/' if match[1] == 'S' else match[1], name)


def _first_line(error: Exception) -> str:
    return str(error).strip().split('\n', 1)[0]
