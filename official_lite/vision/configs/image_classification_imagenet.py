"""Image classification on ImageNet: Model Garden's experiments."""

from __future__ import annotations

import os
from typing import Any, Literal, Optional

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import optimization
from official_lite.vision.configs import backbones, common, recipes
from official_lite.vision.configs.image_classification_data import DataConfig
from official_lite.vision.configs.image_classification_task import (
    ImageClassificationModel,
    ImageClassificationTask,
    Losses,
)

__all__ = [
    'IMAGENET_INPUT_PATH_BASE',
    'IMAGENET_TRAIN_EXAMPLES',
    'IMAGENET_VAL_EXAMPLES',
    'image_classification_imagenet',
    'image_classification_imagenet_deit_pretrain',
    'image_classification_imagenet_mobilenet',
    'image_classification_imagenet_resnetrs',
    'image_classification_imagenet_revnet',
    'image_classification_imagenet_vit_finetune',
    'image_classification_imagenet_vit_pretrain',
]

IMAGENET_TRAIN_EXAMPLES = 1281167
IMAGENET_VAL_EXAMPLES = 50000
IMAGENET_INPUT_PATH_BASE = 'imagenet-2012-tfrecord'
_IMAGENET_CLASSES = 1001  # label 0 is never used
_IMAGENET_BATCH = 4096


@exp_factory.register_config_factory('resnet_imagenet')
def image_classification_imagenet() -> cfg.ExperimentConfig:
    """ResNet-50 on ImageNet at 224 px for 90 epochs."""
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(enable_xla=True),
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                num_classes=_IMAGENET_CLASSES,
                input_size=[224, 224, 3],
                backbone=backbones.Backbone(type='resnet', resnet=backbones.ResNet(model_id=50)),
                norm_activation=common.NormActivation(
                    norm_momentum=0.9, norm_epsilon=1e-5, use_sync_bn=False
                ),
            ),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=_imagenet_data('train'),
            validation_data=_imagenet_data('valid'),
        ),
        trainer=_imagenet_trainer(
            epochs=90,
            optimizer=_sgd(),
            learning_rate=_stepwise(
                [rate * _IMAGENET_BATCH / 256 for rate in (0.1, 0.01, 0.001, 0.0001)]
            ),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('resnet_rs_imagenet')
def image_classification_imagenet_resnetrs() -> cfg.ExperimentConfig:
    """ResNet-RS-50 (arXiv:2103.07579) on ImageNet at 160 px for 350 epochs."""
    return cfg.ExperimentConfig(
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                num_classes=_IMAGENET_CLASSES,
                input_size=[160, 160, 3],
                backbone=backbones.Backbone(
                    type='resnet',
                    resnet=backbones.ResNet(
                        model_id=50,
                        stem_type='v1',
                        resnetd_shortcut=True,
                        replace_stem_max_pool=True,
                        se_ratio=0.25,
                        stochastic_depth_drop_rate=0.0,
                    ),
                ),
                dropout_rate=0.25,
                norm_activation=common.NormActivation(
                    norm_momentum=0.0, norm_epsilon=1e-5, use_sync_bn=False, activation='swish'
                ),
            ),
            losses=Losses(l2_weight_decay=4e-5, label_smoothing=0.1),
            train_data=_imagenet_data(
                'train',
                aug_type=common.Augmentation(
                    type='randaug', randaug=common.RandAugment(magnitude=10)
                ),
            ),
            validation_data=_imagenet_data('valid'),
        ),
        trainer=_imagenet_trainer(
            epochs=350,
            optimizer=_sgd(),
            ema={'average_decay': 0.9999, 'trainable_weights_only': False},
            learning_rate=_cosine(1.6, epochs=350),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('revnet_imagenet')
def image_classification_imagenet_revnet() -> cfg.ExperimentConfig:
    """RevNet-56 (arXiv:1707.04585) on ImageNet at 224 px for 90 epochs."""
    return cfg.ExperimentConfig(
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                num_classes=_IMAGENET_CLASSES,
                input_size=[224, 224, 3],
                backbone=backbones.Backbone(type='revnet', revnet=backbones.RevNet(model_id=56)),
                norm_activation=common.NormActivation(
                    norm_momentum=0.9, norm_epsilon=1e-5, use_sync_bn=False
                ),
                add_head_batch_norm=True,
            ),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=_imagenet_data('train'),
            validation_data=_imagenet_data('valid'),
        ),
        trainer=_imagenet_trainer(
            epochs=90,
            optimizer=_sgd(),
            learning_rate=_stepwise([0.8, 0.08, 0.008, 0.0008]),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('mobilenet_imagenet')
def image_classification_imagenet_mobilenet() -> cfg.ExperimentConfig:
    """MobileNetV2 on ImageNet at 224 px for 500 epochs."""
    return cfg.ExperimentConfig(
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                num_classes=_IMAGENET_CLASSES,
                dropout_rate=0.2,
                input_size=[224, 224, 3],
                backbone=backbones.Backbone(
                    type='mobilenet',
                    mobilenet=backbones.MobileNet(model_id='MobileNetV2', filter_size_scale=1.0),
                ),
                norm_activation=common.NormActivation(
                    norm_momentum=0.997, norm_epsilon=1e-3, use_sync_bn=False
                ),
            ),
            losses=Losses(l2_weight_decay=1e-5, label_smoothing=0.1),
            train_data=_imagenet_data('train'),
            validation_data=_imagenet_data('valid'),
        ),
        trainer=_imagenet_trainer(
            epochs=500,
            optimizer={
                'type': 'rmsprop',
                'rmsprop': {'rho': 0.9, 'momentum': 0.9, 'epsilon': 0.002},
            },
            learning_rate={
                'type': 'exponential',
                'exponential': {
                    'initial_learning_rate': 0.008 * (_IMAGENET_BATCH // 128),
                    'decay_steps': int(2.5 * _count_steps(_IMAGENET_BATCH)),
                    'decay_rate': 0.98,
                    'staircase': True,
                },
            },
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('deit_imagenet_pretrain')
def image_classification_imagenet_deit_pretrain() -> cfg.ExperimentConfig:
    """ViT-B/16 on ImageNet at 224 px for 300 epochs, as DeiT is trained (arXiv:2012.12877)."""
    smoothing = 0.1
    return cfg.ExperimentConfig(
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                num_classes=_IMAGENET_CLASSES,
                input_size=[224, 224, 3],
                kernel_initializer='zeros',
                backbone=_vit(
                    representation_size=768,
                    init_stochastic_depth_rate=0.1,
                    original_init=False,
                    transformer=backbones.Transformer(dropout_rate=0.0, attention_dropout_rate=0.0),
                ),
            ),
            losses=Losses(
                l2_weight_decay=0.0, label_smoothing=smoothing, one_hot=False, soft_labels=True
            ),
            train_data=_imagenet_data(
                'train',
                aug_type=common.Augmentation(
                    type='randaug',
                    randaug=common.RandAugment(magnitude=9, exclude_ops=['Cutout']),
                ),
                mixup_and_cutmix=common.MixupAndCutmix(label_smoothing=smoothing),
            ),
            validation_data=_imagenet_data('valid'),
        ),
        trainer=_imagenet_trainer(
            epochs=300,
            optimizer=_adamw(weight_decay_rate=0.05),
            learning_rate=_cosine(0.0005 * _IMAGENET_BATCH / 512, epochs=300),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('vit_imagenet_pretrain')
def image_classification_imagenet_vit_pretrain() -> cfg.ExperimentConfig:
    """ViT-B/16 (arXiv:2010.11929) on ImageNet at 224 px for 300 epochs."""
    return cfg.ExperimentConfig(
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                num_classes=_IMAGENET_CLASSES,
                input_size=[224, 224, 3],
                kernel_initializer='zeros',
                backbone=_vit(representation_size=768),
            ),
            losses=Losses(l2_weight_decay=0.0),
            train_data=_imagenet_data('train'),
            validation_data=_imagenet_data('valid'),
        ),
        trainer=_imagenet_trainer(
            epochs=300,
            optimizer=_adamw(weight_decay_rate=0.3),
            learning_rate=_cosine(0.003 * _IMAGENET_BATCH / 4096, epochs=300),
            warmup_steps=10000,
        ),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('vit_imagenet_finetune')
def image_classification_imagenet_vit_finetune() -> cfg.ExperimentConfig:
    """ViT-B/16 on ImageNet at 384 px for 20,000 steps, from a checkpoint that you name."""
    batch_size = 512
    steps_per_epoch = _count_steps(batch_size)
    return cfg.ExperimentConfig(
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                num_classes=_IMAGENET_CLASSES, input_size=[384, 384, 3], backbone=_vit()
            ),
            losses=Losses(l2_weight_decay=0.0),
            train_data=_imagenet_data('train', batch_size),
            validation_data=_imagenet_data('valid', batch_size),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=20000,
            validation_steps=IMAGENET_VAL_EXAMPLES // batch_size,
            **recipes.get_intervals(steps_per_epoch),
            optimizer_config=optimization.OptimizationConfig(
                {
                    'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9, 'global_clipnorm': 1.0}},
                    'learning_rate': {
                        'type': 'cosine',
                        'cosine': {'initial_learning_rate': 0.003, 'decay_steps': 20000},
                    },
                }
            ),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _count_steps(batch_size: int) -> int:
    """Steps of an epoch of ImageNet."""
    return IMAGENET_TRAIN_EXAMPLES // batch_size


def _imagenet_data(
    split: Literal['train', 'valid'], batch_size: int = _IMAGENET_BATCH, **fields: Any
) -> DataConfig:
    return DataConfig(
        input_path=os.path.join(IMAGENET_INPUT_PATH_BASE, f'{split}*'),
        is_training=split == 'train',
        global_batch_size=batch_size,
        **fields,
    )


def _sgd() -> dict[str, Any]:
    return {'type': 'sgd', 'sgd': {'momentum': 0.9}}


def _imagenet_trainer(
    *,
    epochs: int,
    optimizer: dict[str, Any],
    learning_rate: dict[str, Any],
    ema: Optional[dict[str, Any]] = None,
    warmup_steps: Optional[int] = None,
) -> cfg.TrainerConfig:
    """Evaluates and saves after each epoch; warms up for 5 epochs unless told otherwise."""
    steps_per_epoch = _count_steps(_IMAGENET_BATCH)
    warmup = 5 * steps_per_epoch if warmup_steps is None else warmup_steps
    return cfg.TrainerConfig(
        train_steps=epochs * steps_per_epoch,
        validation_steps=IMAGENET_VAL_EXAMPLES // _IMAGENET_BATCH,
        **recipes.get_intervals(steps_per_epoch),
        optimizer_config=optimization.OptimizationConfig(
            {
                'optimizer': optimizer,
                **({} if ema is None else {'ema': ema}),
                'learning_rate': learning_rate,
                'warmup': {
                    'type': 'linear',
                    'linear': {'warmup_steps': warmup, 'warmup_learning_rate': 0},
                },
            }
        ),
    )


def _stepwise(values: list[float]) -> dict[str, Any]:
    """Drops after 30, 60 and 80 epochs."""
    boundaries = [epoch * _count_steps(_IMAGENET_BATCH) for epoch in (30, 60, 80)]
    return {'type': 'stepwise', 'stepwise': {'boundaries': boundaries, 'values': values}}


def _vit(**fields: Any) -> backbones.Backbone:
    return backbones.Backbone(
        type='vit', vit=backbones.VisionTransformer(model_name='vit-b16', **fields)
    )


def _adamw(weight_decay_rate: float) -> dict[str, Any]:
    """Decay on kernels only."""
    return {
        'type': 'adamw',
        'adamw': {
            'weight_decay_rate': weight_decay_rate,
            'include_in_weight_decay': [r'.*(kernel|weight):0$'],
            'gradient_clip_norm': 0.0,
        },
    }


def _cosine(rate: float, *, epochs: int) -> dict[str, Any]:
    decay_steps = epochs * _count_steps(_IMAGENET_BATCH)
    return {
        'type': 'cosine',
        'cosine': {'initial_learning_rate': rate, 'decay_steps': decay_steps},
    }
