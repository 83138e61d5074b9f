"""Writes a trained model as a SavedModel that runs without this package."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.core import (
    checkpoint_files,
    checkpoint_metadata,
    checkpoints,
    hyperparameters,
    run_files,
    write_errors,
)
from official_lite.core import export_base as core_export
from official_lite.vision.configs import image_classification as classification_cfg
from official_lite.vision.configs import maskrcnn as maskrcnn_cfg
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.configs import semantic_segmentation as segmentation_cfg
from official_lite.vision.serving import (
    detection,
    export_base,
    image_classification,
    semantic_segmentation,
)

# The module of a task's config class.
_MODULES: dict[type, type[export_base.ExportModule]] = {
    classification_cfg.ImageClassificationTask: image_classification.ClassificationModule,
    retinanet_cfg.RetinaNetTask: detection.DetectionModule,
    maskrcnn_cfg.MaskRCNNTask: detection.DetectionModule,
    segmentation_cfg.SemanticSegmentationTask: semantic_segmentation.SegmentationModule,
}


def export_inference_graph(
    input_type: str,
    batch_size: int | None,
    input_image_size: Sequence[int],
    params: Any,
    checkpoint_path: str | None,
    export_dir: str,
    num_channels: int = 3,
    export_module: export_base.ExportModule | None = None,
    export_checkpoint_subdir: str | None = None,
    export_saved_model_subdir: str | None = None,
    save_options: tf.saved_model.SaveOptions | None = None,
    log_model_flops_and_params: bool = False,
    input_name: str | None = None,
    function_keys: Sequence[str] | Mapping[str, str] | None = None,
) -> str:
    """Exports the model of an experiment; names and order of arguments are Model Garden's.

    Args:
        input_type: 'image_tensor', 'image_bytes' or 'tf_example'.
        batch_size: Images of one call; None means any number.
        input_image_size: Height and width that images are resized into, pixels.
        params: The `ExperimentConfig`, resolved (with the number of classes).
        checkpoint_path: Checkpoint, or folder of checkpoints (the newest), whose weights to export.
            None: the weights that `export_module` has.
        export_dir: Where to write; gets `params.yaml` too.
        num_channels: Channels of the images, as many as the model's.
        export_module: A module to export; None makes the one of `params`.
        export_checkpoint_subdir: Where under `export_dir` a checkpoint goes; None: none is written.
        export_saved_model_subdir: Where under `export_dir` the SavedModel goes; None: `export_dir`.
        save_options: Options of `tf.saved_model.save`.
        log_model_flops_and_params: Whether `model_flops.txt`, of one image, and `model_params.txt`
            are written into `export_dir`.
        input_name: Name of the signature's input; None means 'inputs'.
        function_keys: Input types to write signatures for, or signature names by input type. None:
            `input_type` alone. A single one is called 'serving_default', of several each has the
            name of its type, and `input_type` is 'serving_default' too.

    Returns:
        Directory of the SavedModel.

    Raises:
        UsageError: A task that cannot be exported, an unknown input type, names of signatures that
            are not clear, or a folder that cannot be written.
        CheckpointError: The checkpoint is missing, or is not one of this model.
    """
    if export_module is None:
        export_module = build_export_module(
            params,
            batch_size=batch_size,
            input_image_size=input_image_size,
            input_type=input_type,
            num_channels=num_channels,
            input_name=input_name,
        )
    variables = checkpoints.model_variables(export_module.model)
    step = 0
    if checkpoint_path:
        path = checkpoint_files.find_checkpoint(checkpoint_path)
        step = checkpoints.read_model(variables, path, use_averages=True)
    with write_errors.clear_write_errors('export_dir', export_dir):
        model_dir = core_export.export(
            export_module,
            _signature_names(input_type, function_keys),
            os.path.join(export_dir, export_saved_model_subdir or ''),
            timestamped=False,
            save_options=save_options,
        )
        if export_checkpoint_subdir:
            metadata = checkpoint_metadata.make_metadata(params)
            folder = os.path.join(export_dir, export_checkpoint_subdir)
            _save_checkpoint(variables, step, folder, metadata)
        text = hyperparameters.Hyperparameters.of(params).to_yaml()
        run_files.write_text(os.path.join(export_dir, run_files.PARAMS_FILE), text)
        if log_model_flops_and_params:
            export_module.write_sizes(export_dir)
    return model_dir


def build_export_module(params: Any, **kwargs: Any) -> export_base.ExportModule:
    """The export module of an experiment's task.

    Args:
        params: The `ExperimentConfig`; it is not changed.
        **kwargs: Arguments of `ExportModule`.

    Raises:
        UsageError: There is none.
    """
    for task_cls, module_cls in _MODULES.items():
        if isinstance(params.task, task_cls):
            return module_cls(copy.deepcopy(params), **kwargs)
    raise errors.UsageError(
        'this task has no export',
        where='task',
        expected=' or '.join(task_cls.__name__ for task_cls in _MODULES),
        received=type(params.task).__name__,
    )


def _save_checkpoint(
    variables: Mapping[str, tf.Variable], step: int, directory: str, metadata: str
) -> None:
    """Writes the exported weights as a checkpoint of this package."""
    saved = {**variables, checkpoints.STEP_KEY: tf.Variable(step, dtype=tf.int64)}
    prefix = os.path.join(directory, f'{checkpoint_files.CHECKPOINT_NAME}-{step}')
    checkpoints.FlatCheckpoint(saved, metadata).write(prefix)
    checkpoint_files.write_state(directory, [prefix])


def _signature_names(
    input_type: str, function_keys: Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Signature name by input type."""
    if isinstance(function_keys, Mapping):
        _check_names(function_keys)
        return dict(function_keys)
    types = [export_base.canonical_input_type(key) for key in function_keys or [input_type]]
    default = export_base.canonical_input_type(input_type) if input_type else types[0]
    return {key: 'serving_default' if len(types) == 1 or key == default else key for key in types}


def _check_names(function_keys: Mapping[str, str]) -> None:
    """Refuses signatures of which one would replace another."""
    names = list(function_keys.values())
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise errors.UsageError(
            where='function_keys',
            expected='a name of its own for each signature',
            received=f'{twice[0]!r} for {names.count(twice[0])} of them',
        )
