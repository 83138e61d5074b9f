"""Geometric operations that move boxes with the image.

Boxes are [..., 4], yxyx normalised by the image's size. Their arithmetic is Model Garden's, in whole
pixels, with one exception: a box of which nothing is left comes out empty (no height or no width),
for the caller to drop. There, it comes out as a strip of 5% of the image at the edge, where no
object is.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import tensorflow as tf

from official_lite.vision.ops import image_erase, image_geometry
from official_lite.vision.ops.random_draws import Seed, coin, fold_in, uniform

__all__ = [
    'rotate_with_bboxes',
    'shear_with_bboxes',
    'translate_bbox',
    'translate_y_only_bboxes',
]

Number: TypeAlias = Any  # an int, a float, or a tensor of shape []

# A shift of the content of boxes has a third of its chance, so that not too many neighbours are
# changed at once (1906.11172).
_BBOX_ONLY_PROB_SCALE = 1.0 / 3.0


def _image_size(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """float32 height and width of [..., height, width, channels]."""
    size = tf.cast(tf.shape(image)[-3:-1], tf.float32)
    return size[0], size[1]


def _truncate(values: tf.Tensor) -> tf.Tensor:
    """Towards zero, to whole pixels."""
    return tf.cast(tf.cast(values, tf.int32), tf.float32)


def _map_corners(
    matrix: Any, ys: tuple[tf.Tensor, tf.Tensor], xs: tuple[tf.Tensor, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """y and x of a box's four corners, [..., 4] each, after a linear map of (y, x)."""
    y = tf.stack([ys[0], ys[0], ys[1], ys[1]], axis=-1)
    x = tf.stack([xs[0], xs[1], xs[0], xs[1]], axis=-1)
    # As a product of matrices, which rounds like Model Garden's: ties decide whole pixels.
    points = tf.stack([tf.reshape(y, [-1]), tf.reshape(x, [-1])])  # [2, 4 n]
    new_y, new_x = tf.unstack(_truncate(tf.matmul(_make_matrix(matrix), points)))
    return tf.reshape(new_y, tf.shape(y)), tf.reshape(new_x, tf.shape(y))


def _make_matrix(rows: Any) -> tf.Tensor:
    return tf.stack([[tf.cast(value, tf.float32) for value in row] for row in rows])


def _clip(boxes: list[tf.Tensor]) -> tf.Tensor:
    return tf.clip_by_value(tf.stack(boxes, axis=-1), 0.0, 1.0)


def _rotate_boxes(
    bboxes: tf.Tensor, height: tf.Tensor, width: tf.Tensor, degrees: Number
) -> tf.Tensor:
    radians = tf.cast(degrees, tf.float32) * image_geometry.RADIANS_PER_DEGREE
    cos, sin = tf.cos(radians), tf.sin(radians)
    ymin, xmin, ymax, xmax = tf.unstack(bboxes, axis=-1)
    # From the centre, with y upwards.
    ys = (-_truncate(height * (ymin - 0.5)), -_truncate(height * (ymax - 0.5)))
    xs = (_truncate(width * (xmin - 0.5)), _truncate(width * (xmax - 0.5)))
    new_y, new_x = _map_corners([[cos, sin], [-sin, cos]], ys, xs)
    return _clip(
        [
            -(tf.reduce_max(new_y, -1) / height - 0.5),
            tf.reduce_min(new_x, -1) / width + 0.5,
            -(tf.reduce_min(new_y, -1) / height - 0.5),
            tf.reduce_max(new_x, -1) / width + 0.5,
        ]
    )


def _to_pixels(
    bboxes: tf.Tensor, height: tf.Tensor, width: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    ymin, xmin, ymax, xmax = tf.unstack(bboxes, axis=-1)
    ys = (_truncate(height * ymin), _truncate(height * ymax))
    return ys, (_truncate(width * xmin), _truncate(width * xmax))


def _shear_boxes(
    bboxes: tf.Tensor, height: tf.Tensor, width: tf.Tensor, level: Number, horizontal: bool
) -> tf.Tensor:
    level = tf.cast(level, tf.float32)
    matrix = [[1, 0], [-level, 1]] if horizontal else [[1, -level], [0, 1]]
    y, x = _map_corners(matrix, *_to_pixels(bboxes, height, width))
    return _clip(
        [
            tf.reduce_min(y, -1) / height,
            tf.reduce_min(x, -1) / width,
            tf.reduce_max(y, -1) / height,
            tf.reduce_max(x, -1) / width,
        ]
    )


def _shift_boxes(
    bboxes: tf.Tensor, height: tf.Tensor, width: tf.Tensor, pixels: Number, horizontal: bool
) -> tf.Tensor:
    shift = _truncate(tf.cast(pixels, tf.float32))
    ys, xs = _to_pixels(bboxes, height, width)
    if horizontal:
        xs = (xs[0] - shift, xs[1] - shift)
    else:
        ys = (ys[0] - shift, ys[1] - shift)
    return _clip([ys[0] / height, xs[0] / width, ys[1] / height, xs[1] / width])


def rotate_with_bboxes(
    image: tf.Tensor, bboxes: tf.Tensor, degrees: Number, replace: Any, fill_mode: str = 'reflect'
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rotates image and boxes around the image's centre; a box becomes the hull of its corners.

    Args:
        image: uint8 [height, width, channels], or a video [frames, height, width, channels].
        bboxes: float32 [..., 4] (see the module's docstring).
        degrees: Counter-clockwise on the screen, if positive.
        replace: See `image_geometry`.
        fill_mode: Likewise. 'reflect' mirrors objects too, without boxes.

    Returns:
        Image and boxes, of the same shapes.
    """
    boxes = _rotate_boxes(bboxes, *_image_size(image), degrees)
    return image_geometry.wrapped_rotate(image, degrees, replace, fill_mode), boxes


def shear_with_bboxes(
    image: tf.Tensor,
    bboxes: tf.Tensor,
    level: Number,
    replace: Any,
    shear_horizontal: bool,
    fill_mode: str = 'reflect',
) -> tuple[tf.Tensor, tf.Tensor]:
    """`image_geometry.shear_x`, or `shear_y`, of image and boxes; see `rotate_with_bboxes`."""
    shear = image_geometry.shear_x if shear_horizontal else image_geometry.shear_y
    boxes = _shear_boxes(bboxes, *_image_size(image), level, shear_horizontal)
    return shear(image, level, replace, fill_mode), boxes


def translate_bbox(
    image: tf.Tensor,
    bboxes: tf.Tensor,
    pixels: Number,
    replace: Any,
    shift_horizontal: bool,
    fill_mode: str = 'reflect',
) -> tuple[tf.Tensor, tf.Tensor]:
    """`image_geometry.translate_x`, or `translate_y`, of image and boxes; see
    `rotate_with_bboxes`."""
    move = image_geometry.translate_x if shift_horizontal else image_geometry.translate_y
    boxes = _shift_boxes(bboxes, *_image_size(image), pixels, shift_horizontal)
    return move(image, pixels, replace, fill_mode), boxes


def translate_y_only_bboxes(
    image: tf.Tensor,
    bboxes: tf.Tensor,
    prob: Number,
    pixels: Number,
    replace: Any,
    seed: Seed = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves what is inside of boxes up by `pixels`, in random order; boxes stay (1906.11172).

    Args:
        image: uint8 [height, width, channels].
        bboxes: float32 [n, 4].
        prob: Three times the chance of each box, independently.
        pixels: How far.
        replace: See `image_geometry`.
        seed: See `random_draws`.

    Returns:
        The image, of the same shape, and the boxes as they were.

    Raises:
        ValueError: The image is a video.
    """
    if image.shape.rank != 3:
        raise ValueError(f'Expected an image of rank 3. Received: rank {image.shape.rank}')
    seed = fold_in(seed, 'only_bboxes')
    num_boxes = tf.shape(bboxes)[0]
    is_chosen = coin(seed, 'apply', prob * _BBOX_ONLY_PROB_SCALE, [num_boxes])
    order = tf.argsort(uniform(seed, 'order', [num_boxes]))
    chosen = tf.boolean_mask(tf.gather(bboxes, order), tf.gather(is_chosen, order))

    def move(number: tf.Tensor, moved: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number + 1, _translate_y_inside(moved, chosen[number], pixels, replace)

    _, image = tf.while_loop(
        lambda number, _: number < tf.shape(chosen)[0],
        move,
        (tf.constant(0), image),
        shape_invariants=(tf.TensorShape([]), image.shape),
        parallel_iterations=1,
    )
    return image, bboxes


def _translate_y_inside(
    image: tf.Tensor, box: tf.Tensor, pixels: Number, replace: Any
) -> tf.Tensor:
    shape = tf.shape(image)
    height, width = _image_size(image)
    scale = tf.stack([height, width, height, width])
    top, left, bottom, right = tf.unstack(tf.cast(scale * box, tf.int32))
    bottom, right = tf.minimum(bottom, shape[0] - 1), tf.minimum(right, shape[1] - 1)
    content = image[top : bottom + 1, left : right + 1]

    def move() -> tf.Tensor:
        moved = image_geometry.translate_y(content, pixels, replace)
        return image_erase.paste(image, moved, top, left)

    return tf.cond(tf.size(content) > 0, move, lambda: image)
