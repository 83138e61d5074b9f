"""Parser of RetinaNet: records to network inputs and padded boxes.

Images stay uint8: the model normalises them on the device. Anchors are labelled there too, on the
batch. So what leaves this parser is small, and the labels are the same for every anchor setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import detection_augmentation, parser
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.ops import box_ops, preprocess_ops, uint8_images

__all__ = ['PADDING', 'Parser', 'build_parser', 'get_parser_arguments']

# Boxes, classes and areas that are not there.
PADDING = -1

# The mean colour, because Model Garden pads with 0 after normalising.
_FILL_COLOUR = tuple(round(c) for c in preprocess_ops.MEAN_RGB)

Labels = dict[str, Any]


class Parser(parser.Parser):
    """Resizes, augments and pads.

    Args:
        output_size: (height, width) of the rectangle that images are resized into, pixels.
        max_level: Coarsest level of the feature pyramid; the network input is padded to multiples
            of 2^max_level.
        augmentation: What else is done to training images.
        aug_scale_min: Smallest scale of training images, relative to `output_size`.
        aug_scale_max: Largest scale.
        skip_crowd_during_training: Whether boxes of crowds are left out of training.
        max_num_instances: Number of boxes of an image to which evaluation data is padded.
        pad: Whether to pad to multiples of 2^max_level. If not, `output_size` must be one.
        keep_aspect_ratio: Whether height and width are scaled alike.
    """

    def __init__(
        self,
        output_size: Sequence[int],
        max_level: int,
        *,
        augmentation: detection_augmentation.Augmentation | None = None,
        aug_scale_min: float = 1.0,
        aug_scale_max: float = 1.0,
        skip_crowd_during_training: bool = True,
        max_num_instances: int = 100,
        pad: bool = True,
        keep_aspect_ratio: bool = True,
    ) -> None:
        self._output_size = [int(length) for length in output_size]
        self._padded_size = (
            preprocess_ops.compute_padded_size(self._output_size, 2**max_level)
            if pad
            else self._output_size
        )
        self._augmentation = augmentation or detection_augmentation.Augmentation()
        self._aug_scale_min = aug_scale_min
        self._aug_scale_max = aug_scale_max
        self._skip_crowd_during_training = skip_crowd_during_training
        self._max_num_instances = max_num_instances
        self._keep_aspect_ratio = keep_aspect_ratio

    @property
    def padding_values(self) -> Mapping[str, float]:
        return {'boxes': PADDING, 'classes': PADDING, 'attributes': 0}

    def _parse_train_data(
        self, data: parser.Record, key: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Labels]:
        """One training example.

        Args:
            data: A record (see `source.Source.decode`).
            key: int32 [2] that decides all that is random. None means TensorFlow's global seed.

        Returns:
            uint8 [height, width, 3] and {'image_info': float32 [4, 2], 'boxes': float32 [n, 4] yxyx
            in pixels of the network input, 'classes': int32 [n]}. If the record has attributes,
            also 'attributes': a dict of [n, size].
        """
        image, boxes = data['image'], data['groundtruth_boxes']
        classes, attributes = data['groundtruth_classes'], data.get('groundtruth_attributes', {})
        if self._skip_crowd_during_training:
            keep = tf.logical_not(data['groundtruth_is_crowd'])
            boxes, classes, attributes = tf.nest.map_structure(
                lambda values: tf.boolean_mask(values, keep), (boxes, classes, attributes)
            )
        image, boxes, _ = self._augmentation.change_record(image, boxes, key)
        scales = (self._aug_scale_min, self._aug_scale_max)
        image, labels = self._resize(
            image, boxes, classes, scales, key, attributes, augmentation=self._augmentation
        )
        return image, self._augmentation.mark(labels, key)

    def process_train_batch(self, images: tf.Tensor, labels: Labels) -> tuple[tf.Tensor, Labels]:
        """Makes mosaics, if there are to be any."""
        return self._augmentation.change_batch(images, labels, self.padding_values)

    def _parse_eval_data(self, data: parser.Record) -> tuple[tf.Tensor, Labels]:
        """One example to evaluate on.

        Returns:
            As `_parse_train_data`, and 'groundtruths' in labels: 'source_id', 'height', 'width'
            int64 []; 'num_detections' int32 []; 'image_info' float32 [4, 2]; 'boxes' float32 [m, 4]
            yxyx in pixels of the original image; 'classes' int64 [m]; 'areas' float32 [m], square
            pixels; 'is_crowds' int32 [m]; m is `max_num_instances`. Raises inside tf.data if an
            image has more boxes.
        """
        image, classes = data['image'], data['groundtruth_classes']
        boxes, attributes = data['groundtruth_boxes'], data.get('groundtruth_attributes', {})
        image, labels = self._resize(image, boxes, classes, (1.0, 1.0), None, attributes)
        image_size = tf.cast(tf.shape(data['image'])[:2], tf.float32)
        labels['groundtruths'] = {
            'source_id': source_lib.to_number(data['source_id']),
            'height': data['height'],
            'width': data['width'],
            'num_detections': tf.shape(classes)[0],
            'image_info': labels['image_info'],
            'boxes': self._pad(box_ops.denormalize_boxes(boxes, image_size)),
            'classes': self._pad(classes),
            'areas': self._pad(data['groundtruth_area']),
            'is_crowds': self._pad(tf.cast(data['groundtruth_is_crowd'], tf.int32), 0),
        }
        return image, labels

    def preprocess_image(self, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What evaluation makes of an image, for use without labels.

        Args:
            image: uint8 [height, width, 3].

        Returns:
            uint8 [height, width, 3] of the network input, and image_info, float32 [4, 2].
        """
        no_boxes, no_classes = tf.zeros([0, 4]), tf.zeros([0], tf.int64)
        image, labels = self._resize(image, no_boxes, no_classes, (1.0, 1.0), None)
        return image, labels['image_info']

    def _resize(
        self,
        image: tf.Tensor,
        boxes: tf.Tensor,
        classes: tf.Tensor,
        scales: tuple[float, float],
        key: tf.Tensor | None,
        attributes: Mapping[str, tf.Tensor] | None = None,
        augmentation: detection_augmentation.Augmentation | None = None,
    ) -> tuple[tf.Tensor, Labels]:
        resized, image_info = uint8_images.resize_and_crop(
            image,
            self._output_size,
            aug_scale_min=scales[0],
            aug_scale_max=scales[1],
            key=key,
            keep_aspect_ratio=self._keep_aspect_ratio,
        )
        if augmentation is not None:
            resized = augmentation.change_resized(resized, key)
        boxes = preprocess_ops.resize_and_crop_boxes(
            box_ops.denormalize_boxes(boxes, image_info[0]),
            image_info[2],
            image_info[1],
            image_info[3],
        )
        kept = box_ops.get_non_empty_box_indices(boxes)
        labels: Labels = {
            'image_info': image_info,
            'boxes': tf.gather(boxes, kept),
            'classes': tf.cast(tf.gather(classes, kept), tf.int32),
        }
        if attributes:
            labels['attributes'] = {k: tf.gather(v, kept) for k, v in attributes.items()}
        return uint8_images.pad_bottom_right(resized, self._padded_size, _FILL_COLOUR), labels

    def _pad(self, values: tf.Tensor, constant: int = PADDING) -> tf.Tensor:
        """Pads the first dimension to `max_num_instances`; nothing may be lost."""
        num_missing = self._max_num_instances - tf.shape(values)[0]
        paddings = [[0, num_missing]] + [[0, 0]] * (values.shape.rank - 1)
        padded = tf.pad(values, paddings, constant_values=tf.cast(constant, values.dtype))
        padded.set_shape([self._max_num_instances, *values.shape[1:]])
        return padded


def build_parser(
    output_size: Sequence[int],
    *,
    max_level: int,
    parser_config: Any,
    max_boxes_per_image: int = 0,
    where: str = 'parser',
) -> Parser:
    """The parser of a `configs.retinanet.Parser`.

    Args:
        output_size: (height, width) of the network input.
        max_level: Coarsest level of the feature pyramid.
        parser_config: The config.
        max_boxes_per_image: Of the data. Evaluation data is padded to that many boxes where they
            are more than the config's `max_num_instances`, so that none is lost.
        where: Its path in the experiment, for messages.

    Raises:
        UsageError: A field asks for what is not there, or the size is not known.
    """
    return Parser(
        **get_parser_arguments(
            output_size,
            max_level=max_level,
            parser_config=parser_config,
            max_boxes_per_image=max_boxes_per_image,
            where=where,
        )
    )


def get_parser_arguments(
    output_size: Sequence[int],
    *,
    max_level: int,
    parser_config: Any,
    max_boxes_per_image: int,
    where: str,
) -> dict[str, Any]:
    """The arguments of a `Parser` that a config stands for; see `build_parser`."""
    config = parser_config
    _refuse_unsupported(config, where)
    if None in output_size[:2]:
        raise errors.UsageError(
            'nothing says how large images become',
            where='task.model.input_size',
            expected='height and width in px, for data',
            received=str(list(output_size)),
        )
    size = [int(length) for length in output_size[:2]]
    stride = 2**max_level
    if not config.pad and any(length % stride for length in size):
        raise errors.UsageError(
            where=f'{where}.pad',
            expected=f'true, or an input size of multiples of 2^max_level = {stride}',
            received=f'false with the input size {size}',
        )
    return {
        'output_size': size,
        'max_level': max_level,
        'augmentation': detection_augmentation.build_augmentation(config, where),
        'aug_scale_min': config.aug_scale_min,
        'aug_scale_max': config.aug_scale_max,
        'skip_crowd_during_training': config.skip_crowd_during_training,
        'max_num_instances': max(config.max_num_instances, max_boxes_per_image),
        'pad': config.pad,
        'keep_aspect_ratio': config.keep_aspect_ratio,
    }


def _refuse_unsupported(config: Any, where: str) -> None:
    if config.num_channels != 3:
        raise errors.UsageError(
            where=f'{where}.num_channels',
            expected='3 (grey images become RGB)',
            received=str(config.num_channels),
        )
    if getattr(config, 'aug_policy', None) is not None:
        raise errors.UsageError(
            where=f'{where}.aug_policy',
            expected='null: it is an older name of aug_type, and does nothing',
            received=repr(config.aug_policy),
        )
