"""Semantic segmentation: experiments. Model Garden's unless marked as ours."""

from __future__ import annotations

import os
from typing import Any, Literal

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import optimization
from official_lite.vision.configs import backbones, common, decoders, own_data, recipes
from official_lite.vision.configs.semantic_segmentation_data import DataConfig, SegmentationSource
from official_lite.vision.configs.semantic_segmentation_model import (
    FeatureFusion,
    SegmentationHead,
    SemanticSegmentationModel,
)
from official_lite.vision.configs.semantic_segmentation_task import (
    Losses,
    SemanticSegmentationTask,
)

__all__ = [
    'mnv2_deeplabv3_cityscapes',
    'mnv2_deeplabv3_pascal',
    'mnv2_deeplabv3plus_cityscapes',
    'seg_deeplabv3_pascal',
    'seg_deeplabv3plus_cityscapes',
    'seg_deeplabv3plus_pascal',
    'seg_resnetfpn_pascal',
    'segmentation_custom',
    'semantic_segmentation',
]

PASCAL_TRAIN_EXAMPLES = 10582
PASCAL_VAL_EXAMPLES = 1449
PASCAL_INPUT_PATH_BASE = 'gs://**/pascal_voc_seg'
_PASCAL_CLASSES = 21

CITYSCAPES_TRAIN_EXAMPLES = 2975
CITYSCAPES_VAL_EXAMPLES = 500
CITYSCAPES_INPUT_PATH_BASE = 'cityscapes'
# Those that are evaluated; void is ignored.
_CITYSCAPES_CLASSES = 19
_CITYSCAPES_BATCH = 16
_CITYSCAPES_STEPS_PER_EPOCH = CITYSCAPES_TRAIN_EXAMPLES // _CITYSCAPES_BATCH

_RESNET101 = 'gs://cloud-tpu-checkpoints/vision-2.0/deeplab/deeplab_resnet101_imagenet/ckpt-62400'
_MOBILENETV2 = (
    'gs://tf_model_garden/cloud/vision-2.0/deeplab/deeplabv3_mobilenetv2_coco/best_ckpt-63'
)

# Level of a stride of 16, at which DeepLab works.
_DEEPLAB_LEVEL = 4


@exp_factory.register_config_factory('semantic_segmentation')
def semantic_segmentation() -> cfg.ExperimentConfig:
    """Semantic segmentation with Model Garden's defaults; sizes, data, optimizer are not set."""
    return cfg.ExperimentConfig(task=SemanticSegmentationTask(), restrictions=recipes.RESTRICTIONS)


@exp_factory.register_config_factory('seg_deeplabv3_pascal')
def seg_deeplabv3_pascal() -> cfg.ExperimentConfig:
    """DeepLabV3 (1706.05587) with ResNet-101 on Pascal VOC at 512 px for 45 epochs."""
    return _pascal_resnet101(
        decoder=_aspp(dilation_rates=[12, 24, 36]),
        head=SegmentationHead(level=_DEEPLAB_LEVEL, num_convs=0),
    )


@exp_factory.register_config_factory('seg_deeplabv3plus_pascal')
def seg_deeplabv3plus_pascal() -> cfg.ExperimentConfig:
    """DeepLabV3+ (1802.02611) with ResNet-101 on Pascal VOC at 512 px for 45 epochs."""
    return _pascal_resnet101(
        decoder=_aspp(dilation_rates=[6, 12, 18]), head=_plus_head('deeplabv3plus')
    )


def _pascal_resnet101(decoder: decoders.Decoder, head: SegmentationHead) -> cfg.ExperimentConfig:
    steps_per_epoch = PASCAL_TRAIN_EXAMPLES // 16
    train_steps = 45 * steps_per_epoch
    return cfg.ExperimentConfig(
        task=SemanticSegmentationTask(
            model=SemanticSegmentationModel(
                num_classes=_PASCAL_CLASSES,
                input_size=[None, None, 3],
                backbone=_resnet101(),
                decoder=decoder,
                head=head,
                norm_activation=_norm_activation('swish', momentum=0.9997),
            ),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=_pascal_train_data(),
            validation_data=_pascal_validation_data(batch_size=8),
            init_checkpoint=_RESNET101,
            init_checkpoint_modules='backbone',
        ),
        trainer=_make_trainer(
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
        trainer=_make_trainer(
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
                backbone=_mobilenetv2(),
                decoder=_aspp(dilation_rates=[], pool_kernel_size=[]),
                head=SegmentationHead(level=_DEEPLAB_LEVEL, num_convs=0),
                norm_activation=_norm_activation('relu', momentum=0.99),
            ),
            losses=Losses(l2_weight_decay=4e-5),
            train_data=_pascal_train_data(),
            validation_data=_pascal_validation_data(batch_size=16),
            init_checkpoint=_MOBILENETV2,
            init_checkpoint_modules=['backbone', 'decoder'],
        ),
        trainer=_make_trainer(
            steps_per_epoch=steps_per_epoch,
            train_steps=30000,
            validation_steps=PASCAL_VAL_EXAMPLES // 16,
            peak=0.007,
            **_best_checkpoint(),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('seg_deeplabv3plus_cityscapes')
def seg_deeplabv3plus_cityscapes() -> cfg.ExperimentConfig:
    """DeepLabV3+ with ResNet-101 on Cityscapes, crops of 512x1024 px, for 500 epochs."""
    return _cityscapes_experiment(
        backbone=_resnet101(),
        decoder=_aspp(dilation_rates=[6, 12, 18], pool_kernel_size=[512, 1024]),
        head=_plus_head('deeplabv3plus'),
        activation='swish',
        init_checkpoint=_RESNET101,
        l2_weight_decay=1e-4,
        train_steps=500 * _CITYSCAPES_STEPS_PER_EPOCH,
    )


@exp_factory.register_config_factory('mnv2_deeplabv3_cityscapes')
def mnv2_deeplabv3_cityscapes() -> cfg.ExperimentConfig:
    """DeepLabV3 with MobileNetV2 on Cityscapes, crops of 512x1024 px, for 100,000 steps."""
    return _mobilenetv2_cityscapes(
        _mobilenetv2(), SegmentationHead(level=_DEEPLAB_LEVEL, num_convs=0)
    )


@exp_factory.register_config_factory('mnv2_deeplabv3plus_cityscapes')
def mnv2_deeplabv3plus_cityscapes() -> cfg.ExperimentConfig:
    """DeepLabV3+ with MobileNetV2 on Cityscapes, crops of 512x1024 px, for 100,000 steps."""
    head = _plus_head('deeplabv3plus', low_level='2/depthwise', use_depthwise_convolution=True)
    return _mobilenetv2_cityscapes(_mobilenetv2(output_intermediate_endpoints=True), head)


def _mobilenetv2_cityscapes(
    backbone: backbones.Backbone, head: SegmentationHead
) -> cfg.ExperimentConfig:
    return _cityscapes_experiment(
        backbone=backbone,
        decoder=_aspp(dilation_rates=[], pool_kernel_size=[512, 1024]),
        head=head,
        activation='relu',
        init_checkpoint=_MOBILENETV2,
        l2_weight_decay=4e-5,
        train_steps=100000,
        **_best_checkpoint(),
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
                norm_activation=_norm_activation(activation, momentum=0.99),
            ),
            losses=Losses(l2_weight_decay=l2_weight_decay),
            train_data=_cityscapes_train_data(),
            validation_data=_cityscapes_validation_data(),
            init_checkpoint=init_checkpoint,
            init_checkpoint_modules='backbone',
        ),
        trainer=_make_trainer(
            steps_per_epoch=_CITYSCAPES_STEPS_PER_EPOCH,
            train_steps=train_steps,
            validation_steps=CITYSCAPES_VAL_EXAMPLES // _CITYSCAPES_BATCH,
            peak=0.01,
            **trainer_fields,
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _resnet101() -> backbones.Backbone:
    return backbones.Backbone(
        type='dilated_resnet',
        dilated_resnet=backbones.DilatedResNet(
            model_id=101, output_stride=16, multigrid=[1, 2, 4], stem_type='v1'
        ),
    )


def _mobilenetv2(output_intermediate_endpoints: bool = False) -> backbones.Backbone:
    return backbones.Backbone(
        type='mobilenet',
        mobilenet=backbones.MobileNet(
            model_id='MobileNetV2',
            output_stride=16,
            output_intermediate_endpoints=output_intermediate_endpoints,
        ),
    )


def _aspp(dilation_rates: list[int], pool_kernel_size: list[int] | None = None) -> decoders.Decoder:
    return decoders.Decoder(
        type='aspp',
        aspp=decoders.ASPP(
            level=_DEEPLAB_LEVEL,
            dilation_rates=dilation_rates,
            pool_kernel_size=pool_kernel_size,
        ),
    )


def _plus_head(
    feature_fusion: FeatureFusion,
    low_level: int | str = 2,
    use_depthwise_convolution: bool = False,
) -> SegmentationHead:
    """The head of DeepLabV3+, which joins a finer level."""
    return SegmentationHead(
        level=_DEEPLAB_LEVEL,
        num_convs=2,
        feature_fusion=feature_fusion,
        use_depthwise_convolution=use_depthwise_convolution,
        low_level=low_level,
        low_level_num_filters=48,
    )


def _norm_activation(activation: str, momentum: float) -> common.NormActivation:
    return common.NormActivation(
        activation=activation, norm_momentum=momentum, norm_epsilon=1e-3, use_sync_bn=True
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


def _make_trainer(
    *, steps_per_epoch: int, train_steps: int, validation_steps: int, peak: float, **fields: Any
) -> cfg.TrainerConfig:
    """Evaluates and saves after each epoch; warms up for 5 epochs."""
    return cfg.TrainerConfig(
        train_steps=train_steps,
        validation_steps=validation_steps,
        optimizer_config=_sgd(peak, train_steps, warmup_steps=5 * steps_per_epoch),
        **recipes.get_intervals(steps_per_epoch),
        **fields,
    )


def _best_checkpoint() -> dict[str, Any]:
    return {
        'best_checkpoint_eval_metric': 'mean_iou',
        'best_checkpoint_export_subdir': 'best_ckpt',
        'best_checkpoint_metric_comp': 'higher',
    }


def _sgd(
    learning_rate: float, train_steps: int, warmup_steps: int
) -> optimization.OptimizationConfig:
    """SGD with momentum; the learning rate falls to 0 with the power 0.9 of what is left."""
    return optimization.OptimizationConfig(
        {
            'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
            'learning_rate': {
                'type': 'polynomial',
                'polynomial': {
                    'initial_learning_rate': learning_rate,
                    'decay_steps': train_steps,
                    'end_learning_rate': 0.0,
                    'power': 0.9,
                },
            },
            'warmup': {
                'type': 'linear',
                'linear': {'warmup_steps': warmup_steps, 'warmup_learning_rate': 0},
            },
        }
    )


@exp_factory.register_config_factory('segmentation_custom')
def segmentation_custom() -> cfg.ExperimentConfig:
    """Segmentation for own data; as it stands, a small FPN that learns to find digits."""
    train_steps = 2000
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='auto'),
        task=SemanticSegmentationTask(
            model=_small_model(input_size=128),
            train_data=_embedded_data('train', batch_size=8),
            validation_data=_embedded_data('validation', batch_size=8),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=train_steps,
            validation_interval=500,
            checkpoint_interval=500,
            summary_interval=50,
            steps_per_loop=50,
            best_checkpoint_export_subdir='best_ckpt',
            best_checkpoint_eval_metric='mean_iou',
            optimizer_config=own_data.get_adamw(peak=4e-3, train_steps=train_steps),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _small_model(input_size: int) -> SemanticSegmentationModel:
    """One basic block per stage with 32 to 256 channels; a pyramid of levels 2 to 5, joined."""
    return SemanticSegmentationModel(
        input_size=[input_size, input_size, 3],
        min_level=2,
        max_level=5,
        backbone=own_data.get_small_resnet(),
        decoder=decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=64)),
        head=SegmentationHead(
            level=2, num_convs=2, num_filters=64, feature_fusion='pyramid_fusion'
        ),
        norm_activation=common.NormActivation(norm_momentum=0.95),
    )


def _embedded_data(split: Literal['train', 'validation'], batch_size: int) -> DataConfig:
    """Scenes of handwritten digits on photographs; mirrored digits would be others."""
    return DataConfig(
        source=SegmentationSource(type='embedded', embedded=common.EmbeddedSource(split=split)),
        is_training=split == 'train',
        global_batch_size=batch_size,
        aug_rand_hflip=False,
    )
