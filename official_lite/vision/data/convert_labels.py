"""Converts classified or segmented images of any source into TFRecords."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent import futures

import numpy as np

from official_lite import errors
from official_lite.core import write_errors
from official_lite.vision.data import (
    convert,
    labelled_records,
    parallel,
    shards,
    tf_example_builder,
)
from official_lite.vision.dataloaders import class_file, mask_files
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['convert_labels_to_tfrecords']

_NUM_AHEAD_PER_WORKER = 8
_MAX_LABEL = 255  # what a PNG of 8 bits holds, which is what readers of such records expect


@dataclasses.dataclass(frozen=True)
class _Stored:
    serialized: bytes
    num_bytes: int
    is_reencoded: bool


def convert_labels_to_tfrecords(
    source: source_lib.Source,
    prefix: str,
    *,
    ignore_label: int = 255,
    num_shards: int | None = None,
    num_workers: int = 1,
    is_compressed: bool = False,
    overwrite: bool = False,
    on_progress: convert.Progress | None = None,
) -> convert.Conversion:
    """Writes `PREFIX-00000-of-00008.tfrecord` and so on, with Model Garden's features.

    That is `image/class/label` of classified images, `image/segmentation/class/encoded` of segmented
    ones: a PNG of labels, with `ignore_label` where there is none.

    Args:
        source: The examples.
        prefix: Folder and beginning of the files' names.
        ignore_label: See above.
        num_shards, num_workers, is_compressed, overwrite, on_progress: See
            `convert.convert_to_tfrecords`.

    Returns:
        What was written; `num_boxes` counts labels, and is 0 of segmented images.

    Raises:
        UsageError: There are such files already, or more shards than examples.
        DataError: An example cannot be read, or a label is above 255.
    """
    info = source.info
    num_shards = convert.choose_num_shards(num_shards, num_workers, info.num_examples)
    writer = shards.ShardWriter(
        prefix,
        num_shards=num_shards,
        num_examples=info.num_examples,
        classes=class_file.ClassList(info.class_names, info.category_ids),
        is_compressed=is_compressed,
        overwrite=overwrite,
    )
    num_bytes = num_reencoded = 0
    with write_errors.clear_write_errors('--output', prefix), writer:
        for stored in _store_all(source, ignore_label, num_workers):
            writer.write(stored.serialized)
            num_bytes += stored.num_bytes
            num_reencoded += stored.is_reencoded
            if on_progress:
                on_progress(writer.num_written)
    return convert.Conversion(
        paths=tuple(writer.paths),
        class_path=writer.class_path,
        num_examples=writer.num_written,
        num_boxes=0 if labelled_records.has_masks(source) else info.num_boxes,
        num_bytes=num_bytes,
        num_reencoded=num_reencoded,
    )


def _store_all(source: source_lib.Source, ignore_label: int, num_workers: int) -> Iterator[_Stored]:
    found = labelled_records.iterate_labelled(source)
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(futures.ThreadPoolExecutor(num_workers))
        yield from parallel.map_in_order(
            lambda record: _store(source, record, ignore_label),
            found,
            pool if num_workers > 1 else None,
            num_ahead=_NUM_AHEAD_PER_WORKER * num_workers,
        )


def _store(
    source: source_lib.Source, record: labelled_records.LabelledRecord, ignore_label: int
) -> _Stored:
    original = convert.read_checked_image(source, record.index)
    image = convert.make_storable(original, source.get_reading(record.index))
    builder = tf_example_builder.TfExampleBuilder()
    is_segmented = labelled_records.has_masks(source)
    builder.add_encoded_image_feature(
        image,
        image_source_id=str(record.index).encode(),
        label=None if is_segmented else record.labels.tolist(),
    )
    if is_segmented:
        mask = _to_bytes(record.labels, ignore_label, source.describe(record.index))
        builder.add_semantic_mask_matrix_feature(mask)
    name = convert.get_file_name(source, record.index)
    if name:
        builder.add_bytes_feature('image/filename', name)
    return _Stored(builder.serialized_example, len(image), image is not original)


def _to_bytes(mask: np.ndarray, ignore_label: int, where: str) -> np.ndarray:
    """uint8 [height, width]."""
    mask = np.where(mask == mask_files.IGNORED, ignore_label, mask)
    if mask.max(initial=0) > _MAX_LABEL:
        raise errors.DataError(
            'masks in records have 8 bits',
            where=where,
            expected=f'labels up to {_MAX_LABEL}',
            received=str(mask.max()),
        )
    return mask.astype(np.uint8)
