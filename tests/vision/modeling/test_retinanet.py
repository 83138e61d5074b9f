"""RetinaNet: sizes, families and refusals."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import variable_keys
from official_lite.vision.configs import backbones, common, decoders
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.modeling import factory, retinanet_model
from official_lite.vision.ops import anchor, image_normalization

SIZE = (128, 256)


def _make_config(**kwargs: Any) -> retinanet_cfg.RetinaNet:
    """A small model: levels 3 to 5, narrow decoder and head."""
    values = {
        'num_classes': 4,
        'min_level': 3,
        'max_level': 5,
        'backbone': backbones.Backbone(
            type='resnet', resnet=backbones.ResNet(model_id=10, depth_multiplier=0.25)
        ),
        'decoder': decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=16)),
        'head': retinanet_cfg.RetinaNetHead(num_convs=1, num_filters=16),
        'norm_activation': common.NormActivation(use_sync_bn=False),
        **kwargs,
    }
    return retinanet_cfg.RetinaNet(**values)


def _build(config: Any, size: tuple = SIZE, **kwargs: Any) -> retinanet_model.RetinaNetModel:
    return factory.build_retinanet(keras.layers.InputSpec(shape=[None, *size, 3]), config, **kwargs)


def test_parameters_of_r50_fpn() -> None:
    model = _build(retinanet_cfg.RetinaNet(num_classes=91))
    parts = {name: part.count_params() for name, part in model.checkpoint_items.items()}
    assert parts == {'backbone': 23_561_152, 'decoder': 3_873_792, 'head': 6_732_375}
    assert model.count_params() == 34_167_319
    names = {level: tuple(shape) for level, shape in model.decoder.output_specs.items()}
    assert names == {
        '3': (None, 16, 32, 256),
        '4': (None, 8, 16, 256),
        '5': (None, 4, 8, 256),
        '6': (None, 2, 4, 256),
        '7': (None, 1, 2, 256),
    }


BACKBONES = {
    'resnet': backbones.Backbone(
        type='resnet', resnet=backbones.ResNet(model_id=10, depth_multiplier=0.25)
    ),
    'resnet without pool': backbones.Backbone(
        type='resnet',
        resnet=backbones.ResNet(model_id=10, depth_multiplier=0.25, stem_pool=False, se_ratio=0.25),
    ),
    'mobilenet': backbones.Backbone(
        type='mobilenet', mobilenet=backbones.MobileNet(filter_size_scale=0.25)
    ),
    'mobilenet v1': backbones.Backbone(
        type='mobilenet',
        mobilenet=backbones.MobileNet(
            model_id='MobileNetV1', filter_size_scale=0.25, output_intermediate_endpoints=True
        ),
    ),
    'mobilenet v3': backbones.Backbone(
        type='mobilenet', mobilenet=backbones.MobileNet(model_id='MobileNetV3Small')
    ),
}
DECODERS = {
    'fpn': decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=8)),
    'separable concat': decoders.Decoder(
        type='fpn',
        fpn=decoders.FPN(
            num_filters=8, use_separable_conv=True, fusion_type='concat', use_keras_layer=True
        ),
    ),
    'identity': decoders.Decoder(type='identity'),
}


@pytest.mark.parametrize(('backbone', 'decoder'), itertools.product(BACKBONES, DECODERS))
def test_every_backbone_with_every_decoder(backbone: str, decoder: str) -> None:
    """Eager, compiled and in training: shapes, finite values, gradients everywhere."""
    config = _make_config(backbone=BACKBONES[backbone], decoder=DECODERS[decoder])
    config.head.share_level_convs = decoder != 'identity'
    model = _build(config, (64, 96))
    images = tf.cast(tf.random.uniform([2, 64, 96, 3], 0, 256, tf.int32), tf.uint8)
    eager = model(images, training=False)
    compiled = tf.function(model)(images, training=False)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), eager, compiled)
    for level, (height, width) in {'3': (8, 12), '4': (4, 6), '5': (2, 3)}.items():
        assert eager['cls_outputs'][level].shape == (2, height, width, 9 * 4)
        assert eager['box_outputs'][level].shape == (2, height, width, 9 * 4)

    @tf.function
    def compute_gradients() -> list:
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            flat = [outputs[k][level] for k in ('cls_outputs', 'box_outputs') for level in '345']
            loss = tf.add_n([tf.reduce_sum(tf.square(x)) for x in flat])
        return tape.gradient(loss, model.trainable_variables)

    for gradient, variable in zip(compute_gradients(), model.trainable_variables, strict=True):
        if gradient is None:  # what MobileNets have for classification only
            assert variable.path.split('/')[0] in _get_classification_layers(model.backbone)
            continue
        assert np.isfinite(gradient).all(), variable.path


def _get_classification_layers(backbone: Any) -> list[str]:
    """Layers after the last output that decoders read."""
    names = [layer.name for layer in backbone.layers]
    last = max(names.index(layer.name) for layer in backbone.layers if _is_output(backbone, layer))
    return names[last + 1 :]


def _is_output(backbone: Any, layer: Any) -> bool:
    outputs = [backbone.output[level] for level in backbone.output_specs]
    return any(tensor is output for tensor in tf.nest.flatten(layer.output) for output in outputs)


def test_two_builds_have_the_same_keys() -> None:
    first, second = (
        list(variable_keys.variable_keys(_build(_make_config()).checkpoint_items)) for _ in range(2)
    )
    assert first == second
    assert 'backbone/stage_2_block_0/conv1/kernel' in first
    assert 'decoder/lateral_3/kernel' in first
    assert 'head/cls_norms/0/0/moving_mean' in first


def test_config_round_trip() -> None:
    model = _build(_make_config(), l2_regularizer=keras.regularizers.L2(1e-4))
    copy = retinanet_model.RetinaNetModel.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert len(copy.losses) == len(model.losses) > 0


def test_b18_separable_kernels_are_initialised_and_regularised() -> None:
    config = _make_config(decoder=DECODERS['separable concat'])
    config.head.use_separable_conv = True
    model = _build(config, l2_regularizer=keras.regularizers.L2(0.5))
    regularized = {v.path for v in model.trainable_variables if v.regularizer is not None}
    kernels = {v.path for v in model.trainable_variables if 'kernel' in v.name}
    assert {v.name for v in model.decoder.variables} >= {'depthwise_kernel', 'pointwise_kernel'}
    assert regularized == kernels
    kernel = model.head.classifier.pointwise_kernel
    assert np.std(kernel) == pytest.approx(0.03, rel=0.1)
    lateral = model.decoder.get_layer('lateral_5').pointwise_kernel  # fan-in, not Glorot
    assert np.std(lateral) == pytest.approx(lateral.shape[-2] ** -0.5, rel=0.1)


def test_untrained_scores_are_the_prior() -> None:
    model = _build(_make_config())
    outputs = model(tf.random.normal([1, *SIZE, 3]), training=False)
    for logits in outputs['cls_outputs'].values():
        np.testing.assert_allclose(tf.sigmoid(logits), np.full(logits.shape, 0.01), rtol=1e-2)
    np.testing.assert_array_equal(outputs['num_detections'], [0])


def test_uint8_images_are_normalised_on_the_device() -> None:
    model = _build(_make_config())
    images = tf.cast(tf.random.uniform([1, *SIZE, 3], 0, 256, tf.int32), tf.uint8)
    floats = image_normalization.normalize_images(images)
    for first, second in zip(
        tf.nest.flatten(model(images, training=False)['cls_outputs']),
        tf.nest.flatten(model(floats, training=False)['cls_outputs']),
        strict=True,
    ):
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_anchors_and_clipping_stay_exact_under_mixed_precision() -> None:
    keras.mixed_precision.set_dtype_policy('mixed_bfloat16')
    try:
        model = _build(_make_config())
    finally:
        keras.mixed_precision.set_dtype_policy('float32')
    assert {v.dtype for v in model.variables} == {'float32'}
    model.head.classifier.bias.assign(tf.ones([36]))
    model.head.box_regressor.bias.assign(tf.tile([0.0, 0.0, 3.0, 3.0], [9]))  # all of the image
    outputs = model(
        tf.zeros([1, *SIZE, 3], tf.uint8), image_shape=tf.constant([[101.0, 203.0]]), training=False
    )
    assert outputs['cls_outputs']['3'].dtype == tf.bfloat16
    boxes = outputs['detection_boxes'].numpy()
    assert boxes.dtype == np.float32
    assert int(outputs['num_detections'][0]) > 0
    assert boxes[..., 2].max() == 101.0  # bfloat16 has no 203
    assert boxes[..., 3].max() == 203.0


def test_sizes_that_vary() -> None:
    model = _build(_make_config(), (None, None))
    call = tf.function(model, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    for size in ((64, 96), (32, 128)):
        outputs = call(tf.zeros([1, *size, 3], tf.uint8))
        assert outputs['cls_outputs']['3'].shape[1:3] == (size[0] // 8, size[1] // 8)


def test_intermediate_features_and_given_anchors() -> None:
    anchors = anchor.Anchor(3, 5, 3, [0.5, 1.0, 2.0], 4.0, SIZE).multilevel_boxes
    model = _build(_make_config())
    given = _build(_make_config(), anchor_boxes=anchors)
    given.set_weights(model.get_weights())
    images = tf.random.normal([2, *SIZE, 3])
    expected = model(images, output_intermediate_features=True, training=False)
    assert {'backbone_2', 'backbone_5', 'decoder_3', 'decoder_5'} <= set(expected)
    batched = {level: tf.tile(boxes[None], [2, 1, 1, 1]) for level, boxes in anchors.items()}
    for got in (given(images, training=False), model(images, anchor_boxes=batched, training=False)):
        np.testing.assert_allclose(got['detection_boxes'], expected['detection_boxes'], atol=1e-3)


# Refusals


@pytest.mark.parametrize('num_classes', [0, 1])
def test_b21_num_classes_below_two_is_refused(num_classes: int) -> None:
    with pytest.raises(
        errors.UsageError,
        match=f'task.model.num_classes: .*expected 2 or more; received {num_classes}',
    ):
        _build(_make_config(num_classes=num_classes))


@pytest.mark.parametrize('size', [(100, 128), (128, 200), (None, 48)])
def test_b27_sizes_that_do_not_fit_are_refused(size: tuple) -> None:
    with pytest.raises(
        errors.UsageError, match=r'task.model.input_size: .*multiples of 32; received .*for example'
    ):
        _build(_make_config(), size)


def test_levels_that_are_not_there_are_refused() -> None:
    config = _make_config(decoder=DECODERS['identity'], max_level=6)
    with pytest.raises(errors.UsageError, match=r"no features of level 6.*decoder.type='fpn'"):
        _build(config)
    config = _make_config(decoder=DECODERS['identity'])
    with pytest.raises(
        ValueError, match=r"such as 'fpn', or share_level_convs=False and no.*'4': 64"
    ):
        _build(config)
    config = _make_config(min_level=1)
    with pytest.raises(ValueError, match=r'starts at level 1, .*\[2, 3, 4, 5\]'):
        _build(config)


def _make_generator_config(**kwargs: Any) -> retinanet_cfg.RetinaNet:
    config = _make_config()
    for name, value in kwargs.items():
        setattr(config.detection_generator, name, value)
    return config


def test_generator_options_without_effect_are_told() -> None:
    with pytest.warns(UserWarning, match="soft_nms_sigma has no effect with nms_version='v2'"):
        _build(_make_generator_config(nms_version='v2', soft_nms_sigma=0.5))


def test_attributes_share_their_convolutions_and_need_what_that_needs() -> None:
    head = retinanet_cfg.RetinaNetHead(num_convs=1, num_filters=16, share_level_convs=False)
    head.override({'attribute_heads': [{'name': 'depth', 'num_convs': 0}]})
    model = _build(_make_config(head=head))
    assert len(model.head.classifier) == 3
    assert model.head.att_predictors['depth'].filters == 9
    assert len(model.head.att_convs['depth']) == 0  # 0 is not 'as many as the head has'
    with pytest.raises(ValueError, match=r'no towers of attributes. Received: channels'):
        _build(_make_config(head=head, decoder=DECODERS['identity']))
    with pytest.raises(ValueError, match=r'same convolutions at all levels. Expected one number'):
        _build(_make_config(head=head), num_anchors_per_location={'3': 9, '4': 9, '5': 3})
