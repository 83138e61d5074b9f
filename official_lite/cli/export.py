"""`official-lite export`: a trained model as a SavedModel; the flags are Model Garden's."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, reporting
from official_lite.common import flags as common_flags
from official_lite.core import parsing

__all__ = ['main']

_DESCRIPTION = (
    'Writes the model of a run as a SavedModel that takes images. Name the run by its config, '
    '--config_file=RUN/params.yaml, and the weights by --checkpoint_path: RUN, RUN/best_ckpt or one '
    'checkpoint.'
)


@reporting.command
def main(argv: list[str]) -> None:
    """Exports a model.

    Args:
        argv: Program name and flags.
    """
    values, _ = arguments.parse_flags(argv, _define, _DESCRIPTION)
    for name in ('export_dir', 'checkpoint_path'):
        if not values[name].value:
            raise errors.UsageError('not given', where=f'--{name}', expected='a path')
    config = parsing.parse_experiment(values).config
    size = _get_size(values.input_image_size, config)
    function_keys = _parse_function_keys(values.function_keys)
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from official_lite.vision.serving import export_saved_model_lib  # needs TensorFlow

    directory = export_saved_model_lib.export_inference_graph(
        input_type=values.input_type,
        batch_size=values.batch_size,
        input_image_size=size,
        params=config,
        checkpoint_path=values.checkpoint_path,
        export_dir=values.export_dir,
        num_channels=values.num_channels,
        export_checkpoint_subdir=values.export_checkpoint_subdir,
        export_saved_model_subdir=values.export_saved_model_subdir,
        log_model_flops_and_params=values.log_model_flops_and_params,
        input_name=values.input_name,
        function_keys=function_keys,
    )
    print(f'SavedModel in {directory}')


def _get_size(text: str | None, config: Any) -> list[int]:
    """Height and width: of the flag, or of the model."""
    model = getattr(config.task, 'model', None)
    known = list(getattr(model, 'input_size', None) or [])[:2]
    if text:
        known = [int(part) if part.strip().isdigit() else 0 for part in text.split(',')]
    if len(known) != 2 or not all(known):
        raise errors.UsageError(
            where='--input_image_size',
            expected='height,width in pixels, as in 224,224',
            received=text or f'nothing, and task.model.input_size is {known}',
        )
    return known


def _parse_function_keys(text: str | None) -> dict[str, str] | None:
    """`tf_example:serving_default,image_tensor:serving_image` as a mapping."""
    if not text:
        return None
    pairs = [part.partition(':') for part in text.split(',')]
    if not all(key and name for key, _, name in pairs):
        raise errors.UsageError(
            where='--function_keys',
            expected='TYPE:NAME,..., as in tf_example:serving_default,image_tensor:serving_image',
            received=text,
        )
    names = {key.strip(): name.strip() for key, _, name in pairs}
    if len(names) < len(pairs):
        raise errors.UsageError(where='--function_keys', expected='each type once', received=text)
    return names


def _define(values: flags.FlagValues) -> None:
    common_flags.define_config_flags(values)
    texts = {
        'export_dir': (None, 'Folder to write to.'),
        'checkpoint_path': (None, 'Checkpoint, or a folder whose newest one counts.'),
        'input_type': (
            'image_tensor',
            'What the signature takes: image_tensor, image_bytes, tf_example or tflite.',
        ),
        'input_image_size': (
            None,
            'Height and width that images are resized into, as in 224,224. Not given: those of '
            'task.model.input_size.',
        ),
        'export_checkpoint_subdir': ('checkpoint', 'Where in the folder a checkpoint goes.'),
        'export_saved_model_subdir': ('saved_model', 'Where in the folder the SavedModel goes.'),
        'input_name': (None, "Name of the signature's input; inputs if not given."),
        'function_keys': (
            None,
            'Several signatures, as TYPE:NAME,...: tf_example:serving_default,image_tensor:images.',
        ),
    }
    for name, (default, text) in texts.items():
        flags.DEFINE_string(name, default, text, flag_values=values)
    flags.DEFINE_integer(
        'batch_size', None, 'Images of one call; any number if not given.', flag_values=values
    )
    flags.DEFINE_integer('num_channels', 3, 'Channels of the images.', flag_values=values)
    flags.DEFINE_boolean(
        'log_model_flops_and_params',
        False,
        'Write model_flops.txt and model_params.txt.',
        flag_values=values,
    )
