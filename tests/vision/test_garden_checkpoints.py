"""Model Garden's checkpoints of every family, in ours: the same outputs, from the file alone."""

from __future__ import annotations

import gc
import pathlib
from typing import Any

import numpy as np
import pytest

from official_lite import errors
from official_lite.core import initialization
from official_lite.garden import model_outputs
from tests import garden_checkpoints

SIZE = [64, 96, 3]
_SQUARE = [64, 64, 3]
_SPINENET_SIZE = [128, 128, 3]


def _classifier(kind: str, size: list[int] = SIZE, **backbone: Any) -> tuple[str, dict[str, Any]]:
    model = {'num_classes': 5, 'input_size': size, 'backbone': {'type': kind, kind: backbone}}
    return 'classification', model


_R10 = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.25}}
_MOBILE = {'type': 'mobilenet', 'mobilenet': {'filter_size_scale': 0.25}}
_ASPP: dict[str, Any] = {
    'type': 'aspp',
    'aspp': {'level': 4, 'dilation_rates': [2, 4], 'num_filters': 16},
}


def _detector(size: list[int] = SIZE, **options: Any) -> tuple[str, dict[str, Any]]:
    model = {
        'num_classes': 4,
        'input_size': size,
        'min_level': 3,
        'max_level': 5,
        'backbone': _R10,
        'decoder': {'type': 'fpn', 'fpn': {'num_filters': 16}},
        'head': {'num_convs': 2, 'num_filters': 16},
        **options,
    }
    return 'retinanet', model


def _segmenter(**options: Any) -> tuple[str, dict[str, Any]]:
    model = {'num_classes': 4, 'input_size': SIZE, 'min_level': 4, 'max_level': 4, **options}
    return 'segmentation', model


def _two_stage(**options: Any) -> tuple[str, dict[str, Any]]:
    model = {
        'num_classes': 4,
        'input_size': SIZE,
        'min_level': 3,
        'max_level': 5,
        'backbone': _R10,
        'decoder': {'type': 'fpn', 'fpn': {'num_filters': 16}},
        'rpn_head': {'num_filters': 16},
        'detection_head': {'num_convs': 1, 'num_filters': 16, 'fc_dims': 32},
        'mask_head': {'num_convs': 1, 'num_filters': 16},
        **options,
    }
    return 'maskrcnn', model


_DILATED = {
    'type': 'dilated_resnet',
    'dilated_resnet': {'model_id': 50, 'output_stride': 16, 'stem_type': 'v1'},
}
_SPINENET = {
    'type': 'spinenet',
    'spinenet': {'model_id': '49S', 'min_level': 3, 'max_level': 7},
}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    'resnet': _classifier('resnet', model_id=10, depth_multiplier=0.25),
    'resnet_rs': _classifier(
        'resnet',
        model_id=50,
        depth_multiplier=0.25,
        stem_type='v1',
        se_ratio=0.25,
        replace_stem_max_pool=True,
        resnetd_shortcut=True,
        stochastic_depth_drop_rate=0.1,
    ),
    'dilated_resnet': _classifier('dilated_resnet', model_id=50, output_stride=16),
    'mobilenet_v1': _classifier('mobilenet', model_id='MobileNetV1', filter_size_scale=0.25),
    'mobilenet_v2': _classifier(
        'mobilenet', model_id='MobileNetV2', filter_size_scale=0.25, stochastic_depth_drop_rate=0.1
    ),
    'mobilenet_v3': _classifier('mobilenet', model_id='MobileNetV3Small', filter_size_scale=0.5),
    'mobilenet_v4': _classifier('mobilenet', model_id='MobileNetV4ConvSmall'),
    'mobilenet_v4_hybrid': _classifier('mobilenet', _SQUARE, model_id='MobileNetV4HybridMedium'),
    'efficientnet': _classifier('efficientnet', model_id='b0', stochastic_depth_drop_rate=0.1),
    'spinenet': _classifier(
        'spinenet', _SPINENET_SIZE, model_id='49S', stochastic_depth_drop_rate=0.2
    ),
    'spinenet_96': _classifier('spinenet', _SPINENET_SIZE, model_id='96'),
    'spinenet_mobile': _classifier('spinenet_mobile', _SPINENET_SIZE, model_id='49XS'),
    'mobiledet': _classifier('mobiledet', model_id='MobileDetCPU', filter_size_scale=0.5),
    'mobiledet_gpu': _classifier('mobiledet', model_id='MobileDetGPU', filter_size_scale=0.5),
    'mobiledet_edgetpu': _classifier(
        'mobiledet', model_id='MobileDetEdgeTPU', filter_size_scale=0.5
    ),
    'revnet': _classifier('revnet', model_id=56),
    'vit': _classifier('vit', _SQUARE, model_name='vit-ti16'),
    'vit_pre_logits': _classifier(
        'vit', _SQUARE, model_name='vit-ti16', representation_size=8, pooler='gap'
    ),
    'vit_resized_positions': _classifier(
        'vit', [96, 64, 3], model_name='vit-ti16', pooler='gap', pos_embed_shape=[4, 4]
    ),
    'vit_layer_scale': _classifier(
        'vit', _SQUARE, model_name='vit-ti16', layer_scale_init_value=0.1
    ),
    'head_batch_norm': (
        'classification',
        {'num_classes': 5, 'input_size': SIZE, 'backbone': _R10, 'add_head_batch_norm': True},
    ),
    'retinanet': _detector(),
    'retinanet_attributes': _detector(
        head={
            'num_convs': 2,
            'num_filters': 16,
            'use_separable_conv': True,
            'attribute_heads': [{'name': 'depth', 'type': 'regression', 'size': 1}],
        },
        decoder={'type': 'fpn', 'fpn': {'num_filters': 16, 'use_separable_conv': True}},
        max_level=6,
        input_size=[128, 128, 3],
    ),
    'retinanet_unshared': _detector(head={'num_filters': 16, 'share_level_convs': False}),
    'retinanet_nasfpn': _detector(
        size=_SPINENET_SIZE,
        decoder={'type': 'nasfpn', 'nasfpn': {'num_filters': 16, 'num_repeats': 2}},
        max_level=7,
    ),
    'retinanet_spinenet': _detector(
        size=_SPINENET_SIZE, backbone=_SPINENET, decoder={'type': 'identity'}, max_level=7
    ),
    'retinanet_r50': _detector(
        size=[128, 128, 3],
        num_classes=91,
        max_level=7,
        backbone={'type': 'resnet', 'resnet': {'model_id': 50}},
        decoder={'type': 'fpn'},
        head={},
    ),
    'faster_rcnn': _two_stage(include_mask=False),
    'mask_rcnn': _two_stage(),
    'cascade_rcnn': _two_stage(
        rpn_head={'num_convs': 2, 'num_filters': 16, 'use_separable_conv': True},
        detection_head={
            'num_convs': 1,
            'num_filters': 16,
            'num_fcs': 2,
            'fc_dims': 32,
            'class_agnostic_bbox_pred': True,
            'cascade_class_ensemble': True,
        },
        roi_sampler={'cascade_iou_thresholds': [0.6, 0.7]},
    ),
    'mask_rcnn_r50': _two_stage(
        input_size=[128, 128, 3],
        num_classes=91,
        min_level=2,
        max_level=6,
        backbone={'type': 'resnet', 'resnet': {'model_id': 50}},
        decoder={'type': 'fpn'},
        rpn_head={},
        detection_head={},
        mask_head={},
    ),
    'deeplab_v3': _segmenter(backbone=_DILATED, decoder=_ASPP, head={'level': 4, 'num_convs': 0}),
    'deeplab_v3_plus': _segmenter(
        backbone={
            'type': 'mobilenet',
            'mobilenet': {
                'output_stride': 16,
                'filter_size_scale': 0.25,
                'output_intermediate_endpoints': True,
            },
        },
        decoder={**_ASPP, 'aspp': {**_ASPP['aspp'], 'use_depthwise_convolution': True}},
        head={
            'level': 4,
            'num_convs': 2,
            'num_filters': 16,
            'use_depthwise_convolution': True,
            'feature_fusion': 'deeplabv3plus',
            'low_level': '2/depthwise',
            'low_level_num_filters': 8,
        },
    ),
    'segmentation_fpn': _segmenter(
        backbone=_R10,
        min_level=3,
        max_level=5,
        decoder={'type': 'fpn', 'fpn': {'num_filters': 16}},
        head={
            'level': 3,
            'num_convs': 1,
            'num_filters': 16,
            'feature_fusion': 'pyramid_fusion',
        },
        mask_scoring_head={'num_convs': 1, 'num_filters': 8, 'fc_dims': 8, 'fc_input_size': [4, 4]},
    ),
}
QUICK = ('resnet', 'retinanet')


def _mark(name: str) -> Any:
    return pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])


@pytest.mark.garden
@pytest.mark.parametrize('name', [_mark(name) for name in MODELS])
def test_outputs_equal_model_gardens(name: str, tmp_path: pathlib.Path) -> None:
    gc.collect()
    task, model = MODELS[name]
    theirs = garden_checkpoints.build_theirs(task, model)
    path = garden_checkpoints.save(theirs, tmp_path / 'ckpt')
    ours = garden_checkpoints.build_ours(task, model)
    report = initialization.load_pretrained(ours, path)
    assert report.is_complete
    assert report.left_over == ()
    images = np.random.default_rng(1).normal(size=[2, *model['input_size']]).astype(np.float32)
    expected = model_outputs.compute_outputs(theirs, images)
    found = model_outputs.compute_outputs(ours, images)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        largest = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(
            found[key], value, atol=1e-4 * largest, rtol=0, err_msg=f'{name}: {key}'
        )


@pytest.mark.garden
@pytest.mark.parametrize(
    ('their_depth', 'our_depth', 'difference'),
    [
        (10, 18, 'has 0 parts there and 4 parts here'),
        pytest.param(18, 10, 'has 4 parts there and 0 parts here', marks=pytest.mark.slow),
        pytest.param(18, 34, 'has 4 parts there and 12 parts here', marks=pytest.mark.slow),
    ],
)
def test_another_depth_is_an_error(
    their_depth: int, our_depth: int, difference: str, tmp_path: pathlib.Path
) -> None:
    task, theirs = _classifier('resnet', model_id=their_depth, depth_multiplier=0.25)
    path = garden_checkpoints.save(garden_checkpoints.build_theirs(task, theirs), tmp_path / 'ckpt')
    _, model = _classifier('resnet', model_id=our_depth, depth_multiplier=0.25)
    ours = garden_checkpoints.build_ours(task, model)
    before = ours.get_weights()
    with pytest.raises(errors.CheckpointError, match='shapes differ') as error:
        initialization.load_pretrained(ours, path, modules='backbone')
    assert difference in str(error.value)
    for old, new in zip(before, ours.get_weights()):
        np.testing.assert_array_equal(old, new)
