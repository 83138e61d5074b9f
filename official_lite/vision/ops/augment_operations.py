"""The operations that augmentation policies are made of, by name, and what a magnitude means to each.

A magnitude is 0 to 10; `Operation.compute_argument` makes of it what the operation takes: degrees,
pixels, a factor, ... Directions are drawn when the operation runs. All geometric operations move
boxes, whether their names say so (`Rotate_BBox`) or not (`Rotate`): Model Garden's RetinaNet moves
pixels without boxes in the latter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import tensorflow as tf

from official_lite.vision.ops import (
    augment_boxes,
    image_colour,
    image_erase,
    image_filter,
    image_geometry,
)
from official_lite.vision.ops.random_draws import Seed, coin, fold_in

__all__ = [
    'GEOMETRIC',
    'MAX_LEVEL',
    'OPERATIONS',
    'REPLACE_VALUE',
    'Call',
    'Operation',
    'Strength',
    'get_operation',
    'negate_at_random',
]

# The largest magnitude of AutoAugment's search.
MAX_LEVEL = 10.0
# Grey, where an operation leaves pixels empty.
REPLACE_VALUE = (128, 128, 128)

Number: TypeAlias = Any  # an int, a float, or a tensor of shape []
ImageAndBoxes: TypeAlias = tuple[tf.Tensor, Any]

# Shifts of boxes' contents go this far at magnitude 10, pixels (1906.11172).
_ONLY_BBOXES_TRANSLATE_CONST = 120
# Standard deviations reach from a tenth of the magnitude to twice the magnitude.
_SPREAD = 20.0


@dataclasses.dataclass(frozen=True)
class Strength:
    """What magnitude 10 is worth where a policy may choose.

    Attributes:
        cutout_const: Half of Cutout's side, pixels.
        translate_const: Shift of TranslateX and TranslateY, pixels.
    """

    cutout_const: float
    translate_const: float


@dataclasses.dataclass(frozen=True)
class Call:
    """One application of an operation.

    Attributes:
        argument: What `compute_argument` gave; a number or a float32 tensor of shape [].
        prob: The policy's probability, for operations that draw for each box.
        seed: Of this application.
        fill_mode: What geometric operations bring in from outside (see `image_geometry`).
        replace: Colour of what they leave empty: a number, or one for each channel.
    """

    argument: Number = 0
    prob: Number = 1.0
    seed: Seed = None
    fill_mode: str = 'reflect'
    replace: Any = REPLACE_VALUE


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        apply: (image, boxes or None, call) -> (image, boxes). Images are uint8 [height, width, 3]
            or videos [frames, height, width, 3]; boxes [..., 4], yxyx normalised.
        compute_argument: (magnitude, strength) -> argument. With a Python number it is exact; with
            a tensor it is float32.
        is_move: Whether content changes its place; masks have to go along.
    """

    apply: Callable[[tf.Tensor, Any, Call], ImageAndBoxes]
    compute_argument: Callable[[Number, Strength], Number] = lambda level, strength: 0
    is_move: bool = False


def negate_at_random(value: Number, seed: Seed, name: str = 'sign') -> tf.Tensor:
    """float32 `value`, or -`value` half of the time."""
    value = tf.cast(value, tf.float32)
    return tf.where(coin(seed, name, 0.5), value, -value)


def _truncate(value: Number) -> Number:
    return tf.floor(value) if tf.is_tensor(value) else int(value)


def _scale(factor: float, offset: float = 0.0) -> Callable[[Number, Strength], Number]:
    return lambda level, strength: (level / MAX_LEVEL) * factor + offset


def _scale_to_int(factor: float) -> Callable[[Number, Strength], Number]:
    return lambda level, strength: _truncate((level / MAX_LEVEL) * factor)


def _to_int(value: Number) -> Number:
    return tf.cast(value, tf.int32) if tf.is_tensor(value) else int(value)


def _pixels(function: Callable[..., tf.Tensor], *, takes: str = '') -> Any:
    """`apply` of an operation that moves nothing: it takes the image and, perhaps, the argument as
    'number' or 'int', or the 'spread' (low, high), and the seed."""

    def apply(image: tf.Tensor, boxes: Any, call: Call) -> ImageAndBoxes:
        if takes == 'spread':
            return function(image, call.argument, _SPREAD * call.argument, call.seed), boxes
        arguments = {'': (), 'number': (call.argument,), 'int': (_to_int(call.argument),)}
        return function(image, *arguments[takes]), boxes

    return apply


def _geometry(without_boxes: Callable[..., tf.Tensor], with_boxes: Callable[..., Any]) -> Any:
    """`apply` of an operation that moves image and boxes in a random direction."""

    def apply(image: tf.Tensor, boxes: Any, call: Call) -> ImageAndBoxes:
        argument = negate_at_random(call.argument, call.seed)
        if boxes is None:
            return without_boxes(image, argument, call.replace, call.fill_mode), None
        moved: ImageAndBoxes = with_boxes(image, boxes, argument, call.replace, call.fill_mode)
        return moved

    return apply


def _cutout(image: tf.Tensor, boxes: Any, call: Call) -> ImageAndBoxes:
    size = _to_int(call.argument)
    return image_erase.cutout(image, size, REPLACE_VALUE, call.seed), boxes


def _translate_y_only_bboxes(image: tf.Tensor, boxes: Any, call: Call) -> ImageAndBoxes:
    if boxes is None:
        return image, None
    pixels = negate_at_random(call.argument, call.seed)
    return augment_boxes.translate_y_only_bboxes(
        image, boxes, call.prob, pixels, call.replace, fold_in(call.seed, 'boxes')
    )


def _shear(horizontal: bool) -> Operation:
    def with_boxes(*args: Any) -> ImageAndBoxes:
        image, boxes, level, replace, fill_mode = args
        return augment_boxes.shear_with_bboxes(image, boxes, level, replace, horizontal, fill_mode)

    shear = image_geometry.shear_x if horizontal else image_geometry.shear_y
    return Operation(_geometry(shear, with_boxes), _scale(0.3), is_move=True)


def _translate(horizontal: bool) -> Operation:
    def with_boxes(*args: Any) -> ImageAndBoxes:
        image, boxes, pixels, replace, fill_mode = args
        return augment_boxes.translate_bbox(image, boxes, pixels, replace, horizontal, fill_mode)

    move = image_geometry.translate_x if horizontal else image_geometry.translate_y
    return Operation(
        _geometry(move, with_boxes),
        lambda level, strength: (level / MAX_LEVEL) * float(strength.translate_const),
        is_move=True,
    )


def _enhance(function: Callable[..., tf.Tensor]) -> Operation:
    return Operation(_pixels(function, takes='number'), _scale(1.8, 0.1))


GEOMETRIC: dict[str, Operation] = {
    'Rotate': Operation(
        _geometry(image_geometry.wrapped_rotate, augment_boxes.rotate_with_bboxes),
        _scale(30.0),
        is_move=True,
    ),
    'ShearX': _shear(True),
    'ShearY': _shear(False),
    'TranslateX': _translate(True),
    'TranslateY': _translate(False),
}

OPERATIONS: Mapping[str, Operation] = {
    'AutoContrast': Operation(_pixels(image_colour.autocontrast)),
    'Equalize': Operation(_pixels(image_colour.equalize)),
    'Invert': Operation(_pixels(image_colour.invert)),
    'Grayscale': Operation(_pixels(image_colour.grayscale)),
    'Posterize': Operation(_pixels(image_colour.posterize, takes='int'), _scale_to_int(4)),
    'Solarize': Operation(_pixels(image_colour.solarize, takes='int'), _scale_to_int(256)),
    'SolarizeAdd': Operation(_pixels(image_colour.solarize_add, takes='int'), _scale_to_int(110)),
    'Color': _enhance(image_colour.color),
    'Contrast': _enhance(image_colour.contrast),
    'Brightness': _enhance(image_colour.brightness),
    'Sharpness': _enhance(image_filter.sharpness),
    'Gaussian_Noise': Operation(_pixels(image_filter.gaussian_noise, takes='spread'), _scale(1.0)),
    'Gaussian_Blur': Operation(_pixels(image_filter.gaussian_blur, takes='spread'), _scale(1.0)),
    'Cutout': Operation(
        _cutout,
        lambda level, strength: _truncate((level / MAX_LEVEL) * float(strength.cutout_const)),
    ),
    **GEOMETRIC,
    **{f'{name}_BBox': operation for name, operation in GEOMETRIC.items()},
    'TranslateY_Only_BBoxes': Operation(
        _translate_y_only_bboxes, _scale(_ONLY_BBOXES_TRANSLATE_CONST), is_move=True
    ),
}


def get_operation(name: str) -> Operation:
    """The operation of that name.

    Raises:
        KeyError: There is none; the text lists the names.
    """
    if name not in OPERATIONS:
        raise KeyError(f'{name!r} is no operation. There are: {", ".join(OPERATIONS)}')
    return OPERATIONS[name]
