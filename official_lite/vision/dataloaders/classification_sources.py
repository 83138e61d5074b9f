"""From a data config of image classification to its source, and to what is known about the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from official_lite import errors
from official_lite.core.classification_info import ClassificationInfo
from official_lite.core.data_info import check_not_empty
from official_lite.vision import registries
from official_lite.vision.dataloaders import mixture_source, named_tfds
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.full_paths import full_paths

__all__ = ['build_csv', 'build_folder', 'build_source', 'build_tfrecord', 'get_data_info']


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
    if kind is not None:
        _refuse_weights(data_config, where, f'source.type is {kind}')
        builder = registries.CLASSIFICATION_SOURCES.get_builder(kind)
        config = data_config.source.get()
        with full_paths(config, f'{where}.source.{kind}'):
            return builder(config, data_config, class_names=class_names)
    if data_config.tfds_name:
        return _build_names(data_config, 'tfds_name', where)
    if not data_config.input_path:
        raise errors.UsageError(
            'no data', where=where, expected='source.type (folder, csv or tfrecord), or input_path'
        )
    return _build_names(data_config, 'input_path', where)


def _build_names(data_config: Any, field: str, where: str) -> source_lib.Source:
    """Builds Model Garden's `input_path` or `tfds_name`; a mapping of names is a mixture."""
    build = _build_named_tfds if field == 'tfds_name' else _build_input_path
    value = getattr(data_config, field)
    with full_paths(data_config, where):
        if isinstance(value, (str, list, tuple)):
            _refuse_weights(data_config, where, f'{field} is one data set')
            return build(data_config, value)
        parts = {name: build(data_config, part) for name, part in value.as_dict().items()}
        weights = data_config.weights
        return mixture_source.build_mixture(parts, weights.as_dict() if weights else None)


def _refuse_weights(data_config: Any, where: str, reason: str) -> None:
    if data_config.weights:
        raise errors.UsageError(where=f'{where}.weights', expected=f'not set, because {reason}')


def _build_input_path(data_config: Any, input_path: Any) -> source_lib.Source:
    return _build_records(input_path, data_config.file_type, data_config)


def _build_named_tfds(data_config: Any, name: Any) -> source_lib.Source:
    from official_lite.vision.dataloaders import classification_records

    if data_config.tfds_as_supervised:
        raise errors.UsageError(
            where='tfds_as_supervised',
            expected='false: image and class are found by their features',
        )
    return named_tfds.build(classification_records.build_tfds_source, name, data_config)


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


@registries.register_classification_source('csv')
def build_csv(config: Any, data_config: Any, class_names: Sequence[str] = ()) -> source_lib.Source:
    """Builds `source.csv`."""
    from official_lite.vision.dataloaders import class_table, labelled_images

    if data_config.is_multilabel and not config.label_separator:
        raise errors.UsageError(
            where='label_separator', expected="a text such as ' ', because is_multilabel is on"
        )
    if config.label_separator and not data_config.is_multilabel:
        raise errors.UsageError(
            where='label_separator',
            expected="'', because an image has one class",
            hint='set is_multilabel=true in task.train_data if it may have several',
        )
    images = class_table.find_images(
        config.file,
        config.image_dir,
        image_column=config.image_column,
        label_column=config.label_column,
        label_separator=config.label_separator,
        split_column=config.split_column,
        split=config.split,
        validation_share=config.validation_share,
        split_seed=config.split_seed,
        class_names=list(config.class_names) or class_names,
    )
    return labelled_images.build_labelled_source(
        images,
        orientation=config.orientation,
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
        image_option='image_dir',
    )


@registries.register_classification_source('tfrecord')
def build_tfrecord(
    config: Any, data_config: Any, class_names: Sequence[str] = ()
) -> source_lib.Source:
    """Builds `source.tfrecord`; records tell no names."""
    del class_names
    return _build_records(config.input_path, config.file_type, data_config)


def _build_records(input_path: Any, file_type: str, data_config: Any) -> source_lib.Source:
    from official_lite.vision.dataloaders import classification_records

    return classification_records.build_record_source(
        input_path,
        classification_records.RecordKeys(
            image=data_config.image_field_key,
            label=data_config.label_field_key,
            is_multilabel=data_config.is_multilabel,
        ),
        is_compressed=file_type == 'tfrecord_compressed',
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )
