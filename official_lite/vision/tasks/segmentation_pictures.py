"""A picture of the masks that a model finds on validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from official_lite.vision import visualization

__all__ = ['draw_legend', 'make_picture', 'paint_mask', 'to_rgb']

_CELL_PX = 256  # the longer side of an image in the grid, at least
_OPACITY = 0.5
_LABEL_KEYS = ('image_info', 'masks', 'valid_masks', 'is_valid')
_NUM_COLUMNS = 2  # pairs of a row


def make_picture(
    batches: Iterable[tuple[Any, Mapping[str, Any]]],
    segment: Callable[[Any, Mapping[str, Any]], tuple[Any, Any]],
    *,
    class_names: Sequence[str] = (),
    max_num_images: int = 8,
) -> np.ndarray | None:
    """Draws for each image the true mask, and right of it the one that the model finds.

    Args:
        batches: `(images, labels)` of evaluation: [batch, height, width, channels], and `image_info`
            and optionally `is_valid`.
        segment: Gives, for the images and labels of a batch, the true masks and those of the model:
            int [batch, height, width] of the images' size, -1 where there is none.
        class_names: Names of the labels 0, 1, ...
        max_num_images: The first so many images are drawn.

    Returns:
        A grid, uint8 [height, width, 3], above a legend. None when there is no image.
    """
    cells: list[np.ndarray] = []
    seen: set[int] = set()
    for images, labels in batches:
        truth, found = (np.asarray(masks) for masks in segment(images, labels))
        is_valid = np.asarray(labels.get('is_valid', np.ones(len(truth), bool)))
        image_info = np.asarray(labels['image_info'])
        for row in np.flatnonzero(is_valid):
            if len(cells) == max_num_images:
                break
            image = to_rgb(np.asarray(images[row]))
            size = _get_content_size(image_info[row], image.shape)
            seen |= set(np.unique(truth[row])) | set(np.unique(found[row]))
            pair = [_paint_content(image, masks[row], size) for masks in (truth, found)]
            cells.append(visualization.make_grid(pair, num_columns=2))
        if len(cells) == max_num_images:
            break
    if not cells:
        return None
    grid = visualization.make_grid(cells, num_columns=min(len(cells), _NUM_COLUMNS))
    return np.concatenate([grid, draw_legend(sorted(seen - {-1}), class_names, grid.shape[1])])


def paint_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Lays the colours of classes over an image; label 0 and what has no label stay as they are.

    Args:
        image: uint8 [height, width, 3].
        mask: int [height, width].

    Returns:
        uint8 [height, width, 3].
    """
    painted = image.astype(np.float32)
    for label in np.unique(mask[mask > 0]).tolist():
        color = np.array(visualization.get_class_color(label), np.float32)
        is_class = mask == label
        painted[is_class] += _OPACITY * (color - painted[is_class])
    return np.round(painted).astype(np.uint8)


def _paint_content(image: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part that is no padding, with its mask, enlarged."""
    height, width = size
    painted = paint_mask(image[:height, :width], mask[:height, :width])
    scale = max(1.0, _CELL_PX / max(size))
    enlarged = (max(1, round(scale * width)), max(1, round(scale * height)))
    return np.asarray(Image.fromarray(painted).resize(enlarged, Image.Resampling.NEAREST))


def _get_content_size(image_info: np.ndarray, shape: Sequence[int]) -> tuple[int, int]:
    height, width = np.round(image_info[0] * image_info[2]).astype(int).tolist()
    return min(max(1, height), shape[0]), min(max(1, width), shape[1])


def to_rgb(image: np.ndarray) -> np.ndarray:
    """An image of a batch as uint8 [height, width, 3]; of normalised ones the grey levels spread."""
    if image.dtype != np.uint8:
        pixels = image.astype(np.float32)
        low, high = pixels.min(), pixels.max()
        image = np.round((pixels - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)


def draw_legend(labels: Sequence[int], class_names: Sequence[str], width: int) -> np.ndarray:
    """Colours and names of the labels from 1 on."""
    shown = [int(label) for label in labels if label > 0]
    return visualization.draw_legend(shown, list(class_names[1:]), width)
