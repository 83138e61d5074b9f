"""From the data config of image classification to its reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.core.classification_info import ClassificationInfo, check_labels
from official_lite.core.data_info import check_not_empty
from official_lite.vision.dataloaders import (
    classification_input,
    classification_sources,
    input_reader,
    input_reader_factory,
    parser,
    repeated_source,
)
from official_lite.vision.ops import augment
from official_lite.vision.ops.random_draws import Seed

__all__ = ['BatchParser', 'build_augmenter', 'build_classification_reader', 'build_parser']

# Of the image's area, where the config leaves it open.
_CROP_AREA_RANGE = (0.08, 1.0)


class Chain:
    """Changes of an image, one after the other."""

    def __init__(self, augmenters: Sequence[classification_input.Augmenter]) -> None:
        self._augmenters = augmenters

    def distort(self, image: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """A changed uint8 [height, width, 3]."""
        for augmenter in self._augmenters:
            image = augmenter.distort(image, seed=seed)
        return image


class BatchParser(parser.Parser):
    """A parser of classification whose training batches may be mixed.

    Training gives (images, labels), evaluation (images, {'label': labels}), to which the reader adds
    'is_valid'.

    Args:
        parser_of_examples: Makes an image and a label of a record.
        mixer: What changes a training batch. None means nothing.
    """

    def __init__(
        self,
        parser_of_examples: classification_input.Parser,
        mixer: augment.MixupAndCutmix | None = None,
    ) -> None:
        self._parser = parser_of_examples
        self._mixer = mixer

    def _parse_train_data(
        self, data: parser.Record, key: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        image, label = self._parser.parse_fn(True)(data, key)
        return image, {'label': label, 'key': key}

    def process_train_batch(
        self, images: tf.Tensor, labels: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mixes the batch, if it is to be, with the key of its first example."""
        if self._mixer is None:
            return images, labels['label']
        return self._mixer.distort(images, labels['label'], seed=labels['key'][0])

    def _parse_eval_data(self, data: parser.Record) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        image, label = self._parser.parse_fn(False)(data)
        return image, {'label': label}


def build_classification_reader(
    data_config: Any,
    *,
    output_size: Sequence[int],
    num_classes: int,
    class_names: Sequence[str] = (),
    where: str = 'data',
) -> input_reader.InputReader:
    """The reader of training or validation data.

    Args:
        data_config: A `configs.image_classification.DataConfig`.
        output_size: (height, width) of the network input, pixels.
        num_classes: Of the model; labels must be below it.
        class_names: Classes in the order of labels, for data that does not say. Empty: not known.
        where: The config's path in the experiment, for messages.

    Raises:
        UsageError: The config asks for what is not there.
        DataError: The data is empty, or has labels out of range.
    """
    source = classification_sources.build_source(data_config, class_names=class_names, where=where)
    info = source.info
    assert isinstance(info, ClassificationInfo)
    check_not_empty(info)
    check_labels(info, num_classes)
    num_examples = data_config.num_examples
    if num_examples is not None and num_examples > info.num_examples:
        raise errors.UsageError(
            where=f'{where}.num_examples',
            expected=f'at most the {info.num_examples} examples of {info.origin}',
            received=str(num_examples),
        )
    is_training = bool(data_config.is_training)
    if is_training and (data_config.repeated_augment or 1) > 1:
        source = repeated_source.RepeatedSource(source, data_config.repeated_augment)
    return input_reader.InputReader(
        source,
        BatchParser(
            build_parser(data_config, output_size, num_classes),
            _build_mixer(data_config.mixup_and_cutmix, num_classes),
        ),
        is_training=is_training,
        global_batch_size=data_config.global_batch_size,
        num_examples=num_examples,
        options=input_reader_factory.build_reader_options(data_config, where=where),
    )


def build_parser(
    config: Any, output_size: Sequence[int], num_classes: int
) -> classification_input.Parser:
    """The parser of a data config.

    Args:
        config: A `configs.image_classification.DataConfig`.
        output_size: See `build_classification_reader`.
        num_classes: Of the model.
    """
    fraction = config.center_crop_fraction
    return classification_input.Parser(
        output_size,
        num_classes,
        decode_jpeg_only=config.decode_jpeg_only,
        aug_rand_hflip=config.aug_rand_hflip,
        aug_crop=bool(config.aug_crop),
        crop_area_range=config.crop_area_range or _CROP_AREA_RANGE,
        center_crop_fraction=1.0 if fraction is None else fraction,
        color_jitter=config.color_jitter,
        augmenter=build_augmenter(config),
        is_multilabel=config.is_multilabel,
        tf_resize_method=config.tf_resize_method,
    )


def build_augmenter(config: Any) -> Chain | None:
    """What a data config does to single training images after they were resized, in this order:

    AutoAugment or RandAugment, DeiT III's three augmentations, random erasing.
    """
    augmenters: list[classification_input.Augmenter] = []
    kind = None if config.aug_type is None else config.aug_type.type
    if kind == 'randaug':
        augmenters.append(augment.RandAugment(**config.aug_type.randaug.as_dict()))
    elif kind == 'autoaug':
        augmenters.append(augment.AutoAugment(**config.aug_type.autoaug.as_dict()))
    if config.three_augment:
        augmenters.append(augment.AutoAugment(augmentation_name='deit3_three_augment'))
    if config.random_erasing is not None:
        augmenters.append(augment.RandomErasing(**config.random_erasing.as_dict()))
    return Chain(augmenters) if augmenters else None


def _build_mixer(config: Any, num_classes: int) -> augment.MixupAndCutmix | None:
    return None if config is None else augment.MixupAndCutmix(num_classes, **config.as_dict())
