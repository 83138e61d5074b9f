"""The configs of RetinaNet: ranges, relations, and the numbers of its experiments."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.vision.configs import backbones, common, retinanet

PROBLEMS: list[tuple[dict[str, Any], str]] = [
    (
        {'model.num_classes': -1},
        r'model\.num_classes: expected 2 or more, background included, or 0',
    ),
    ({'model.num_classes': 1}, r'model\.num_classes: expected 2 or more'),
    ({'model.min_level': 8}, r'model\.min_level: expected 1 to max_level \(7\), received 8'),
    ({'model.input_size': [640, 640]}, r'model\.input_size: expected \[height, width, channels\]'),
    (
        {'model.input_size': [300, 512, 3]},
        r'model\.input_size: expected height and width that are multiples of 128 \(2 \*\* '
        r'max_level\), received \[300, 512, 3\] \(list\).*; the nearest are \[256, 512\]',
    ),
    ({'model.anchor.aspect_ratios': []}, r'model\.anchor\.aspect_ratios: expected one or more'),
    ({'model.anchor.num_scales': 0}, r'model\.anchor\.num_scales: expected 1 or more'),
    (
        {'model.detection_generator.soft_nms_sigma': 0.5},
        r'soft_nms_sigma: expected null with nms_version=v2',
    ),
    ({'model.detection_generator.nms_iou_threshold': 50}, r'nms_iou_threshold: expected 0 to 1'),
    (
        {
            'model.backbone.resnet.stem_pool': False,
            'model.backbone.resnet.replace_stem_max_pool': True,
        },
        r'replace_stem_max_pool: expected false, because stem_pool is off',
    ),
    ({'losses.focal_loss_alpha': 2}, r'losses\.focal_loss_alpha: expected 0 to 1'),
    ({'use_wod_metrics': True}, r'use_wod_metrics: expected false: the Waymo Open Dataset'),
    (
        {'train_data.parser.unmatched_threshold': 0.7},
        r'unmatched_threshold: expected at most match_threshold \(0\.5\)',
    ),
    (
        {'train_data.parser.aug_scale_min': 2},
        r'aug_scale_min: expected more than 0 and at most aug_scale_max \(1\)',
    ),
    (
        {'train_data.source.type': 'coco', 'train_data.input_path': 'a'},
        r"train_data\.input_path: expected not set, because source\.type is.*input_path=''",
    ),
    ({'train_data.source.type': 'coco'}, r'source\.coco\.annotation_file: expected the path of a'),
    ({'train_data.source.type': 'tfrecord'}, r'source\.tfrecord\.input_path: expected a file'),
    (
        {'class_names': ['a', 'b'], 'model.num_classes': 4},
        r'class_names: expected 3 names, because model\.num_classes is 4 with background',
    ),
    ({'class_names': ['a'], 'category_ids': [1, 2]}, r'category_ids: expected 1 ids, one for each'),
]


@pytest.mark.parametrize(('overrides', 'message'), PROBLEMS, ids=[m for _, m in PROBLEMS])
def test_d1_ranges_and_relations(overrides: dict[str, Any], message: str) -> None:
    task = retinanet.RetinaNetTask()
    task.override(overrides)
    with pytest.raises(hyperparams.ConfigError, match=message):
        task.validate()


@pytest.mark.parametrize(
    'override',
    [
        'model.backbone.resnet.model_id=51',
        'model.backbone.resnet.stem_type=v2',
        'model.decoder.fpn.fusion_type=mean',
        'model.detection_generator.nms_version=v9',
        'train_data.dtype=float8',
        'train_data.file_type=jpeg',
        'train_data.source.embedded.split=test,train_data.source.type=embedded',
    ],
)
def test_d1_enumerations(override: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match='expected one of'):
        hyperparams.override_params_dict(retinanet.RetinaNetTask(), override)


@pytest.mark.parametrize('name', ['retinanet', 'retinanet_resnetfpn_coco', 'retinanet_custom'])
def test_experiments_are_valid_and_restricted(name: str) -> None:
    config = exp_factory.get_exp_config(name)
    assert isinstance(config, cfg.ExperimentConfig)
    assert isinstance(config.task, retinanet.RetinaNetTask)
    assert isinstance(config.task.model, retinanet.RetinaNet)
    assert isinstance(config.task.train_data, retinanet.DataConfig)
    config.validate()
    config.task.train_data.is_training = None
    with pytest.raises(KeyError, match='Found inconsistency between key'):
        config.validate()


def test_the_coco_recipe() -> None:
    config = exp_factory.get_exp_config('retinanet_resnetfpn_coco')
    trainer, task = config.trainer, config.task
    assert (trainer.train_steps, trainer.validation_steps) == (33264, 625)  # 72 * 462, 5000 / 8
    assert trainer.steps_per_loop == trainer.checkpoint_interval == 462  # 118287 // 256
    stepwise = trainer.optimizer_config.learning_rate.get()
    assert stepwise.boundaries == [26334, 30954]
    assert stepwise.values == [0.32, 0.032, 0.0032]
    assert trainer.optimizer_config.warmup.get().warmup_steps == 500
    assert task.model.num_classes == 91
    assert task.model.input_size == [640, 640, 3]
    assert task.losses.l2_weight_decay == 1e-4
    assert task.model.norm_activation.use_sync_bn is False
    assert config.runtime.mixed_precision_dtype == 'bfloat16'


def test_the_default_for_own_data() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    task, trainer = config.task, config.trainer
    for data, split in ((task.train_data, 'train'), (task.validation_data, 'validation')):
        assert data.source == common.DataSource(
            type='embedded', embedded=common.EmbeddedSource(split=split)
        )
        assert data.global_batch_size == 8
        assert data.parser == retinanet.Parser()  # no augmentation
    assert (task.train_data.is_training, task.validation_data.is_training) == (True, False)
    assert task.model.num_classes == 0  # from the data
    assert task.model.backbone.get() == backbones.ResNet(
        model_id=10, depth_multiplier=0.5, stem_type='v1', stem_pool=False
    )
    assert task.model.anchor == retinanet.Anchor(aspect_ratios=[0.7], anchor_size=2.0)
    assert (task.model.min_level, task.model.max_level) == (3, 5)
    assert (trainer.train_steps, trainer.best_checkpoint_eval_metric) == (3000, 'AP')
    optimizer = trainer.optimizer_config
    assert optimizer.optimizer.get().weight_decay_rate == 1e-4
    assert optimizer.optimizer.get().gradient_clip_norm == 10.0
    assert optimizer.learning_rate.get().initial_learning_rate == 8e-3
    assert optimizer.warmup.get().warmup_steps == 150
    assert config.runtime.mixed_precision_dtype == 'auto'


def test_w10_tuples_survive_yaml() -> None:
    crop = common.SSDRandomCrop()
    assert [param.min_object_covered for param in crop.ssd_random_crop_params] == [
        0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0
    ]  # fmt: skip
    with pytest.raises(hyperparams.ConfigError, match='area_range'):
        crop.override({'area_range': [0.1, 0.2, 0.3]})


def test_w17_all_settings_of_random_erasing_are_fields() -> None:
    erasing = common.RandomErasing()
    erasing.override({'max_count': 3, 'trials': 5, 'max_aspect': 4.0, 'min_count': 2})
    assert erasing.as_dict()['max_count'] == 3


def test_d4_any_experiment_can_change_its_backbone() -> None:
    for name in exp_factory.list_experiments():
        if name.startswith('retinanet'):
            config = exp_factory.get_exp_config(name)
            config.override({'task.model.backbone': {'type': 'mobilenet'}})
            config.validate()
