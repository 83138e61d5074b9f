"""Semantic segmentation: Model Garden's experiments on Cityscapes."""

from __future__ import annotations

import os
from typing import Any

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.vision.configs import backbones, decoders, deeplab, recipes
from official_lite.vision.configs.semantic_segmentation_data import DataConfig
from official_lite.vision.configs.semantic_segmentation_model import (
    SegmentationHead,
    SemanticSegmentationModel,
)
from official_lite.vision.configs.semantic_segmentation_task import (
    Losses,
    SemanticSegmentationTask,
)

__all__ = [
    'mnv2_deeplabv3_cityscapes',
    'mnv2_deeplabv3plus_cityscapes',
    'seg_deeplabv3plus_cityscapes',
]

CITYSCAPES_TRAIN_EXAMPLES = 2975
CITYSCAPES_VAL_EXAMPLES = 500
CITYSCAPES_INPUT_PATH_BASE = 'cityscapes'
# Those that are evaluated; void is ignored.
_CITYSCAPES_CLASSES = 19
_CITYSCAPES_BATCH = 16
_CITYSCAPES_STEPS_PER_EPOCH = CITYSCAPES_TRAIN_EXAMPLES // _CITYSCAPES_BATCH


@exp_factory.register_config_factory('seg_deeplabv3plus_cityscapes')
def seg_deeplabv3plus_cityscapes() -> cfg.ExperimentConfig:
    """DeepLabV3+ with ResNet-101 on Cityscapes, crops of 512x1024 px, for 500 epochs."""
    return _cityscapes_experiment(
        backbone=deeplab.get_resnet101(),
        decoder=deeplab.get_aspp(dilation_rates=[6, 12, 18], pool_kernel_size=[512, 1024]),
        head=deeplab.get_plus_head('deeplabv3plus'),
        activation='swish',
        init_checkpoint=deeplab.RESNET101_CHECKPOINT,
        l2_weight_decay=1e-4,
        train_steps=500 * _CITYSCAPES_STEPS_PER_EPOCH,
    )


@exp_factory.register_config_factory('mnv2_deeplabv3_cityscapes')
def mnv2_deeplabv3_cityscapes() -> cfg.ExperimentConfig:
    """DeepLabV3 with MobileNetV2 on Cityscapes, crops of 512x1024 px, for 100,000 steps."""
    return _mobilenetv2_cityscapes(
        deeplab.get_mobilenetv2(), SegmentationHead(level=deeplab.LEVEL, num_convs=0)
    )


@exp_factory.register_config_factory('mnv2_deeplabv3plus_cityscapes')
def mnv2_deeplabv3plus_cityscapes() -> cfg.ExperimentConfig:
    """DeepLabV3+ with MobileNetV2 on Cityscapes, crops of 512x1024 px, for 100,000 steps."""
    head = deeplab.get_plus_head(
        'deeplabv3plus', low_level='2/depthwise', use_depthwise_convolution=True
    )
    return _mobilenetv2_cityscapes(
        deeplab.get_mobilenetv2(output_intermediate_endpoints=True), head
    )


def _mobilenetv2_cityscapes(
    backbone: backbones.Backbone, head: SegmentationHead
) -> cfg.ExperimentConfig:
    return _cityscapes_experiment(
        backbone=backbone,
        decoder=deeplab.get_aspp(dilation_rates=[], pool_kernel_size=[512, 1024]),
        head=head,
        activation='relu',
        init_checkpoint=deeplab.MOBILENETV2_CHECKPOINT,
        l2_weight_decay=4e-5,
        train_steps=100000,
        **deeplab.get_best_checkpoint(),
    )


def _cityscapes_experiment(
    *,
    backbone: backbones.Backbone,
    decoder: decoders.Decoder,
    head: SegmentationHead,
    activation: str,
    init_checkpoint: str,
    l2_weight_decay: float,
    train_steps: int,
    **trainer_fields: Any,
) -> cfg.ExperimentConfig:
    return cfg.ExperimentConfig(
        task=SemanticSegmentationTask(
            model=SemanticSegmentationModel(
                num_classes=_CITYSCAPES_CLASSES,
                input_size=[None, None, 3],
                backbone=backbone,
                decoder=decoder,
                head=head,
                norm_activation=deeplab.get_norm_activation(activation, momentum=0.99),
            ),
            losses=Losses(l2_weight_decay=l2_weight_decay),
            train_data=_cityscapes_train_data(),
            validation_data=_cityscapes_validation_data(),
            init_checkpoint=init_checkpoint,
            init_checkpoint_modules='backbone',
        ),
        trainer=deeplab.make_trainer(
            steps_per_epoch=_CITYSCAPES_STEPS_PER_EPOCH,
            train_steps=train_steps,
            validation_steps=CITYSCAPES_VAL_EXAMPLES // _CITYSCAPES_BATCH,
            peak=0.01,
            **trainer_fields,
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _cityscapes_train_data() -> DataConfig:
    return DataConfig(
        input_path=os.path.join(CITYSCAPES_INPUT_PATH_BASE, 'train_fine**'),
        crop_size=[512, 1024],
        output_size=[1024, 2048],
        is_training=True,
        global_batch_size=_CITYSCAPES_BATCH,
        aug_scale_min=0.5,
        aug_scale_max=2.0,
    )


def _cityscapes_validation_data() -> DataConfig:
    return DataConfig(
        input_path=os.path.join(CITYSCAPES_INPUT_PATH_BASE, 'val_fine*'),
        output_size=[1024, 2048],
        is_training=False,
        global_batch_size=_CITYSCAPES_BATCH,
        resize_eval_groundtruth=True,
        drop_remainder=False,
    )
