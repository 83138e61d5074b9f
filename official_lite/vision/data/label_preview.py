"""Pictures of batches of classified and segmented images as the model gets them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from official_lite.core import data_errors, task_factory
from official_lite.vision import visualization
from official_lite.vision.tasks import classification_pictures, segmentation_pictures

__all__ = ['describe_label', 'draw_classified', 'draw_segmented', 'iterate_label_pictures']

_CELL_PX = 320  # the longer side of an image in the grid, at least
_CAPTION_COLOR = (60, 60, 60)
_MIN_SHARE = 0.01  # of a label in a mixed image
_IGNORED_SHADE = 0.35  # brightness of pixels of no class


def iterate_label_pictures(
    config: Any, *, is_training: bool, num_batches: int = 1, max_num_images: int = 16
) -> Iterator[np.ndarray]:
    """Yields a grid of images for each of the first batches of a run.

    Args:
        config: An `ExperimentConfig` of classification or segmentation. What its data decides is
            filled in.
        is_training: Whether to show the training data, augmented, or the validation data.
        num_batches: Most batches.
        max_num_images: Most images of a batch.

    Yields:
        uint8 [height, width, 3].
    """
    task_cls = task_factory.get_task_cls(type(config.task))
    task_cls.resolve(config, task_cls.get_data_info(config.task, is_training))
    task = task_factory.get_task(config.task)
    data = config.task.train_data if is_training else config.task.validation_data
    if not is_training and hasattr(data, 'resize_eval_groundtruth'):
        data = data.replace(resize_eval_groundtruth=True)  # so that masks lie on their images
    batches = iter(task.build_inputs(data).take(num_batches))
    while True:
        with data_errors.clear_errors():
            batch = next(batches, None)
        if batch is None:
            return
        images, labels = np.asarray(batch[0]), batch[1]
        is_valid = labels.get('is_valid') if isinstance(labels, Mapping) else None
        shown = np.flatnonzero(np.ones(len(images), bool) if is_valid is None else is_valid)
        shown = shown[:max_num_images]
        names = config.task.class_names
        if isinstance(labels, Mapping) and 'masks' in labels:
            masks = np.asarray(labels['masks'])[..., 0]
            masks = np.where(np.asarray(labels['valid_masks'])[..., 0], masks, -1)
            yield draw_segmented(images[shown], masks[shown], class_names=names)
        else:
            values = np.asarray(labels['label'] if isinstance(labels, Mapping) else labels)
            yield draw_classified(images[shown], values[shown], class_names=names)


def draw_classified(
    images: np.ndarray, labels: np.ndarray, *, class_names: Sequence[str] = ()
) -> np.ndarray:
    """Draws images above their classes.

    Args:
        images: uint8 [n, height, width, 3].
        labels: int [n], or the share of each class, [n, num_classes].
        class_names: Names of the labels 0, 1, ...

    Returns:
        uint8 [height, width, 3].
    """
    cells = [
        classification_pictures.draw_caption(
            segmentation_pictures.to_rgb(image), describe_label(label, class_names), _CAPTION_COLOR
        )
        for image, label in zip(images, labels, strict=True)
    ]
    return visualization.make_grid(cells)


def describe_label(label: np.ndarray, class_names: Sequence[str]) -> str:
    """A label, int [], or the share of each class, [num_classes], in words."""

    def name(number: int) -> str:
        return class_names[number] if number < len(class_names) else str(number)

    if label.ndim == 0:
        return name(int(label))
    order = np.argsort(-label, kind='stable')
    there = [int(i) for i in order if label[i] > _MIN_SHARE]
    if np.issubdtype(label.dtype, np.integer) or all(label[i] == 1 for i in there):
        return ', '.join(map(name, there)) or 'none'
    return ', '.join(f'{name(i)} {100 * float(label[i]):.0f}%' for i in there)


def draw_segmented(
    images: np.ndarray, masks: np.ndarray, *, class_names: Sequence[str] = ()
) -> np.ndarray:
    """Draws images with the colours of classes over them, and dark where there is no class.

    Args:
        images: uint8 [n, height, width, channels], or normalised.
        masks: [n, height, width], labels, and -1 where there is none. Opacities of a matting map
            count from a half on.
        class_names: Names of the labels 0, 1, ...

    Returns:
        uint8 [height, width, 3]; the last lines tell the classes' colours.
    """
    masks = np.round(masks).astype(np.int64)
    cells = [_draw_mask(image, mask) for image, mask in zip(images, masks, strict=True)]
    grid = visualization.make_grid(cells)
    seen = np.unique(masks[masks >= 0]).tolist()
    legend = segmentation_pictures.draw_legend(seen, class_names, grid.shape[1])
    return np.concatenate([grid, legend])


def _draw_mask(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    pixels = segmentation_pictures.to_rgb(image)
    painted = segmentation_pictures.paint_mask(pixels, mask)
    painted[mask < 0] = np.round(_IGNORED_SHADE * painted[mask < 0]).astype(np.uint8)
    scale = max(1.0, _CELL_PX / max(painted.shape[:2]))
    size = (round(scale * painted.shape[1]), round(scale * painted.shape[0]))
    return np.asarray(Image.fromarray(painted).resize(size, Image.Resampling.NEAREST))
