"""Boxes from the pixels of the network's input to those of the original image."""

from __future__ import annotations

import numpy as np


def to_original_pixels(boxes_yxyx_px: np.ndarray, image_info: np.ndarray) -> np.ndarray:
    """Undoes the resizing, cropping and padding of preprocessing.

    Args:
        boxes_yxyx_px: float [batch, boxes, 4], ymin, xmin, ymax, xmax in the network's input.
        image_info: float [batch, 4, 2]: original size, target size, scale and offset, each (y, x).

    Returns:
        float64 [batch, boxes, 4] in pixels of the original image, not clipped to it.
    """
    scale = np.tile(np.asarray(image_info, np.float64)[:, 2:3, :], (1, 1, 2))  # [batch, 1, 4]
    offset = np.tile(np.asarray(image_info, np.float64)[:, 3:4, :], (1, 1, 2))  # [batch, 1, 4]
    return (np.asarray(boxes_yxyx_px, np.float64) + offset) / scale


def to_xywh(boxes_yxyx: np.ndarray) -> np.ndarray:
    """Turns [..., (ymin, xmin, ymax, xmax)] into COCO's [..., (xmin, ymin, width, height)]."""
    ymin, xmin, ymax, xmax = np.moveaxis(np.asarray(boxes_yxyx, np.float64), -1, 0)
    return np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=-1)
