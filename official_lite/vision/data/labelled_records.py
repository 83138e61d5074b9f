"""Reads the examples of classified or segmented images one by one, outside of a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.core.segmentation_info import SegmentationInfo
from official_lite.vision.data import records
from official_lite.vision.dataloaders import classification_input, mask_files
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['LabelledRecord', 'has_masks', 'iterate_labelled']


@dataclasses.dataclass(frozen=True)
class LabelledRecord:
    """The labels of one example.

    Attributes:
        index: Its number in the source, from 0.
        labels: int [n], the labels of the whole image, from 0; of segmented images int32 [height,
            width], those of pixels, and `mask_files.IGNORED` where there is none.
        height_px, width_px: Size of the image; 0 where it was not decoded, for it has no mask.
    """

    index: int
    labels: np.ndarray
    height_px: int = 0
    width_px: int = 0

    def count(self, num_classes: int) -> np.ndarray:
        """How often each label from 0 on occurs, int64 [num_classes or more]."""
        return np.bincount(self.labels[self.labels >= 0].ravel(), minlength=num_classes)


def has_masks(source: source_lib.Source) -> bool:
    """Whether pixels have labels, and not images."""
    return isinstance(source.info, SegmentationInfo)


def iterate_labelled(
    source: source_lib.Source, *, ignore_label: int | None = None
) -> Iterator[LabelledRecord]:
    """Yields every example once, by index; only a few are in memory at a time.

    Args:
        source: Classified or segmented images.
        ignore_label: A label that becomes `mask_files.IGNORED`. None means none.

    Raises:
        DataError: An example cannot be read.
    """
    is_segmented = has_masks(source)

    def read(example: dict[str, tf.Tensor], decoded: source_lib.Tensors) -> source_lib.Tensors:
        del example
        if is_segmented:
            return {'labels': decoded['mask'][..., 0], 'size': tf.shape(decoded['image'])[:2]}
        return {'labels': decoded[classification_input.LABEL_KEY]}

    for index, fields in enumerate(records.iterate_decoded(source, read)):
        yield _make_record(index, fields, ignore_label)


def _make_record(index: int, fields: dict[str, Any], ignore_label: int | None) -> LabelledRecord:
    labels = np.asarray(fields['labels'])
    if 'size' not in fields:
        return LabelledRecord(index, labels)
    if ignore_label is not None:
        labels = np.where(labels == ignore_label, mask_files.IGNORED, labels)
    height, width = np.asarray(fields['size']).tolist()
    return LabelledRecord(index, labels, height, width)
