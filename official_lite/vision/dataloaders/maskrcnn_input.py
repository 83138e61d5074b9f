"""Parser of Faster, Mask and Cascade R-CNN: records to network inputs, padded boxes and masks.

As in `retinanet_input`, images stay uint8 and anchors are labelled on the device. A mask is what lies
within its box, resized to a square: the same for every size of image, and small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from official_lite.vision.dataloaders import (
    detection_augmentation,
    instance_masks,
    parser,
    retinanet_input,
)
from official_lite.vision.ops import box_ops, copy_paste, mask_windows

__all__ = ['Parser', 'build_parser']

_PADDING = retinanet_input.PADDING
_NUM_KEYS = 2**31 - 1
# A label that decides about an example's samples of anchors and proposals.
_KEY = 'sampling_key'

Labels = dict[str, Any]


class Parser(retinanet_input.Parser):
    """Resizes, augments and pads, with masks.

    Args:
        output_size, max_level: As in `retinanet_input.Parser`, and so all that is not named here.
        include_mask: Whether there are masks.
        mask_crop_size: Height and width, in px, to which a mask is resized within its box.
        outer_boxes_scale: Masks are cut out of boxes enlarged by this.
        paste: Pastes objects of other images. None means not.
        **options: As in `retinanet_input.Parser`.
    """

    def __init__(
        self,
        output_size: Sequence[int],
        max_level: int,
        *,
        include_mask: bool = True,
        mask_crop_size: int = 112,
        outer_boxes_scale: float = 1.0,
        paste: copy_paste.CopyPaste | None = None,
        **options: Any,
    ) -> None:
        super().__init__(output_size, max_level, **options)
        self._include_mask = include_mask
        self._mask_crop_size = mask_crop_size
        self._outer_boxes_scale = outer_boxes_scale
        self._paste = paste

    @property
    def padding_values(self) -> Mapping[str, float]:
        names = ['gt_boxes', 'gt_classes']
        if self._include_mask:
            names += ['gt_outer_boxes', 'gt_masks']
        return dict.fromkeys(names, _PADDING)

    def _parse_train_data(
        self, data: parser.Record, key: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Labels]:
        """One training example.

        Args:
            data: A record (see `source.Source.decode`), with masks if they are to be there.
            key: int32 [2] that decides all that is random. None means TensorFlow's global seed.

        Returns:
            uint8 [height, width, 3] and {'image_info': float32 [4, 2], 'gt_boxes': float32 [n, 4]
            yxyx in pixels of the network input, 'gt_classes': int32 [n], 'sampling_key': int32 [2]}.
            With masks also {'gt_outer_boxes': float32 [n, 4], the enlarged boxes, and 'gt_masks':
            float32 [n, mask_crop_size, mask_crop_size], 0 to 1, the masks within these}.
        """
        if key is None:
            key = tf.random.uniform([2], maxval=_NUM_KEYS, dtype=tf.int32)
        image = data['image']
        boxes, classes, masks = self._select_objects(data)
        image, boxes, masks = self._augmentation.change_record(image, boxes, key, masks)
        scales = (self._aug_scale_min, self._aug_scale_max)
        image, labels = self._make_labels(
            image, boxes, classes, masks, scales, key, self._augmentation
        )
        return image, {**labels, _KEY: key}

    def process_train_batch(self, images: tf.Tensor, labels: Labels) -> tuple[tf.Tensor, Labels]:
        """Pastes objects of other images, if that is to be."""
        if self._paste is None:
            return images, labels
        return self._paste(images, labels, labels[_KEY])

    def _parse_eval_data(self, data: parser.Record) -> tuple[tf.Tensor, Labels]:
        """One example to evaluate on.

        Returns:
            As `_parse_train_data`, so that there is a loss, and 'groundtruths' in labels, as in
            `retinanet_input.Parser`; with masks also 'masks' in there: uint8 [m, length], of every
            object the run lengths of its mask in the image as it was read (see `instance_masks`).
        """
        _, all_labels = super()._parse_eval_data(data)
        groundtruths = all_labels['groundtruths']
        if self._include_mask:
            counts = instance_masks.encode_masks(data['groundtruth_instance_masks'])
            groundtruths['masks'] = self._pad(instance_masks.to_padded(counts), 0)
        boxes, classes, masks = self._select_objects(data)
        image, labels = self._make_labels(data['image'], boxes, classes, masks, (1.0, 1.0), None)
        source_id = tf.cast(groundtruths['source_id'], tf.int32)
        key = tf.stack([source_id, tf.zeros_like(source_id)])
        return image, {**labels, _KEY: key, 'groundtruths': groundtruths}

    def _select_objects(self, data: parser.Record) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Boxes, classes and masks, without those of crowds if they are to be skipped."""
        objects = {'boxes': data['groundtruth_boxes'], 'classes': data['groundtruth_classes']}
        if self._include_mask:
            objects['masks'] = tf.cast(data['groundtruth_instance_masks'] > 0, tf.uint8)
        if self._skip_crowd_during_training:
            keep = tf.logical_not(data['groundtruth_is_crowd'])
            objects = {name: tf.boolean_mask(values, keep) for name, values in objects.items()}
        return objects['boxes'], objects['classes'], objects.get('masks')

    def _make_labels(
        self,
        image: tf.Tensor,
        boxes: tf.Tensor,
        classes: tf.Tensor,
        masks: tf.Tensor | None,
        scales: tuple[float, float],
        key: tf.Tensor | None,
        augmentation: detection_augmentation.Augmentation | None = None,
    ) -> tuple[tf.Tensor, Labels]:
        rows = {'row': tf.range(tf.shape(boxes)[0])}
        resized, found = self._resize(image, boxes, classes, scales, key, rows, augmentation)
        labels: Labels = {
            'image_info': found['image_info'],
            'gt_boxes': found['boxes'],
            'gt_classes': found['classes'],
        }
        if masks is not None:
            info = found['image_info']
            outer = box_ops.compute_outer_boxes(found['boxes'], info[1], self._outer_boxes_scale)
            labels['gt_outer_boxes'] = outer
            kept = tf.gather(masks, found['attributes']['row'])
            labels['gt_masks'] = self._crop_masks(kept, outer, info)
        return resized, labels

    def _crop_masks(self, masks: tf.Tensor, boxes: tf.Tensor, image_info: tf.Tensor) -> tf.Tensor:
        """float32 [n, size, size]: masks [n, height, width] of the image, within boxes [n, 4] of the
        network's input."""
        scale, offset = tf.tile(image_info[2], [2]), tf.tile(image_info[3], [2])
        original = box_ops.normalize_boxes((boxes + offset) / scale, image_info[0])
        return mask_windows.crop_masks(masks, original, self._mask_crop_size)


def build_parser(
    output_size: Sequence[int],
    *,
    max_level: int,
    parser_config: Any,
    include_mask: bool,
    outer_boxes_scale: float = 1.0,
    max_boxes_per_image: int = 0,
    where: str = 'parser',
) -> Parser:
    """The parser of a `configs.maskrcnn.Parser`.

    Args:
        output_size, max_level, max_boxes_per_image, where: See `retinanet_input.build_parser`.
        parser_config: The config.
        include_mask: Whether there are masks.
        outer_boxes_scale: Of the model.

    Raises:
        UsageError: A field asks for what is not there.
    """
    config = parser_config
    arguments = retinanet_input.get_parser_arguments(
        output_size,
        max_level=max_level,
        parser_config=config,
        max_boxes_per_image=max_boxes_per_image,
        where=where,
    )
    return Parser(
        **arguments,
        include_mask=include_mask,
        mask_crop_size=config.mask_crop_size,
        outer_boxes_scale=outer_boxes_scale,
        paste=copy_paste.build_copy_paste(config.copy_paste, outer_boxes_scale),
    )
