"""What exported vision modules share: decoding and preprocessing of inputs, and signatures."""

from __future__ import annotations

import abc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.core import export_base, layer_control, model_sizes, task_factory
from official_lite.vision.dataloaders import source
from official_lite.vision.ops import image_normalization

INPUT_TYPES = ('image_tensor', 'image_bytes', 'tf_example', 'tflite')

_ALIASES = {'serve_examples': 'tf_example'}
_IMAGE_FEATURE = 'image/encoded'
# What a signature keeps as it is.
_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
# Larger ones overflow TensorFlow's counts of elements.
_MAX_SIDE = 2**15

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
        input_image_size: Sequence[int | None],
        input_type: str = 'image_tensor',
        num_channels: int = 3,
        model: keras.Model | None = None,
        input_name: str | None = None,
    ) -> None:
        """Builds the model, for the size of the export, unless it is given.

        Args:
            params: The `ExperimentConfig`; its `task.model.input_size` need not be that of the
                export.
            batch_size: Images of one call; None means any number.
            input_image_size: Height and width that images are resized into, pixels. None for sides
                that vary, of detectors and segmentation: only for 'tflite', where nothing is
                resized.
            input_type: 'image_tensor': uint8 [batch, height, width, 3]; 'image_bytes': string
                [batch], encoded images of any sizes; 'tf_example': string [batch], serialized
                tf.train.Examples with `image/encoded`; 'tflite': float32 [batch, height, width, 3],
                images of the network's size, resized, padded and normalised, for conversion to
                TFLite.
            num_channels: Channels of the images, as many as the model's.
            model: A model to export; None builds the one of `params`.
            input_name: Name of the input of the signature; None means 'inputs'.

        Raises:
            UsageError: Another input type or number of channels, or a size or name that is none.
        """
        expected = self._count_channels(params)
        if num_channels != expected:
            raise errors.UsageError(
                where='num_channels', expected=str(expected), received=str(num_channels)
            )
        _check_sizes(batch_size, input_image_size)
        _check_name(input_name)
        self._num_channels = num_channels
        self._batch_size = batch_size
        self._input_size = list(input_image_size)
        self._input_type = canonical_input_type(input_type)
        self._input_name = input_name or 'inputs'
        super().__init__(params, self._build_as_trained(params) if model is None else model)

    def _build_model(self, params: Any) -> keras.Model:
        """The model of an `ExperimentConfig`, built for the size of the export."""
        size = [*self._get_network_size(params), self._num_channels]
        task_config = params.task.replace(model={'input_size': size})
        return task_factory.get_task(task_config).build_model()

    def _build_as_trained(self, params: Any) -> keras.Model:
        return layer_control.apply_to_served_model(self._build_model(params), params.task)

    def _get_network_size(self, params: Any) -> list[int | None]:
        """Height and width of the network's input; None for sides that vary."""
        del params
        return [*self._input_size]

    @property
    def _input_image_size(self) -> list[int]:
        """Height and width that images are resized into, pixels."""
        known = [side for side in self._input_size if side is not None]
        if len(known) < len(self._input_size):
            raise errors.UsageError(
                'images are resized to it',
                where='input_image_size',
                expected='height and width in px',
                received=str([*self._input_size]),
                hint="sides may vary for detectors and segmentation with the input type 'tflite'",
            )
        return known

    def _count_channels(self, params: Any) -> int:
        """Channels of the images that the model of an `ExperimentConfig` takes."""
        del params
        return 3

    @abc.abstractmethod
    def preprocess_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """uint8 [height, width, 3] to the network's input [h, w, 3] and `image_info` [4, 2]."""

    def preprocess_bytes(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `preprocess_image`, for an encoded image, string []."""
        return self.preprocess_image(decode_image(image_bytes))

    def preprocess_example(self, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `preprocess_image`, for a serialized tf.train.Example, string []."""
        return self.preprocess_bytes(get_image_bytes(serialized))

    def build_inputs(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What a signature of the input type 'tflite' takes for an image.

        Args:
            image: uint8 [height, width, channels], of any size.

        Returns:
            The image as the network sees it, float32 [height, width, channels] of the size of its
            input: resized, padded and normalised; and its `image_info`, float32 [4, 2].
        """
        image, image_info = self.preprocess_image(image)
        return image_normalization.normalize_if_uint8(image), image_info

    def _build_inputs(self, image: tf.Tensor) -> Any:
        """`build_inputs` under Model Garden's name and with what its module of the task returns."""
        return self.build_inputs(image)

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
        return self._serve_each(inputs, self.preprocess_bytes)

    def inference_from_tf_example(self, inputs: tf.Tensor) -> Outputs:
        """As `serve`, for serialized tf.train.Examples, string [batch]."""
        return self._serve_each(inputs, self.preprocess_example)

    def inference_for_tflite(self, images: tf.Tensor) -> Outputs:
        """Runs images as the network takes them, float32 [batch, height, width, 3]."""
        info = make_whole_info(tf.shape(images)[1:3])
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

    def write_sizes(self, directory: str) -> None:
        """Writes `model_flops.txt`, of one image, and `model_params.txt` into a folder."""
        images, info = (
            tf.TensorSpec([1, *spec.shape], spec.dtype) for spec in self._preprocessed_spec()
        )
        function = tf.function(self.run_model, autograph=False).get_concrete_function(images, info)
        model_sizes.write_flops(function.graph, os.path.join(directory, 'model_flops.txt'))
        model_sizes.write_model_params(self.model, os.path.join(directory, 'model_params.txt'))

    def _make_function(self, input_type: str) -> Any:
        functions: dict[str, tuple[Callable[..., Outputs], list[int | None], tf.DType]] = {
            'image_tensor': (
                self.serve,
                [self._batch_size, None, None, self._num_channels],
                tf.uint8,
            ),
            'image_bytes': (self.inference_from_image_bytes, [self._batch_size], tf.string),
            'tf_example': (self.inference_from_tf_example, [self._batch_size], tf.string),
            'tflite': (
                self.inference_for_tflite,
                [self._batch_size, *self._get_network_size(self.params), self._num_channels],
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


def _check_sizes(batch_size: int | None, input_image_size: Sequence[int | None]) -> None:
    if batch_size is not None and batch_size < 1:
        raise errors.UsageError(
            where='batch_size',
            expected='1 or more, or None for any number',
            received=str(batch_size),
        )
    known = [side for side in input_image_size if side is not None]
    if len(input_image_size) != 2 or any(not 1 <= side <= _MAX_SIDE for side in known):
        raise errors.UsageError(
            where='input_image_size',
            expected=f'height and width of 1 to {_MAX_SIDE:,} px',
            received=str(list(input_image_size)),
        )


def _check_name(input_name: str | None) -> None:
    if input_name and not _NAME.fullmatch(input_name):
        raise errors.UsageError(
            where='input_name',
            expected='a letter, then letters, digits and underscores',
            received=repr(input_name),
        )


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


def get_image_bytes(serialized: tf.Tensor, feature: str = _IMAGE_FEATURE) -> tf.Tensor:
    """The encoded image of a serialized tf.train.Example, string []."""
    return tf.io.parse_single_example(serialized, {feature: tf.io.FixedLenFeature((), tf.string)})[
        feature
    ]


def make_whole_info(size: tf.Tensor) -> tf.Tensor:
    """`image_info`, float32 [4, 2], of an image of the network's size, [2], all of which is image."""
    size = tf.cast(size, tf.float32)
    return tf.stack([size, size, tf.ones([2]), tf.zeros([2])])
