"""From a data config of image classification to its source, and to what is known about the data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from official_lite import errors
from official_lite.core.classification_info import ClassificationInfo
from official_lite.core.data_info import check_not_empty
from official_lite.vision import registries
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['build_folder', 'build_source', 'get_data_info']


def get_data_info(
    data_config: Any, *, class_names: Sequence[str] = (), where: str = 'data'
) -> ClassificationInfo:
    """Counts, classes and fingerprint of the data of a config.

    Args:
        data_config: A `configs.image_classification.DataConfig`.
        class_names: Classes in the order of labels, where the data does not say. Empty: not known.
        where: The config's path in the experiment, for messages.

    Raises:
        UsageError: The config names no data, or data that is not there.
        DataError: The data cannot be read, or is empty.
    """
    info = build_source(data_config, class_names=class_names, where=where).info
    check_not_empty(info)
    assert isinstance(info, ClassificationInfo)
    return info


def build_source(
    data_config: Any, *, class_names: Sequence[str] = (), where: str = 'data'
) -> source_lib.Source:
    """The source of a data config.

    `source.type` names it; where that is null, Model Garden's `input_path` is read as TFRecords.

    Raises:
        UsageError: As `get_data_info`.
    """
    kind = data_config.source.type
    if kind is None:
        raise errors.UsageError('no data', where=where, expected='source.type, or input_path')
    builder = registries.CLASSIFICATION_SOURCES.get_builder(kind)
    config = data_config.source.get()
    with _full_paths(config, f'{where}.source.{kind}'):
        return builder(config, data_config, class_names=class_names)


@contextlib.contextmanager
def _full_paths(config: Any, where: str) -> Iterator[None]:
    """Puts the config's path before the name of its field in a UsageError from inside."""
    try:
        yield
    except errors.UsageError as error:
        if error.where.isidentifier() and hasattr(config, error.where):
            error.where = f'{where}.{error.where}'
        raise


@registries.register_classification_source('folder')
def build_folder(
    config: Any, data_config: Any, class_names: Sequence[str] = ()
) -> source_lib.Source:
    """Builds `source.folder`."""
    from official_lite.vision.dataloaders import class_folders, labelled_images

    images = class_folders.find_images(
        config.root,
        config.split,
        validation_share=config.validation_share,
        split_seed=config.split_seed,
        class_names=list(config.class_names) or class_names,
    )
    return labelled_images.build_labelled_source(
        images,
        orientation=config.orientation,
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )
