"""`official-lite data inspect`: what is in a data set, and what looks wrong."""

from __future__ import annotations

import json
from typing import Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, data_arguments, reporting

__all__ = ['main']

_DESCRIPTION = (
    'Counts boxes, images or pixels per class, measures boxes and images, tells what looks wrong, '
    "and compares boxes with the experiment's anchors."
)


@reporting.command
def main(argv: list[str]) -> None:
    """Inspects a data set.

    Args:
        argv: Program name and flags.
    """
    values, _ = arguments.parse_flags(argv, _define, _DESCRIPTION)
    if values.plots:
        data_arguments.check_png('--plots', values.plots)
    data = data_arguments.parse_data(values)
    if data.labelled == 'boxes':
        _inspect_boxes(values, data)
    else:
        _inspect_labels(values, data)


def _get_max_num_checked(values: flags.FlagValues) -> int | None:
    return None if values.num_checked_images < 0 else values.num_checked_images


def _inspect_labels(values: flags.FlagValues, data: data_arguments.ChosenData) -> None:
    if values.plots:
        raise errors.UsageError(
            'charts are about boxes, which these images do not have',
            where='--plots',
            hint='data preview draws the images with their labels',
        )
    source = data_arguments.build_source(data)
    from rich import console as rich_console

    from official_lite.vision.data import label_inspection, label_report

    task: Any = data.config.task
    found = label_inspection.inspect_labels(
        source,
        num_classes=task.model.num_classes,
        ignore_label=getattr(task.losses, 'ignore_label', 255),
        max_num_checked_images=_get_max_num_checked(values),
    )
    if values.json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        label_report.print_label_inspection(found, rich_console.Console())


def _inspect_boxes(values: flags.FlagValues, data: data_arguments.ChosenData) -> None:
    source = data_arguments.build_source(data)
    from rich import console as rich_console

    from official_lite.vision.data import anchor_fit, inspection, plots, report

    found = inspection.inspect_source(
        source,
        anchor_fit.build_anchor_settings(data.config.task, is_training=data.is_training),
        keep_aspect_ratio=data.data_config.parser.keep_aspect_ratio,
        max_num_checked_images=_get_max_num_checked(values),
    )
    if values.json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        report.print_inspection(found, rich_console.Console())
    if values.plots:
        path = data_arguments.save_png('--plots', plots.draw_inspection(found), values.plots)
        if not values.json:
            print(f'plots in {path}')


def _define(values: flags.FlagValues) -> None:
    data_arguments.define_data_flags(values)
    flags.DEFINE_boolean('json', False, 'Print JSON, not tables.', flag_values=values)
    flags.DEFINE_string('plots', None, 'PNG file to draw charts into.', flag_values=values)
    flags.DEFINE_integer(
        'num_checked_images',
        1000,
        'Images, spread evenly, whose headers are read: sizes, kinds, orientation. -1: all, 0: none.',
        flag_values=values,
        lower_bound=-1,
    )
