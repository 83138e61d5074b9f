"""RetinaNet: Model Garden's numbers with its weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.losses import retinanet_losses
from official_lite.vision.modeling import factory
from official_lite.vision.ops import anchor
from tests import garden_weights

SIZE = (128, 256)


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
        garden_weights.scale_retinanet_predictions(self.theirs, _normalize(_make_images(size)))
        for name, part in self.theirs.checkpoint_items.items():
            pairs = garden_weights.pair_variables(part, self.ours.checkpoint_items[name])
            self.pairs += [(name, *pair) for pair in pairs]
        self.carry()

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
