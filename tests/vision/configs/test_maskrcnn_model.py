"""What the config of a two-stage detector refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite.modeling import hyperparams
from official_lite.vision.configs import maskrcnn_model as cfg

REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    'classes': ({'num_classes': 1}, r'num_classes: expected 2 or more, background included'),
    'levels': ({'min_level': 7}, r'min_level: expected 1 to max_level \(6\)'),
    'size': ({'input_size': [100, 128, 3]}, r'multiples of 64 \(2 \*\* max_level\)'),
    'outer boxes': ({'outer_boxes_scale': 0.9}, r'outer_boxes_scale: expected 1 or more'),
    'convs': ({'rpn_head': {'num_convs': -1}}, r'rpn_head.num_convs: expected 0 or more'),
    'fcs': ({'detection_head': {'fc_dims': 0}}, r'detection_head.fc_dims: expected 1 or more'),
    'proposals': (
        {'roi_generator': {'test_num_proposals': 0}},
        r'roi_generator.test_num_proposals: expected 1 or more',
    ),
    'proposal scores': (
        {'roi_generator': {'pre_nms_score_threshold': 2.0}},
        r'roi_generator.pre_nms_score_threshold: expected 0 to 1',
    ),
    'thresholds in order': (
        {'roi_sampler': {'background_iou_high_threshold': 0.7}},
        r'background_iou_high_threshold: expected at most foreground_iou_threshold \(0.5\)',
    ),
    'cascade thresholds': (
        {
            'roi_sampler': {'cascade_iou_thresholds': [1.5]},
            'detection_head': {'class_agnostic_bbox_pred': True},
        },
        r'roi_sampler.cascade_iou_thresholds: expected numbers of 0 to 1',
    ),
    'cascade boxes': (
        {'roi_sampler': {'cascade_iou_thresholds': [0.6]}},
        r'detection_head.class_agnostic_bbox_pred: expected true with',
    ),
    'ensemble': (
        {'detection_head': {'cascade_class_ensemble': True}},
        r'detection_head.cascade_class_ensemble: expected false without',
    ),
    'soft': (
        {'detection_generator': {'soft_nms_sigma': 0.5}},
        r'detection_generator.soft_nms_sigma: expected null with nms_version=v2',
    ),
    'no mask head': ({'mask_head': None}, r'mask_head: expected settings, because include_mask'),
    'masks of all': (
        {'detection_generator': {'apply_nms': False}},
        r'detection_generator.apply_nms: expected true with include_mask',
    ),
    'sampled masks': (
        {'mask_sampler': {'num_sampled_masks': 0}},
        r'mask_sampler.num_sampled_masks: expected 1 or more',
    ),
    'offset': ({'roi_aligner': {'sample_offset': 2.0}}, r'sample_offset: expected 0 to 1'),
    'mask size': ({'mask_head': {'upsample_factor': 0}}, r'upsample_factor: expected 1 or more'),
}


@pytest.mark.parametrize('name', list(REFUSALS))
def test_refusals(name: str) -> None:
    overrides, message = REFUSALS[name]
    config = cfg.MaskRCNN()
    config.override(overrides)
    with pytest.raises(hyperparams.ConfigError, match=message):
        config.validate()


def test_defaults_are_fine_and_anchors_are_their_own() -> None:
    config = cfg.MaskRCNN(num_classes=91, input_size=[1024, 1024, 3])
    config.validate()
    assert config.anchor.as_dict() == {
        'num_scales': 1,
        'aspect_ratios': [0.5, 1.0, 2.0],
        'anchor_size': 8.0,
    }
