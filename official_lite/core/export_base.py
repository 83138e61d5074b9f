"""SavedModels: what a module that is exported looks like, and how it is written."""

from __future__ import annotations

import abc
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite.core import hyperparameter_files
from official_lite.modeling import hyperparams

_MAX_TRIES = 10

Function = Callable[..., Any]


class ExportModule(tf.Module, metaclass=abc.ABCMeta):
    """A model with the functions that a SavedModel offers.

    Args:
        params: Config of the module, for subclasses.
        model: The weights and the forward pass.
        inference_step: Called with the inputs and with `model` as keyword. None calls the model
            with `training=False`.
        preprocessor: For `serve`: what comes before the model. None means nothing.
        postprocessor: For `serve`: what comes after the model. None means nothing.
    """

    def __init__(
        self,
        params: Any,
        model: tf.Module | keras.Model | keras.layers.Layer,
        inference_step: Function | None = None,
        *,
        preprocessor: Function | None = None,
        postprocessor: Function | None = None,
    ) -> None:
        super().__init__(name=None)
        self.params = params
        self.model = model
        self.preprocessor = preprocessor
        self.postprocessor = postprocessor
        if inference_step is None:
            self.inference_step = functools.partial(model, training=False)
        else:
            self.inference_step = functools.partial(inference_step, model=model)

    @abc.abstractmethod
    def serve(self, *args: Any, **kwargs: Any) -> Mapping[str, tf.Tensor]:
        """Computes the outputs by name; runs in a graph, on any device."""

    @abc.abstractmethod
    def get_inference_signatures(self, function_keys: Mapping[str, str]) -> Mapping[str, Any]:
        """Returns signature -> concrete function.

        Args:
            function_keys: Which functions are wanted -> the name of the signature for each.
        """


def track_variables(module: ExportModule) -> None:
    """Makes the module own every variable of its model.

    TensorFlow does not see the layers that a Keras 3 model holds in a list or a dict, and refuses
    to save functions that use variables it does not see.
    """
    if isinstance(module.model, keras.layers.Layer):
        module.tracked_variables = [variable.value for variable in module.model.variables]


def _restore(
    module: ExportModule, checkpoint: tf.train.Checkpoint | None, checkpoint_path: str
) -> None:
    path: str | None = checkpoint_path
    if tf.io.gfile.isdir(checkpoint_path):
        path = tf.train.latest_checkpoint(checkpoint_path)
    if path is None:
        raise FileNotFoundError(f'there is no checkpoint in {checkpoint_path!r}')
    checkpoint = checkpoint or tf.train.Checkpoint(model=module.model)
    checkpoint.read(path).assert_existing_objects_matched().expect_partial()


def export(
    export_module: ExportModule,
    function_keys: Sequence[str] | Mapping[str, str],
    export_savedmodel_dir: str,
    checkpoint_path: str | None = None,
    timestamped: bool = True,
    save_options: tf.saved_model.SaveOptions | None = None,
    checkpoint: tf.train.Checkpoint | None = None,
) -> str:
    """Writes a module as a SavedModel.

    Args:
        export_module: What is written.
        function_keys: Function -> name of its signature; or one function in a list, which becomes
            the signature `serving_default`.
        export_savedmodel_dir: The folder to write to.
        checkpoint_path: A checkpoint, or a folder whose latest one counts, to read weights from
            first. None writes the weights as they are.
        timestamped: Whether to write to a new folder, named by the time, in that folder.
        save_options: For `tf.saved_model.save`.
        checkpoint: What reads `checkpoint_path`. None reads `model` into the module's model.

    Returns:
        The folder that was written. A config as `params` is in it too (`load_hyperparameters`).

    Raises:
        ValueError: `function_keys` is a list of more or less than one function.
        FileNotFoundError: `checkpoint_path` is a folder without checkpoints.
        AssertionError: The checkpoint lacks variables of the model.
    """
    if not isinstance(function_keys, Mapping):
        if len(function_keys) != 1:
            raise ValueError(
                'function_keys: expected a mapping of functions to signatures, or a list of one '
                f'function; received {list(function_keys)!r}'
            )
        function_keys = {function_keys[0]: tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY}
    if checkpoint_path is not None:
        _restore(export_module, checkpoint, checkpoint_path)
    signatures = export_module.get_inference_signatures(function_keys)
    track_variables(export_module)
    export_dir = export_savedmodel_dir
    if timestamped:
        export_dir = get_timestamped_export_dir(export_savedmodel_dir)
    tf.saved_model.save(export_module, export_dir, signatures=signatures, options=save_options)
    if isinstance(export_module.params, hyperparams.Config):
        hyperparameter_files.save_hyperparameters(export_module.params, export_dir)
    return export_dir


def get_timestamped_export_dir(export_dir_base: str) -> str:
    """Returns the path of a folder below `export_dir_base`, named by the time in seconds.

    The folder does not exist yet.

    Raises:
        RuntimeError: Other processes took every name that was tried.
    """
    for _ in range(_MAX_TRIES):
        path = os.path.join(export_dir_base, str(int(time.time())))
        if not tf.io.gfile.exists(path):
            return path
        time.sleep(1)
    raise RuntimeError(f'found no free name below {export_dir_base!r} in {_MAX_TRIES} tries')
