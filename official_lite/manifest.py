"""Where built-in names live. A module is imported when one of its names is asked for.

Add a line here when you add a component to the package. Components of other packages register
themselves (`--import`, entry points of the group `official_lite.plugins`, or a plain import).
"""

from __future__ import annotations

_VISION = 'official_lite.vision'
_CLASSIFICATION_CONFIGS = f'{_VISION}.configs.image_classification'
_EXAMPLE = f'{_VISION}.examples.starter'
_MASKRCNN_CONFIGS = f'{_VISION}.configs.maskrcnn'
_RETINANET_CONFIGS = f'{_VISION}.configs.retinanet'
_SEGMENTATION_CONFIGS = f'{_VISION}.configs.semantic_segmentation'

# Name of an experiment -> module whose import registers its factory.
EXPERIMENTS: dict[str, str] = {
    'cascadercnn_spinenet_coco': _MASKRCNN_CONFIGS,
    'classification_custom': _CLASSIFICATION_CONFIGS,
    'deit_imagenet_pretrain': _CLASSIFICATION_CONFIGS,
    'example_experiment': f'{_EXAMPLE}.example_config',
    'fasterrcnn_resnetfpn_coco': _MASKRCNN_CONFIGS,
    'image_classification': _CLASSIFICATION_CONFIGS,
    'maskrcnn_custom': _MASKRCNN_CONFIGS,
    'maskrcnn_mobilenet_coco': _MASKRCNN_CONFIGS,
    'maskrcnn_resnetfpn_coco': _MASKRCNN_CONFIGS,
    'maskrcnn_spinenet_coco': _MASKRCNN_CONFIGS,
    'mnv2_deeplabv3_cityscapes': _SEGMENTATION_CONFIGS,
    'mnv2_deeplabv3_pascal': _SEGMENTATION_CONFIGS,
    'mnv2_deeplabv3plus_cityscapes': _SEGMENTATION_CONFIGS,
    'mobilenet_imagenet': _CLASSIFICATION_CONFIGS,
    'resnet_imagenet': _CLASSIFICATION_CONFIGS,
    'resnet_rs_imagenet': _CLASSIFICATION_CONFIGS,
    'retinanet': _RETINANET_CONFIGS,
    'retinanet_custom': _RETINANET_CONFIGS,
    'retinanet_mobile_coco': _RETINANET_CONFIGS,
    'retinanet_resnetfpn_coco': _RETINANET_CONFIGS,
    'retinanet_spinenet_coco': _RETINANET_CONFIGS,
    'revnet_imagenet': _CLASSIFICATION_CONFIGS,
    'seg_deeplabv3_pascal': _SEGMENTATION_CONFIGS,
    'seg_deeplabv3plus_cityscapes': _SEGMENTATION_CONFIGS,
    'seg_deeplabv3plus_pascal': _SEGMENTATION_CONFIGS,
    'seg_resnetfpn_pascal': _SEGMENTATION_CONFIGS,
    'segmentation_custom': _SEGMENTATION_CONFIGS,
    'semantic_segmentation': _SEGMENTATION_CONFIGS,
    'tf_vision_example_experiment': f'{_EXAMPLE}.example_config',
    'vit_imagenet_finetune': _CLASSIFICATION_CONFIGS,
    'vit_imagenet_pretrain': _CLASSIFICATION_CONFIGS,
}

# Task config class, as 'module.Class' -> module whose import registers its task.
TASKS: dict[str, str] = {
    f'{_EXAMPLE}.example_config.ExampleTask': f'{_EXAMPLE}.example_task',
    f'{_VISION}.configs.image_classification_task.ImageClassificationTask': (
        f'{_VISION}.tasks.image_classification'
    ),
    f'{_VISION}.configs.maskrcnn_task.MaskRCNNTask': f'{_VISION}.tasks.maskrcnn',
    f'{_VISION}.configs.retinanet_task.RetinaNetTask': f'{_VISION}.tasks.retinanet',
    f'{_VISION}.configs.semantic_segmentation_task.SemanticSegmentationTask': (
        f'{_VISION}.tasks.semantic_segmentation'
    ),
}

# First part of a name such as `task.init_checkpoint=keras_applications:ResNet50` -> module with
# `open_source(model, path)`.
WEIGHT_SOURCES: dict[str, str] = {
    'keras_applications': f'{_VISION}.modeling.pretrained',
    'keras_hub': f'{_VISION}.modeling.pretrained',
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
    'revnet': f'{_VISION}.modeling.backbones.revnet',
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
    'csv': f'{_VISION}.dataloaders.classification_sources',
    'folder': f'{_VISION}.dataloaders.classification_sources',
    'tfrecord': f'{_VISION}.dataloaders.classification_sources',
}
# The same for semantic segmentation.
SEGMENTATION_SOURCES: dict[str, str] = {
    'embedded': f'{_VISION}.dataloaders.segmentation_sources',
    'png_pairs': f'{_VISION}.dataloaders.segmentation_sources',
    'tfrecord': f'{_VISION}.dataloaders.segmentation_sources',
}
