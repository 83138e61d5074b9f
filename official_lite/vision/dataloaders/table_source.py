"""A source whose annotations are in memory, with images in memory or in files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import image_decoding, instance_masks
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['AnnotationTable', 'TableSource', 'count_per_class']


@dataclasses.dataclass(frozen=True)
class AnnotationTable:
    """The boxes of all images, image after image.

    Attributes:
        splits: int64 [num_images + 1]: image i has the boxes splits[i] to splits[i + 1].
        boxes: float32 [num_boxes, 4], yxyx normalised by the image's size.
        labels: int64 [num_boxes], from 1.
        is_crowd: bool [num_boxes].
        areas: float32 [num_boxes], square pixels.
        heights_px, widths_px: int64 [num_images].
        source_ids: int64 [num_images].
        masks: The objects' masks in the annotated image, as run lengths (`ops.run_lengths`): bytes
            [num_boxes]. None where they were not read.
    """

    splits: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray
    areas: np.ndarray
    heights_px: np.ndarray
    widths_px: np.ndarray
    source_ids: np.ndarray
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.source_ids)

    def select(self, keep: np.ndarray) -> AnnotationTable:
        """The table of the images whose numbers are in `keep`, int64 [n]."""
        counts = np.diff(self.splits)
        rows = np.concatenate(
            [np.arange(self.splits[i], self.splits[i + 1]) for i in keep] or [np.zeros(0, int)]
        ).astype(np.int64)
        return AnnotationTable(
            splits=np.concatenate([[0], np.cumsum(counts[keep])]).astype(np.int64),
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            is_crowd=self.is_crowd[rows],
            areas=self.areas[rows],
            heights_px=self.heights_px[keep],
            widths_px=self.widths_px[keep],
            source_ids=self.source_ids[keep],
            masks=None if self.masks is None else self.masks[rows],
        )


def count_per_class(labels: np.ndarray, num_labels: int) -> tuple[int, ...]:
    """How often the labels 1 to `num_labels` occur."""
    return tuple(int(n) for n in np.bincount(labels, minlength=num_labels + 1)[1 : num_labels + 1])


class TableSource(source_lib.IndexedSource):
    """Examples of an `AnnotationTable`.

    Args:
        table: The annotations.
        images: The encoded image of every example, or the path of its file.
        info: Counts and classes.
        names: What to call each example in messages. None means their paths.
        is_in_memory: Whether `images` are the encoded images themselves.
        readings: int32 [num_images], how to decode each (see `image_decoding.decode_image`). None:
            all as they are stored, by TensorFlow.
    """

    def __init__(
        self,
        table: AnnotationTable,
        images: Sequence[bytes] | Sequence[str],
        info: DataInfo,
        *,
        names: Sequence[str] | None = None,
        is_in_memory: bool = False,
        readings: np.ndarray | None = None,
    ) -> None:
        self._table = table
        self._images = images
        self._info = info
        self._names = names
        self._is_in_memory = is_in_memory
        self._readings = readings
        self._tensors: source_lib.Tensors | None = None

    @property
    def info(self) -> DataInfo:
        return self._info

    @property
    def table(self) -> AnnotationTable:
        """The annotations."""
        return self._table

    @property
    def readings(self) -> np.ndarray | None:
        """How to decode each image; None if all are decoded by TensorFlow as they are stored."""
        return self._readings

    def load_images(self) -> TableSource:
        """The same source with its image files read into memory."""
        if self._is_in_memory:
            return self
        images = [self.read_image(i) for i in range(len(self._table))]
        names = [self.describe(i) for i in range(len(self._table))]
        return TableSource(
            self._table,
            images,
            self._info,
            names=names,
            is_in_memory=True,
            readings=self._readings,
        )

    def make_examples(self, order: source_lib.Order) -> tf.data.Dataset:
        # Outside of any graph, so that the functions of the pipeline capture these, not copy them.
        with tf.init_scope():
            fields = {f.name: getattr(self._table, f.name) for f in dataclasses.fields(self._table)}
            masks = fields.pop('masks')
            self._tensors = {name: tf.constant(value) for name, value in fields.items()}
            if masks is not None:
                self._tensors['masks'] = tf.constant(masks.tolist(), tf.string, masks.shape)
            self._tensors['images'] = tf.constant(list(self._images), tf.string)
            if self._readings is not None:
                self._tensors['readings'] = tf.constant(self._readings, tf.int32)
        return super().make_examples(order)

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        assert self._tensors is not None, 'make_examples comes first'
        tensors, index = self._tensors, example['index']
        image_bytes = tensors['images'][index]
        if not self._is_in_memory:
            image_bytes = tf.io.read_file(image_bytes)
        reading = None if self._readings is None else tensors['readings'][index]
        rows = slice(tensors['splits'][index], tensors['splits'][index + 1])
        record = {
            'image': image_decoding.decode_image(image_bytes, reading),
            'source_id': tensors['source_ids'][index],
            'height': tensors['heights_px'][index],
            'width': tensors['widths_px'][index],
            'groundtruth_boxes': tensors['boxes'][rows],
            'groundtruth_classes': tensors['labels'][rows],
            'groundtruth_is_crowd': tensors['is_crowd'][rows],
            'groundtruth_area': tensors['areas'][rows],
        }
        if self._table.masks is not None:
            record['groundtruth_instance_masks'] = instance_masks.decode_masks(
                tensors['masks'][rows],
                tf.stack([record['height'], record['width']]),
                record['image'],
            )
        return record

    def describe(self, index: int) -> str:
        if self._names is not None:
            return self._names[index]
        return str(self._images[index])

    def get_reading(self, index: int) -> int:
        return 0 if self._readings is None else int(self._readings[index])

    def read_image(self, index: int) -> bytes:
        image = self._images[index]
        return image if isinstance(image, bytes) else tf.io.read_file(image).numpy()
