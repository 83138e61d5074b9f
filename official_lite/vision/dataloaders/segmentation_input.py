"""Parser of semantic segmentation: images and their masks to network inputs and labels.

Images stay uint8 where their normalisation is ImageNet's: the model does that on the device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_lite.vision.dataloaders import decoder, image_decoding, parser, utils
from official_lite.vision.dataloaders.mask_files import IGNORED
from official_lite.vision.ops import (
    image_colour,
    image_normalization,
    random_draws,
    uint8_images,
)

__all__ = ['IGNORED', 'Decoder', 'DenseFeature', 'Parser', 'decode_features', 'decode_images']

IMAGE_KEY = 'image/encoded'
MASK_KEY = 'image/segmentation/class/encoded'

Labels = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class DenseFeature:
    """An encoded image in a record, of 8 bits per channel.

    Attributes:
        feature_name: Its feature.
        num_channels: Number of channels, 1, 3 or 4.
        mean: Means of the channels, 0 to 255.
        stddev: Standard deviations of the channels.
    """

    feature_name: str = IMAGE_KEY
    num_channels: int = 3
    mean: Sequence[float] = tuple(255.0 * value for value in image_normalization.MEAN_RGB)
    stddev: Sequence[float] = tuple(255.0 * value for value in image_normalization.STDDEV_RGB)


_RGB = DenseFeature()


class Decoder(decoder.Decoder):
    """Reads the features of a `tf.train.Example`; images stay encoded.

    Args:
        image_feature: The image: a `DenseFeature`, or a config with its fields.
        additional_dense_features: Further images, whose channels follow.
    """

    def __init__(
        self, image_feature: Any = _RGB, additional_dense_features: Sequence[Any] | None = None
    ) -> None:
        names = [image_feature.feature_name, MASK_KEY, IMAGE_KEY, 'image/source_id']
        names += [feature.feature_name for feature in additional_dense_features or ()]
        self._keys_to_features = {
            name: tf.io.FixedLenFeature((), tf.string, '') for name in dict.fromkeys(names)
        }
        for name in ('image/height', 'image/width'):
            self._keys_to_features[name] = tf.io.FixedLenFeature((), tf.int64, 0)

    def decode(self, serialized_example: tf.Tensor) -> dict[str, tf.Tensor]:
        """Strings [] and int64 [] by feature."""
        return tf.io.parse_single_example(serialized_example, self._keys_to_features)


def decode_features(
    features: Mapping[str, tf.Tensor],
    image_feature: Any = _RGB,
    additional_dense_features: Sequence[Any] | None = None,
) -> dict[str, tf.Tensor]:
    """Decodes the images of a record.

    Args:
        features: What `Decoder.decode` returns.
        image_feature: See `Decoder`.
        additional_dense_features: See `Decoder`.

    Returns:
        'image' uint8 [height, width, channels of all features]; 'mask' int32 [height, width, 1].
    """
    image = decode_images(features, image_feature, additional_dense_features)
    return {'image': image, 'mask': tf.cast(_decode(features[MASK_KEY], 1), tf.int32)}


def decode_images(
    features: Mapping[str, tf.Tensor],
    image_feature: Any = _RGB,
    additional_dense_features: Sequence[Any] | None = None,
) -> tf.Tensor:
    """The images of `decode_features`: uint8 [height, width, channels of all features]."""
    images = [
        _decode(features[feature.feature_name], feature.num_channels)
        for feature in (image_feature, *(additional_dense_features or ()))
    ]
    return tf.concat(images, axis=-1)


def _decode(image_bytes: tf.Tensor, num_channels: int) -> tf.Tensor:
    if num_channels == 3:
        return image_decoding.decode_image(image_bytes)
    image = tf.io.decode_image(image_bytes, channels=num_channels, expand_animations=False)
    return tf.ensure_shape(image, [None, None, num_channels])


class Parser(parser.Parser):
    """Resizes, crops, mirrors and pads image and mask together.

    The arguments are Model Garden's, and `aug_rand_rot90` and `color_jitter`.

    Args:
        output_size: (height, width) that images are resized into, pixels. May be empty for training
            with `crop_size`: then images are cropped as they are.
        crop_size: (height, width) of the random crop of training images, after they were resized to
            `output_size`, whatever their aspect ratio. None or empty means no crop.
        resize_eval_groundtruth: Whether masks to evaluate on are resized as the images are. If not,
            they keep their size and are padded to `groundtruth_padded_size`.
        gt_is_matting_map: Whether masks are opacities, 0 to 255. They become 0 to 1 in training,
            and in evaluation 1 where that is above 0.5.
        groundtruth_padded_size: (height, width).
        ignore_label: Label of padding, and of pixels of no class.
        aug_rand_hflip: Whether half of the training images are mirrored.
        preserve_aspect_ratio: Whether height and width are scaled alike.
        aug_scale_min: Smallest scale of training images.
        aug_scale_max: Largest scale.
        dtype: Number format of images that are normalised here.
        image_feature: How the image is normalised: a `DenseFeature`, or a config with its fields.
        additional_dense_features: The same of further images, whose channels follow.
        centered_crop: Whether padding goes to all sides rather than to the bottom and right.
        aug_rand_rot90: Whether training images are turned by 0, 90, 180 or 270 degrees.
        color_jitter: Largest relative change of brightness and contrast of training images, and of
            saturation where they are RGB.

    Raises:
        ValueError: `groundtruth_padded_size` is missing, or `centered_crop` is set with masks of
            their own size.
    """

    def __init__(
        self,
        output_size: Sequence[int],
        crop_size: Sequence[int] | None = None,
        resize_eval_groundtruth: bool = True,
        gt_is_matting_map: bool = False,
        groundtruth_padded_size: Sequence[int] | None = None,
        ignore_label: int = 255,
        aug_rand_hflip: bool = False,
        preserve_aspect_ratio: bool = True,
        aug_scale_min: float = 1.0,
        aug_scale_max: float = 1.0,
        dtype: str = 'float32',
        image_feature: Any = _RGB,
        additional_dense_features: Sequence[Any] | None = None,
        centered_crop: bool = False,
        aug_rand_rot90: bool = False,
        color_jitter: float = 0.0,
    ) -> None:
        if not resize_eval_groundtruth and not groundtruth_padded_size:
            raise ValueError(
                'Expected groundtruth_padded_size [height, width] with '
                f'resize_eval_groundtruth=False. Received: {groundtruth_padded_size}'
            )
        if centered_crop and not resize_eval_groundtruth:
            raise ValueError('Expected resize_eval_groundtruth=True with centered_crop=True')
        self._output_size = [int(length) for length in output_size]
        self._crop_size = [int(length) for length in crop_size or ()]
        self._resize_eval_groundtruth = resize_eval_groundtruth
        self._gt_is_matting_map = gt_is_matting_map
        self._groundtruth_padded_size = [int(length) for length in groundtruth_padded_size or ()]
        self._ignore_label = ignore_label
        self._aug_rand_hflip = aug_rand_hflip
        self._preserve_aspect_ratio = preserve_aspect_ratio
        self._aug_rand_rot90 = aug_rand_rot90
        self._color_jitter = color_jitter
        self._aug_scale_min = aug_scale_min
        self._aug_scale_max = aug_scale_max
        self._dtype = dtype
        self._features = [image_feature, *(additional_dense_features or ())]
        self._centered_crop = centered_crop
        self._mean = [float(value) for feature in self._features for value in feature.mean]
        self._stddev = [float(value) for feature in self._features for value in feature.stddev]

    def _parse_train_data(
        self, data: parser.Record, key: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Labels]:
        """One training example.

        Args:
            data: 'image' uint8 [height, width, channels] and 'mask' int32 [height, width, 1], class
                ids, `IGNORED` for none, or opacities; or the encoded features of `Decoder`.
            key: int32 [2] that decides all that is random. None means TensorFlow's global seed.

        Returns:
            The image, [height, width, channels]: uint8, to be normalised by the model, or normalised
            where that is not ImageNet's normalisation of RGB. And {'masks': float32 [height,
            width, 1], 'valid_masks': bool, of the same shape, 'image_info': float32 [4, 2]}.
        """
        image, mask = self._get_image_and_mask(data)
        if self._gt_is_matting_map:
            mask = tf.cast(mask, tf.float32) / 255.0
        if self._crop_size:
            if self._output_size:
                image, mask = self._resize_both(image, mask)
            image, mask = self._crop(image, mask, key)
        if self._color_jitter > 0:
            strength, is_rgb = self._color_jitter, image.shape[-1] == 3
            image = image_colour.color_jitter(
                image, strength, strength, strength if is_rgb else None, seed=key
            )
        if self._aug_rand_hflip:
            do_flip = random_draws.coin(key, 'horizontal_flip', 0.5)
            image, mask = (
                tf.cond(do_flip, lambda x=x: tf.reverse(x, [1]), lambda x=x: x)
                for x in (image, mask)
            )
        if self._aug_rand_rot90:
            num_turns = random_draws.uniform_int(key, 'rot90', maxval=4)
            image, mask = (tf.image.rot90(x, num_turns) for x in (image, mask))
        size = self._crop_size or self._output_size
        scales = (self._aug_scale_min, self._aug_scale_max)
        image, mask, image_info = self._fit(image, mask, size, scales, key)
        return self._finish(image, mask, image_info)

    def _parse_eval_data(self, data: parser.Record) -> tuple[tf.Tensor, Labels]:
        """One example to evaluate on: as `_parse_train_data`, with nothing random.

        Without `resize_eval_groundtruth`, masks are [*groundtruth_padded_size, 1].
        """
        image, mask = self._decode(data)
        if self._gt_is_matting_map:
            opacity = tf.cast(mask, tf.float32) / 255.0
            mask = tf.cast(utils.binarize_matting_map(opacity), tf.int32)
        if not self._resize_eval_groundtruth:
            resized, image_info = self._fit_image(image)
            moved = self._pad_mask(mask, self._groundtruth_padded_size)
            return self._finish(resized, moved, image_info)
        if not self._preserve_aspect_ratio:
            image, mask = self._resize_both(image, mask)
        return self._finish(*self._fit(image, mask, self._output_size, (1.0, 1.0), None))

    def preprocess_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What evaluation makes of an image, for use without a mask.

        Args:
            image: uint8 [height, width, channels].

        Returns:
            The network's input, and image_info, float32 [4, 2].
        """
        resized, image_info = self._fit_image(image)
        return self._normalize(resized), image_info

    def _fit_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """An image at `output_size`, and `image_info` with the size that it had."""
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        mask = tf.zeros([*tf.unstack(tf.shape(image)[:2]), 1], tf.int32)
        if self._preserve_aspect_ratio:
            resized, _, image_info = self._fit(image, mask, self._output_size, (1.0, 1.0), None)
            return resized, image_info
        target = tf.constant(self._output_size, tf.float32)
        resized = uint8_images.resize(image, tf.constant(self._output_size, tf.int32))
        resized = tf.ensure_shape(resized, [*self._output_size, len(self._mean)])
        return resized, tf.stack([size, target, target / size, tf.zeros([2])])

    @property
    def image_dtype(self) -> tf.DType:
        """Number format of the network's input."""
        return tf.uint8 if self._leaves_normalization else tf.as_dtype(self._dtype)

    @property
    def _leaves_normalization(self) -> bool:
        """Whether the model can do it."""
        return len(self._features) == 1 and _is_imagenet(self._features[0])

    def _get_image_and_mask(self, data: parser.Record) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = self._decode(data)
        return (image, mask) if self._preserve_aspect_ratio else self._resize_both(image, mask)

    def _decode(self, data: parser.Record) -> tuple[tf.Tensor, tf.Tensor]:
        if 'image' not in data:
            data = decode_features(data, self._features[0], self._features[1:])
        image, mask = data['image'], tf.cast(data['mask'], tf.int32)
        image = tf.ensure_shape(image, [None, None, len(self._mean)])
        return image, tf.ensure_shape(mask, [None, None, 1])

    def _resize_both(self, image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Both at `output_size`."""
        size = tf.constant(self._output_size, tf.int32)
        return uint8_images.resize(image, size), tf.image.resize(mask, size, method='nearest')

    def _crop(
        self, image: tf.Tensor, mask: tf.Tensor, key: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The same random window of both; smaller where they are."""
        size = tf.shape(image)[:2]
        window = tf.minimum(size, self._crop_size)
        num_places = tf.cast(size - window + 1, tf.float32)
        start = tf.cast(random_draws.uniform(key, 'crop', [2]) * num_places, tf.int32)
        start = tf.minimum(start, size - window)  # the product may round up
        end = start + window
        rows, columns = slice(start[0], end[0]), slice(start[1], end[1])
        return image[rows, columns], mask[rows, columns]

    def _fit(
        self,
        image: tf.Tensor,
        mask: tf.Tensor,
        size: Sequence[int],
        scales: tuple[float, float],
        key: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Image and mask scaled and cropped alike, padded to `size`; and `image_info`."""
        resized, image_info = uint8_images.resize_and_crop(
            image, size, aug_scale_min=scales[0], aug_scale_max=scales[1], key=key
        )
        scaled_size = tf.cast(tf.round(image_info[0] * image_info[2]), tf.int32)
        mask = tf.image.resize(mask, scaled_size, method='nearest')
        begin = tf.cast(image_info[3], tf.int32)
        mask = mask[begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1]]
        colour = [round(value) for value in self._mean]
        resized = _pad(resized, size, tf.constant(colour, tf.uint8), centered=self._centered_crop)
        return resized, self._pad_mask(mask, size), image_info

    def _pad_mask(self, mask: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
        fill = tf.constant([self._ignore_label], mask.dtype)
        mask = tf.where(tf.equal(mask, tf.cast(IGNORED, mask.dtype)), fill, mask)
        return _pad(mask, size, fill, centered=self._centered_crop)

    def _finish(
        self, image: tf.Tensor, mask: tf.Tensor, image_info: tf.Tensor
    ) -> tuple[tf.Tensor, Labels]:
        masks = tf.cast(mask, tf.float32)
        is_valid = tf.not_equal(masks, float(self._ignore_label))
        labels = {'masks': masks, 'valid_masks': is_valid, 'image_info': image_info}
        return self._normalize(image), labels

    def _normalize(self, image: tf.Tensor) -> tf.Tensor:
        """Leaves it to the model, if it can."""
        if self._leaves_normalization:
            return image
        mean, stddev = tf.constant(self._mean), tf.constant(self._stddev)
        return tf.cast((tf.cast(image, tf.float32) - mean) / stddev, self._dtype)


def _is_imagenet(feature: Any) -> bool:
    """Whether a feature is normalised as the model does it, to a hundredth of a grey level."""
    pairs = zip((*feature.mean, *feature.stddev), (*_RGB.mean, *_RGB.stddev))
    return feature.num_channels == 3 and all(abs(a - b) < 0.01 for a, b in pairs)


def _pad(values: tf.Tensor, size: Sequence[int], fill: tf.Tensor, *, centered: bool) -> tf.Tensor:
    """Fills [at most height, at most width, channels] up to `size` with `fill`, [channels].

    On the bottom and right, or on all sides.
    """
    shape = tf.shape(values)
    block = tf.broadcast_to(fill, [*size, values.shape[-1]])
    top, left = tf.constant(0), tf.constant(0)
    if centered:
        top, left = (size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2
    bottom, right = top + shape[0], left + shape[1]
    wide = tf.concat([block[top:bottom, :left], values, block[top:bottom, right:]], axis=1)
    padded = tf.concat([block[:top], wide, block[bottom:]], axis=0)
    return tf.ensure_shape(padded, [*size, values.shape[-1]])
