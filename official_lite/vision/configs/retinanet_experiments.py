"""RetinaNet (arXiv:1708.02002): experiments. Model Garden's unless marked as ours."""

from __future__ import annotations

import os
from typing import Any, Literal

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.vision.configs import backbones, common, decoders, own_data, recipes
from official_lite.vision.configs.retinanet_data import DataConfig, Parser
from official_lite.vision.configs.retinanet_model import (
    Anchor,
    DetectionGenerator,
    RetinaNet,
    RetinaNetHead,
)
from official_lite.vision.configs.retinanet_task import Losses, RetinaNetTask

__all__ = [
    'retinanet',
    'retinanet_custom',
    'retinanet_mobile_coco',
    'retinanet_resnetfpn_coco',
    'retinanet_spinenet_coco',
]


@exp_factory.register_config_factory('retinanet')
def retinanet() -> cfg.ExperimentConfig:
    """RetinaNet with Model Garden's defaults; sizes, data and optimizer are not set."""
    return cfg.ExperimentConfig(task=RetinaNetTask(), restrictions=recipes.RESTRICTIONS)


COCO_INPUT_PATH_BASE = 'coco'
COCO_TRAIN_EXAMPLES = 118287
COCO_VAL_EXAMPLES = 5000
COCO_VAL_ANNOTATIONS = os.path.join(COCO_INPUT_PATH_BASE, 'instances_val2017.json')
_COCO_TRAIN_BATCH = 256
_COCO_EVAL_BATCH = 8


@exp_factory.register_config_factory('retinanet_resnetfpn_coco')
def retinanet_resnetfpn_coco() -> cfg.ExperimentConfig:
    """RetinaNet with ResNet-50-FPN on COCO at 640 px for 72 epochs."""
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='bfloat16'),
        task=RetinaNetTask(
            init_checkpoint='gs://cloud-tpu-checkpoints/vision-2.0/resnet50_imagenet/ckpt-28080',
            init_checkpoint_modules='backbone',
            annotation_file=COCO_VAL_ANNOTATIONS,
            model=RetinaNet(
                num_classes=91,
                input_size=[640, 640, 3],
                norm_activation=common.NormActivation(use_sync_bn=False),
                min_level=3,
                max_level=7,
            ),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=_coco_train_data(scale_min=0.8, scale_max=1.2),
            validation_data=_coco_validation_data(),
        ),
        trainer=_coco_trainer(epochs=72, drop_epochs=[57, 67], warmup_steps=500),
        restrictions=recipes.RESTRICTIONS,
    )


@exp_factory.register_config_factory('retinanet_spinenet_coco')
def retinanet_spinenet_coco() -> cfg.ExperimentConfig:
    """RetinaNet with SpineNet-49 on COCO at 640 px for 500 epochs, from random weights."""
    backbone = backbones.Backbone(
        type='spinenet',
        spinenet=backbones.SpineNet(
            model_id='49', stochastic_depth_drop_rate=0.2, min_level=3, max_level=7
        ),
    )
    return _spinenet_experiment(
        _spinenet_model(backbone, input_size=640),
        l2_weight_decay=4e-5,
        epochs=500,
        drop_epochs=[475, 490],
        restrictions=recipes.SPINENET_RESTRICTIONS,
    )


@exp_factory.register_config_factory('retinanet_mobile_coco')
def retinanet_mobile_coco() -> cfg.ExperimentConfig:
    """RetinaNet with mobile SpineNet-49 on COCO at 384 px for 600 epochs, from random weights."""
    backbone = backbones.Backbone(
        type='spinenet_mobile',
        spinenet_mobile=backbones.SpineNetMobile(
            model_id='49', stochastic_depth_drop_rate=0.2, min_level=3, max_level=7
        ),
    )
    head = RetinaNetHead(num_filters=48, use_separable_conv=True)
    return _spinenet_experiment(
        _spinenet_model(backbone, input_size=384, head=head),
        l2_weight_decay=3e-5,
        epochs=600,
        drop_epochs=[575, 590],
        restrictions=recipes.RESTRICTIONS,
    )


def _spinenet_model(backbone: backbones.Backbone, input_size: int, **fields: Any) -> RetinaNet:
    """The backbone makes the levels itself; no decoder."""
    return RetinaNet(
        num_classes=91,
        input_size=[input_size, input_size, 3],
        min_level=3,
        max_level=7,
        anchor=Anchor(anchor_size=3),
        backbone=backbone,
        decoder=decoders.Decoder(type='identity'),
        norm_activation=common.NormActivation(use_sync_bn=True, activation='swish'),
        **fields,
    )


def _spinenet_experiment(
    model: RetinaNet,
    *,
    l2_weight_decay: float,
    epochs: int,
    drop_epochs: list[int],
    restrictions: list[str],
) -> cfg.ExperimentConfig:
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='float32'),
        task=RetinaNetTask(
            annotation_file=COCO_VAL_ANNOTATIONS,
            model=model,
            losses=Losses(l2_weight_decay=l2_weight_decay),
            train_data=_coco_train_data(scale_min=0.1, scale_max=2.0),
            validation_data=_coco_validation_data(),
        ),
        trainer=_coco_trainer(epochs=epochs, drop_epochs=drop_epochs, warmup_steps=2000),
        restrictions=restrictions,
    )


def _coco_train_data(scale_min: float, scale_max: float) -> DataConfig:
    return DataConfig(
        input_path=os.path.join(COCO_INPUT_PATH_BASE, 'train*'),
        is_training=True,
        global_batch_size=_COCO_TRAIN_BATCH,
        parser=Parser(aug_rand_hflip=True, aug_scale_min=scale_min, aug_scale_max=scale_max),
    )


def _coco_validation_data() -> DataConfig:
    return DataConfig(
        input_path=os.path.join(COCO_INPUT_PATH_BASE, 'val*'),
        is_training=False,
        global_batch_size=_COCO_EVAL_BATCH,
    )


def _coco_trainer(epochs: int, drop_epochs: list[int], warmup_steps: int) -> cfg.TrainerConfig:
    """SGD with momentum; the learning rate, 0.32 at batch 256, drops to a tenth and a hundredth."""
    steps_per_epoch = COCO_TRAIN_EXAMPLES // _COCO_TRAIN_BATCH
    scale = _COCO_TRAIN_BATCH / 256.0
    return cfg.TrainerConfig(
        train_steps=epochs * steps_per_epoch,
        validation_steps=COCO_VAL_EXAMPLES // _COCO_EVAL_BATCH,
        **recipes.get_intervals(steps_per_epoch),
        optimizer_config=recipes.get_stepwise_sgd(
            boundaries=[epoch * steps_per_epoch for epoch in drop_epochs],
            values=[0.32 * scale, 0.032 * scale, 0.0032 * scale],
            warmup_steps=warmup_steps,
        ),
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
            optimizer_config=own_data.get_adamw(peak=8e-3, train_steps=train_steps),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _small_model(input_size: int) -> RetinaNet:
    """One basic block per stage with 32 to 256 channels; pyramid of levels 3 to 5."""
    return RetinaNet(
        input_size=[input_size, input_size, 3],
        min_level=3,
        max_level=5,
        anchor=Anchor(num_scales=3, aspect_ratios=[0.7], anchor_size=2.0),
        backbone=own_data.get_small_resnet(),
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
