"""Preprocessing of images and boxes: the import path of Model Garden's names.

What is not random equals Model Garden's to the last digit. What is random takes a `seed` (see
`random_draws`), which here has no default of 1. The functions are in the modules beside this one:
`image_resize`, `image_crop`, `image_crop_boxes`, `image_flip`, `image_colour`, `image_quality`,
`image_padding`, `image_normalization`.
"""

from __future__ import annotations

from official_lite.vision.ops import image_normalization
from official_lite.vision.ops.box_ops import horizontal_flip_boxes, vertical_flip_boxes
from official_lite.vision.ops.image_colour import (
    color_jitter,
    random_brightness,
    random_contrast,
    random_saturation,
)
from official_lite.vision.ops.image_colour import saturation as _saturation
from official_lite.vision.ops.image_crop import (
    CENTER_CROP_FRACTION,
    center_crop_image,
    center_crop_image_v2,
    random_crop_image,
    random_crop_image_v2,
)
from official_lite.vision.ops.image_crop_boxes import (
    random_crop,
    random_crop_image_with_boxes_and_labels,
)
from official_lite.vision.ops.image_flip import (
    horizontal_flip_image,
    horizontal_flip_masks,
    random_horizontal_flip,
    random_horizontal_flip_with_roi,
    random_vertical_flip,
)
from official_lite.vision.ops.image_normalization import (
    normalize_image,
    normalize_scaled_float_image,
)
from official_lite.vision.ops.image_padding import (
    Size,
    clip_or_pad_to_fixed_size,
    compute_padded_size,
)
from official_lite.vision.ops.image_quality import random_jpeg_quality
from official_lite.vision.ops.image_resize import (
    resize_and_crop_boxes,
    resize_and_crop_image,
    resize_and_crop_image_v2,
    resize_and_crop_masks,
    resize_image,
)
from official_lite.vision.ops.random_draws import Seed

__all__ = [
    'CENTER_CROP_FRACTION',
    'MEAN_NORM',
    'MEAN_RGB',
    'MEDIAN_RGB',
    'STDDEV_NORM',
    'STDDEV_RGB',
    'Seed',
    'Size',
    '_saturation',
    'center_crop_image',
    'center_crop_image_v2',
    'clip_or_pad_to_fixed_size',
    'color_jitter',
    'compute_padded_size',
    'horizontal_flip_boxes',
    'horizontal_flip_image',
    'horizontal_flip_masks',
    'normalize_image',
    'normalize_scaled_float_image',
    'random_brightness',
    'random_contrast',
    'random_crop',
    'random_crop_image',
    'random_crop_image_v2',
    'random_crop_image_with_boxes_and_labels',
    'random_horizontal_flip',
    'random_horizontal_flip_with_roi',
    'random_jpeg_quality',
    'random_saturation',
    'random_vertical_flip',
    'resize_and_crop_boxes',
    'resize_and_crop_image',
    'resize_and_crop_image_v2',
    'resize_and_crop_masks',
    'resize_image',
    'vertical_flip_boxes',
]

# Of the ImageNet training set (as published with torchvision and Model Garden).
MEAN_NORM = image_normalization.MEAN_RGB
STDDEV_NORM = image_normalization.STDDEV_RGB
MEAN_RGB = tuple(255 * x for x in MEAN_NORM)
STDDEV_RGB = tuple(255 * x for x in STDDEV_NORM)
MEDIAN_RGB = (128.0, 128.0, 128.0)
