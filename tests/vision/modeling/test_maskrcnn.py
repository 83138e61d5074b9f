"""Two-stage detectors as models: outputs, copies, files, sampling, precision."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import variable_keys
from official_lite.vision.configs import maskrcnn_model as cfg
from official_lite.vision.modeling import factory
from tests import garden_weights

SIZE = (64, 96)
TINY: dict[str, Any] = {
    'num_classes': 4,
    'input_size': [*SIZE, 3],
    'max_level': 5,
    'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.25}},
    'decoder': {'type': 'fpn', 'fpn': {'num_filters': 8}},
    'rpn_head': {'num_filters': 8},
    'detection_head': {'num_convs': 1, 'num_filters': 8, 'fc_dims': 16},
    'mask_head': {'num_convs': 1, 'num_filters': 8},
    'roi_generator': {'num_proposals': 40, 'test_num_proposals': 30},
    'roi_sampler': {'num_sampled_rois': 16},
    'mask_sampler': {'num_sampled_masks': 5},
    'detection_generator': {'max_num_detections': 10, 'pre_nms_score_threshold': 0.01},
    'norm_activation': {'use_sync_bn': False},
}
CASCADE: dict[str, Any] = {
    **TINY,
    'detection_head': {**TINY['detection_head'], 'class_agnostic_bbox_pred': True},
    'roi_sampler': {'num_sampled_rois': 16, 'cascade_iou_thresholds': [0.6, 0.7, 0.8]},
}
TRUTH: dict[str, Any] = {
    'gt_boxes': tf.constant([[[5.0, 5, 40, 50], [-1] * 4], [[-1.0] * 4] * 2]),
    'gt_classes': tf.constant([[2, -1], [-1, -1]]),
    'gt_masks': tf.ones([2, 2, 14, 14], tf.uint8),
}
SHAPES = tf.constant([[64.0, 96], [50, 96]])


def _make_config(overrides: dict[str, Any]) -> cfg.MaskRCNN:
    config = cfg.MaskRCNN()
    config.override(overrides)
    return config


def _build(overrides: dict[str, Any]) -> Any:
    config = _make_config(overrides)
    model = factory.build_maskrcnn(keras.layers.InputSpec(shape=[None, *SIZE, 3]), config)
    garden_weights.randomize_weights(model)
    return model


def _make_images() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8))


@pytest.fixture(scope='module')
def model() -> Any:
    return _build(TINY)


def test_learning(model: Any) -> None:
    outputs = model(_make_images(), SHAPES, **TRUTH, training=True)
    assert outputs['class_outputs'].shape == (2, 16, 4)
    assert outputs['box_outputs'].shape == (2, 16, 16)
    assert outputs['mask_outputs'].shape == outputs['mask_targets'].shape == (2, 5, 28, 28)
    assert np.count_nonzero(outputs['class_targets'][0]) >= 1  # the object itself is a region
    assert not np.any(outputs['class_targets'][1])
    assert not np.any(outputs['box_targets'][1])
    assert 'detection_boxes' not in outputs
    is_object = outputs['class_targets'][0] == 2
    assert (
        float(tf.reduce_min(tf.reduce_max(tf.abs(outputs['box_targets'][0]), -1)[is_object])) == 0
    )


def test_detections_are_the_same_with_and_without_ground_truth(model: Any) -> None:
    """With it, outputs of sampled regions and their targets come too, the same each time."""
    plain = model(_make_images(), SHAPES, training=False)
    first = model(_make_images(), SHAPES, **TRUTH, training=False)
    second = model(_make_images(), SHAPES, **TRUTH, training=False)
    assert int(tf.reduce_min(plain['num_detections'])) > 0
    for name in plain:
        if name.startswith(('detection', 'num', 'cls')):
            np.testing.assert_array_equal(plain[name], first[name], name)
    for name in ('class_outputs', 'box_outputs', 'class_targets', 'box_targets', 'mask_targets'):
        assert first[name].shape[:1] == (2,)
        np.testing.assert_array_equal(first[name], second[name], name)
    assert first['class_outputs'].shape[1] == first['class_targets'].shape[1] == 16
    assert first['mask_outputs'].shape == first['mask_targets'].shape
    np.testing.assert_array_equal(
        np.any(np.asarray(plain['detection_masks']) > 0, axis=(2, 3)),
        np.asarray(tf.sequence_mask(plain['num_detections'], 10)),
    )
    boxes = np.asarray(plain['detection_boxes'])
    assert boxes[1, :, 2].max() <= 50
    assert boxes.min() >= 0


def test_sampling_differs_from_step_to_step_and_can_be_given(model: Any) -> None:
    def sample(order: Any = None) -> np.ndarray:
        outputs = model(_make_images(), SHAPES, **TRUTH, training=True, sampling_order=order)
        return np.asarray(outputs['box_outputs'])

    order = tf.tile(tf.range(42)[None], [2, 1])
    np.testing.assert_array_equal(sample(order).shape, sample(order).shape)
    keras.utils.set_random_seed(0)
    assert np.any(sample() != sample())


def test_compiled_equals_eager_with_unknown_sizes(model: Any) -> None:
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, *SIZE, 3], tf.uint8),
            tf.TensorSpec([None, 2], tf.float32),
        ]
    )
    def detect(images: tf.Tensor, shapes: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(images, shapes, training=False)
        return {k: v for k, v in outputs.items() if 'detection' in k}

    eager = model(_make_images(), SHAPES, training=False)
    for name, value in detect(_make_images(), SHAPES).items():
        np.testing.assert_allclose(value, eager[name], atol=1e-3, err_msg=name)
        assert value.shape[1:] == eager[name].shape[1:]


@pytest.mark.parametrize('overrides', [TINY, CASCADE], ids=['mask', 'cascade'])
def test_files(overrides: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """Heads in a list are saved and loaded (keras#19425), whole and as weights."""
    model = _build(overrides)
    expected = model(_make_images(), SHAPES, training=False)
    model.save(tmp_path / 'model.keras')
    model.save_weights(tmp_path / 'model.weights.h5')
    other = _build(overrides)
    for variable in other.weights:
        variable.assign(tf.zeros_like(variable))
    other.load_weights(tmp_path / 'model.weights.h5')
    for copy in (keras.saving.load_model(tmp_path / 'model.keras'), other):
        got = copy(_make_images(), SHAPES, training=False)
        assert len(copy.weights) == len(model.weights)
        for name in ('detection_boxes', 'detection_scores', 'detection_masks', 'cls_outputs'):
            np.testing.assert_array_equal(got[name], expected[name], name)


def test_cascade_of_any_length() -> None:
    """Model Garden has factors of box codes for three stages; here they go on."""
    model = _build(CASCADE)
    assert len(model.detection_head) == 4
    outputs = model(_make_images(), SHAPES, **TRUTH, training=True)
    assert outputs['class_outputs_3'].shape == (2, 16, 4)
    assert outputs['box_outputs_3'].shape == (2, 16, 4)
    keys = list(variable_keys.variable_keys(model.checkpoint_items))
    assert (
        len(keys)
        == len(set(keys))
        == len([v for v in model.weights if 'seed_generator' not in v.path])
    )
    assert any(key.startswith('detection_head/3/') for key in keys)


def test_b17_batch_normalisation_of_masks_is_synchronised() -> None:
    """Model Garden's factory forgets it."""
    model = _build({**TINY, 'norm_activation': {'use_sync_bn': True}})
    norms = [*model.mask_head.conv_norms, model.mask_head.deconv_bn]
    assert all(norm.synchronized for norm in norms)


def test_gradients_reach_all_weights(model: Any) -> None:
    order = tf.tile(tf.range(42)[None], [2, 1])
    with tf.GradientTape() as tape:
        outputs = model(_make_images(), SHAPES, **TRUTH, training=True, sampling_order=order)
        names = ('class_outputs', 'box_outputs', 'mask_outputs')
        flat = [outputs[name] for name in names]
        flat += [*outputs['rpn_scores'].values(), *outputs['rpn_boxes'].values()]
        loss = tf.add_n([tf.reduce_sum(tf.square(x)) for x in flat])
    for gradient, variable in zip(
        tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True
    ):
        assert gradient is not None, variable
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable


def test_bfloat16() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy('mixed_bfloat16')
    try:
        model = _build(TINY)
        outputs = model(_make_images(), SHAPES, **TRUTH, training=False)
    finally:
        keras.config.set_dtype_policy(policy)
    assert outputs['class_outputs'].dtype == outputs['rpn_scores']['2'].dtype == tf.bfloat16
    for name in ('detection_boxes', 'detection_scores', 'detection_masks', 'box_targets'):
        assert outputs[name].dtype == tf.float32  # Model Garden rounds boxes to 8 bits
        assert np.isfinite(outputs[name]).all()


def test_no_masks_and_no_suppression() -> None:
    parts = {
        'include_mask': False,
        'mask_head': None,
        'mask_sampler': None,
        'mask_roi_aligner': None,
    }
    model = _build({**TINY, **parts, 'detection_generator': {'apply_nms': False}})
    assert 'mask_head' not in model.checkpoint_items
    outputs = model(_make_images(), SHAPES, training=False)
    assert outputs['decoded_boxes'].shape == (2, 30, 3, 4)
    assert outputs['decoded_box_scores'].shape == (2, 30, 3)
    assert not {'detection_boxes', 'detection_masks', 'mask_outputs'} & set(outputs)


@pytest.mark.slow
def test_number_of_parameters() -> None:
    """Mask R-CNN R50-FPN of 91 classes, as Model Garden counts it."""
    config = _make_config({'num_classes': 91, 'input_size': [256, 256, 3]})
    model = factory.build_maskrcnn(keras.layers.InputSpec(shape=[None, 256, 256, 3]), config)
    assert model.count_params() == 46_431_985


@pytest.mark.parametrize(
    ('overrides', 'message'),
    [
        ({'num_classes': 1}, 'a detector needs at least one class besides background'),
        ({'min_level': 1}, 'there are no features of level 1|min_level'),
        (
            {'roi_sampler': {'cascade_iou_thresholds': [0.6]}},
            '`class_agnostic_bbox_pred` needs to be True if multiple',
        ),
        ({'outer_boxes_scale': 0.5}, '`outer_boxes_scale` should be a value >= 1.0'),
    ],
)
def test_refusals(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises((errors.UsageError, ValueError), match=message):
        _build({**TINY, **overrides})


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(errors.UsageError, match='feature maps of level 5 are 32 times smaller'):
        factory.build_maskrcnn(keras.layers.InputSpec(shape=[None, 100, 96, 3]), _make_config(TINY))
