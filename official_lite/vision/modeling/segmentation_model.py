"""Semantic segmentation as one model: images in, logits of each place out."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling import model_parts
from official_lite.vision.ops import image_normalization

_PARTS = ('backbone', 'decoder', 'head', 'mask_scoring_head')


@keras.saving.register_keras_serializable(package='official_lite')
class SegmentationModel(keras.Model):
    """A backbone, a decoder if there is one, and a segmentation head.

    What pools, such as ASPP, is part of the decoder; what joins features of both, as DeepLabV3+
    does, is part of the head. So backbones, decoders and fusions go together freely.

    Args:
        backbone: Images to feature maps by level.
        decoder: Feature maps by level to feature maps by level, or to one map; None for none.
        head: The pair of the backbone's and the decoder's features to logits.
        mask_scoring_head: Logits to scores of the classes; None for none.
    """

    def __init__(
        self,
        backbone: keras.Model,
        decoder: Optional[keras.layers.Layer],
        head: keras.layers.Layer,
        mask_scoring_head: Optional[keras.layers.Layer] = None,
        **kwargs: Any,
    ) -> None:
        # Images keep their dtype: only what enters the backbone is cast.
        super().__init__(**{'name': 'segmentation_model', 'autocast': False, **kwargs})
        self.backbone = backbone
        self.decoder = decoder
        self.head = head
        self.mask_scoring_head = mask_scoring_head
        self._build_parts()

    def _build_parts(self) -> None:
        """Creates the variables that the parts do not have yet."""
        features = shapes = self.backbone.output_specs
        if self.decoder is not None:
            if not self.decoder.built:
                self.decoder.build(features)
            shapes = self.decoder.output_specs
        if not self.head.built:
            self.head.build((features, shapes))
        scoring = self.mask_scoring_head
        if scoring is not None and not scoring.built:
            num_classes = self.head.get_config()['num_classes']
            scoring.build((None, None, None, num_classes))
        self.built = True

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> dict[str, tf.Tensor]:
        """Classifies each place.

        Args:
            inputs: uint8 [batch, height, width, 3], which are normalised here, or float, which are
                taken as normalised.
            training: Whether normalisation uses the batch's moments, and dropout is on.

        Returns:
            `logits` [batch, height_l, width_l, num_classes], in the resolution of the head, and
            `mask_scores` [batch, num_classes] if there is a head for them; in the compute dtype.
        """
        x = image_normalization.normalize_if_uint8(inputs, self.compute_dtype)
        features = decoded = self.backbone(x, training=training)
        if self.decoder is not None:
            decoded = self.decoder(features, training=training)
        outputs = {'logits': self.head((features, decoded), training=training)}
        if self.mask_scoring_head is not None:
            outputs['mask_scores'] = self.mask_scoring_head(outputs['logits'], training=training)
        return outputs

    @property
    def checkpoint_items(self) -> dict[str, keras.layers.Layer]:
        """Parts that are saved and restored under names of their own."""
        items = {'backbone': self.backbone, 'head': self.head}
        if self.decoder is not None:
            items['decoder'] = self.decoder
        if self.mask_scoring_head is not None:
            items['mask_scoring_head'] = self.mask_scoring_head
        return items

    def get_config(self) -> dict[str, Any]:
        return {'name': self.name, **model_parts.serialize_parts(self, _PARTS)}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Optional[dict[str, Any]] = None
    ) -> SegmentationModel:
        return cls(**model_parts.deserialize_parts(config, _PARTS, custom_objects))
