"""What Model Garden's segmentation experiments have in common: DeepLab's parts, and the schedule."""

from __future__ import annotations

from typing import Any

from official_lite.core import config_definitions as cfg
from official_lite.modeling import optimization
from official_lite.vision.configs import backbones, common, decoders, recipes
from official_lite.vision.configs.semantic_segmentation_model import (
    FeatureFusion,
    SegmentationHead,
)

RESNET101_CHECKPOINT = (
    'gs://cloud-tpu-checkpoints/vision-2.0/deeplab/deeplab_resnet101_imagenet/ckpt-62400'
)
MOBILENETV2_CHECKPOINT = (
    'gs://tf_model_garden/cloud/vision-2.0/deeplab/deeplabv3_mobilenetv2_coco/best_ckpt-63'
)

# Of a stride of 16, at which DeepLab works.
LEVEL = 4


def get_resnet101() -> backbones.Backbone:
    """ResNet-101 with a stem of three convolutions, its last stage dilated."""
    return backbones.Backbone(
        type='dilated_resnet',
        dilated_resnet=backbones.DilatedResNet(
            model_id=101, output_stride=16, multigrid=[1, 2, 4], stem_type='v1'
        ),
    )


def get_mobilenetv2(output_intermediate_endpoints: bool = False) -> backbones.Backbone:
    """MobileNetV2, its last stages dilated."""
    return backbones.Backbone(
        type='mobilenet',
        mobilenet=backbones.MobileNet(
            model_id='MobileNetV2',
            output_stride=16,
            output_intermediate_endpoints=output_intermediate_endpoints,
        ),
    )


def get_aspp(
    dilation_rates: list[int], pool_kernel_size: list[int] | None = None
) -> decoders.Decoder:
    """The spatial pyramid, of features in pixels of a stride of 16."""
    return decoders.Decoder(
        type='aspp',
        aspp=decoders.ASPP(
            level=LEVEL,
            dilation_rates=dilation_rates,
            pool_kernel_size=pool_kernel_size,
        ),
    )


def get_plus_head(
    feature_fusion: FeatureFusion,
    low_level: int | str = 2,
    use_depthwise_convolution: bool = False,
) -> SegmentationHead:
    """The head of DeepLabV3+, which joins a finer level."""
    return SegmentationHead(
        level=LEVEL,
        num_convs=2,
        feature_fusion=feature_fusion,
        use_depthwise_convolution=use_depthwise_convolution,
        low_level=low_level,
        low_level_num_filters=48,
    )


def get_norm_activation(activation: str, momentum: float) -> common.NormActivation:
    """Synchronised normalisation."""
    return common.NormActivation(
        activation=activation, norm_momentum=momentum, norm_epsilon=1e-3, use_sync_bn=True
    )


def make_trainer(
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


def get_best_checkpoint() -> dict[str, Any]:
    """Fields of the trainer that keep the checkpoint with the highest mean IoU."""
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
