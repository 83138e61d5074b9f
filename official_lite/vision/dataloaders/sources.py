"""From a data config to its source, and to what is known about the data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from official_lite import errors
from official_lite.core.data_info import DataInfo, check_not_empty
from official_lite.vision import registries
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['build_coco', 'build_embedded', 'build_source', 'build_tfrecord', 'get_data_info']


def get_data_info(data_config: Any, *, where: str = 'data') -> DataInfo:
    """Counts, classes and fingerprint of the data of a config; counted once, then cached on disk.

    Args:
        data_config: A data config of detection.
        where: Its path in the experiment, for messages.

    Raises:
        UsageError: The config names no data, or data that is not there.
        DataError: The data cannot be read, or is empty.
    """
    info = build_source(data_config, where=where).info
    check_not_empty(info)
    return info


def build_source(data_config: Any, *, where: str = 'data') -> source_lib.Source:
    """The source of a data config.

    `source.type` names it; where that is null, Model Garden's `input_path` is read as TFRecords.

    Raises:
        UsageError: As `get_data_info`.
    """
    _refuse_unsupported(data_config, where)
    kind = data_config.source.type
    if kind is not None:
        builder = registries.DATA_SOURCES.get_builder(kind)
        config = data_config.source.get()
        with _full_paths(config, f'{where}.source.{kind}'):
            return builder(config, data_config)
    if not data_config.input_path:
        raise errors.UsageError(
            'no data',
            where=where,
            expected='source.type (tfrecord, coco or embedded), or input_path',
        )
    with _full_paths(data_config, where):
        return build_tfrecord(data_config, data_config)


@contextlib.contextmanager
def _full_paths(config: Any, where: str) -> Iterator[None]:
    """Puts the config's path before the name of its field in a UsageError from inside."""
    try:
        yield
    except errors.UsageError as error:
        if error.where.isidentifier() and hasattr(config, error.where):
            error.where = f'{where}.{error.where}'
        raise


@registries.register_data_source('embedded')
def build_embedded(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.embedded`."""
    from official_lite.vision.dataloaders import embedded_source

    return embedded_source.build_embedded_source(
        config.name, split=config.split, num_scenes=config.num_scenes
    )


@registries.register_data_source('coco')
def build_coco(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.coco`."""
    from official_lite.vision.dataloaders import coco_source

    return coco_source.build_coco_source(
        config.annotation_file,
        config.image_dir,
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )


@registries.register_data_source('tfrecord')
def build_tfrecord(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.tfrecord`, or Model Garden's `input_path`; both name the same two fields."""
    from official_lite.vision.dataloaders import tfrecord_source

    decoder = data_config.decoder.get()
    return tfrecord_source.build_tfrecord_source(
        config.input_path,
        is_compressed=config.file_type == 'tfrecord_compressed',
        regenerate_source_id=decoder.regenerate_source_id,
        label_map=getattr(decoder, 'label_map', ''),
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )


def _refuse_unsupported(config: Any, where: str) -> None:
    """Raises UsageError for fields of Model Garden that are not there yet."""
    refused = {
        'tfds_name': (config.tfds_name, 'write TFRecords or a COCO JSON of it and use source'),
        'weights': (config.weights, 'give one input_path'),
        'enable_tf_data_service': (config.enable_tf_data_service, 'leave it out'),
    }
    for name, (value, hint) in refused.items():
        if value:
            raise errors.UsageError('not there yet', where=f'{where}.{name}', hint=hint)
    if config.input_path and not isinstance(config.input_path, (str, list, tuple)):
        raise errors.UsageError(
            'mixtures of data sets are not there yet',
            where=f'{where}.input_path',
            expected='a path, a pattern, or a list of them',
        )
    if getattr(config.decoder.get(), 'attribute_names', None):
        raise errors.UsageError(
            'attributes of objects are not there yet',
            where=f'{where}.decoder.simple_decoder.attribute_names',
            expected='an empty list',
        )
