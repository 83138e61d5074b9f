"""Augmentation: the import path of Model Garden's names.

What they are is in the modules beside this one: operations on pixels in `image_colour`,
`image_filter`, `image_geometry`, `image_erase`, on boxes too in `augment_boxes`; their names and
magnitudes in `augment_operations`; policies in `augment_policies` and `image_augment`; `ssd_crop`,
`mixup_cutmix` and `mosaic`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from official_lite.vision.ops import augment_operations, augment_policies
from official_lite.vision.ops.augment_boxes import (
    rotate_with_bboxes,
    shear_with_bboxes,
    translate_bbox,
    translate_y_only_bboxes,
)
from official_lite.vision.ops.augment_operations import MAX_LEVEL, OPERATIONS, Strength
from official_lite.vision.ops.image_augment import AutoAugment, ImageAugment, RandAugment
from official_lite.vision.ops.image_colour import (
    autocontrast,
    blend,
    brightness,
    color,
    contrast,
    equalize,
    grayscale,
    invert,
    posterize,
    solarize,
    solarize_add,
)
from official_lite.vision.ops.image_erase import RandomErasing, cutout, cutout_video
from official_lite.vision.ops.image_filter import (
    gaussian_blur,
    gaussian_filter2d,
    gaussian_noise,
    sharpness,
)
from official_lite.vision.ops.image_geometry import (
    from_4d,
    rotate,
    shear_x,
    shear_y,
    to_4d,
    transform,
    translate,
    translate_x,
    translate_y,
    unwrap,
    wrap,
    wrapped_rotate,
)
from official_lite.vision.ops.mixup_cutmix import MixupAndCutmix
from official_lite.vision.ops.random_draws import Seed, uniform_int
from official_lite.vision.ops.ssd_crop import (
    SSDRandomCrop,
    crop_normalized_boxes,
    filter_boxes_by_ioa,
)

__all__ = [
    'MAX_LEVEL',
    'NAME_TO_FUNC',
    'POLICIES',
    'PROB_FUNCS',
    'REPLACE_FUNCS',
    'REQUIRE_BOXES_FUNCS',
    'AutoAugment',
    'ImageAugment',
    'MixupAndCutmix',
    'RandAugment',
    'RandomErasing',
    'SSDRandomCrop',
    'autocontrast',
    'bbox_wrapper',
    'blend',
    'brightness',
    'color',
    'contrast',
    'crop_normalized_boxes',
    'cutout',
    'cutout_video',
    'equalize',
    'filter_boxes_by_ioa',
    'from_4d',
    'gaussian_blur',
    'gaussian_filter2d',
    'gaussian_noise',
    'grayscale',
    'invert',
    'level_to_arg',
    'posterize',
    'rotate',
    'rotate_with_bboxes',
    'select_and_apply_random_policy',
    'sharpness',
    'shear_with_bboxes',
    'shear_x',
    'shear_y',
    'solarize',
    'solarize_add',
    'to_4d',
    'transform',
    'translate',
    'translate_bbox',
    'translate_x',
    'translate_y',
    'translate_y_only_bboxes',
    'unwrap',
    'wrap',
    'wrapped_rotate',
]

POLICIES = augment_policies.POLICIES


def _shear_x_with_bboxes(image: tf.Tensor, bboxes: tf.Tensor, level: Any, replace: Any) -> Any:
    return shear_with_bboxes(image, bboxes, level, replace, shear_horizontal=True)


def _shear_y_with_bboxes(image: tf.Tensor, bboxes: tf.Tensor, level: Any, replace: Any) -> Any:
    return shear_with_bboxes(image, bboxes, level, replace, shear_horizontal=False)


def _translate_x_with_bboxes(image: tf.Tensor, bboxes: tf.Tensor, pixels: Any, replace: Any) -> Any:
    return translate_bbox(image, bboxes, pixels, replace, shift_horizontal=True)


def _translate_y_with_bboxes(image: tf.Tensor, bboxes: tf.Tensor, pixels: Any, replace: Any) -> Any:
    return translate_bbox(image, bboxes, pixels, replace, shift_horizontal=False)


# Name -> function of (image, arguments) or, of REQUIRE_BOXES_FUNCS, (image, bboxes, arguments).
NAME_TO_FUNC: dict[str, Callable[..., Any]] = {
    'AutoContrast': autocontrast,
    'Equalize': equalize,
    'Invert': invert,
    'Grayscale': grayscale,
    'Posterize': posterize,
    'Solarize': solarize,
    'SolarizeAdd': solarize_add,
    'Color': color,
    'Contrast': contrast,
    'Brightness': brightness,
    'Sharpness': sharpness,
    'Gaussian_Noise': gaussian_noise,
    'Gaussian_Blur': gaussian_blur,
    'Cutout': cutout,
    'Rotate': wrapped_rotate,
    'ShearX': shear_x,
    'ShearY': shear_y,
    'TranslateX': translate_x,
    'TranslateY': translate_y,
    'Rotate_BBox': rotate_with_bboxes,
    'ShearX_BBox': _shear_x_with_bboxes,
    'ShearY_BBox': _shear_y_with_bboxes,
    'TranslateX_BBox': _translate_x_with_bboxes,
    'TranslateY_BBox': _translate_y_with_bboxes,
    'TranslateY_Only_BBoxes': translate_y_only_bboxes,
}
PROB_FUNCS = frozenset({'TranslateY_Only_BBoxes'})
REQUIRE_BOXES_FUNCS = frozenset(
    {*(f'{name}_BBox' for name in augment_operations.GEOMETRIC), *PROB_FUNCS}
)
REPLACE_FUNCS = frozenset({'Cutout', *augment_operations.GEOMETRIC, *REQUIRE_BOXES_FUNCS})

_SIGNED_FUNCS = frozenset({*augment_operations.GEOMETRIC, *REQUIRE_BOXES_FUNCS})
_SPREAD_FUNCS = frozenset({'Gaussian_Noise', 'Gaussian_Blur'})
_NO_ARGUMENT_FUNCS = frozenset({'AutoContrast', 'Equalize', 'Invert', 'Grayscale'})


def level_to_arg(cutout_const: float, translate_const: float) -> dict[str, Callable[[Any], tuple]]:
    """By name of operation, the function from a magnitude to the arguments of `NAME_TO_FUNC`."""
    strength = Strength(cutout_const, translate_const)

    def make(name: str) -> Callable[[Any], tuple]:
        def compute(level: Any) -> tuple:
            argument = OPERATIONS[name].compute_argument(level, strength)
            if name in _NO_ARGUMENT_FUNCS:
                return ()
            if name in _SPREAD_FUNCS:
                return argument, 20.0 * argument
            if name in _SIGNED_FUNCS:
                return (augment_operations.negate_at_random(argument, None),)
            return (argument,)

        return compute

    return {name: make(name) for name in NAME_TO_FUNC}


def bbox_wrapper(func: Callable[..., tf.Tensor]) -> Callable[..., tuple[tf.Tensor, Any]]:
    """Makes of a function of an image one of an image and boxes, which stay as they are."""

    def wrapper(images: tf.Tensor, bboxes: Any, *args: Any, **kwargs: Any) -> Any:
        return func(images, *args, **kwargs), bboxes

    return wrapper


def _parse_policy_info(
    name: str,
    prob: float,
    level: Any,
    replace_value: Any,
    cutout_const: float,
    translate_const: float,
) -> tuple[Callable[..., Any], float, tuple]:
    """A function of (image, bboxes, *arguments), the probability and the arguments."""
    function = NAME_TO_FUNC[name]
    arguments = level_to_arg(cutout_const, translate_const)[name](level)
    if name in PROB_FUNCS:
        arguments = (prob, *arguments)
    if name in REPLACE_FUNCS:
        arguments = (*arguments, replace_value)
    if name not in REQUIRE_BOXES_FUNCS:
        function = bbox_wrapper(function)
    return function, prob, arguments


def select_and_apply_random_policy(
    policies: Sequence[Callable[..., Any]],
    image: tf.Tensor,
    bboxes: Any = None,
    seed: Seed = None,
) -> tuple[tf.Tensor, Any]:
    """Applies one of several functions of (image, bboxes), drawn uniformly."""
    number = uniform_int(seed, 'policy', maxval=len(policies))
    if bboxes is None:
        return tf.switch_case(number, [lambda p=p: p(image, None)[0] for p in policies]), None
    chosen = tf.switch_case(number, [lambda p=p: p(image, bboxes) for p in policies])
    return chosen[0], chosen[1]
