"""The classifier: sizes, options, refusals, and Model Garden's numbers with its weights."""

from __future__ import annotations

import gc
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoints
from official_lite.vision.configs import backbones, common
from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.modeling import classification_model, factory
from official_lite.vision.ops import image_normalization
from tests import garden_weights

SIZE = (48, 64)
SMALL = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.25}}


def make_config(**fields: Any) -> exp_cfg.ImageClassificationModel:
    config = exp_cfg.ImageClassificationModel()
    config.override({'num_classes': 5, 'backbone': SMALL, **fields})
    return config


def build(
    config: Any, size: Any = SIZE, **options: Any
) -> classification_model.ClassificationModel:
    spec = keras.layers.InputSpec(shape=[None, *size, 3])
    return factory.build_classification_model(spec, config, **options)


@pytest.mark.slow
@pytest.mark.parametrize(('backbone', 'count'), [('resnet', 25_612_201), ('mobilenet', 3_540_265)])
def test_parameters_as_in_model_garden(backbone: str, count: int):
    config = exp_cfg.ImageClassificationModel(
        num_classes=1001, backbone=backbones.Backbone(type=backbone)
    )
    assert build(config, (None, None)).count_params() == count


def test_logits_and_images():
    model = build(make_config())
    images = np.random.default_rng(0).integers(0, 255, [2, *SIZE, 3]).astype(np.uint8)
    logits = model(images)
    assert logits.shape == (2, 5)
    normalised = image_normalization.normalize_images(images)
    np.testing.assert_allclose(model(normalised), logits, rtol=1e-5, atol=1e-6)


def test_features_without_the_logits_layer():
    model = build(make_config(num_classes=0), skip_logits_layer=True)
    assert model(tf.zeros([2, *SIZE, 3])).shape == (2, 128)
    assert model.dense is None


def test_b21_no_class_is_refused():
    with pytest.raises(errors.UsageError, match=r'task.model.num_classes: .*a class or more'):
        build(make_config(num_classes=0))


def test_dropout_acts_in_training_only():
    model = build(make_config(dropout_rate=0.9))
    images = tf.random.stateless_normal([1, *SIZE, 3], [1, 2])
    first, second = (model(images, training=False).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    first, second = (model(images, training=True).numpy() for _ in range(2))
    assert (first != second).any()


def test_regularizer_covers_kernels_and_the_dense_layer():
    plain, regular = (
        build(make_config(), l2_regularizer=regularizer)
        for regularizer in (None, keras.regularizers.L2(1.0))
    )
    assert not plain.losses
    kernels = [v for v in regular.trainable_variables if v.name == 'kernel']
    expected = sum(float(tf.reduce_sum(tf.square(v))) for v in kernels)
    assert float(tf.add_n(regular.losses)) == pytest.approx(expected, rel=1e-4)


def test_keys_of_checkpoints():
    model = build(make_config(add_head_batch_norm=True))
    keys = checkpoints.model_variables(model)
    assert len(keys) == len(model.variables)
    assert {key for key in keys if not key.startswith('backbone/')} == {
        'model/dense/kernel',
        'model/dense/bias',
        *(f'model/head_norm/{n}' for n in ('gamma', 'beta', 'moving_mean', 'moving_variance')),
    }
    assert set(model.checkpoint_items) == {'backbone'}


@pytest.mark.parametrize('options', [{'add_head_batch_norm': True, 'dropout_rate': 0.2}])
def test_a_config_gives_the_same_model(options: dict[str, Any]):
    model = build(make_config(**options), l2_regularizer=keras.regularizers.L2(0.1))
    twin = classification_model.ClassificationModel.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    images = tf.random.stateless_normal([1, *SIZE, 3], [3, 4])
    np.testing.assert_allclose(twin(images), model(images), rtol=1e-5, atol=1e-6)
    assert twin.get_config() == model.get_config()


def test_a_model_is_saved_and_loaded(tmp_path: Any):
    model = build(make_config())
    model.save(tmp_path / 'model.keras')
    loaded = keras.saving.load_model(tmp_path / 'model.keras')
    images = tf.random.stateless_normal([1, *SIZE, 3], [3, 4])
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', ['float32', 'mixed_bfloat16'])
def test_number_formats(dtype: str):
    keras.config.set_dtype_policy(dtype)
    model = build(make_config())
    logits = model(tf.zeros([1, *SIZE, 3], tf.uint8))
    assert logits.dtype == ('float32' if dtype == 'float32' else 'bfloat16')
    assert {v.dtype for v in model.trainable_variables} == {'float32'}


class Tokens(keras.Model):
    """A backbone with tokens in place of places, and perhaps an output with a name of its own."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._endpoints = names
        self.output_specs = dict.fromkeys(names, (None, 7, 4))

    def call(self, images: tf.Tensor, training: Any = None) -> dict[str, tf.Tensor]:
        tokens = tf.reshape(tf.range(28.0), [1, 7, 4])
        return {name: tokens * 2.0**i for i, name in enumerate(self._endpoints)}


@pytest.mark.parametrize(
    ('names', 'factor'),
    [
        (('0',), 1.0),
        (('2', '10', '9'), 2.0),
        (('5/depthwise', '5', '4'), 2.0),
        (('pre_logits', '4', 'encoded_tokens'), 1.0),
    ],
)
def test_which_output_is_averaged(names: tuple[str, ...], factor: float):
    model = classification_model.ClassificationModel(Tokens(*names), 3, skip_logits_layer=True)
    found = model(tf.zeros([1, 8, 8, 3]))
    np.testing.assert_allclose(found, factor * np.array([[12.0, 13.0, 14.0, 15.0]]))


@pytest.mark.garden
@pytest.mark.parametrize(
    ('options', 'modes'),
    [
        pytest.param({'add_head_batch_norm': True}, (False, True), id='resnet'),
        # Batch statistics of many layers drift apart; its blocks are compared elsewhere.
        pytest.param(
            {'backbone': {'type': 'mobilenet', 'mobilenet': {'filter_size_scale': 0.5}}},
            (False,),
            id='mobilenet',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_numbers_equal_model_gardens(options: dict[str, Any], modes: tuple[bool, ...]):
    theirs, ours = make_pair(options)
    images = np.random.default_rng(1).normal(size=[2, *SIZE, 3]).astype(np.float32)
    for training in modes:
        expected = theirs(images, training=training).numpy()
        found = ours(images, training=training).numpy()
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())
    assert ours.count_params() == theirs.count_params()


def make_pair(options: dict[str, Any]) -> tuple[Any, Any]:
    """The same model of both, with the same random weights."""
    import tf_keras
    from official.vision.configs import image_classification as garden_cfg
    from official.vision.modeling import factory as garden_factory

    gc.collect()
    config = garden_cfg.ImageClassificationModel(num_classes=5)
    config.override({'backbone': SMALL, **options})
    theirs = garden_factory.build_classification_model(
        tf_keras.layers.InputSpec(shape=[None, *SIZE, 3]), config
    )
    ours = build(make_config(**options))
    garden_weights.carry_weights(theirs.backbone, ours.backbone)
    layers = [layer for layer in theirs.layers[2:] if layer.weights]
    targets = [layer for layer in (ours.head_norm, ours.dense) if layer is not None]
    for layer, target in zip(layers, targets, strict=True):
        target.set_weights(layer.get_weights())
    return theirs, ours


def test_norm_activation_reaches_the_head():
    config = make_config(add_head_batch_norm=True)
    config.norm_activation = common.NormActivation(
        norm_momentum=0.7, norm_epsilon=0.02, use_sync_bn=True
    )
    norm = build(config).head_norm
    assert norm is not None
    assert (norm.momentum, norm.epsilon, norm.synchronized) == (0.7, 0.02, True)
