"""Models of `keras.applications`: levels, values of images, weights, configs, refusals."""

from __future__ import annotations

import pathlib
import typing
from typing import Any, Optional

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import hyperparams, norm, variable_keys
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common, zoos
from official_lite.vision.modeling.backbones import factory, graph_levels, keras_applications
from official_lite.vision.modeling.decoders import fpn
from official_lite.vision.modeling.layers import image_values
from official_lite.vision.ops import image_normalization

SIZE = (64, 96)
IMAGES = keras.layers.InputSpec(shape=[None, *SIZE, 3])


def _build(spec: keras.layers.InputSpec = IMAGES, **options: Any) -> Any:
    config = backbones_cfg.Backbone(type='keras_applications')
    config.override({'keras_applications': options})
    config.validate()
    return factory.build_backbone(spec, config, common.NormActivation(use_sync_bn=False))


def _make_pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [2, *SIZE, 3]).astype(np.float32)


# Levels


def _names(model_id: str, shape: tuple[int, ...] = (*SIZE, 3)) -> dict[str, str]:
    function = getattr(keras.applications, model_id)
    model = function(include_top=False, weights=None, input_shape=shape)
    levels = graph_levels.find_levels(model.output)
    for level, x in levels.items():
        assert tuple(x.shape[1:3]) == tuple(side // 2 ** int(level) for side in shape[:2])
    return {level: x._keras_history.operation.name for level, x in levels.items()}


def test_levels_of_a_plain_network() -> None:
    assert _names('VGG16') == {
        '1': 'block2_conv2',
        '2': 'block3_conv3',
        '3': 'block4_conv3',
        '4': 'block5_conv3',
        '5': 'block5_pool',
    }


def test_levels_of_a_residual_network() -> None:
    assert _names('ResNet50') == {
        '1': 'conv1_relu',
        '2': 'conv2_block3_out',
        '3': 'conv3_block4_out',
        '4': 'conv4_block6_out',
        '5': 'conv5_block3_out',
    }


def test_levels_of_inverted_bottlenecks() -> None:
    """Those that DeepLab and U-Net tutorials use: expansions before each strided convolution."""
    assert _names('MobileNetV2') == {
        '1': 'block_1_expand_relu',
        '2': 'block_3_expand_relu',
        '3': 'block_6_expand_relu',
        '4': 'block_13_expand_relu',
        '5': 'out_relu',
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ('model_id', 'names'),
    [
        (
            'EfficientNetB0',
            {
                '1': 'block2a_expand_activation',
                '2': 'block3a_expand_activation',
                '3': 'block4a_expand_activation',
                '4': 'block6a_expand_activation',
                '5': 'top_activation',
            },
        ),
        (
            'DenseNet121',
            {
                '1': 'conv1_relu',
                '2': 'pool2_relu',
                '3': 'pool3_relu',
                '4': 'pool4_relu',
                '5': 'relu',
            },
        ),
    ],
)
def test_levels_of_others(model_id: str, names: dict[str, str]) -> None:
    assert _names(model_id) == names


def test_where_branches_skip_each_other_the_last_join_counts() -> None:
    """Like NASNet: every cell reads the two before it, so that no map has all behind it."""
    inputs = keras.Input([32, 32, 3])
    first = keras.layers.Conv2D(4, 3, 2, padding='same', activation='relu')(inputs)
    second = keras.layers.Conv2D(4, 3, 2, padding='same', activation='relu')(inputs)
    third = keras.layers.Concatenate(name='third')([first, second])
    halves = [
        keras.layers.Conv2D(4, 3, 2, padding='same', activation='relu')(x) for x in (second, third)
    ]
    output = keras.layers.Concatenate(name='last')(halves)
    levels = graph_levels.find_levels(output)
    names = {level: x._keras_history.operation.name for level, x in levels.items()}
    assert names == {'1': 'third', '2': 'last'}


@pytest.mark.parametrize('shape', [(32, 64, 3), (None, None, 3)])
def test_gates_do_not_count_as_maps(shape: tuple[Optional[int], ...]) -> None:
    """Squeeze-and-excitation beside the map, a nested model, a layer that is strided inside."""

    class Halve(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return inputs[:, ::2, ::2]

    inputs = keras.Input(shape)
    stem = keras.Sequential([keras.layers.Conv2D(4, 4, 4), keras.layers.LayerNormalization()])
    x = stem(inputs)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = keras.layers.Conv2D(4, 1, activation='sigmoid')(gate)
    x = keras.layers.Multiply(name='gated')([x, gate])
    x = Halve(name='half')(x)
    levels = graph_levels.find_levels(x)
    assert list(levels) == ['2', '3']
    if shape[0] is not None:
        assert levels['2'].shape == (None, 8, 16, 4)
        assert levels['3'].shape == (None, 4, 8, 4)
    assert levels['2']._keras_history.operation.name == 'gated'
    assert graph_levels.find_levels(keras.layers.GlobalAveragePooling2D()(x)) == {}


@pytest.mark.slow
@pytest.mark.parametrize('model_id', typing.get_args(zoos.KerasApplicationName))
def test_every_model_has_levels_to_5(model_id: str) -> None:
    large = ('ConvNeXtXLarge', 'ConvNeXtLarge', 'EfficientNetB7', 'NASNetLarge', 'EfficientNetV2L')
    if model_id in large:
        pytest.skip('needs more memory and time than the others of its family')
    spec = keras.layers.InputSpec(shape=[None, 256, 320, 3])
    model = keras_applications.KerasApplication(model_id, spec)
    assert {'2', '3', '4', '5'} <= set(model.output_specs)
    for level, shape in model.output_specs.items():
        # Inception and Xception do not pad, so that they lose a border.
        for side, expected in zip(shape[1:3], (256, 320), strict=True):
            assert 0.6 < side * 2 ** int(level) / expected <= 1, (level, shape)


def test_the_config_lists_all_models() -> None:
    names = {
        name for name in dir(keras.applications) if callable(getattr(keras.applications, name))
    }
    assert set(typing.get_args(zoos.KerasApplicationName)) <= names
    assert set(keras_applications.PREPARATIONS) <= names


# Values


@pytest.mark.parametrize('model_id', ['VGG16', 'MobileNetV2', 'DenseNet121', 'MobileNetV3Small'])
def test_images_reach_the_model_as_its_preprocessing_makes_them(model_id: str) -> None:
    """From normalised images and from pixels, against Keras's `preprocess_input`."""
    modules = {
        'VGG16': keras.applications.vgg16,
        'MobileNetV2': keras.applications.mobilenet_v2,
        'DenseNet121': keras.applications.densenet,
        'MobileNetV3Small': keras.applications.mobilenet_v3,
    }
    pixels = _make_pixels()
    expected = modules[model_id].preprocess_input(pixels.copy())
    scale, offset, is_reversed = keras_applications.PREPARATIONS.get(model_id, (None, None, False))
    for values, images in (
        ('normalized', image_normalization.normalize_images(tf.constant(pixels))),
        ('pixels', tf.constant(pixels)),
        ('prepared', tf.constant(expected)),
    ):
        layer = image_values.make_image_values_layer(values, scale, offset, is_reversed)
        got = images if layer is None else layer(images)
        np.testing.assert_allclose(got, expected, atol=1e-3, rtol=1e-5)


def test_every_model_has_the_preparation_of_its_module() -> None:
    """One pixel through the `preprocess_input` of the module that defines the model."""
    pixel = np.array([[[[10.0, 100.0, 200.0]]]], np.float32)
    for model_id in typing.get_args(zoos.KerasApplicationName):
        module_name = getattr(keras.applications, model_id).__module__
        module = __import__(module_name, fromlist=['preprocess_input'])
        expected = module.preprocess_input(pixel.copy())
        values = keras_applications.PREPARATIONS.get(model_id, (None, None, False))
        layer = image_values.make_image_values_layer('pixels', *values)
        got = pixel if layer is None else layer(tf.constant(pixel))
        np.testing.assert_allclose(got, expected, atol=1e-4, err_msg=model_id)


def test_what_is_identity_is_left_out() -> None:
    assert image_values.make_image_values_layer('pixels') is None
    torch = keras_applications.PREPARATIONS['DenseNet121']
    assert image_values.make_image_values_layer('normalized', *torch) is None
    assert image_values.make_image_values_layer('prepared', 0.5, None, True) is None


def test_values_are_computed_in_float32() -> None:
    layer = image_values.ChannelScaling([1.0, 2.0, 3.0], [0.0, 0.5, 1.0], is_reversed=True)
    got = layer(tf.constant([[[[1.0, 2.0, 3.0]]]]))
    np.testing.assert_array_equal(got, [[[[10.0, 4.5, 1.0]]]])
    assert got.dtype == tf.float32
    assert image_values.ChannelScaling.from_config(layer.get_config()).scale == layer.scale
    with pytest.raises(ValueError, match='Expected images of 3 channels'):
        image_values.ChannelScaling([1.0] * 3, [0.0] * 3)(tf.zeros([1, 2, 2, 1]))


# The whole


def test_features_equal_those_of_the_model(tmp_path: pathlib.Path) -> None:
    """Weights of a file, pixels, inference; batch normalisation is replaced with its numbers."""
    original = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(*SIZE, 3)
    )
    random = np.random.default_rng(1)
    for variable in original.weights:
        if variable.name in ('moving_mean', 'beta'):
            variable.assign(random.normal(size=variable.shape, scale=0.1))
        elif variable.name in ('moving_variance', 'gamma'):
            variable.assign(random.uniform(0.7, 1.3, variable.shape))
    path = str(tmp_path / 'mobilenet.weights.h5')
    original.save_weights(path)
    names = ['block_3_expand_relu', 'out_relu']
    tensors = [original.get_layer(name).output for name in names]
    pixels = _make_pixels()
    prepared = keras.applications.mobilenet_v2.preprocess_input(pixels.copy())
    expected = keras.Model(original.input, tensors)(prepared)

    model = _build(model_id='MobileNetV2', weights=path, image_values='normalized')
    outputs = model(image_normalization.normalize_images(tf.constant(pixels)))
    for got, want in zip((outputs['2'], outputs['5']), expected, strict=True):
        largest = float(tf.reduce_max(tf.abs(want)))
        assert largest > 0.1
        np.testing.assert_allclose(got, want, atol=1e-4 * largest)
    assert model.count_params() == original.count_params()
    assert {k: tuple(v.shape[1:]) for k, v in outputs.items()} == {
        k: shape[1:] for k, shape in model.output_specs.items()
    }


def test_batch_normalisation_is_this_package_s() -> None:
    model = _build(model_id='MobileNet')
    layers = [x for x in model._flatten_layers() if 'BatchNormalization' in type(x).__name__]
    assert len(layers) == 27
    assert all(isinstance(layer, norm.BatchNormalization) for layer in layers)
    images = tf.random.stateless_normal([2, *SIZE, 3], [1, 2])
    before = [np.asarray(layer.moving_mean) for layer in layers]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images, training=True)['5'])
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    assert all(
        not np.array_equal(layer.moving_mean, old)
        for layer, old in zip(layers, before, strict=True)
    )


def test_regulariser_acts_on_kernels_but_depthwise_ones() -> None:
    model = keras_applications.KerasApplication(
        'MobileNet', IMAGES, kernel_regularizer=keras.regularizers.L2(1.0)
    )
    kernels = [v for v in model.trainable_variables if v.path.endswith('/kernel')]
    kernels = [v for v in kernels if 'dw' not in v.path]
    assert len(kernels) == 14
    expected = sum(float(tf.reduce_sum(tf.square(v.value))) for v in kernels)
    assert float(tf.add_n(model.losses)) == pytest.approx(expected, rel=1e-4)


def test_a_pyramid_stands_on_it_and_sizes_may_vary() -> None:
    model = _build(keras.layers.InputSpec(shape=[None, None, None, 3]), model_id='MobileNetV2')
    decoder = fpn.FPN(model.output_specs, min_level=3, max_level=6, num_filters=8)
    outputs = decoder(model(tf.zeros([1, 128, 192, 3])))
    assert outputs['3'].shape == (1, 16, 24, 8)
    assert outputs['6'].shape == (1, 2, 3, 8)


def test_config_round_trip_and_keys() -> None:
    model = _build(model_id='MobileNetV2', image_values='pixels')
    copy = keras_applications.KerasApplication.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    first, second = (list(variable_keys.variable_keys({'backbone': m})) for m in (model, copy))
    assert first == second
    assert 'backbone/network/block_1_expand/kernel' in first
    images = tf.random.stateless_uniform([1, *SIZE, 3], [1, 2], maxval=255.0)
    copy.set_weights(model.get_weights())
    np.testing.assert_allclose(copy(images)['5'], model(images)['5'], atol=1e-5)


def test_a_field_changes_the_model() -> None:
    images = tf.random.stateless_normal([1, *SIZE, 3], [1, 2])
    base = _build(model_id='MobileNet')
    other = _build(model_id='MobileNet', image_values='pixels')
    other.set_weights(base.get_weights())
    assert not np.allclose(base(images)['1'], other(images)['1'], rtol=0.1)
    assert _build(model_id='MobileNetV2').count_params() != base.count_params()


def test_a_warning_tells_what_is_its_own() -> None:
    config = backbones_cfg.Backbone(type='keras_applications')
    with pytest.warns(UserWarning, match='norm_momentum=0.9 .*MobileNetV2 has its own'):
        factory.build_backbone(IMAGES, config, common.NormActivation(norm_momentum=0.9))


# Refusals


def test_configs_are_checked() -> None:
    for values, match in (
        ({'weights': ''}, "weights: expected null, 'imagenet' or the path"),
        ({'model_id': 'MobileNetV4'}, "model_id: .*'MobileNetV3Large'"),
        ({'image_values': 'raw'}, "image_values: .*'normalized'"),
    ):
        with pytest.raises(hyperparams.ConfigError, match=match):
            zoos.KerasApplications(default_params=values).validate()


@pytest.mark.filterwarnings('ignore:Skipping nested container')
def test_unknown_model_and_missing_or_wrong_weights(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match=r"model_id: .* no such model.*received 'ResNet9'"):
        keras_applications.KerasApplication('ResNet9', IMAGES)
    with pytest.raises(errors.UsageError, match=r"weights: there is no such file.*'/no/file\.h5'"):
        keras_applications.KerasApplication('VGG16', IMAGES, weights='/no/file.h5')
    with pytest.raises(ValueError, match=r"image_values to be one of .* Received: 'raw'"):
        keras_applications.KerasApplication('VGG16', IMAGES, image_values='raw')
    other = keras.Sequential([keras.Input([4]), keras.layers.Dense(2)])
    path = str(tmp_path / 'other.weights.h5')
    other.save_weights(path)
    with pytest.raises(errors.UsageError, match=r'the weights do not fit: .*include_top=False'):
        keras_applications.KerasApplication('MobileNet', IMAGES, weights=path)


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**kwargs: Any) -> None:
        assert kwargs['weights'] == 'imagenet'
        raise Exception('URL fetch failure on https://x: None -- no route')

    monkeypatch.setattr(keras.applications, 'MobileNetV2', fail)
    with pytest.raises(errors.UsageError, match=r'cannot be downloaded.*give its path'):
        keras_applications.KerasApplication('MobileNetV2', IMAGES, weights='imagenet')


def test_builder_refuses_the_config_of_another_backbone() -> None:
    other = backbones_cfg.Backbone(type='resnet')
    with pytest.raises(errors.UsageError, match="expected type 'keras_applications'"):
        keras_applications.build_keras_applications(IMAGES, other, common.NormActivation())
