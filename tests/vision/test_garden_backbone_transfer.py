"""Backbones of Model Garden's classifiers in other tasks: from the file alone, the same features."""

from __future__ import annotations

import gc
import pathlib
from typing import Any

import numpy as np
import pytest

from official_lite import errors
from official_lite.core import initialization
from tests import garden_checkpoints
from tests.vision import test_garden_checkpoints as families

# Family, and the task that gets its backbone.
TRANSFERS = [
    ('resnet', 'retinanet'),
    ('resnet', 'maskrcnn'),
    ('resnet', 'segmentation'),
    ('dilated_resnet', 'segmentation'),
    ('mobilenet_v2', 'retinanet'),
    ('mobilenet_v2', 'maskrcnn'),
    ('mobilenet_v2', 'segmentation'),
    ('efficientnet', 'retinanet'),
    ('spinenet', 'retinanet'),
    ('spinenet', 'maskrcnn'),
    ('mobiledet', 'retinanet'),
    ('vit', 'segmentation'),
]


def _make_model(task: str, size: list[int], backbone: dict[str, Any]) -> dict[str, Any]:
    """`task.model` of a small model with a backbone, of other classes than the classifier's."""
    fpn: dict[str, Any] = {'type': 'fpn', 'fpn': {'num_filters': 8}}
    kind = backbone['type']
    if task == 'segmentation':
        level = {'dilated_resnet': 4, 'vit': 4}.get(kind, 5)
        return {
            'num_classes': 3,
            'input_size': size,
            'min_level': level,
            'max_level': level,
            'backbone': backbone,
            'decoder': {'type': 'identity'},
            'head': {'level': level, 'num_convs': 1, 'num_filters': 8},
        }
    levels = (3, 7) if kind == 'spinenet' else (3, 5)
    model = {
        'num_classes': 3,
        'input_size': size,
        'min_level': levels[0],
        'max_level': levels[1],
        'backbone': backbone,
        'decoder': {'type': 'identity'} if kind == 'spinenet' else fpn,
    }
    if task == 'retinanet':
        return model | {'head': {'num_convs': 1, 'num_filters': 8}}
    return model | {
        # The classifier's; the default of Model Garden's Mask R-CNN is another.
        'norm_activation': {'norm_epsilon': 0.001},
        'rpn_head': {'num_filters': 8},
        'detection_head': {'num_convs': 1, 'num_filters': 8, 'fc_dims': 8},
        'mask_head': {'num_convs': 1, 'num_filters': 8},
    }


@pytest.mark.garden
@pytest.mark.slow
@pytest.mark.parametrize(('family', 'task'), TRANSFERS)
def test_backbone_alone(family: str, task: str, tmp_path: pathlib.Path) -> None:
    gc.collect()
    _, classifier = families.MODELS[family]
    backbone, size = classifier['backbone'], classifier['input_size']
    theirs = garden_checkpoints.build_theirs('classification', classifier)
    path = garden_checkpoints.save(theirs, tmp_path / 'ckpt')
    if family == 'vit':  # a segmenter needs its tokens as a map
        backbone = {'type': 'vit', 'vit': {**backbone['vit'], 'output_2d_feature_maps': True}}
    ours = garden_checkpoints.build_ours(task, _make_model(task, size, backbone))
    report = initialization.load_pretrained(ours, path, modules='backbone')
    assert report.missing == report.left_over == ()
    assert len(report.matched) == len(theirs.backbone.weights)
    assert all(key.startswith('backbone/') for key in report.matched)
    images = np.random.default_rng(1).normal(size=[2, *size]).astype(np.float32)
    expected = theirs.backbone(images, training=False)
    found = ours.backbone(images, training=False)
    shared = expected.keys() & found.keys()
    assert shared
    for level in shared:
        value = np.asarray(expected[level])
        largest = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(
            found[level], value, atol=1e-4 * largest, rtol=0, err_msg=f'{family}: {level}'
        )


@pytest.mark.garden
def test_a_pyramid_of_fewer_levels_with_other_classes(tmp_path: pathlib.Path) -> None:
    """The levels that both have are the same; the heads are left out, and that is said."""
    _, detector = families.MODELS['retinanet']
    size = [128, 128, 3]
    theirs = garden_checkpoints.build_theirs(
        'retinanet', {**detector, 'max_level': 6, 'input_size': size}
    )
    path = garden_checkpoints.save(theirs, tmp_path / 'ckpt')
    model = {**detector, 'max_level': 5, 'input_size': size, 'num_classes': 7}
    ours = garden_checkpoints.build_ours('retinanet', model)
    with pytest.raises(
        errors.CheckpointError,
        match=r'head/box_norms has 4 parts there and 3 parts here.*all,-head',
    ):
        initialization.load_pretrained(ours, path, modules='all')
    report = initialization.load_pretrained(ours, path, modules='all,-head')
    assert not report.missing
    assert any('6' in key for key in report.left_over)
    assert {key.partition('/')[0] for key in report.matched} == {'backbone', 'decoder'}
    images = np.random.default_rng(1).normal(size=[2, *size]).astype(np.float32)
    expected = theirs.decoder(theirs.backbone(images, training=False), training=False)
    found = ours.decoder(ours.backbone(images, training=False), training=False)
    assert found.keys() == {'3', '4', '5'}
    for level, value in found.items():
        np.testing.assert_allclose(value, expected[level], atol=1e-4, rtol=1e-4, err_msg=level)
