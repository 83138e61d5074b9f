"""RetinaNet as one model: images in, predictions or detections out."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling import model_anchors, model_parts
from official_lite.vision.ops import image_normalization

Levels = Mapping[str, tf.Tensor]

_PARTS = ('backbone', 'decoder', 'head', 'detection_generator')
# Outputs that are left out where there are no attributes.
_ATTRIBUTE_KEYS = ('detection_attributes', 'decoded_box_attributes')


@keras.saving.register_keras_serializable(package='official_lite')
class RetinaNetModel(keras.Model):
    """RetinaNet (https://arxiv.org/abs/1708.02002).

    Args:
        backbone: Images to feature maps by level.
        decoder: Feature maps by level to feature maps by level, or None.
        head: Feature maps by level to (scores, boxes, attributes).
        detection_generator: Predictions to detections.
        anchor_boxes: Anchors by level, float32 [height_l, width_l, anchors * 4], for detections.
            None to derive them from the following arguments and the size of the images.
        min_level: Finest level.
        max_level: Coarsest level.
        num_scales: See `anchor.Anchor`.
        aspect_ratios: See `anchor.Anchor`.
        anchor_size: See `anchor.Anchor`.
    """

    def __init__(
        self,
        backbone: keras.Model,
        decoder: Optional[keras.Model],
        head: keras.layers.Layer,
        detection_generator: keras.layers.Layer,
        anchor_boxes: Optional[Levels] = None,
        min_level: Optional[int] = None,
        max_level: Optional[int] = None,
        num_scales: Optional[int] = None,
        aspect_ratios: Optional[Sequence[float]] = None,
        anchor_size: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        # Images, shapes and anchors keep their dtypes: only what enters the backbone is cast.
        super().__init__(**{'name': 'retinanet', 'autocast': False, **kwargs})
        self.backbone = backbone
        self.decoder = decoder
        self.head = head
        self.detection_generator = detection_generator
        # A proxy, because Keras would wrap a plain dict.
        self._anchor_boxes = (
            None if anchor_boxes is None else types.MappingProxyType(dict(anchor_boxes))
        )
        self._anchors = model_anchors.ModelAnchors(
            min_level, max_level, num_scales, aspect_ratios, anchor_size
        )
        if not head.built:
            head.build((self.backbone if decoder is None else decoder).output_specs)
        self.built = True

    def call(
        self,
        images: tf.Tensor,
        image_shape: Optional[tf.Tensor] = None,
        anchor_boxes: Optional[Levels] = None,
        output_intermediate_features: bool = False,
        training: Optional[bool] = None,
    ) -> dict[str, Any]:
        """Predicts, and detects unless training.

        Args:
            images: uint8 [batch, height, width, 3], which are normalised here, or float, which are
                taken as normalised.
            image_shape: Height and width of each image without padding, in pixels of `images`,
                [batch, 2]. Detections are clipped to it.
            anchor_boxes: Anchors by level, [height_l, width_l, anchors * 4] or with the batch in
                front, in place of the model's own.
            output_intermediate_features: Whether `backbone_<level>` and `decoder_<level>` are
                returned too.
            training: Whether batch normalisation uses the batch's moments, and detections are left
                out.

        Returns:
            `cls_outputs` [batch, height_l, width_l, anchors * num_classes] and `box_outputs`
            [batch, height_l, width_l, anchors * 4] by level, and `attribute_outputs` by name and
            level if there are any, in the compute dtype; unless training also what
            `MultilevelDetectionGenerator` returns.
        """
        outputs: dict[str, Any] = {}
        x = image_normalization.normalize_if_uint8(images, self.compute_dtype)
        features = self.backbone(x, training=training)
        if output_intermediate_features:
            outputs.update({f'backbone_{level}': feature for level, feature in features.items()})
        if self.decoder is not None:
            features = self.decoder(features, training=training)
        if output_intermediate_features:
            outputs.update({f'decoder_{level}': feature for level, feature in features.items()})
        raw_scores, raw_boxes, raw_attributes = self.head(features, training=training)
        outputs.update(cls_outputs=raw_scores, box_outputs=raw_boxes)
        if raw_attributes:
            outputs['attribute_outputs'] = raw_attributes
        if not training:
            anchors = dict(self._anchor_boxes or anchor_boxes or self.make_anchor_boxes(images))
            detections = self.detection_generator(
                raw_boxes, raw_scores, anchors, image_shape, raw_attributes
            )
            outputs.update(
                (name, value)
                for name, value in detections.items()
                if value is not None and (name not in _ATTRIBUTE_KEYS or value)
            )
        return outputs

    def make_anchor_boxes(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Anchors by level for images of this size: constants if the size is static."""
        return self._anchors.make_boxes(images)

    @property
    def anchor_boxes(self) -> Optional[Levels]:
        """Anchors given at construction."""
        return self._anchor_boxes

    @property
    def checkpoint_items(self) -> dict[str, keras.layers.Layer]:
        """Parts that are saved and restored under names of their own."""
        items = {'backbone': self.backbone, 'head': self.head}
        if self.decoder is not None:
            items['decoder'] = self.decoder
        return items

    def get_config(self) -> dict[str, Any]:
        return {
            'name': self.name,
            **model_parts.serialize_parts(self, _PARTS),
            **self._anchors.get_config(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Optional[dict[str, Any]] = None
    ) -> RetinaNetModel:
        return cls(**model_parts.deserialize_parts(config, _PARTS, custom_objects))
