"""A picture of what a detector finds on validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from official_lite.vision import visualization

_CELL_PX = 320  # the longer side of an image in the grid, at least
_DETECTION_KEYS = ('detection_boxes', 'detection_scores', 'detection_classes', 'num_detections')
_MASK_KEYS = ('detection_masks', 'detection_outer_boxes')
_LABEL_KEYS = ('image_info', 'boxes', 'classes', 'gt_boxes', 'gt_classes', 'is_valid')


def make_picture(
    batches: Iterable[tuple[Any, Mapping[str, Any]]],
    detect: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]],
    *,
    class_names: Sequence[str] = (),
    max_num_images: int = 12,
    min_score: float = 0.3,
) -> np.ndarray | None:
    """Draws detections (thick, with name, score and mask) and ground truth (thin, white).

    Args:
        batches: `(images, labels)` of evaluation: uint8 [batch, height, width, 3], and `image_info`,
            `boxes`, `classes` (or `gt_boxes`, `gt_classes`) and optionally `is_valid`.
        detect: Gives the detections on the images of a batch, in pixels of the network's input.
        class_names: Names of labels 1..K.
        max_num_images: The first so many images are drawn.
        min_score: Detections below are left out.

    Returns:
        A grid, uint8 [height, width, 3], or None when there is no image.
    """
    cells: list[np.ndarray] = []
    for images, labels in batches:
        outputs = detect(images, labels)
        keys = (*_DETECTION_KEYS, *(key for key in _MASK_KEYS if key in outputs))
        outputs = {key: np.asarray(outputs[key]) for key in keys}
        labels = {key: np.asarray(labels[key]) for key in _LABEL_KEYS if key in labels}
        images = np.asarray(images)
        for row in np.flatnonzero(labels.get('is_valid', np.ones(len(images), bool))):
            if len(cells) == max_num_images:
                break
            detections = {key: value[row] for key, value in outputs.items()}
            prefix = '' if 'boxes' in labels else 'gt_'
            truth = labels[f'{prefix}boxes'][row][labels[f'{prefix}classes'][row] > 0]
            image = _without_padding(images[row], labels['image_info'][row])
            cells.append(
                visualization.draw_detections(
                    image,
                    detections,
                    class_names=class_names,
                    ground_truth_boxes=truth,
                    min_score=min_score,
                    scale=max(1.0, _CELL_PX / max(image.shape[:2])),
                )
            )
        if len(cells) == max_num_images:
            break
    return visualization.make_grid(cells) if cells else None


def _without_padding(image: np.ndarray, image_info: np.ndarray) -> np.ndarray:
    height, width = np.round(image_info[0] * image_info[2] - image_info[3]).astype(int).tolist()
    return image[: max(1, height), : max(1, width)]
