"""RetinaNet (arXiv:1708.02002): experiments. Model Garden's unless marked as ours."""

from __future__ import annotations

import os
from typing import Literal

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import optimization
from official_lite.vision.configs import backbones, common, decoders
from official_lite.vision.configs.retinanet_data import DataConfig, Parser
from official_lite.vision.configs.retinanet_model import (
    Anchor,
    DetectionGenerator,
    RetinaNet,
    RetinaNetHead,
)
from official_lite.vision.configs.retinanet_task import Losses, RetinaNetTask

__all__ = ['retinanet', 'retinanet_custom', 'retinanet_resnetfpn_coco']

# A config whose training data or validation data does not say what it is for is refused.
_RESTRICTIONS = [
    'task.train_data.is_training != None',
    'task.validation_data.is_training != None',
]


@exp_factory.register_config_factory('retinanet')
def retinanet() -> cfg.ExperimentConfig:
    """RetinaNet with Model Garden's defaults; sizes, data and optimizer are not set."""
    return cfg.ExperimentConfig(task=RetinaNetTask(), restrictions=_RESTRICTIONS)


COCO_INPUT_PATH_BASE = 'coco'
COCO_TRAIN_EXAMPLES = 118287
COCO_VAL_EXAMPLES = 5000


@exp_factory.register_config_factory('retinanet_resnetfpn_coco')
def retinanet_resnetfpn_coco() -> cfg.ExperimentConfig:
    """RetinaNet with ResNet-50-FPN on COCO at 640 px for 72 epochs."""
    train_batch_size = 256
    eval_batch_size = 8
    steps_per_epoch = COCO_TRAIN_EXAMPLES // train_batch_size
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='bfloat16'),
        task=RetinaNetTask(
            init_checkpoint='gs://cloud-tpu-checkpoints/vision-2.0/resnet50_imagenet/ckpt-28080',
            init_checkpoint_modules='backbone',
            annotation_file=os.path.join(COCO_INPUT_PATH_BASE, 'instances_val2017.json'),
            model=RetinaNet(
                num_classes=91,
                input_size=[640, 640, 3],
                norm_activation=common.NormActivation(use_sync_bn=False),
                min_level=3,
                max_level=7,
            ),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=DataConfig(
                input_path=os.path.join(COCO_INPUT_PATH_BASE, 'train*'),
                is_training=True,
                global_batch_size=train_batch_size,
                parser=Parser(aug_rand_hflip=True, aug_scale_min=0.8, aug_scale_max=1.2),
            ),
            validation_data=DataConfig(
                input_path=os.path.join(COCO_INPUT_PATH_BASE, 'val*'),
                is_training=False,
                global_batch_size=eval_batch_size,
            ),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=72 * steps_per_epoch,
            validation_steps=COCO_VAL_EXAMPLES // eval_batch_size,
            validation_interval=steps_per_epoch,
            steps_per_loop=steps_per_epoch,
            summary_interval=steps_per_epoch,
            checkpoint_interval=steps_per_epoch,
            optimizer_config=optimization.OptimizationConfig(
                {
                    'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
                    'learning_rate': {
                        'type': 'stepwise',
                        'stepwise': {
                            'boundaries': [57 * steps_per_epoch, 67 * steps_per_epoch],
                            'values': [
                                0.32 * train_batch_size / 256.0,
                                0.032 * train_batch_size / 256.0,
                                0.0032 * train_batch_size / 256.0,
                            ],
                        },
                    },
                    'warmup': {
                        'type': 'linear',
                        'linear': {'warmup_steps': 500, 'warmup_learning_rate': 0.0067},
                    },
                }
            ),
        ),
        restrictions=_RESTRICTIONS,
    )


@exp_factory.register_config_factory('retinanet_custom')
def retinanet_custom() -> cfg.ExperimentConfig:
    """RetinaNet for own data; as it stands, a small one that learns to find handwritten digits."""
    train_steps = 3000
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='auto'),
        task=RetinaNetTask(
            model=_small_model(input_size=128),
            train_data=_embedded_data('train', batch_size=8),
            validation_data=_embedded_data('validation', batch_size=8),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=train_steps,
            validation_interval=1000,
            checkpoint_interval=500,
            summary_interval=50,
            steps_per_loop=50,
            best_checkpoint_export_subdir='best_ckpt',
            best_checkpoint_eval_metric='AP',
            optimizer_config=_adamw(peak=8e-3, train_steps=train_steps),
        ),
        restrictions=_RESTRICTIONS,
    )


def _small_model(input_size: int) -> RetinaNet:
    """One basic block per stage with 32 to 256 channels; pyramid of levels 3 to 5."""
    return RetinaNet(
        input_size=[input_size, input_size, 3],
        min_level=3,
        max_level=5,
        anchor=Anchor(num_scales=3, aspect_ratios=[0.7], anchor_size=2.0),
        backbone=backbones.Backbone(
            type='resnet',
            resnet=backbones.ResNet(
                model_id=10, depth_multiplier=0.5, stem_type='v1', stem_pool=False
            ),
        ),
        decoder=decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=64)),
        head=RetinaNetHead(num_convs=2, num_filters=64),
        detection_generator=DetectionGenerator(pre_nms_score_threshold=0.02, nms_iou_threshold=0.5),
        norm_activation=common.NormActivation(norm_momentum=0.95),
    )


def _embedded_data(split: Literal['train', 'validation'], batch_size: int) -> DataConfig:
    """Scenes of handwritten digits on photographs."""
    return DataConfig(
        source=common.DataSource(type='embedded', embedded=common.EmbeddedSource(split=split)),
        is_training=split == 'train',
        global_batch_size=batch_size,
    )


def _adamw(peak: float, train_steps: int) -> optimization.OptimizationConfig:
    """AdamW on a cosine over all of training, with 5% warm-up; decay on kernels only."""
    return optimization.OptimizationConfig(
        {
            'optimizer': {
                'type': 'adamw',
                'adamw': {
                    'weight_decay_rate': 1e-4,
                    'exclude_from_weight_decay': ['bias$', 'gamma$', 'beta$'],
                    'gradient_clip_norm': 10.0,
                },
            },
            'learning_rate': {'type': 'cosine', 'cosine': {'initial_learning_rate': peak}},
            'warmup': {'type': 'linear', 'linear': {'warmup_steps': train_steps // 20}},
        }
    )
