"""Writes examples as TFRecords with the features of Model Garden's detection data sets."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from official_lite.core import tf_example_builder
from official_lite.vision.dataloaders import table_source, tf_example_decoder

__all__ = [
    'DetectionExample',
    'make_examples',
    'serialize',
    'write_tfrecords',
]

_FORMATS = {b'\xff\xd8': 'jpeg', b'\x89P': 'png'}


@dataclasses.dataclass(frozen=True)
class DetectionExample:
    """One image and its objects.

    Attributes:
        image_bytes: The encoded image.
        source_id: Number of the image.
        height_px, width_px: Its size.
        boxes: float32 [n, 4], yxyx normalised by the image's size.
        labels: int64 [n], from 1.
        is_crowd: bool [n]. None means none is.
        areas: float32 [n], square pixels. None means the boxes'.
        class_names: Names of the labels 1..K. () means they are not written.
        masks: bool or uint8 [n, height, width]. None means none are written.
        file_name: What the image is called. '' means it is not written.
        base: A serialized `tf.train.Example` whose other features are kept. None means there is none.
    """

    image_bytes: bytes
    source_id: int
    height_px: int
    width_px: int
    boxes: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray | None = None
    areas: np.ndarray | None = None
    class_names: Sequence[str] = ()
    masks: np.ndarray | None = None
    file_name: str = ''
    base: bytes | None = None


def serialize(example: DetectionExample) -> bytes:
    """The example as the bytes of a record; equal examples give equal bytes."""
    builder = tf_example_builder.TfExampleBuilder()
    if example.base is not None:
        builder.set(tf.train.Example.FromString(example.base))
    builder.add_bytes_feature('image/encoded', example.image_bytes)
    builder.add_bytes_feature('image/format', _FORMATS.get(example.image_bytes[:2], 'other'))
    builder.add_bytes_feature('image/source_id', str(example.source_id))
    builder.add_ints_feature('image/height', example.height_px)
    builder.add_ints_feature('image/width', example.width_px)
    if example.file_name:
        builder.add_bytes_feature('image/filename', example.file_name)
    for column, key in enumerate(tf_example_decoder.BOX_KEYS):
        builder.add_floats_feature(key, example.boxes[:, column].tolist())
    builder.add_ints_feature('image/object/class/label', example.labels.tolist())
    if example.class_names:
        names = [example.class_names[label - 1] for label in example.labels.tolist()]
        builder.add_bytes_feature('image/object/class/text', names)
    if example.is_crowd is not None:
        builder.add_ints_feature(
            'image/object/is_crowd', example.is_crowd.astype(np.int64).tolist()
        )
    if example.areas is not None:
        builder.add_floats_feature('image/object/area', example.areas.tolist())
    if example.masks is not None:
        masks = [_encode_mask(mask) for mask in example.masks]
        builder.add_bytes_feature('image/object/mask', masks)
    return builder.serialized_example


def _encode_mask(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(buffer, 'PNG')
    return buffer.getvalue()


def write_tfrecords(
    examples: Iterable[DetectionExample],
    output_prefix: str | Path,
    *,
    num_shards: int = 1,
    is_compressed: bool = False,
) -> list[str]:
    """Writes examples to `PREFIX-00000-of-00004.tfrecord` and so on, in turn.

    Args:
        examples: What to write.
        output_prefix: How the names of the files begin.
        num_shards: Number of files.
        is_compressed: Whether to compress them by gzip.

    Returns:
        The files.
    """
    prefix = str(output_prefix)
    paths = [f'{prefix}-{i:05d}-of-{num_shards:05d}.tfrecord' for i in range(num_shards)]
    options = tf.io.TFRecordOptions(compression_type='GZIP' if is_compressed else '')
    writers = [tf.io.TFRecordWriter(path, options) for path in paths]
    try:
        for number, example in enumerate(examples):
            writers[number % num_shards].write(serialize(example))
    finally:
        for writer in writers:
            writer.close()
    return paths


def make_examples(source: table_source.TableSource) -> Iterable[DetectionExample]:
    """The examples of a source, to be written."""
    table = source.table
    for i in range(len(table)):
        rows = slice(int(table.splits[i]), int(table.splits[i + 1]))
        yield DetectionExample(
            image_bytes=source.read_image(i),
            source_id=int(table.source_ids[i]),
            height_px=int(table.heights_px[i]),
            width_px=int(table.widths_px[i]),
            boxes=table.boxes[rows],
            labels=table.labels[rows],
            is_crowd=table.is_crowd[rows],
            areas=table.areas[rows],
            class_names=source.info.class_names,
        )
