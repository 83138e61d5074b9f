"""Makes small data sets for tests."""

from __future__ import annotations

import dataclasses
import io
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import coco_writer, table_source, tfrecord_writer
from official_lite.vision.dataloaders import source as source_lib


def make_image(height: int, width: int, number: int = 0, image_format: str = 'PNG') -> bytes:
    """An encoded image that differs from every other."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, [height, width, 3], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()


def make_table(
    counts: list[int], *, height: int = 24, width: int = 32, num_labels: int = 3
) -> table_source.TableSource:
    """Random non-square images with so many boxes each; images are numbered from 10 in tens."""
    rng = np.random.default_rng(0)
    num_boxes = sum(counts)
    corners = np.sort(rng.uniform(0, 1, [num_boxes, 2, 2]), axis=1)  # [n, low and high, yx]
    labels = np.arange(num_boxes) % num_labels + 1
    boxes = corners.reshape(-1, 4).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    table = table_source.AnnotationTable(
        splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        labels=labels.astype(np.int64),
        is_crowd=np.zeros([num_boxes], bool),
        areas=(sides.prod(-1) * height * width).astype(np.float32),
        heights_px=np.full([len(counts)], height, np.int64),
        widths_px=np.full([len(counts)], width, np.int64),
        source_ids=np.arange(1, len(counts) + 1, dtype=np.int64) * 10,
    )
    info = DataInfo(
        num_examples=len(counts),
        class_names=tuple(f'thing_{i}' for i in range(1, num_labels + 1)),
        category_ids=tuple(range(1, num_labels + 1)),
        num_boxes=num_boxes,
        boxes_per_class=table_source.count_per_class(table.labels, num_labels),
        max_label=int(table.labels.max(initial=0)),
        fingerprint='0',
        origin='test',
        max_boxes_per_image=max(counts, default=0),
    )
    images = [make_image(height, width, i) for i in range(len(counts))]
    return table_source.TableSource(table, images, info, is_in_memory=True)


def read_records(source: source_lib.Source) -> dict[int, dict[str, np.ndarray]]:
    """All records of a source by their id."""
    order = source_lib.Order(num_examples=source.info.num_examples, is_training=False)
    dataset = source.make_examples(order).map(source.decode)
    return {int(record['source_id']): record for record in dataset.as_numpy_iterator()}


def read_order(
    source: source_lib.Source, order: source_lib.Order, num_examples: int
) -> list[tuple[int, int]]:
    """(epoch, index) of the first examples of a stream."""
    dataset = source.make_examples(order).take(num_examples)
    return [(int(e['epoch']), int(e['index'])) for e in dataset.as_numpy_iterator()]


def to_numpy(batch: Any) -> Any:
    """A batch as arrays."""
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), batch)


def assert_equal_batches(first: Any, second: Any) -> None:
    """Fails where two lists of batches differ."""
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def write_coco(
    source: table_source.TableSource,
    folder: pathlib.Path,
    *,
    get_masks: Callable[[int], np.ndarray] | None = None,
) -> pathlib.Path:
    """Writes `FOLDER/annotations.json` and `FOLDER/images/`.

    Args:
        source: The examples.
        folder: Where to; made if it does not exist.
        get_masks: Returns bool [n, height, width], the masks of an example by its number. None
            means that no masks are written.

    Returns:
        The path of the annotation file.
    """
    writer = coco_writer.CocoWriter(folder, source.info)
    for index, example in enumerate(tfrecord_writer.make_examples(source)):
        masks = get_masks(index) if get_masks else None
        writer.add(dataclasses.replace(example, masks=masks))
    return writer.finish()
