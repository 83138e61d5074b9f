"""Configs of segmentation: what is refused, and what Model Garden's recipes lack."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite.modeling import hyperparams
from official_lite.vision.configs import semantic_segmentation as exp_cfg

EXPERIMENTS = [
    exp_cfg.mnv2_deeplabv3_cityscapes,
    exp_cfg.mnv2_deeplabv3_pascal,
    exp_cfg.mnv2_deeplabv3plus_cityscapes,
    exp_cfg.seg_deeplabv3_pascal,
    exp_cfg.seg_deeplabv3plus_cityscapes,
    exp_cfg.seg_deeplabv3plus_pascal,
    exp_cfg.seg_resnetfpn_pascal,
    exp_cfg.segmentation_custom,
    exp_cfg.semantic_segmentation,
]


@pytest.mark.parametrize('factory', EXPERIMENTS, ids=lambda f: f.__name__)
def test_experiments_are_valid(factory: Any) -> None:
    config = factory()
    config.validate()
    again = factory()
    again.override(config.as_dict())
    assert again.as_dict() == config.as_dict()


def _make_valid(fields: dict[str, Any]) -> Any:
    config = exp_cfg.semantic_segmentation()
    for path, value in fields.items():
        config.override({f'task.{path}': value})
    config.validate()
    return config


PAIRS = {'type': 'png_pairs', 'png_pairs': {'image_dir': 'a', 'mask_dir': 'b'}}


@pytest.mark.parametrize(
    ('fields', 'text'),
    [
        (
            {'model.head.feature_fusion': 'deeplab'},
            r"feature_fusion: expected one of 'deeplabv3plus', 'deeplabv3plus_sum_to_merge', "
            r"'pyramid_fusion', 'panoptic_fpn_fusion' or None, received 'deeplab'",
        ),
        (
            {'losses.top_k_percent_pixels': 25.0},
            r'top_k_percent_pixels: expected a share: more than 0 and at most 1',
        ),
        (
            {'losses.class_weights': [1.0, 2.0], 'model.num_classes': 3},
            r'task\.losses\.class_weights: expected 3, as model\.num_classes',
        ),
        (
            {'losses.gt_is_matting_map': True, 'model.num_classes': 3},
            r'model\.num_classes: expected 2, because losses\.gt_is_matting_map is on',
        ),
        ({'model.num_classes': 1}, r'expected 2 or more: with softmax, one class has nothing'),
        (
            {'train_data.crop_size': [64, 64], 'train_data.output_size': [32, 64]},
            r'crop_size: expected at most output_size \[32, 64\]',
        ),
        (
            {'train_data.output_size': [32]},
            r'output_size: expected \[height, width\] of 1 or more, or \[\]',
        ),
        (
            {'train_data.centered_crop': True, 'train_data.resize_eval_groundtruth': False},
            r'centered_crop: expected false, because resize_eval_groundtruth is off',
        ),
        (
            {'train_data.aug_scale_min': 3.0},
            r'aug_scale_min: expected more than 0 and at most aug_scale_max \(1\)',
        ),
        (
            {'train_data.source': PAIRS, 'train_data.input_path': 'x'},
            r'input_path: expected not set, because source\.type is',
        ),
        (
            {
                'train_data.source': PAIRS,
                'train_data.source.png_pairs.mask_values': [0, 1],
                'train_data.source.png_pairs.mask_colors': [[0, 0, 256]],
            },
            r'mask_colors: expected not set, because mask_values is',
        ),
        (
            {
                'train_data.source': PAIRS,
                'train_data.source.png_pairs.mask_colors': [[0, 0, 256]],
            },
            r'mask_colors: expected \[red, green, blue\] of each label, 0 to 255',
        ),
        (
            {
                'train_data.source': PAIRS,
                'train_data.source.png_pairs.mask_values': [0, 255],
                'train_data.source.png_pairs.ignored_values': [255],
            },
            r'ignored_values: expected values without a label, but 255 has one',
        ),
        (
            {
                'train_data.source': PAIRS,
                'train_data.source.png_pairs.mask_values': [0, 255],
                'train_data.source.png_pairs.class_names': ['x'],
            },
            r'class_names: expected 2 names, one for each value of the masks',
        ),
        (
            {'model.mask_scoring_head': {'num_convs': 2}},
            r'mask_scoring_head\.fc_input_size: expected \[height, width\] of 1 or more',
        ),
        (
            {'train_data.image_feature.num_channels': 4},
            r'mean: expected 4 numbers, as num_channels',
        ),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=text):
        _make_valid(fields)


def test_model_gardens_values() -> None:
    config = exp_cfg.seg_deeplabv3plus_cityscapes()
    assert config.trainer.train_steps == 92500
    assert config.trainer.validation_steps == 31
    assert config.task.model.decoder.aspp.pool_kernel_size == [512, 1024]
    assert exp_cfg.seg_deeplabv3_pascal().trainer.train_steps == 29745
    assert exp_cfg.seg_resnetfpn_pascal().trainer.train_steps == 18450
    assert exp_cfg.mnv2_deeplabv3_pascal().trainer.best_checkpoint_eval_metric == 'mean_iou'
    head = exp_cfg.mnv2_deeplabv3plus_cityscapes().task.model.head
    assert (head.low_level, head.use_depthwise_convolution) == ('2/depthwise', True)
