"""`official-lite data preview`: pictures of batches as the model gets them."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, data_arguments, reporting
from official_lite.core import run_checks

__all__ = ['main']

_DESCRIPTION = (
    'Draws batches as the model gets them, with the boxes, classes or masks that it learns from: '
    'training data after augmentation, validation data as it is evaluated.'
)


@reporting.command
def main(argv: list[str]) -> None:
    """Draws batches.

    Args:
        argv: Program name and flags.
    """
    values, _ = arguments.parse_flags(argv, _define, _DESCRIPTION)
    data_arguments.check_png('--output', values.output)
    data = data_arguments.parse_data(values)
    if values.anchors and data.labelled != 'boxes':
        raise errors.UsageError('there are no boxes, so there are no anchors', where='--anchors')
    run_checks.check_runnable(data.config, 'preview')  # the model; the reader checks the data
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from official_lite.core import randomness
    from official_lite.vision.data import label_preview, preview

    randomness.set_run_seed(data.config.runtime.seed)
    options: dict[str, Any] = {
        'is_training': data.is_training,
        'num_batches': values.num_batches,
        'max_num_images': values.max_num_images,
    }
    pictures = (
        preview.iterate_pictures(data.config, **options, has_anchors=values.anchors)
        if data.labelled == 'boxes'
        else label_preview.iterate_label_pictures(data.config, **options)
    )
    base, suffix = os.path.splitext(values.output)
    for number, picture in enumerate(pictures):
        name = f'{base}-{number}{suffix}' if values.num_batches > 1 else values.output
        print(data_arguments.save_png('--output', picture, name))


def _define(values: flags.FlagValues) -> None:
    data_arguments.define_data_flags(values)
    flags.DEFINE_string(
        'output',
        'preview.png',
        'PNG file; with several batches NAME-0.png, NAME-1.png and so on.',
        flag_values=values,
    )
    flags.DEFINE_integer(
        'num_batches', 1, 'How many of the first batches.', flag_values=values, lower_bound=1
    )
    flags.DEFINE_integer(
        'max_num_images', 16, 'Most images of a batch.', flag_values=values, lower_bound=1
    )
    flags.DEFINE_boolean(
        'anchors', False, 'Draw the anchors that are labelled with an object.', flag_values=values
    )
