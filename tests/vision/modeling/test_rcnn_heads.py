"""Heads of two-stage detectors: copies, refusals, and Model Garden's values and gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.heads import dense_prediction_heads, instance_heads
from tests import garden_gradients, garden_weights

HEADS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    'rpn': (
        dense_prediction_heads.RPNHead,
        {'min_level': 2, 'max_level': 3, 'num_anchors_per_location': 3, 'num_filters': 8},
        {'2': (2, 8, 12, 6), '3': (2, 4, 6, 6)},
    ),
    'boxes': (
        instance_heads.DetectionHead,
        {'num_classes': 5, 'num_convs': 2, 'num_filters': 8, 'num_fcs': 2, 'fc_dims': 16},
        (2, 7, 4, 4, 6),
    ),
    'agnostic boxes': (
        instance_heads.DetectionHead,
        {'num_classes': 5, 'num_fcs': 1, 'fc_dims': 16, 'class_agnostic_bbox_pred': True},
        (2, 7, 4, 4, 6),
    ),
    'masks': (
        instance_heads.MaskHead,
        {'num_classes': 5, 'num_convs': 2, 'num_filters': 8},
        [(2, 7, 4, 6, 6), (2, 7)],
    ),
    'agnostic masks': (
        instance_heads.MaskHead,
        {'num_classes': 5, 'num_convs': 1, 'num_filters': 8, 'class_agnostic': True},
        [(2, 7, 4, 6, 6), (2, 7)],
    ),
}
CASES = [(name, is_separable) for name in HEADS for is_separable in (False, True)]


def _make_inputs(shapes: Any) -> Any:
    random = np.random.default_rng(0)
    if isinstance(shapes, dict):
        return {k: tf.constant(random.normal(size=s), tf.float32) for k, s in shapes.items()}
    if isinstance(shapes, list):
        features = tf.constant(random.normal(size=shapes[0]), tf.float32)
        return [features, tf.constant(random.integers(0, 5, shapes[1]), tf.float32)]
    return tf.constant(random.normal(size=shapes), tf.float32)


def _make(name: str, is_separable: bool = False, **kwargs: Any) -> Any:
    cls, options, shapes = HEADS[name]
    head = cls(**options, use_separable_conv=is_separable, **kwargs)
    head.build(shapes)
    return head


@pytest.mark.garden
@pytest.mark.parametrize(('name', 'is_separable'), CASES)
def test_values_and_gradients_are_model_gardens(name: str, is_separable: bool) -> None:
    from official.vision.modeling.heads import dense_prediction_heads as garden_dense
    from official.vision.modeling.heads import instance_heads as garden_instance

    cls, options, shapes = HEADS[name]
    module = garden_dense if name == 'rpn' else garden_instance
    theirs = getattr(module, cls.__name__)(**options, use_separable_conv=is_separable)
    inputs = _make_inputs(shapes)
    theirs(inputs)
    # Scores of anchors feel nothing of some kernels: gradients are small sums of large terms.
    garden_gradients.assert_equal(theirs, _make(name, is_separable), inputs, tolerance=2e-4)


@pytest.mark.parametrize(('name', 'is_separable'), CASES)
def test_copies(name: str, is_separable: bool) -> None:
    head = _make(name, is_separable, kernel_regularizer=keras.regularizers.L2(1e-3))
    garden_weights.randomize_weights(head)
    copy = type(head).from_config(head.get_config())
    copy.build(HEADS[name][2])
    copy.set_weights(head.get_weights())
    inputs = _make_inputs(HEADS[name][2])
    for one, other in zip(
        tf.nest.flatten(head(inputs)), tf.nest.flatten(copy(inputs)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert copy.get_config() == head.get_config()
    kernels = [v for v in head.trainable_variables if 'kernel' in v.name]
    assert len(head.losses) == len(kernels) > 0
    assert all(v.regularizer is not None for v in kernels)  # also of separable ones


def test_the_mask_of_a_class_is_a_channel_of_the_whole_convolution() -> None:
    for is_separable in (False, True):
        head = _make('masks', is_separable)
        garden_weights.randomize_weights(head)
        features, _ = _make_inputs(HEADS['masks'][2])
        layers = [*head.convs, head.deconv]
        norms = [*head.conv_norms, head.deconv_bn]
        x = tf.reshape(features, [-1, 4, 6, 6])
        for layer, norm in zip(layers, norms, strict=True):
            x = tf.nn.relu(norm(layer(x)))
        every = tf.reshape(head.mask_regressor(x), [2, 7, 8, 12, 5])
        for label in range(5):
            got = head([features, tf.fill([2, 7], label)])
            np.testing.assert_allclose(got, every[..., label], atol=1e-5)


def test_bfloat16() -> None:
    for name in HEADS:
        head = _make(name, dtype='mixed_bfloat16')
        outputs = tf.nest.flatten(head(_make_inputs(HEADS[name][2]), training=True))
        assert all(x.dtype == tf.bfloat16 for x in outputs)
        assert all(v.dtype == 'float32' for v in head.trainable_variables)


def test_levels_of_other_widths_are_refused() -> None:
    head = dense_prediction_heads.RPNHead(2, 3, 3)
    with pytest.raises(ValueError, match='Levels with different numbers of channels cannot share'):
        head.build({'2': (None, 8, 8, 16), '3': (None, 4, 4, 32)})
