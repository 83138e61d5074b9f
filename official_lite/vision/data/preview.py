"""Pictures of batches as the model gets them: after resizing, augmentation and padding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.core import data_errors, task_factory
from official_lite.vision import visualization
from official_lite.vision.ops import anchor, image_normalization

__all__ = ['draw_batch', 'iterate_pictures']

_CELL_PX = 320  # the longer side of an image in the grid, at least


def iterate_pictures(
    config: Any,
    *,
    is_training: bool,
    num_batches: int = 1,
    max_num_images: int = 16,
    has_anchors: bool = False,
) -> Iterator[np.ndarray]:
    """Yields a grid of images for each of the first batches of a run.

    Args:
        config: An `ExperimentConfig` of a detection task. What its data decides is filled in.
        is_training: Whether to show the training data, augmented, or the validation data.
        num_batches: Most batches.
        max_num_images: Most images of a batch.
        has_anchors: Whether to draw the anchors that are labelled with an object.

    Yields:
        uint8 [height, width, 3].
    """
    task_cls = task_factory.get_task_cls(type(config.task))
    task_cls.resolve(config, task_cls.get_data_info(config.task, is_training))
    task = task_factory.get_task(config.task)
    data = config.task.train_data if is_training else config.task.validation_data
    batches = iter(task.build_inputs(data).take(num_batches))
    while True:
        with data_errors.clear_errors():
            batch = next(batches, None)
        if batch is None:
            return
        images, labels = batch
        anchors = _find_positive_anchors(config.task, images, labels) if has_anchors else None
        names = ('boxes', 'classes', 'masks', 'outer_boxes')
        arrays = {name: np.asarray(labels[key]) for name in names if (key := _find(labels, name))}
        if 'is_valid' in labels:
            arrays['is_valid'] = np.asarray(labels['is_valid'])
        yield draw_batch(
            _to_uint8(np.asarray(images)),
            arrays,
            class_names=config.task.class_names,
            max_num_images=max_num_images,
            positive_anchors=anchors,
        )


def _find(labels: Mapping[str, Any], name: str) -> str:
    """The label of that name, which in tasks with masks begins with `gt_`; '' if there is none."""
    return next((key for key in (name, f'gt_{name}') if key in labels), '')


def _to_uint8(images: np.ndarray) -> np.ndarray:
    """Images with values 0 to 255; normalised ones are taken back."""
    if images.dtype == np.uint8:
        return images
    mean = 255 * np.asarray(image_normalization.MEAN_RGB)
    stddev = 255 * np.asarray(image_normalization.STDDEV_RGB)
    values = images.astype(np.float32) * stddev + mean
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _find_positive_anchors(
    task_config: Any, images: tf.Tensor, labels: Mapping[str, Any]
) -> list[np.ndarray]:
    """Of each image the anchors that are labelled with an object, float32 [n, 4]."""
    model, parser = task_config.model, task_config.train_data.parser
    generator = anchor.build_anchor_generator(
        model.min_level,
        model.max_level,
        model.anchor.num_scales,
        model.anchor.aspect_ratios,
        model.anchor.anchor_size,
    )
    anchors = generator(images.shape[1:3])
    prefix = 'rpn_' if 'gt_boxes' in labels else ''
    labelled = anchor.label_anchors_batch(
        anchors,
        labels[_find(labels, 'boxes')],
        labels[_find(labels, 'classes')],
        getattr(parser, f'{prefix}match_threshold'),
        getattr(parser, f'{prefix}unmatched_threshold'),
    )
    flat = anchor.flatten_anchors(anchors).numpy()
    return [flat[weights > 0] for weights in labelled.box_weights.numpy()]


def draw_batch(
    images: np.ndarray,
    labels: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str] = (),
    max_num_images: int = 16,
    positive_anchors: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Draws a batch as a grid.

    Args:
        images: uint8 [batch, height, width, 3], padding included.
        labels: `boxes` float [batch, n, 4], yxyx in pixels of `images`; `classes` int [batch, n], 0
            or less where there is no box; optionally `masks` float [batch, n, rows, columns] within
            `outer_boxes`, and `is_valid` bool [batch], False for examples that only fill the batch,
            which are left out.
        class_names: Names of labels 1..K.
        max_num_images: Only the first so many.
        positive_anchors: Of each image, float [m, 4]: drawn pale, with their centres, below the boxes.

    Returns:
        uint8 [height, width, 3]; the last lines tell the classes' colors.
    """
    is_valid = labels.get('is_valid', np.ones(len(images), bool))
    cells = []
    shown = np.flatnonzero(is_valid)[:max_num_images]
    for row in shown:
        is_box = labels['classes'][row] > 0
        cells.append(
            visualization.draw_boxes(
                images[row],
                labels['boxes'][row][is_box],
                labels['classes'][row][is_box],
                class_names=class_names,
                faint_boxes=None if positive_anchors is None else positive_anchors[row],
                masks=labels['masks'][row][is_box] if 'masks' in labels else None,
                scale=max(1.0, _CELL_PX / max(images.shape[1:3])),
            )
        )
    grid = visualization.make_grid(cells)
    classes = labels['classes'][shown]
    legend = visualization.draw_legend(
        np.unique(classes[classes > 0]).tolist(), class_names, grid.shape[1]
    )
    return np.concatenate([grid, legend])
