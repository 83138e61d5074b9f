"""One of Model Garden's detectors and ours with the same weights, and the same images and labels.

The weights are random; batch normalisation gets the statistics of the images, so that activations
have the sizes that they have in practice whatever the depth.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.tasks import retinanet
from tests import garden_weights

SIZE = (128, 256)
# yxyx in pixels; the second image has one object.
BOXES = [
    [[10.0, 20, 60, 90], [50, 120, 120, 250], [5, 5, 30, 25]],
    [[0, 0, 40, 40], [-1, -1, -1, -1], [-1, -1, -1, -1]],
]
CLASSES = [[3, 1, 4], [2, -1, -1]]
# Small enough for steps of 0.01 not to run away, which is what they do without any warm-up: with
# 2,304 inputs to each of its predictions, the box loss, which counts 50 times, is steep.
GAMMA_SCALE = 0.2
HEAD_GAMMA_SCALE = 0.3


class DetectorPair:
    """Both tasks with both models.

    Args:
        model: Overrides of `task.model`.
        losses: Overrides of `task.losses`.
        size: Height and width of the images.
        seed: Of the random weights.
        keep_head: Whether the head keeps its fresh weights, as at the start of training. If not,
            scores have the spread of a trained model's.

    Attributes:
        theirs, ours: The models.
        their_task, our_task: The tasks.
        pairs: (part, variable of theirs, variable of ours) of all variables.
    """

    def __init__(
        self,
        model: dict[str, Any],
        losses: dict[str, Any] | None = None,
        size: tuple[int, int] = SIZE,
        seed: int = 0,
        keep_head: bool = False,
    ) -> None:
        from official.vision.configs import retinanet as garden_cfg
        from official.vision.tasks import retinanet as garden_task

        overrides = {'model': {**model, 'input_size': [*size, 3]}, 'losses': losses or {}}
        their_config, our_config = garden_cfg.RetinaNetTask(), retinanet_cfg.RetinaNetTask()
        for config in (their_config, our_config):
            config.override(overrides)
        self.their_task = garden_task.RetinaNetTask(their_config)
        self.our_task = retinanet.RetinaNetTask(our_config)
        self.theirs = self.their_task.build_model()
        self.ours = self.our_task.build_model()
        self.size = size
        self.images = make_images(size)
        self._randomize(seed, keep_head)
        self.pairs: list[tuple[str, Any, Any]] = []
        for name, part in self.theirs.checkpoint_items.items():
            pairs = garden_weights.pair_variables(part, self.ours.checkpoint_items[name])
            self.pairs += [(name, *pair) for pair in pairs]
        self.carry()

    def _randomize(self, seed: int, keep_head: bool) -> None:
        for name, part in self.theirs.checkpoint_items.items():
            if name != 'head' or not keep_head:
                garden_weights.randomize_weights(part, seed)
        norms = get_norms(self.theirs)
        for layer in norms:
            layer.gamma.assign(GAMMA_SCALE * layer.gamma)
        if keep_head:
            for layer in get_norms(self.theirs.head):
                layer.gamma.assign(HEAD_GAMMA_SCALE * layer.gamma)
        momenta = [layer.momentum for layer in norms]
        for layer in norms:
            layer.momentum = 0.0
        self.theirs(normalize(self.images), training=True)
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
            # The coarsest levels have few pixels: without this, some channels vary by nearly nothing
            # and magnify rounding.
            variance = layer.moving_variance
            variance.assign(0.5 * (variance + tf.reduce_mean(variance)))
        if not keep_head:
            garden_weights.scale_retinanet_predictions(self.theirs, normalize(self.images))

    def carry(self) -> None:
        """Gives ours the weights of theirs."""
        for _, theirs, ours in self.pairs:
            ours.assign(theirs.numpy())

    def freeze_norms(self) -> None:
        """Puts batch normalisation of both into inference mode."""
        for model in (self.theirs, self.ours):
            for layer in get_norms(model):
                layer.trainable = False

    def get_trained(self) -> list[tuple[str, Any, Any]]:
        """Those of `pairs` that training changes."""
        names = {id(v) for v in self.theirs.trainable_variables}
        return [pair for pair in self.pairs if id(pair[1]) in names]

    @property
    def their_inputs(self) -> tuple[tf.Tensor, dict[str, Any]]:
        """Normalised images, and anchors labelled by Model Garden's labeler."""
        return normalize(self.images), label(self.their_task.task_config.model, self.size)

    @property
    def our_inputs(self) -> tuple[tf.Tensor, dict[str, Any]]:
        """The same images, and boxes with classes.

        Ours normalises uint8 images itself, with another rounding, which a deep network of random
        weights magnifies beyond any useful limit: here both get the same numbers.
        """
        labels = {'boxes': tf.constant(BOXES, tf.float32), 'classes': tf.constant(CLASSES)}
        return normalize(self.images), labels


def get_norms(model: Any) -> list[Any]:
    """All layers of batch normalisation."""
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if hasattr(layer, 'moving_mean')]


def make_images(size: tuple[int, int]) -> np.ndarray:
    """Smooth random images, uint8 [2, *size, 3]."""
    random = np.random.default_rng(1)
    coarse = random.uniform(0, 256, (2, size[0] // 8, size[1] // 8, 3))
    images = tf.image.resize(coarse, size, method='bicubic') + random.normal(0, 8, (2, *size, 3))
    return np.clip(images, 0, 255).astype(np.uint8)


def normalize(images: np.ndarray) -> tf.Tensor:
    """Model Garden's normalisation."""
    from official.vision.ops import preprocess_ops

    return tf.stack([preprocess_ops.normalize_image(image) for image in images])


def label(model_config: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Model Garden's labels of the anchors of `BOXES`."""
    from official.vision.ops import anchor as garden_anchor

    config = model_config.anchor
    anchors = garden_anchor.build_anchor_generator(
        model_config.min_level,
        model_config.max_level,
        config.num_scales,
        config.aspect_ratios,
        config.anchor_size,
    )(size)
    labeler = garden_anchor.AnchorLabeler(
        box_coder_weights=model_config.detection_generator.box_coder_weights
    )
    images = []
    for boxes, classes in zip(BOXES, CLASSES, strict=True):
        count = sum(label >= 0 for label in classes)
        arguments = (tf.constant(boxes[:count], tf.float32), tf.constant(classes[:count])[:, None])
        images.append(labeler.label_anchors(anchors, *arguments))
    names = ('cls_targets', 'box_targets', 'attribute_targets', 'cls_weights', 'box_weights')
    batch = tf.nest.map_structure(lambda *values: tf.stack(values), *images)
    return dict(zip(names, batch, strict=True))


def clear() -> None:
    """Frees what models left behind."""
    keras.utils.clear_session()
