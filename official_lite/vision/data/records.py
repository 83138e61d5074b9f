"""Reads the examples of any source one by one, outside of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.core import data_errors
from official_lite.vision.dataloaders import instance_masks, table_source, tfrecord_source
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['Record', 'iterate_decoded', 'iterate_records', 'load_table']

_MASKS = 'groundtruth_instance_masks'
_ANNOTATION_KEYS = {
    'source_id': 'source_id',
    'height': 'height_px',
    'width': 'width_px',
    'groundtruth_boxes': 'boxes',
    'groundtruth_classes': 'labels',
    'groundtruth_is_crowd': 'is_crowd',
    'groundtruth_area': 'areas',
}


@dataclasses.dataclass(frozen=True)
class Record:
    """The annotations of one example.

    Attributes:
        index: Its number in the source, from 0.
        source_id: Number of the image.
        height_px, width_px: Size of the image, as annotated.
        boxes: float32 [n, 4], yxyx normalised by the image's size.
        labels: int64 [n], from 1.
        is_crowd: bool [n].
        areas: float32 [n], square pixels.
        masks: Run lengths of the objects' masks, of the image's size, bytes [n]. None if they were
            not read.
        serialized: The `tf.train.Example` that it was read from; None if it was something else, as in
            a mixture of sources.
        is_decoded: Whether its image has been decoded already, so is known to be fine.
    """

    index: int
    source_id: int
    height_px: int
    width_px: int
    boxes: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray
    areas: np.ndarray
    masks: Sequence[bytes] | None = None
    serialized: bytes | None = None
    is_decoded: bool = False


def iterate_records(source: source_lib.Source) -> Iterator[Record]:
    """Yields every example once, by index; only a few are in memory at a time.

    Raises:
        DataError: An example cannot be read.
    """
    if isinstance(source, table_source.TableSource):
        yield from _iterate_table(source.table)
    else:
        yield from _iterate_stream(source)


def _iterate_table(table: table_source.AnnotationTable) -> Iterator[Record]:
    for i in range(len(table)):
        rows = slice(int(table.splits[i]), int(table.splits[i + 1]))
        yield Record(
            index=i,
            source_id=int(table.source_ids[i]),
            height_px=int(table.heights_px[i]),
            width_px=int(table.widths_px[i]),
            boxes=table.boxes[rows],
            labels=table.labels[rows],
            is_crowd=table.is_crowd[rows],
            areas=table.areas[rows],
            masks=None if table.masks is None else tuple(table.masks[rows].tolist()),
        )


def _iterate_stream(source: source_lib.Source) -> Iterator[Record]:
    has_records = isinstance(source, tfrecord_source.TfrecordSource)

    def read(example: dict[str, tf.Tensor], decoded: source_lib.Tensors) -> source_lib.Tensors:
        fields = {name: decoded[key] for key, name in _ANNOTATION_KEYS.items()}
        if _MASKS in decoded:
            fields['masks'] = instance_masks.encode_masks(decoded[_MASKS])
        if has_records:
            fields['serialized'] = example['serialized']
        # So that the image is decoded although nobody looks at it.
        fields['image_shape'] = tf.shape(decoded['image'])
        return fields

    for index, fields in enumerate(iterate_decoded(source, read)):
        yield _make_record(index, fields)


def iterate_decoded(
    source: source_lib.Source,
    read: Callable[[dict[str, tf.Tensor], source_lib.Tensors], source_lib.Tensors],
) -> Iterator[dict[str, Any]]:
    """Yields what `read` makes of each example and of what the source decodes, in order, as NumPy.

    Raises:
        DataError: An example cannot be read.
    """
    order = source_lib.Order(num_examples=source.info.num_examples, is_training=False)
    dataset = source.make_examples(order).map(
        lambda example: read(example, source.decode(example)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    data_errors.remember_source(source)
    with data_errors.clear_errors():
        yield from dataset.as_numpy_iterator()


def _make_record(index: int, fields: dict[str, Any]) -> Record:
    del fields['image_shape']
    for name in ('source_id', 'height_px', 'width_px'):
        fields[name] = int(fields[name])
    return Record(index=index, is_decoded=True, **fields)


def load_table(source: source_lib.Source) -> table_source.AnnotationTable:
    """The annotations of all examples; no image stays in memory.

    Raises:
        DataError: An example cannot be read.
    """
    if isinstance(source, table_source.TableSource):
        return source.table
    records = [dataclasses.replace(r, serialized=None) for r in iterate_records(source)]

    def join(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        parts = [getattr(record, name) for record in records]
        return np.concatenate([np.zeros(shape, dtype), *parts]).astype(dtype)

    counts = [len(record.labels) for record in records]
    return table_source.AnnotationTable(
        splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=join('boxes', (0, 4), np.float32),
        labels=join('labels', (0,), np.int64),
        is_crowd=join('is_crowd', (0,), bool),
        areas=join('areas', (0,), np.float32),
        heights_px=np.array([record.height_px for record in records], np.int64),
        widths_px=np.array([record.width_px for record in records], np.int64),
        source_ids=np.array([record.source_id for record in records], np.int64),
        masks=_join_masks(records),
    )


def _join_masks(records: Sequence[Record]) -> np.ndarray | None:
    """The run lengths of all objects; None if some record has none."""
    if not records or any(record.masks is None for record in records):
        return None
    return np.array([counts for record in records for counts in record.masks or ()], np.object_)
