"""Decoders of TensorFlow Datasets' examples by the data set's name."""

from __future__ import annotations

from collections.abc import Mapping

from official_lite import errors
from official_lite.vision.dataloaders import (
    decoder,
    tfds_classification_decoders,
    tfds_detection_decoders,
    tfds_segmentation_decoders,
)

__all__ = [
    'UnknownDatasetError',
    'get_classification_decoder',
    'get_detection_decoder',
    'get_segmentation_decoder',
]


class UnknownDatasetError(errors.UsageError, ValueError):
    """There is no decoder of this name."""


def get_classification_decoder(tfds_name: str) -> decoder.Decoder:
    """The decoder of a data set of images with one class.

    Raises:
        UnknownDatasetError: There is none (a ValueError too).
    """
    return _get(tfds_classification_decoders.TFDS_ID_TO_DECODER_MAP, tfds_name, 'classification')


def get_detection_decoder(tfds_name: str) -> decoder.Decoder:
    """The decoder of a data set of images with boxes.

    `DataConfig.tfds_name` and `source.tfds` do without: they read any data set with boxes.

    Raises:
        UnknownDatasetError: There is none (a ValueError too).
    """
    return _get(tfds_detection_decoders.TFDS_ID_TO_DECODER_MAP, tfds_name, 'detection')


def get_segmentation_decoder(tfds_name: str) -> decoder.Decoder:
    """The decoder of a data set of images with a mask.

    Raises:
        UnknownDatasetError: There is none (a ValueError too).
    """
    return _get(tfds_segmentation_decoders.TFDS_ID_TO_DECODER_MAP, tfds_name, 'segmentation')


def _get(decoders: Mapping[str, type[decoder.Decoder]], name: str, task: str) -> decoder.Decoder:
    if name not in decoders:
        raise UnknownDatasetError(
            f'no decoder for the {task} data set {name!r}',
            where='tfds_name',
            expected=f'one of {", ".join(decoders)}',
        )
    return decoders[name]()
