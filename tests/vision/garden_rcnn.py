"""Model Garden's two-stage detector and ours with the same weights, images and ground truth.

Which regions are drawn is random in both; here both take those that come last.
"""

from __future__ import annotations

import contextlib
import unittest.mock
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite.vision.configs import maskrcnn_model as our_cfg
from official_lite.vision.modeling import factory
from tests import garden_weights
from tests.vision import garden_detector

SIZE = (128, 192)
# yxyx in pixels; the second image, which is not as high as the others, has one object.
BOXES = [
    [[10.0, 20, 60, 90], [50, 90, 120, 180], [5, 5, 30, 25]],
    [[0, 0, 70, 80], [-1, -1, -1, -1], [-1, -1, -1, -1]],
]
CLASSES = [[3, 1, 4], [2, -1, -1]]
# What ours and theirs predict before training differs little from place to place. These bring it
# to the spread of a trained model.
RPN_SCORE_STDDEV, RPN_BOX_STDDEV = 2.0, 0.3
CLASS_STDDEV, BOX_STDDEV, MASK_STDDEV = 2.0, 1.5, 2.0


class RcnnPair:
    """Both models.

    Args:
        model: Overrides of the config of the model.
        seed: Of the random weights.
        size: Height and width of the images.

    Attributes:
        theirs, ours: The models.
        pairs: (part, variable of theirs, variable of ours) of all variables.
    """

    def __init__(self, model: dict[str, Any], seed: int = 0, size: tuple[int, int] = SIZE) -> None:
        from official.vision.configs import maskrcnn as garden_cfg
        from official.vision.modeling import factory as garden_factory

        their_config, self.config = garden_cfg.MaskRCNN(), our_cfg.MaskRCNN()
        for config in (their_config, self.config):
            config.override({**model, 'input_size': [*size, 3]})
        self.size = size
        shape = [None, *size, 3]
        import tf_keras

        self.theirs = garden_factory.build_maskrcnn(
            tf_keras.layers.InputSpec(shape=shape), their_config
        )
        self.ours = factory.build_maskrcnn(keras.layers.InputSpec(shape=shape), self.config)
        self.images = garden_detector.normalize(garden_detector.make_images(size))
        self.boxes = tf.constant(BOXES)
        self.classes = tf.constant(CLASSES)
        random = np.random.default_rng(3)
        coarse = random.uniform(0, 1, (2, 3, 7, 7, 1)).reshape(6, 7, 7, 1)
        masks = tf.image.resize(coarse, (28, 28), 'bicubic') > 0.5
        self.masks = tf.reshape(tf.cast(masks, tf.float32), [2, 3, 28, 28])
        self.shapes = tf.constant([[float(size[0]), size[1]], [96.0, size[1]]])
        self.scale = self.config.outer_boxes_scale
        self.theirs(self.images, self.shapes, training=False)
        self._randomize(seed)
        self.pairs: list[tuple[str, Any, Any]] = []
        for name, part in self.theirs.checkpoint_items.items():
            ours = self.ours.checkpoint_items[name]
            is_list = isinstance(ours, list)
            for one, other in zip(part, ours, strict=True) if is_list else [(part, ours)]:
                pairs = garden_weights.pair_variables(one, other)
                self.pairs += [(name, *pair) for pair in pairs]
        for _, one, other in self.pairs:
            other.assign(one.numpy())

    @property
    def outer_boxes(self) -> tf.Tensor | None:
        if self.scale == 1.0:
            return None
        from official.vision.ops import box_ops

        outer = box_ops.compute_outer_boxes(self.boxes, self.shapes[:, None], self.scale)
        return tf.where(self.boxes < 0, -1.0, outer)

    def _randomize(self, seed: int) -> None:
        garden_weights.randomize_weights(self.theirs, seed)
        norms = garden_detector.get_norms(self.theirs)
        momenta = [layer.momentum for layer in norms]
        for layer in norms:
            layer.gamma.assign(0.5 * layer.gamma)
            layer.momentum = 0.0
        self.call_theirs(training=True)
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
            variance = layer.moving_variance
            variance.assign(0.5 * (variance + tf.reduce_mean(variance)))
        self._scale_predictions()

    def _scale_predictions(self) -> None:
        head = self.theirs.rpn_head
        outputs = self.call_theirs(training=False)
        self._scale(head._classifier, list(outputs['rpn_scores'].values()), RPN_SCORE_STDDEV)
        self._scale(head._box_regressor, list(outputs['rpn_boxes'].values()), RPN_BOX_STDDEV)
        for index, head in enumerate(self.theirs.detection_head):
            outputs = self.call_theirs(training=True)
            suffix = f'_{index}' if index else ''
            self._scale(head._classifier, [outputs[f'class_outputs{suffix}']], CLASS_STDDEV)
            self._scale(head._box_regressor, [outputs[f'box_outputs{suffix}']], BOX_STDDEV)
        if self.theirs.mask_head is not None:
            self._scale(
                self.theirs.mask_head._mask_regressor, [outputs['mask_outputs']], MASK_STDDEV
            )

    @staticmethod
    def _scale(predictor: Any, values: list[tf.Tensor], stddev: float) -> None:
        flat = tf.concat([tf.reshape(value, [-1]) for value in values], 0)
        kernel = predictor.weights[0]
        kernel.assign(kernel * stddev / tf.math.reduce_std(flat))
        predictor.bias.assign(tf.zeros_like(predictor.bias))

    def freeze_norms(self) -> None:
        """Puts batch normalisation of both into inference mode."""
        for model in (self.theirs, self.ours):
            for layer in garden_detector.get_norms(model):
                layer.trainable = False

    def _get_arguments(self, training: bool) -> dict[str, Any]:
        if not training:
            return {'training': False}
        arguments = {'gt_boxes': self.boxes, 'gt_classes': self.classes, 'training': True}
        if self.config.include_mask:
            arguments |= {'gt_masks': self.masks, 'gt_outer_boxes': self.outer_boxes}
        return arguments

    def call_theirs(self, training: bool) -> dict[str, Any]:
        with fixed_sampling():
            return self.theirs(self.images, self.shapes, **self._get_arguments(training))

    def call_ours(self, training: bool) -> dict[str, Any]:
        arguments = self._get_arguments(training)
        if training:
            count = self.config.roi_generator.num_proposals + self.boxes.shape[1]
            arguments['sampling_order'] = tf.tile(tf.range(count)[None], [2, 1])
        return self.ours(self.images, self.shapes, **arguments)


@contextlib.contextmanager
def fixed_sampling() -> Iterator[None]:
    """Model Garden takes the last ones instead of random ones."""
    with unittest.mock.patch('tensorflow.random.shuffle', lambda values, **_: values):
        yield
