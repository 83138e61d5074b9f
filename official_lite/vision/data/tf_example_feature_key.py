"""Names of the features of images, boxes and masks in a `tf.train.Example`, as Model Garden's."""

from __future__ import annotations

import dataclasses

from official_lite.core.tf_example_feature_key import TfExampleFeatureKeyBase

__all__ = [
    'BoxFeatureKey',
    'BoxPixelFeatureKey',
    'EncodedImageFeatureKey',
    'EncodedInstanceMaskFeatureKey',
    'EncodedPanopticMaskFeatureKey',
    'EncodedSemanticMaskFeatureKey',
]


@dataclasses.dataclass(init=False)
class EncodedImageFeatureKey(TfExampleFeatureKeyBase):
    """One image: its bytes, format, size and id, and labels of the whole of it."""

    encoded: str = 'image/encoded'
    format: str = 'image/format'
    height: str = 'image/height'
    width: str = 'image/width'
    num_channels: str = 'image/channels'
    source_id: str = 'image/source_id'
    label: str = 'image/class/label'


@dataclasses.dataclass(init=False)
class BoxFeatureKey(TfExampleFeatureKeyBase):
    """Boxes as shares of the image, with label and, if they are predictions, confidence."""

    xmin: str = 'image/object/bbox/xmin'
    xmax: str = 'image/object/bbox/xmax'
    ymin: str = 'image/object/bbox/ymin'
    ymax: str = 'image/object/bbox/ymax'
    label: str = 'image/object/class/label'
    confidence: str = 'image/object/bbox/confidence'


@dataclasses.dataclass(init=False)
class BoxPixelFeatureKey(TfExampleFeatureKeyBase):
    """Boxes in pixels."""

    xmin: str = 'image/object/bbox/xmin_pixels'
    xmax: str = 'image/object/bbox/xmax_pixels'
    ymin: str = 'image/object/bbox/ymin_pixels'
    ymax: str = 'image/object/bbox/ymax_pixels'
    label: str = 'image/object/class/label'
    confidence: str = 'image/object/bbox/confidence'


@dataclasses.dataclass(init=False)
class EncodedInstanceMaskFeatureKey(TfExampleFeatureKeyBase):
    """PNGs of 0 and 1, one for each object, and their numbers of pixels that are 1."""

    mask: str = 'image/object/mask'
    area: str = 'image/object/area'


@dataclasses.dataclass(init=False)
class EncodedSemanticMaskFeatureKey(TfExampleFeatureKeyBase):
    """An image of class ids, and one of colors to look at."""

    mask: str = 'image/segmentation/class/encoded'
    mask_format: str = 'image/segmentation/class/format'
    visualization_mask: str = 'image/segmentation/class/visualization/encoded'
    visualization_mask_format: str = 'image/segmentation/class/visualization/format'


@dataclasses.dataclass(init=False)
class EncodedPanopticMaskFeatureKey(TfExampleFeatureKeyBase):
    """An image of class ids and one of instance ids."""

    category_mask: str = 'image/panoptic/category/encoded'
    category_mask_format: str = 'image/panoptic/category/format'
    instance_mask: str = 'image/panoptic/instance/encoded'
    instance_mask_format: str = 'image/panoptic/instance/format'
