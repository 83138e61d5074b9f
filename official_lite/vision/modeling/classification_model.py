"""Image classification: a backbone, the mean over all places, a dense layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import norm
from official_lite.modeling.initializers import Initializer
from official_lite.vision.modeling import model_parts
from official_lite.vision.modeling.layers import nn_layers
from official_lite.vision.ops import image_normalization

__all__ = ['ClassificationModel']

_PARTS = ('backbone',)


@keras.saving.register_keras_serializable(package='official_lite')
class ClassificationModel(keras.Model):
    """Features of the backbone's coarsest level, averaged, and a linear classifier.

    Of a backbone whose outputs have names other than levels, such as 'pre_logits', the last of these
    names in the order of letters is classified, as in Model Garden.

    Args:
        backbone: Images to a dict of features by level, [batch, height, width, channels] or
            [batch, tokens, channels].
        num_classes: Number of classes.
        input_specs: Shape of the images, [batch, height, width, channels].
        dropout_rate: Chance that an averaged feature is left out in training.
        kernel_initializer: Initialiser of the dense layer's kernel.
        kernel_regularizer: Regulariser of the dense layer's kernel.
        bias_regularizer: Regulariser of its bias.
        add_head_batch_norm: Whether features are normalised before they are averaged.
        use_sync_bn, norm_momentum, norm_epsilon: Of that normalisation, see `norm`.
        skip_logits_layer: Whether the averaged features are the output.
        name: Name of the model.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        dropout_rate: float = 0.0,
        kernel_initializer: Initializer = 'random_uniform',
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        add_head_batch_norm: bool = False,
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        skip_logits_layer: bool = False,
        name: str = 'classification_model',
    ) -> None:
        # Images keep their dtype: only what enters the backbone is cast.
        super().__init__(name=name, autocast=False)
        self.backbone = backbone
        self._options = {
            'num_classes': num_classes,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'dropout_rate': dropout_rate,
            'kernel_initializer': kernel_initializer,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
            'bias_regularizer': keras.regularizers.get(bias_regularizer),
            'add_head_batch_norm': add_head_batch_norm,
            'use_sync_bn': use_sync_bn,
            'norm_momentum': norm_momentum,
            'norm_epsilon': norm_epsilon,
            'skip_logits_layer': skip_logits_layer,
        }
        self.head_norm = (
            norm.BatchNormalization(
                momentum=norm_momentum, epsilon=norm_epsilon, synchronized=use_sync_bn
            )
            if add_head_batch_norm
            else None
        )
        self.dropout = None if skip_logits_layer else keras.layers.Dropout(dropout_rate)
        self.dense = (
            None
            if skip_logits_layer
            else keras.layers.Dense(
                num_classes,
                kernel_initializer=kernel_initializer,
                kernel_regularizer=kernel_regularizer,
                bias_regularizer=bias_regularizer,
                name='dense',
            )
        )
        self._build_layers()

    def _build_layers(self) -> None:
        # Of a functional model `output_specs` may have the levels only.
        is_functional = bool(getattr(self.backbone, 'inputs', None))
        shape = (
            _get_last(self.backbone.output).shape
            if is_functional
            else _get_last(self.backbone.output_specs)
        )
        if self.head_norm is not None:
            self.head_norm.build(tuple(shape))
        if self.dense is not None:
            self.dense.build((None, shape[-1]))
        self.built = True

    def call(self, images: tf.Tensor, training: Optional[bool] = None) -> tf.Tensor:
        """Classifies.

        Args:
            images: uint8 [batch, height, width, 3], which are normalised here, or float, which are
                taken as normalised.
            training: Whether normalisation uses the batch's moments, and dropout is on.

        Returns:
            Logits [batch, num_classes] (without the logits layer: features [batch, channels]), in
            the compute dtype.
        """
        x = image_normalization.normalize_if_uint8(images, self.compute_dtype)
        x = _get_last(self.backbone(x, training=training))
        if self.head_norm is not None:
            x = self.head_norm(x, training=training)
        x = tf.reduce_mean(x, axis=list(range(1, len(x.shape) - 1)))
        if self.dense is None or self.dropout is None:
            return x
        return self.dense(self.dropout(x, training=training))

    @property
    def checkpoint_items(self) -> dict[str, keras.layers.Layer]:
        """Parts that are saved and restored under names of their own."""
        return {'backbone': self.backbone}

    def get_config(self) -> dict[str, Any]:
        return {
            'name': self.name,
            **model_parts.serialize_parts(self, _PARTS),
            **nn_layers.serialize_arguments(self._options),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Optional[dict[str, Any]] = None
    ) -> ClassificationModel:
        return cls(**model_parts.deserialize_parts(config, _PARTS, custom_objects))


def _get_last(endpoints: Mapping[str, Any]) -> Any:
    """What is to be classified: an output with a name of its own, or else the coarsest level.

    Names such as '5/depthwise' are of outputs inside of a level.
    """
    names = [name for name in endpoints if '/' not in name]
    own_names = [name for name in names if not name.isdigit()]
    return endpoints[max(own_names) if own_names else max(names, key=int)]
