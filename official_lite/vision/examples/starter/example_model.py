"""The example's network. Usually a backbone of `official_lite.vision.modeling` does."""

from __future__ import annotations

from typing import Any, Optional

import keras

from official_lite.vision.modeling.layers import nn_layers

NUM_FILTERS = (16, 32, 64)
HIDDEN_UNITS = 1024


@keras.saving.register_keras_serializable(package='official_lite')
class ExampleModel(keras.Model):
    """Three convolutions with stride 2, the mean over all places, and two dense layers.

    Input: images [batch, height, width, channels].
    Output: logits [batch, num_classes], float32.

    Args:
        num_classes: Number of classes.
        input_specs: Shape of the images.
        kernel_regularizer: Regulariser of all kernels.
        name: Name of the model.
    """

    def __init__(
        self,
        num_classes: int,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        name: str = 'example_model',
    ) -> None:
        input_specs = nn_layers.to_input_spec(input_specs)
        regularizer = keras.regularizers.get(kernel_regularizer)
        inputs = keras.Input(input_specs.shape[1:], name='images')
        x = inputs
        for index, filters in enumerate(NUM_FILTERS):
            x = keras.layers.Conv2D(
                filters,
                3,
                strides=2,
                padding='same',
                use_bias=False,
                kernel_regularizer=regularizer,
                name=f'conv_{index}',
            )(x)
        x = keras.layers.GlobalAveragePooling2D(name='mean')(x)
        x = keras.layers.Dense(
            HIDDEN_UNITS, activation='relu', kernel_regularizer=regularizer, name='hidden'
        )(x)
        # Losses want float32 whatever the layers compute in.
        outputs = keras.layers.Dense(
            num_classes, kernel_regularizer=regularizer, dtype='float32', name='logits'
        )(x)
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._arguments = (num_classes, input_specs, regularizer)

    def get_config(self) -> dict[str, Any]:
        names = ('num_classes', 'input_specs', 'kernel_regularizer')
        arguments = dict(zip(names, self._arguments, strict=True))
        return {'name': self.name, **nn_layers.serialize_arguments(arguments)}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Optional[dict[str, Any]] = None
    ) -> ExampleModel:
        del custom_objects
        return cls(**config)


def build_example_model(
    input_specs: keras.layers.InputSpec,
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> ExampleModel:
    """Builds the network from an `example_config.ExampleModel`."""
    return ExampleModel(model_config.num_classes, input_specs, l2_regularizer)
