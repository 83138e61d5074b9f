"""What exported vision modules share: decoding and preprocessing of inputs, and signatures."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import export_base
from official_lite.vision.dataloaders import source

INPUT_TYPES = ('image_tensor', 'image_bytes', 'tf_example', 'tflite')

_ALIASES = {'serve_examples': 'tf_example'}
_IMAGE_FEATURE = 'image/encoded'

Outputs = dict[str, tf.Tensor]


class ExportModule(export_base.ExportModule):
    """A model with its preprocessing, as functions of raw images.

    Attributes:
        params: The `ExperimentConfig`.
        model: The model; its weights are those of the export.
    """

    def __init__(
        self,
        params: Any,
        *,
        batch_size: int | None,
        input_image_size: Sequence[int],
        input_type: str = 'image_tensor',
        num_channels: int = 3,
        model: keras.Model | None = None,
        input_name: str | None = None,
    ) -> None:
        """Builds the model unless it is given.

        Args:
            params: The `ExperimentConfig`.
            batch_size: Images of one call; None means any number.
            input_image_size: Height and width that images are resized into, pixels.
            input_type: 'image_tensor': uint8 [batch, height, width, 3]; 'image_bytes': string
                [batch], encoded images of any sizes; 'tf_example': string [batch], serialized
                tf.train.Examples with `image/encoded`; 'tflite': float32 [batch, height, width, 3],
                images of the network's size, resized, padded and normalised, for conversion to
                TFLite.
            num_channels: Must be 3.
            model: A model to export; None builds the one of `params`.
            input_name: Name of the input of the signature; None means 'inputs'.

        Raises:
            UsageError: Another input type or number of channels.
        """
        if num_channels != 3:
            raise errors.UsageError(where='num_channels', expected='3', received=str(num_channels))
        self._batch_size = batch_size
        self._input_image_size = [int(length) for length in input_image_size]
        self._input_type = canonical_input_type(input_type)
        self._input_name = input_name or 'inputs'
        super().__init__(params, self._build_model(params) if model is None else model)

    @abc.abstractmethod
    def _build_model(self, params: Any) -> keras.Model:
        """The model of an `ExperimentConfig`, built."""

    @abc.abstractmethod
    def preprocess_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 [height, width, 3] to the network's input [h, w, 3] and `image_info` [4, 2]."""

    @abc.abstractmethod
    def run_model(self, images: tf.Tensor, image_info: tf.Tensor) -> Outputs:
        """What the signature returns for a batch of preprocessed images."""

    @abc.abstractmethod
    def _preprocessed_spec(self) -> tuple[tf.TensorSpec, tf.TensorSpec]:
        """Specs of what `preprocess_image` returns."""

    def serve(self, images: tf.Tensor) -> Outputs:
        """Runs uint8 images [batch, height, width, 3] through preprocessing and model."""
        return self._serve_each(images, self.preprocess_image)

    def inference_from_image_bytes(self, inputs: tf.Tensor) -> Outputs:
        """As `serve`, for encoded images, string [batch]; their sizes may differ."""
        return self._serve_each(inputs, lambda item: self.preprocess_image(decode_image(item)))

    def inference_from_tf_example(self, inputs: tf.Tensor) -> Outputs:
        """As `serve`, for serialized tf.train.Examples, string [batch]."""
        return self._serve_each(inputs, lambda item: self.preprocess_image(decode_example(item)))

    def inference_for_tflite(self, images: tf.Tensor) -> Outputs:
        """Runs images as the network takes them, float32 [batch, height, width, 3]."""
        size = tf.cast(tf.shape(images)[1:3], tf.float32)
        info = tf.stack([size, size, tf.ones([2]), tf.zeros([2])])  # [4, 2]: all of it is image
        return self.run_model(images, tf.tile(info[None], [tf.shape(images)[0], 1, 1]))

    def get_inference_signatures(self, function_keys: Mapping[str, str]) -> dict[str, Any]:
        """Concrete functions by signature name.

        Args:
            function_keys: Signature name by input type.
        """
        signatures = {
            name: self._make_function(canonical_input_type(input_type))
            for input_type, name in function_keys.items()
        }
        # So that `tf.saved_model.save` takes module and signatures as they are.
        export_base.track_variables(self)
        return signatures

    def _make_function(self, input_type: str) -> Any:
        functions: dict[str, tuple[Callable[..., Outputs], list[int | None], tf.DType]] = {
            'image_tensor': (self.serve, [self._batch_size, None, None, 3], tf.uint8),
            'image_bytes': (self.inference_from_image_bytes, [self._batch_size], tf.string),
            'tf_example': (self.inference_from_tf_example, [self._batch_size], tf.string),
            'tflite': (
                self.inference_for_tflite,
                [self._batch_size, *self._preprocessed_spec()[0].shape],
                tf.float32,
            ),
        }
        function, shape, dtype = functions[input_type]
        spec = tf.TensorSpec(shape, dtype, name=self._input_name)
        return tf.function(function, autograph=False).get_concrete_function(spec)

    def _serve_each(
        self, inputs: tf.Tensor, preprocess: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    ) -> Outputs:
        images, image_info = tf.map_fn(
            preprocess,
            inputs,
            fn_output_signature=self._preprocessed_spec(),
            parallel_iterations=32,
        )
        return self.run_model(images, image_info)


def canonical_input_type(input_type: str) -> str:
    """The input type by its own name.

    Raises:
        UsageError: There is no such type.
    """
    input_type = _ALIASES.get(input_type, input_type)
    if input_type not in INPUT_TYPES:
        raise errors.UsageError(
            where='input_type', expected=' or '.join(INPUT_TYPES), received=repr(input_type)
        )
    return input_type


def decode_image(image_bytes: tf.Tensor) -> tf.Tensor:
    """An encoded image, string [], as uint8 [height, width, 3]; as data is decoded in training."""
    return source.decode_image(image_bytes)


def decode_example(serialized: tf.Tensor) -> tf.Tensor:
    """The image of a serialized tf.train.Example, string [], as uint8 [height, width, 3]."""
    features = tf.io.parse_single_example(
        serialized, {_IMAGE_FEATURE: tf.io.FixedLenFeature((), tf.string)}
    )
    return decode_image(features[_IMAGE_FEATURE])
