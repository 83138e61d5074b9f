"""Masks of one image after the other, as COCO's evaluation takes them.

A mask is pasted and turned into run lengths at once: of an image some hundred bytes for each object
are kept, however large it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import instance_masks
from official_lite.vision.ops import mask_ops, run_lengths

__all__ = ['add_run_lengths', 'add_segmentations', 'get_decoded_size', 'read_sizes']

Size = tuple[int, int]


def read_sizes(dataset: Mapping[str, Any], path: str) -> dict[int, Size]:
    """(height, width) of the images of a COCO dataset by their ids.

    Raises:
        UsageError: An image has no size, or no annotation has a mask.
    """
    annotations = dataset['annotations']
    if annotations and not any(annotation.get('segmentation') for annotation in annotations):
        raise errors.UsageError(
            'has no masks: no annotation has a segmentation',
            where=path,
            hint='task.model.include_mask=false evaluates boxes only',
        )
    try:
        return {
            image['id']: (int(image['height']), int(image['width'])) for image in dataset['images']
        }
    except KeyError as error:
        raise errors.UsageError(
            f'an image has no {error.args[0]}',
            where=path,
            expected='height and width of each image',
        ) from error


def get_decoded_size(batch: Mapping[str, np.ndarray], row: int) -> Size:
    """(height, width) of an image as it was read."""
    height, width = np.round(batch['image_info'][row][0]).astype(int).tolist()
    return height, width


def add_segmentations(
    detections: Sequence[dict[str, Any]], masks: np.ndarray, boxes_xywh_px: np.ndarray, size: Size
) -> None:
    """Adds `segmentation` to the detections of one image.

    Args:
        detections: COCO's results.
        masks: float [n, mask_height, mask_width], 0 to 1, each within its box.
        boxes_xywh_px: float [n, 4], in pixels of the image.
        size: Of the image, (height, width).
    """
    counts = mask_ops.encode_pasted_masks(masks, boxes_xywh_px, *size)
    for detection, text in zip(detections, counts, strict=True):
        detection['segmentation'] = run_lengths.to_coco(text, *size)


def add_run_lengths(annotations: Sequence[dict[str, Any]], padded: np.ndarray, size: Size) -> None:
    """Adds `segmentation` to the ground truth of one image.

    Args:
        annotations: COCO's annotations.
        padded: uint8 [n, length], run lengths with zeros behind them.
        size: Of the image, (height, width).
    """
    for annotation, counts in zip(annotations, instance_masks.from_padded(padded), strict=True):
        annotation['segmentation'] = run_lengths.to_coco(counts, *size)
