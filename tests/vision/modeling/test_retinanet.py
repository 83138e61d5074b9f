"""RetinaNet: sizes, families, refusals, and Model Garden's numbers with its weights."""

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
from official_lite.vision.losses import retinanet_losses
from official_lite.vision.modeling import factory, retinanet_model
from official_lite.vision.ops import anchor, image_normalization
from tests import garden_weights

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


def test_generator_options_are_refused() -> None:
    with pytest.raises(errors.UsageError, match=r"task.model.detection_generator: Soft .*'v1'"):
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


# Parity with Model Garden


class Pair:
    """One of Model Garden's models and ours with the same weights."""

    def __init__(self, seed: int = 0, size: tuple[int, int] = SIZE, **overrides: Any) -> None:
        import tf_keras
        from official.vision.configs import retinanet as garden_cfg
        from official.vision.modeling import factory as garden_factory

        self.garden_config = garden_cfg.RetinaNet()
        self.config = retinanet_cfg.RetinaNet()
        for config in (self.garden_config, self.config):
            config.override(overrides)
        shape = [None, *size, 3]
        self.theirs = garden_factory.build_retinanet(
            tf_keras.layers.InputSpec(shape=shape), self.garden_config
        )
        if self.theirs.decoder is None:
            self.theirs.head(self.theirs.backbone(tf_keras.Input(shape[1:])))
        self.ours = factory.build_retinanet(keras.layers.InputSpec(shape=shape), self.config)
        self.pairs = []
        for part in self.theirs.checkpoint_items.values():
            garden_weights.randomize_weights(part, seed)
        self._scale_predictions(_normalize(_make_images(size)))
        for name, part in self.theirs.checkpoint_items.items():
            pairs = garden_weights.pair_variables(part, self.ours.checkpoint_items[name])
            self.pairs += [(name, *pair) for pair in pairs]
        self.carry()

    def _scale_predictions(self, images: tf.Tensor) -> None:
        """Gives predictions the size that a trained model's have: scores on both sides of 0.05."""
        head = self.theirs.head
        for predictors, index, stddev, mean in (
            (head._classifier, 0, 1.5, -5.0),
            (head._box_regressor, 1, 0.5, 0.0),
        ):
            predictions = _frozen_predictions(self.theirs, images)[index]
            flat = tf.concat([tf.reshape(x, [-1]) for x in predictions.values()], 0)
            for predictor in tf.nest.flatten([predictors]):
                kernel = predictor.weights[0]
                kernel.assign(kernel * stddev / tf.math.reduce_std(flat))
                predictor.bias.assign(tf.fill(predictor.bias.shape, mean))

    def carry(self) -> None:
        for _, theirs, ours in self.pairs:
            ours.assign(theirs.numpy())


@pytest.fixture(scope='module')
def r50() -> Pair:
    return Pair(num_classes=91, norm_activation={'norm_epsilon': 1e-3})


@pytest.fixture(scope='module')
def images() -> np.ndarray:
    return _make_images(SIZE)


def _make_images(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, *size, 3), np.uint8)


def _normalize(images: np.ndarray) -> tf.Tensor:
    from official.vision.ops import preprocess_ops

    return tf.stack([preprocess_ops.normalize_image(image) for image in images])


def _relative_error(got: Any, expected: Any) -> float:
    expected = np.asarray(expected, np.float64)
    difference = np.abs(np.asarray(got, np.float64) - expected).max()
    return float(difference / max(1.0, np.abs(expected).max()))


def _assert_outputs_agree(got: dict, expected: dict) -> None:
    for key in ('cls_outputs', 'box_outputs', 'attribute_outputs'):
        assert (key in got) == (key in expected)
        if key in expected:
            errors_by_level = tf.nest.map_structure(
                _relative_error, dict(got[key]), dict(expected[key])
            )
            assert max(tf.nest.flatten(errors_by_level)) < 1e-4, (key, errors_by_level)


@pytest.mark.garden
def test_r50_fpn_predictions_and_detections_equal_model_garden(
    r50: Pair, images: np.ndarray
) -> None:
    image_shape = tf.constant([[120.0, 250.0], [128.0, 200.0]])
    expected = r50.theirs(_normalize(images), image_shape=image_shape, training=False)
    got = r50.ours(images, image_shape=image_shape, training=False)
    _assert_outputs_agree(got, expected)
    np.testing.assert_array_equal(got['num_detections'], expected['num_detections'])
    assert int(tf.reduce_min(got['num_detections'])) > 50
    scores = got['detection_scores'].numpy()
    assert 0.05 < scores.min() < scores.max() < 0.999
    np.testing.assert_allclose(scores, expected['detection_scores'], atol=1e-4)
    _assert_same_detections(got, expected)


def _assert_same_detections(got: dict, expected: dict) -> None:
    """Each of theirs is among ours; scores that differ by rounding only may change places."""
    for image in range(2):
        ours, theirs = (
            np.concatenate(
                [
                    outputs['detection_boxes'][image],
                    1e3 * np.asarray(outputs['detection_classes'][image], np.float32)[:, None],
                ],
                axis=1,
            )
            for outputs in (got, expected)
        )
        nearest = np.abs(theirs[:, None] - ours[None]).max(-1).min(1)
        assert np.mean(nearest < 0.01) >= 0.99, np.sort(nearest)[-5:]


@pytest.mark.garden
def test_decoded_boxes_equal_model_garden(r50: Pair, images: np.ndarray) -> None:
    outputs = r50.theirs(_normalize(images), training=False)
    from official.vision.modeling.layers import detection_generator as garden_generator

    from official_lite.vision.modeling.layers import detection_generator

    anchors = r50.ours.make_anchor_boxes(tf.constant(images))
    batched = {level: tf.tile(boxes[None], [2, 1, 1, 1]) for level, boxes in anchors.items()}
    shape = tf.constant([[120.0, 250.0], [128.0, 200.0]])
    for weights in (None, [10.0, 10.0, 5.0, 5.0]):
        options = {'apply_nms': False, 'box_coder_weights': weights}
        arguments = (outputs['box_outputs'], outputs['cls_outputs'], batched, shape)
        expected = garden_generator.MultilevelDetectionGenerator(**options)(*arguments)
        got = detection_generator.MultilevelDetectionGenerator(**options)(*arguments)
        for key in ('decoded_boxes', 'decoded_box_scores'):
            assert got[key].shape == expected[key].shape
            np.testing.assert_allclose(got[key], expected[key], rtol=1e-4, atol=1e-3)


@pytest.mark.garden
@pytest.mark.parametrize(
    'options',
    [
        {'nms_version': 'v1'},
        {'nms_version': 'v1', 'soft_nms_sigma': 0.5},
        {'nms_version': 'v2', 'pre_nms_top_k': 40},
        {'nms_version': 'v2', 'use_class_agnostic_nms': True},
        {'nms_version': 'batched', 'return_decoded': True},
    ],
    ids=str,
)
def test_generator_equals_model_garden_on_the_same_predictions(options: dict) -> None:
    from official.vision.modeling.layers import detection_generator as garden_generator

    from official_lite.vision.modeling.layers import detection_generator

    generator = np.random.default_rng(5)
    anchors = anchor.Anchor(3, 5, 2, [0.5, 1.0], 4.0, (96, 128)).multilevel_boxes
    batched = {level: tf.tile(boxes[None], [2, 1, 1, 1]) for level, boxes in anchors.items()}

    def make(size):
        return {
            level: tf.constant(generator.normal(0, 1, (2, *boxes.shape[:2], 4 * size)), tf.float32)
            for level, boxes in anchors.items()
        }

    raw_boxes, raw_scores = make(4), {level: 2 * x - 3 for level, x in make(5).items()}
    arguments = (raw_boxes, raw_scores, batched, tf.constant([[90.0, 120.0], [96.0, 128.0]]))
    expected = garden_generator.MultilevelDetectionGenerator(**options)(*arguments)
    ours = detection_generator.MultilevelDetectionGenerator(**options)
    got = tf.function(ours)(*arguments)
    for image, count in enumerate(np.asarray(expected['num_detections'])):
        assert int(got['num_detections'][image]) == count > 5
        for key in ('detection_scores', 'detection_classes', 'detection_boxes'):
            np.testing.assert_allclose(
                got[key][image, :count], expected[key][image, :count], rtol=1e-5, atol=1e-3
            )
    assert ('decoded_boxes' in got) == ('decoded_boxes' in expected)


@pytest.mark.garden
def test_attributes_of_detections_equal_model_garden() -> None:
    from official.vision.modeling.layers import detection_generator as garden_generator

    from official_lite.vision.modeling.layers import detection_generator

    generator = np.random.default_rng(5)
    anchors = anchor.Anchor(3, 4, 1, [1.0], 4.0, (64, 64)).multilevel_boxes
    batched = {level: boxes[None] for level, boxes in anchors.items()}

    def make(size):
        return {
            level: tf.constant(generator.normal(0, 1, (1, *boxes.shape[:2], size)), tf.float32)
            for level, boxes in anchors.items()
        }

    arguments = (make(4), make(3), batched, tf.constant([[64.0, 64.0]]), {'depth': make(2)})
    expected = garden_generator.MultilevelDetectionGenerator(nms_version='v1')(*arguments)
    got = detection_generator.MultilevelDetectionGenerator(nms_version='v1')(*arguments)
    count = int(expected['num_detections'][0])
    np.testing.assert_allclose(
        got['detection_attributes']['depth'][0, :count],
        expected['detection_attributes']['depth'][0, :count],
    )


VARIANTS: dict[str, dict[str, Any]] = {
    'mobilenet, separable, attributes': {
        'num_classes': 5,
        'max_level': 6,
        'backbone': {'type': 'mobilenet', 'mobilenet': {'filter_size_scale': 0.5}},
        'decoder': {
            'type': 'fpn',
            'fpn': {'num_filters': 32, 'use_separable_conv': True, 'fusion_type': 'concat'},
        },
        'head': {
            'num_convs': 2,
            'num_filters': 24,
            'use_separable_conv': True,
            'attribute_heads': [
                {'name': 'depth', 'type': 'regression', 'size': 2},
                {'name': 'colour', 'type': 'classification', 'size': 3, 'num_filters': 16},
            ],
        },
        'norm_activation': {'activation': 'relu6', 'use_sync_bn': False},
        'detection_generator': {'nms_version': 'v1'},
    },
    'own convolutions per level, no decoder': {
        'num_classes': 3,
        'max_level': 5,
        'backbone': {'type': 'resnet', 'resnet': {'model_id': 18}},
        'decoder': {'type': 'identity'},
        'head': {'num_convs': 1, 'num_filters': 16, 'share_level_convs': False},
        'norm_activation': {'activation': 'swish'},
    },
    'levels apart, attributes with one tower': {
        'num_classes': 3,
        'max_level': 5,
        'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.5}},
        'decoder': {'type': 'fpn', 'fpn': {'num_filters': 16}},
        'head': {
            'num_convs': 1,
            'num_filters': 16,
            'share_level_convs': False,
            'attribute_heads': [
                {
                    'name': 'depth',
                    'size': 2,
                    'prediction_tower_name': 'tower',
                    'num_convs': 2,
                    'num_filters': 8,
                },
                {
                    'name': 'colour',
                    'type': 'classification',
                    'size': 3,
                    'prediction_tower_name': 'tower',
                },
            ],
        },
        'detection_generator': {'nms_version': 'v1'},
    },
    'shared class tower': {
        'num_classes': 3,
        'max_level': 5,
        'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.5}},
        'decoder': {'type': 'fpn', 'fpn': {'num_filters': 16, 'use_keras_layer': True}},
        'head': {
            'num_convs': 1,
            'num_filters': 16,
            'share_classification_heads': True,
            'attribute_heads': [{'name': 'colour', 'type': 'classification', 'size': 3}],
        },
        'detection_generator': {'nms_version': 'v1'},
    },
}


@pytest.mark.garden
@pytest.mark.parametrize('name', VARIANTS)
def test_variants_equal_model_garden(name: str, images: np.ndarray) -> None:
    pair = Pair(**VARIANTS[name])
    shape = tf.constant([[128.0, 256.0]] * 2)
    expected = pair.theirs(_normalize(images), image_shape=shape, training=False)
    got = pair.ours(images, image_shape=shape, training=False)
    _assert_outputs_agree(got, expected)


def _make_labels(model: Any, images: np.ndarray) -> dict:
    boxes = tf.constant(
        [[[10.0, 20, 60, 90], [50, 120, 120, 250]], [[0, 0, 40, 40], [-1, -1, -1, -1]]]
    )
    classes = tf.constant([[3, 1], [2, -1]])
    anchors = model.make_anchor_boxes(tf.constant(images))
    cls_targets, box_targets, cls_weights, box_weights, _ = anchor.label_anchors_batch(
        anchors, boxes, classes
    )
    return {
        'cls_targets': cls_targets,
        'box_targets': box_targets,
        'cls_weights': cls_weights,
        'box_weights': box_weights,
    }


def _compute_loss(outputs: dict, labels: dict) -> tf.Tensor:
    losses = retinanet_losses.compute_retinanet_losses(
        outputs, labels, alpha=0.25, gamma=1.5, huber_delta=0.1
    )
    return losses.cls_loss + 50.0 * losses.box_loss


def _frozen_predictions(model: Any, images: tf.Tensor) -> tuple:
    features = model.backbone(images, training=False)
    if model.decoder is not None:
        features = model.decoder(features, training=False)
    return model.head(features, training=False)


@pytest.mark.garden
@pytest.mark.parametrize('use_sync_bn', [False, True])
def test_decoder_and_head_in_training_equal_model_garden(use_sync_bn: bool) -> None:
    """Losses, gradients and moving statistics from the same backbone features."""
    pair = Pair(
        num_classes=5,
        max_level=6,
        backbone={'type': 'resnet', 'resnet': {'model_id': 10}},
        decoder={'type': 'fpn', 'fpn': {'num_filters': 32}},
        head={'num_convs': 2, 'num_filters': 24},
        norm_activation={'use_sync_bn': use_sync_bn, 'norm_momentum': 0.9},
    )
    images = np.random.default_rng(2).integers(0, 256, (2, *SIZE, 3), np.uint8)
    labels = _make_labels(pair.ours, images)
    features = dict(pair.theirs.backbone(_normalize(images), training=False))
    results = []
    for model in (pair.theirs, pair.ours):
        with tf.GradientTape() as tape:
            decoded = model.decoder(features, training=True)
            scores, boxes, _ = model.head(decoded, training=True)
            loss = _compute_loss({'cls_outputs': scores, 'box_outputs': boxes}, labels)
        results.append((loss, tape))
    (expected_loss, their_tape), (loss, our_tape) = results
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    parts = [pair_ for pair_ in pair.pairs if pair_[0] != 'backbone']
    trainable = [(theirs, ours) for _, theirs, ours in parts if theirs.trainable]
    expected = their_tape.gradient(expected_loss, [theirs for theirs, _ in trainable])
    got = our_tape.gradient(loss, [ours.value for _, ours in trainable])
    largest = max(np.abs(g).max() for g in expected)
    for (theirs, _), ours_gradient, their_gradient in zip(trainable, got, expected, strict=True):
        # A bias before batch normalisation has no gradient but rounding errors.
        is_null = 'bias' in theirs.name and not theirs.name.startswith(('scores', 'boxes'))
        is_null = is_null and not any(f'/{name}/' in theirs.name for name in ('scores', 'boxes'))
        scale = largest if is_null else max(np.abs(their_gradient).max(), 1e-6 * largest)
        error = np.abs(ours_gradient - their_gradient).max() / scale
        assert error < 1e-4, (theirs.name, error)
    for _, theirs, ours in parts:
        if not theirs.trainable:
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=theirs.name)
