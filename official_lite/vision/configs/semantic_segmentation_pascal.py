"""Semantic segmentation: Model Garden's experiments on Pascal VOC."""

from __future__ import annotations

import os

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.vision.configs import backbones, common, decoders, deeplab, recipes
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
    'mnv2_deeplabv3_pascal',
    'seg_deeplabv3_pascal',
    'seg_deeplabv3plus_pascal',
    'seg_resnetfpn_pascal',
]

PASCAL_TRAIN_EXAMPLES = 10582
PASCAL_VAL_EXAMPLES = 1449
PASCAL_INPUT_PATH_BASE = 'gs://**/pascal_voc_seg'
_PASCAL_CLASSES = 21


@exp_factory.register_config_factory('seg_deeplabv3_pascal')
def seg_deeplabv3_pascal() -> cfg.ExperimentConfig:
    """DeepLabV3 (1706.05587) with ResNet-101 on Pascal VOC at 512 px for 45 epochs."""
    return _pascal_resnet101(
        decoder=deeplab.get_aspp(dilation_rates=[12, 24, 36]),
        head=SegmentationHead(level=deeplab.LEVEL, num_convs=0),
    )


@exp_factory.register_config_factory('seg_deeplabv3plus_pascal')
def seg_deeplabv3plus_pascal() -> cfg.ExperimentConfig:
    """DeepLabV3+ (1802.02611) with ResNet-101 on Pascal VOC at 512 px for 45 epochs."""
    return _pascal_resnet101(
        decoder=deeplab.get_aspp(dilation_rates=[6, 12, 18]),
        head=deeplab.get_plus_head('deeplabv3plus'),
    )


def _pascal_resnet101(decoder: decoders.Decoder, head: SegmentationHead) -> cfg.ExperimentConfig:
    steps_per_epoch = PASCAL_TRAIN_EXAMPLES // 16
    train_steps = 45 * steps_per_epoch
    return cfg.ExperimentConfig(
        task=SemanticSegmentationTask(
            model=SemanticSegmentationModel(
                num_classes=_PASCAL_CLASSES,
                input_size=[None, None, 3],
                backbone=deeplab.get_resnet101(),
                decoder=decoder,
                head=head,
                norm_activation=deeplab.get_norm_activation('swish', momentum=0.9997),
            ),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=_pascal_train_data(),
            validation_data=_pascal_validation_data(batch_size=8),
            init_checkpoint=deeplab.RESNET101_CHECKPOINT,
            init_checkpoint_modules='backbone',
        ),
        trainer=deeplab.make_trainer(
            steps_per_epoch=steps_per_epoch,
            train_steps=train_steps,
            validation_steps=PASCAL_VAL_EXAMPLES // 8,
            peak=0.007,
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('seg_resnetfpn_pascal')
def seg_resnetfpn_pascal() -> cfg.ExperimentConfig:
    """ResNet-50-FPN on Pascal VOC at 512 px for 450 epochs, from random weights."""
    steps_per_epoch = PASCAL_TRAIN_EXAMPLES // 256
    train_steps = 450 * steps_per_epoch
    return cfg.ExperimentConfig(
        task=SemanticSegmentationTask(
            model=SemanticSegmentationModel(
                num_classes=_PASCAL_CLASSES,
                input_size=[512, 512, 3],
                min_level=3,
                max_level=7,
                backbone=backbones.Backbone(type='resnet', resnet=backbones.ResNet(model_id=50)),
                decoder=decoders.Decoder(type='fpn', fpn=decoders.FPN()),
                head=SegmentationHead(level=3, num_convs=3),
                norm_activation=common.NormActivation(activation='swish', use_sync_bn=True),
            ),
            losses=Losses(l2_weight_decay=1e-4),
            # Without output_size: the model's input_size counts.
            train_data=_pascal_train_data(
                batch_size=256, output_size=[], scale_min=0.2, scale_max=1.5
            ),
            validation_data=_pascal_validation_data(batch_size=32, output_size=[]),
        ),
        trainer=deeplab.make_trainer(
            steps_per_epoch=steps_per_epoch,
            train_steps=train_steps,
            validation_steps=PASCAL_VAL_EXAMPLES // 32,
            peak=0.007,
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('mnv2_deeplabv3_pascal')
def mnv2_deeplabv3_pascal() -> cfg.ExperimentConfig:
    """DeepLabV3 with MobileNetV2 on Pascal VOC at 512 px for 30,000 steps."""
    steps_per_epoch = PASCAL_TRAIN_EXAMPLES // 16
    return cfg.ExperimentConfig(
        task=SemanticSegmentationTask(
            model=SemanticSegmentationModel(
                num_classes=_PASCAL_CLASSES,
                input_size=[None, None, 3],
                backbone=deeplab.get_mobilenetv2(),
                decoder=deeplab.get_aspp(dilation_rates=[], pool_kernel_size=[]),
                head=SegmentationHead(level=deeplab.LEVEL, num_convs=0),
                norm_activation=deeplab.get_norm_activation('relu', momentum=0.99),
            ),
            losses=Losses(l2_weight_decay=4e-5),
            train_data=_pascal_train_data(),
            validation_data=_pascal_validation_data(batch_size=16),
            init_checkpoint=deeplab.MOBILENETV2_CHECKPOINT,
            init_checkpoint_modules=['backbone', 'decoder'],
        ),
        trainer=deeplab.make_trainer(
            steps_per_epoch=steps_per_epoch,
            train_steps=30000,
            validation_steps=PASCAL_VAL_EXAMPLES // 16,
            peak=0.007,
            **deeplab.get_best_checkpoint(),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _pascal_train_data(
    batch_size: int = 16,
    output_size: list[int] | None = None,
    scale_min: float = 0.5,
    scale_max: float = 2.0,
) -> DataConfig:
    return DataConfig(
        input_path=os.path.join(PASCAL_INPUT_PATH_BASE, 'train_aug*'),
        output_size=[512, 512] if output_size is None else output_size,
        is_training=True,
        global_batch_size=batch_size,
        aug_scale_min=scale_min,
        aug_scale_max=scale_max,
    )


def _pascal_validation_data(batch_size: int, output_size: list[int] | None = None) -> DataConfig:
    """At the size of the original images."""
    return DataConfig(
        input_path=os.path.join(PASCAL_INPUT_PATH_BASE, 'val*'),
        output_size=[512, 512] if output_size is None else output_size,
        is_training=False,
        global_batch_size=batch_size,
        resize_eval_groundtruth=False,
        groundtruth_padded_size=[512, 512],
        drop_remainder=False,
    )
