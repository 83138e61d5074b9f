"""Parser of image classification: encoded images to network inputs and labels.

Only the crop that is used is decoded, and images stay uint8: the model normalises them on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.dataloaders import decoder, image_decoding, parser
from official_lite.vision.ops import image_colour, image_crop, jpeg_windows, uint8_images

__all__ = ['Augmenter', 'Decoder', 'Parser']

# Model Garden's features.
IMAGE_KEY = 'image/encoded'
LABEL_KEY = 'image/class/label'
# Ours: how to decode the image, see `image_decoding.decode_image`. Not in TFRecords.
READING_KEY = 'image/reading'


class Augmenter(Protocol):
    """What changes a resized training image, such as `augment.RandAugment`."""

    def distort(self, image: tf.Tensor, seed: Any = None) -> tf.Tensor:
        """A changed uint8 [height, width, 3]."""


class Decoder(decoder.Decoder):
    """Reads image and label of a `tf.train.Example`; the image stays encoded.

    Args:
        image_field_key: Feature of the encoded image.
        label_field_key: Feature of the label.
        is_multilabel: Whether an image has any number of labels.
    """

    def __init__(
        self,
        image_field_key: str = IMAGE_KEY,
        label_field_key: str = LABEL_KEY,
        is_multilabel: bool = False,
    ) -> None:
        self._keys_to_features = {
            image_field_key: tf.io.FixedLenFeature((), tf.string, ''),
            label_field_key: tf.io.FixedLenSequenceFeature((), tf.int64, allow_missing=True)
            if is_multilabel
            else tf.io.FixedLenFeature((), tf.int64, -1),
        }

    def decode(self, serialized_example: tf.Tensor) -> dict[str, tf.Tensor]:
        """The two features: string [] and int64 [], or int64 [n] with several labels."""
        return tf.io.parse_single_example(serialized_example, self._keys_to_features)


class Parser(parser.Parser):
    """Crops, resizes and augments.

    Args:
        output_size: (height, width) of the network input, pixels.
        num_classes: Length of the labels where there are several of an image.
        image_field_key: Key of the encoded image in a record.
        label_field_key: Key of the label.
        decode_jpeg_only: Whether all images are JPEGs, of which only the crop is decoded.
        aug_rand_hflip: Whether half of the training images are mirrored.
        aug_crop: Whether images are cropped: at random to train (Inception, 1409.4842), in the
            centre to evaluate.
        crop_area_range: Part of the image's area that a random crop has.
        center_crop_fraction: Side of the central crop, relative to the image's short side.
        color_jitter: Largest relative change of brightness, contrast and saturation of training
            images. 0 means none.
        augmenter: What else is done to a training image. None means nothing.
        is_multilabel: Whether labels become a vector of zeros and ones.
        tf_resize_method: How crops are resized, a name of `tf.image.ResizeMethod`.
        fast_decode: Whether crops of twice the output size or more are shrunk while they are
            decoded. Faster, and smoother: pixels differ from those of full decoding.
    """

    def __init__(
        self,
        output_size: Sequence[int],
        num_classes: int,
        *,
        image_field_key: str = IMAGE_KEY,
        label_field_key: str = LABEL_KEY,
        decode_jpeg_only: bool = True,
        aug_rand_hflip: bool = True,
        aug_crop: bool = True,
        crop_area_range: Sequence[float] = (0.08, 1.0),
        center_crop_fraction: float = image_crop.CENTER_CROP_FRACTION,
        color_jitter: float = 0.0,
        augmenter: Augmenter | None = None,
        is_multilabel: bool = False,
        tf_resize_method: str = 'bilinear',
        fast_decode: bool = False,
    ) -> None:
        self._output_size = [int(length) for length in output_size[:2]]
        self._num_classes = num_classes
        self._image_field_key = image_field_key
        self._label_field_key = label_field_key
        self._decode_jpeg_only = decode_jpeg_only
        self._aug_rand_hflip = aug_rand_hflip
        self._aug_crop = aug_crop
        self._crop_area_range = tuple(crop_area_range)
        self._center_crop_fraction = center_crop_fraction
        self._color_jitter = color_jitter
        self._augmenter = augmenter
        self._is_multilabel = is_multilabel
        self._tf_resize_method = tf_resize_method
        self._fast_decode = fast_decode

    def _parse_train_data(
        self, data: parser.Record, key: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One training example.

        Args:
            data: An encoded image, string [], and its label, int64 [] or [n].
            key: int32 [2] that decides all that is random. None means TensorFlow's global seed.

        Returns:
            uint8 [height, width, 3], and the label: int32 [], or int32 [num_classes].
        """
        image = self._decode(data, is_training=True, key=key)
        if self._color_jitter > 0:
            strength = self._color_jitter
            image = image_colour.color_jitter(image, strength, strength, strength, seed=key)
        image = self._resize(image)
        if self._aug_rand_hflip:
            draw = tf.random.uniform([]) if key is None else randomness.uniform(key, 'flip')
            image = tf.cond(draw < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
            image = tf.ensure_shape(image, [*self._output_size, 3])
        if self._augmenter is not None:
            image = self._augmenter.distort(image, seed=key)
        return image, self._get_label(data)

    def _parse_eval_data(self, data: parser.Record) -> tuple[tf.Tensor, tf.Tensor]:
        """One example to evaluate on: as `_parse_train_data`, with nothing random."""
        image = self._decode(data, is_training=False, key=None)
        return self._resize(image), self._get_label(data)

    def preprocess_image(self, image: tf.Tensor) -> tf.Tensor:
        """What evaluation makes of a decoded image, uint8 [rows, columns, 3], without a label."""
        return self._resize(
            self._crop(image, is_training=False, key=None) if self._aug_crop else image
        )

    def preprocess_bytes(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """The same of an encoded image, string [], of any kind."""
        data = {self._image_field_key: image_bytes, READING_KEY: tf.constant(0)}
        return self._resize(self._decode(data, is_training=False, key=None))

    def _decode(self, data: parser.Record, *, is_training: bool, key: Any) -> tf.Tensor:
        """The crop, uint8 [rows, columns, 3]."""
        image_bytes, reading = data[self._image_field_key], data.get(READING_KEY)

        def decode_whole() -> tf.Tensor:
            image = image_decoding.decode_image(image_bytes, reading)
            return self._crop(image, is_training=is_training, key=key) if self._aug_crop else image

        def decode_crop() -> tf.Tensor:
            shape = tf.image.extract_jpeg_shape(image_bytes)
            window = self._choose_window(shape, is_training=is_training, key=key)
            min_size = self._output_size if self._fast_decode else None
            return jpeg_windows.decode_window(image_bytes, window, min_size)

        if not self._aug_crop or not self._decode_jpeg_only:
            return decode_whole()
        if reading is None:
            return decode_crop()
        is_plain_jpeg = (reading == 0) & tf.io.is_jpeg(image_bytes)
        return tf.cond(is_plain_jpeg, decode_crop, decode_whole)

    def _crop(self, image: tf.Tensor, *, is_training: bool, key: Any) -> tf.Tensor:
        window = self._choose_window(tf.shape(image), is_training=is_training, key=key)
        end = window[:2] + window[2:]
        return image[window[0] : end[0], window[1] : end[1]]

    def _choose_window(self, image_shape: tf.Tensor, *, is_training: bool, key: Any) -> tf.Tensor:
        if is_training:
            area_range = self._crop_area_range
            return jpeg_windows.sample_window(image_shape, area_range=area_range, seed=key)
        return jpeg_windows.compute_center_window(image_shape, self._center_crop_fraction)

    def _resize(self, image: tf.Tensor) -> tf.Tensor:
        if self._tf_resize_method == 'bilinear':
            resized = uint8_images.resize(image, tf.constant(self._output_size, tf.int32))
        else:
            pixels = tf.image.resize(image, self._output_size, self._tf_resize_method)
            pixels = tf.clip_by_value(tf.cast(pixels, tf.float32), 0.0, 255.0)
            resized = uint8_images.round_to_uint8(pixels)
        return tf.ensure_shape(resized, [*self._output_size, 3])

    def _get_label(self, data: parser.Record) -> tf.Tensor:
        label = data[self._label_field_key]
        if isinstance(label, tf.SparseTensor):
            label = label.values
        label = tf.cast(label, tf.int32)
        if not self._is_multilabel:
            return label if label.shape.rank == 0 else tf.reshape(label, [])
        # A class that is named twice counts once.
        return tf.reduce_max(
            tf.one_hot(tf.concat([label, [-1]], 0), self._num_classes, dtype=tf.int32), 0
        )
