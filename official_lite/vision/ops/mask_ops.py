"""From small masks within boxes to masks of whole images, in NumPy.

The arithmetic is that of Detectron and Model Garden: a border of zeros around the mask, the box
enlarged with it and cut to whole pixels, bilinear resizing, a threshold of 0.5. The second version
places boxes between pixels, and knows no border.
"""

from __future__ import annotations

import numpy as np

from official_lite.vision.ops import run_lengths

__all__ = ['encode_pasted_masks', 'paste_instance_masks', 'paste_instance_masks_v2']

_THRESHOLD = 0.5


def paste_instance_masks(
    masks: np.ndarray, detected_boxes: np.ndarray, image_height: int, image_width: int
) -> np.ndarray:
    """Masks of whole images, one after the other; `encode_pasted_masks` needs far less memory.

    Args:
        masks: float [n, mask_height, mask_width], 0 to 1, each within its box.
        detected_boxes: float [n, 4], [x, y, width, height] in pixels of the image.
        image_height, image_width: Of the image, pixels.

    Returns:
        uint8 [n, image_height, image_width], 0 and 1.
    """
    pasted = np.zeros([len(masks), image_height, image_width], np.uint8)
    corners = _enlarge(np.asarray(detected_boxes, np.float64), masks.shape[1:])
    for number, mask in enumerate(masks):
        window, top, left = _make_window(mask, corners[number], image_height, image_width)
        rows, columns = window.shape
        pasted[number, top : top + rows, left : left + columns] = window
    return pasted


def paste_instance_masks_v2(
    masks: np.ndarray, detected_boxes: np.ndarray, image_height: int, image_width: int
) -> np.ndarray:
    """As `paste_instance_masks`, with boxes at their exact places instead of at whole pixels.

    Each pixel that a box touches is sampled at its centre, bilinearly, with zeros around the mask.
    """
    pasted = np.zeros([len(masks), image_height, image_width], np.uint8)
    boxes = np.asarray(detected_boxes, np.float64)
    for number, (mask, (x, y, width, height)) in enumerate(zip(masks, boxes, strict=True)):
        rows = _make_sampling(mask.shape[0], y, height, image_height)
        columns = _make_sampling(mask.shape[1], x, width, image_width)
        pasted[number] = rows @ mask @ columns.T > _THRESHOLD
    return pasted


def encode_pasted_masks(
    masks: np.ndarray, boxes_xywh_px: np.ndarray, height: int, width: int
) -> list[bytes]:
    """`paste_instance_masks`, each mask as its run lengths (see `run_lengths`).

    Memory and time go with the boxes, not with the image.
    """
    corners = _enlarge(np.asarray(boxes_xywh_px, np.float64), masks.shape[1:])
    encoded = []
    for number, mask in enumerate(masks):
        window, top, left = _make_window(mask, corners[number], height, width)
        encoded.append(run_lengths.encode_window(window, top, left, height, width))
    return encoded


def _enlarge(boxes_xywh: np.ndarray, mask_shape: tuple[int, ...]) -> np.ndarray:
    """int32 [n, 4], xmin, ymin, xmax, ymax of boxes with a border of one pixel of the mask."""
    scale = max((length + 2.0) / length for length in mask_shape)
    half = boxes_xywh[:, 2:] * 0.5
    center = boxes_xywh[:, :2] + half
    half = half * scale
    return np.concatenate([center - half, center + half], axis=1).astype(np.int32)


def _make_window(
    mask: np.ndarray, corners: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, int, int]:
    """bool [rows, columns], the part of a pasted mask that is inside, and its top left corner."""
    x0, y0, x1, y1 = (int(side) for side in corners)
    rows = _clip(y0, max(y1, y0) + 1, height)
    columns = _clip(x0, max(x1, x0) + 1, width)
    padded = np.zeros([mask.shape[0] + 2, mask.shape[1] + 2], np.float32)
    padded[1:-1, 1:-1] = mask
    # Not as products of matrices: for matrices as small as these, threads cost more than they save.
    low, share = _make_taps(padded.shape[0], y1 - y0 + 1, slice(rows.start - y0, rows.stop - y0))
    tall = padded[low] * (1 - share)[:, None] + padded[low + 1] * share[:, None]
    low, share = _make_taps(
        padded.shape[1], x1 - x0 + 1, slice(columns.start - x0, columns.stop - x0)
    )
    window = tall[:, low] * (1 - share) + tall[:, low + 1] * share
    return window > _THRESHOLD, rows.start, columns.start


def _clip(start: int, stop: int, limit: int) -> slice:
    return slice(min(max(start, 0), limit), min(max(stop, 0), limit))


def _make_taps(length: int, new_length: int, part: slice) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear resizing with half-pixel centres, of a part of the result.

    Args:
        length: Number of pixels, 2 or more.
        new_length: Number of pixels of the result.
        part: Those that are wanted.

    Returns:
        The lower of the two pixels that each is made of, int64, and the share of the upper one,
        float32.
    """
    new_length = max(new_length, 1)
    places = (np.arange(part.start, part.stop) + 0.5) * (length / new_length) - 0.5
    places = np.clip(places, 0, length - 1)
    low = np.minimum(places.astype(np.int64), length - 2)
    return low, (places - low).astype(np.float32)


def _make_sampling(length: int, start: float, extent: float, limit: int) -> np.ndarray:
    """float64 [limit, length], the shares of a mask's pixels in those of an image, along one axis.

    Args:
        length: Of the mask, pixels.
        start, extent: Of its box, pixels of the image.
        limit: Of the image, pixels.
    """
    if extent <= 0:
        return np.zeros([limit, length])
    pixels = np.arange(limit)
    places = (pixels + 0.5 - start) * (length / extent) - 0.5
    shares = np.maximum(1 - np.abs(places[:, None] - np.arange(length)), 0)
    is_touched = (pixels >= np.floor(start)) & (pixels < np.ceil(start + extent))
    return shares * is_touched[:, None]
