"""Where built-in names live. A module is imported when one of its names is asked for.

Add a line here when you add a component to the package. Components of other packages register
themselves (`--import`, entry points of the group `official_lite.plugins`, or a plain import).
"""

from __future__ import annotations

_VISION = 'official_lite.vision'
_RETINANET_CONFIGS = f'{_VISION}.configs.retinanet'

# Name of an experiment -> module whose import registers its factory.
EXPERIMENTS: dict[str, str] = {
    'retinanet': _RETINANET_CONFIGS,
    'retinanet_custom': _RETINANET_CONFIGS,
    'retinanet_mobile_coco': _RETINANET_CONFIGS,
    'retinanet_resnetfpn_coco': _RETINANET_CONFIGS,
    'retinanet_spinenet_coco': _RETINANET_CONFIGS,
}

# Task config class, as 'module.Class' -> module whose import registers its task.
TASKS: dict[str, str] = {
    f'{_VISION}.configs.retinanet_task.RetinaNetTask': f'{_VISION}.tasks.retinanet',
}

# Name of a component, the `type` of its OneOf config -> module whose import registers its builder.
BACKBONES: dict[str, str] = {
    'dilated_resnet': f'{_VISION}.modeling.backbones.resnet_deeplab',
    'efficientnet': f'{_VISION}.modeling.backbones.efficientnet',
    'mobiledet': f'{_VISION}.modeling.backbones.mobiledet',
    'keras_applications': f'{_VISION}.modeling.backbones.keras_applications',
    'keras_hub': f'{_VISION}.modeling.backbones.keras_hub_backbone',
    'mobilenet': f'{_VISION}.modeling.backbones.mobilenet',
    'resnet': f'{_VISION}.modeling.backbones.resnet',
    'resnet_unet': f'{_VISION}.modeling.backbones.resnet_unet',
    'spinenet': f'{_VISION}.modeling.backbones.spinenet',
    'spinenet_mobile': f'{_VISION}.modeling.backbones.spinenet_mobile',
    'vit': f'{_VISION}.modeling.backbones.vit',
}
DECODERS: dict[str, str] = {
    'aspp': f'{_VISION}.modeling.decoders.aspp',
    'fpn': f'{_VISION}.modeling.decoders.fpn',
    'identity': f'{_VISION}.modeling.decoders.factory',
    'nasfpn': f'{_VISION}.modeling.decoders.nasfpn',
}
HEADS: dict[str, str] = {
    'retinanet': f'{_VISION}.modeling.heads.dense_prediction_heads',
}
DATA_SOURCES: dict[str, str] = {
    'coco': f'{_VISION}.dataloaders.sources',
    'embedded': f'{_VISION}.dataloaders.sources',
    'mixture': f'{_VISION}.dataloaders.sources',
    'tfds': f'{_VISION}.dataloaders.sources',
    'tfrecord': f'{_VISION}.dataloaders.sources',
    'voc': f'{_VISION}.dataloaders.sources',
    'yolo': f'{_VISION}.dataloaders.sources',
}
# The same for image classification.
CLASSIFICATION_SOURCES: dict[str, str] = {
    'folder': f'{_VISION}.dataloaders.classification_sources',
}
