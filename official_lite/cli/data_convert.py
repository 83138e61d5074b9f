"""`official-lite data convert`: any data set as TFRecords, or as a COCO data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from official_lite import errors
from official_lite.cli import arguments, data_arguments, reporting

if TYPE_CHECKING:
    from official_lite.vision.data import convert

__all__ = ['main']

_DESCRIPTION = (
    "Writes a data set as TFRecord shards with Model Garden's features, or as a COCO annotation file "
    'with a folder of images. JPEG and PNG images keep their bytes.'
)
_MAX_NUM_WORKERS = 16


@reporting.command
def main(argv: list[str]) -> None:
    """Converts a data set.

    Args:
        argv: Program name and flags.
    """
    values, _ = arguments.parse_flags(argv, _define, _DESCRIPTION)
    if not values.output:
        raise errors.UsageError(
            'not given',
            where='--output',
            expected='a folder and the beginning of names, as in records/train',
        )
    if values.format == 'coco' and (values.num_shards or values.file_type != 'tfrecord'):
        raise errors.UsageError(
            '--num_shards and --file_type are about TFRecords', where='--format=coco'
        )
    data = data_arguments.parse_data(values)
    if values.format == 'coco' and data.labelled != 'boxes':
        raise errors.UsageError('a COCO data set has boxes', where='--format=coco')
    source = data_arguments.build_source(data)
    conversion = _convert(values, data, source)
    print(_describe(conversion, values, data, source.info.class_names))


def _define(values: flags.FlagValues) -> None:
    data_arguments.define_data_flags(values)
    flags.DEFINE_string(
        'output',
        None,
        'Folder and beginning of the names of TFRecords, as in records/train; or the folder of a '
        'COCO data set.',
        flag_values=values,
    )
    flags.DEFINE_enum(
        'format', 'tfrecord', ('tfrecord', 'coco'), 'What to write.', flag_values=values
    )
    flags.DEFINE_integer(
        'num_shards',
        None,
        'Number of TFRecord files; one for every 1,000 images if not given.',
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_enum(
        'file_type',
        'tfrecord',
        ('tfrecord', 'tfrecord_compressed'),
        'Whether TFRecords are compressed by gzip.',
        flag_values=values,
    )
    flags.DEFINE_integer(
        'num_workers',
        min(_MAX_NUM_WORKERS, os.cpu_count() or 1),
        'Threads that read, check and encode images. What is written does not depend on it.',
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_boolean('overwrite', False, 'Replace what is there.', flag_values=values)


def _convert(
    values: flags.FlagValues, data: data_arguments.ChosenData, source: object
) -> convert.Conversion:
    from rich import console, progress

    from official_lite.vision.data import convert, convert_labels
    from official_lite.vision.dataloaders import source as source_lib

    assert isinstance(source, source_lib.Source)
    columns = (
        progress.TextColumn('{task.completed}/{task.total} images'),
        progress.BarColumn(),
        progress.TextColumn('{task.fields[rate]}'),
        progress.TimeRemainingColumn(),
    )
    bar = progress.Progress(*columns, console=console.Console(stderr=True))
    task = bar.add_task('', total=source.info.num_examples, rate='')

    def show(num_done: int) -> None:
        bar.start()  # not before something is written: what is refused at once needs no bar
        speed = bar.tasks[0].speed
        bar.update(task, completed=num_done, rate=f'{speed:.0f}/s' if speed else '')

    try:
        if values.format == 'coco':
            return convert.convert_to_coco(
                source,
                values.output,
                num_workers=values.num_workers,
                overwrite=values.overwrite,
                on_progress=show,
            )
        options: dict[str, Any] = {
            'num_shards': values.num_shards,
            'num_workers': values.num_workers,
            'is_compressed': values.file_type == 'tfrecord_compressed',
            'overwrite': values.overwrite,
            'on_progress': show,
        }
        if data.labelled == 'boxes':
            return convert.convert_to_tfrecords(source, values.output, **options)
        losses: Any = getattr(data.config.task, 'losses', None)
        options['ignore_label'] = getattr(losses, 'ignore_label', 255)
        return convert_labels.convert_labels_to_tfrecords(source, values.output, **options)
    finally:
        if bar.live.is_started:
            bar.stop()


def _describe(
    conversion: convert.Conversion,
    values: flags.FlagValues,
    data: data_arguments.ChosenData,
    class_names: Sequence[str],
) -> str:
    """What was written, and how a run reads it."""
    lines = [
        f'{conversion.num_examples} images ({conversion.num_bytes / 1e6:.1f} MB) and '
        f'{_count_labels(conversion, data)} in {_name_paths(conversion.paths)}'
    ]
    if conversion.class_path:
        lines.append(f'class names and ids in {conversion.class_path}')
    if conversion.num_reencoded:
        lines.append(f'{conversion.num_reencoded} images were stored anew as PNG')
    source = f'{data.where}.source'
    if values.format == 'coco':
        fields = {'type': 'coco', 'coco.annotation_file': conversion.paths[0]}
        fields['coco.image_dir'] = os.path.join(values.output, 'images')
    else:
        fields = {'type': 'tfrecord', 'tfrecord.input_path': f'{values.output}-*.tfrecord'}
        if values.file_type != 'tfrecord':
            fields['tfrecord.file_type'] = values.file_type
    override = ','.join(f'{source}.{name}={value}' for name, value in fields.items())
    if data.labelled != 'boxes' and class_names:
        # Such records do not tell the names of their classes.
        override += f',task.class_names=[{",".join(class_names)}]'
    return '\n'.join([*lines, f"to read it: --params_override='{override}'"])


def _count_labels(conversion: convert.Conversion, data: data_arguments.ChosenData) -> str:
    if data.labelled == 'pixels':
        return 'their masks'
    return f'{conversion.num_boxes} {"boxes" if data.labelled == "boxes" else "labels"}'


def _name_paths(paths: tuple[str, ...]) -> str:
    return paths[0] if len(paths) == 1 else f'{paths[0]} and {len(paths) - 1} more'
