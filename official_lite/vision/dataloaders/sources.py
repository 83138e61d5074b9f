"""From a data config to its source, and to what is known about the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from official_lite import errors
from official_lite.core.data_info import DataInfo, check_not_empty
from official_lite.vision import registries
from official_lite.vision.dataloaders import mixture_source, named_tfds
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.full_paths import full_paths

__all__ = [
    'build_coco',
    'build_embedded',
    'build_source',
    'build_tfds',
    'build_tfrecord',
    'build_voc',
    'build_yolo',
    'forget',
    'get_data_info',
]


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
    if data_config.source.type is not None:
        return _build_kind(data_config.source, data_config, where)
    if data_config.tfds_name:
        return _build_names(data_config, 'tfds_name', where)
    if not data_config.input_path:
        raise errors.UsageError(
            'no data',
            where=where,
            expected='source.type (coco, voc, yolo, tfds, tfrecord, embedded or mixture), '
            'or input_path',
        )
    return _build_names(data_config, 'input_path', where)


def _build_kind(source_config: Any, data_config: Any, where: str) -> source_lib.Source:
    """The source that a `DataSource` chooses."""
    kind = source_config.type
    builder = registries.DATA_SOURCES.get_builder(kind)
    config = source_config.get()
    with full_paths(config, f'{where}.source.{kind}'):
        return builder(config, data_config)


def _build_names(data_config: Any, field: str, where: str) -> source_lib.Source:
    """Builds Model Garden's `input_path` or `tfds_name`; a mapping of names is a mixture."""
    build: Callable[[Any, Any], source_lib.Source]
    build = _build_named_tfds if field == 'tfds_name' else _build_input_path
    value = getattr(data_config, field)
    if isinstance(value, (str, list, tuple)):
        if data_config.weights:
            raise errors.UsageError(
                where=f'{where}.weights', expected=f'not set, because {field} is one data set'
            )
        with full_paths(data_config, where):
            return build(data_config, value)
    with full_paths(data_config, where):
        parts = {name: build(data_config, part) for name, part in value.as_dict().items()}
        weights = data_config.weights
        return mixture_source.build_mixture(parts, weights.as_dict() if weights else None)


@registries.register_data_source('mixture')
def build_mixture(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.mixture`."""
    parts = {
        part.name: _build_kind(part.source, data_config, f'parts[{i}]')
        for i, part in enumerate(config.parts)
    }
    weights = {part.name: part.weight for part in config.parts}
    return mixture_source.build_mixture(parts, weights)


def _build_input_path(data_config: Any, input_path: Any) -> source_lib.Source:
    return _build_records(input_path, data_config.file_type, data_config)


def _build_named_tfds(data_config: Any, name: Any) -> source_lib.Source:
    """Builds Model Garden's `tfds_name`; images are decoded late anyway, whatever is skipped."""
    from official_lite.vision.dataloaders import tfds_source

    return named_tfds.build(tfds_source.build_tfds_source, name, data_config)


@registries.register_data_source('embedded')
def build_embedded(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.embedded`."""
    from official_lite.vision.dataloaders import embedded_source

    return embedded_source.build_embedded_source(
        config.name,
        split=config.split,
        num_scenes=config.num_scenes,
        include_mask=_has_masks(data_config),
    )


def _get_file_options(config: Any, data_config: Any) -> dict[str, Any]:
    """What every source of image files is told."""
    return {
        'orientation': config.orientation,
        'skip_corrupt': data_config.skip_corrupt,
        'cache': data_config.cache,
    }


@registries.register_data_source('coco')
def build_coco(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.coco`."""
    from official_lite.vision.dataloaders import coco_source

    return coco_source.build_coco_source(
        config.annotation_file,
        config.image_dir,
        include_mask=_has_masks(data_config),
        **_get_file_options(config, data_config),
    )


@registries.register_data_source('voc')
def build_voc(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.voc`."""
    from official_lite.vision.dataloaders import voc_source

    return voc_source.build_voc_source(
        config.root,
        config.split,
        names=config.class_names,
        difficult=config.difficult,
        is_one_based=config.is_one_based,
        include_mask=_has_masks(data_config),
        **_get_file_options(config, data_config),
    )


@registries.register_data_source('yolo')
def build_yolo(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.yolo`."""
    from official_lite.vision.dataloaders import yolo_source

    return yolo_source.build_yolo_source(
        config.root,
        config.split,
        names=config.class_names,
        **_get_file_options(config, data_config),
    )


@registries.register_data_source('tfds')
def build_tfds(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.tfds`."""
    from official_lite.vision.dataloaders import tfds_source

    return tfds_source.build_tfds_source(
        config.name,
        config.split,
        data_dir=config.data_dir,
        download=config.download,
        image_feature=config.image_feature,
        objects_feature=config.objects_feature,
        label_feature=config.label_feature,
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )


def forget() -> None:
    """Drops what was read in this process, so that files are read again."""
    from official_lite.vision.dataloaders import coco_source, voc_source, yolo_source

    for module in (coco_source, voc_source, yolo_source):
        module.forget()


@registries.register_data_source('tfrecord')
def build_tfrecord(config: Any, data_config: Any) -> source_lib.Source:
    """Builds `source.tfrecord`."""
    return _build_records(config.input_path, config.file_type, data_config)


def _has_masks(data_config: Any) -> bool:
    """Whether masks are asked for."""
    return bool(getattr(data_config, 'include_mask', False))


def _build_records(input_path: Any, file_type: str, data_config: Any) -> source_lib.Source:
    from official_lite.vision.dataloaders import tfrecord_source

    decoder = data_config.decoder.get()
    return tfrecord_source.build_tfrecord_source(
        input_path,
        is_compressed=file_type == 'tfrecord_compressed',
        regenerate_source_id=decoder.regenerate_source_id,
        label_map=getattr(decoder, 'label_map', ''),
        attribute_names=getattr(decoder, 'attribute_names', ()),
        include_mask=_has_masks(data_config),
        mask_binarize_threshold=decoder.mask_binarize_threshold,
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )


def _refuse_unsupported(config: Any, where: str) -> None:
    """Raises UsageError for fields of Model Garden that are not there yet."""
    refused = {
        'tfds_as_supervised': (config.tfds_as_supervised, 'boxes are in no (input, label) pair'),
    }
    for name, (value, hint) in refused.items():
        if value:
            raise errors.UsageError('not there yet', where=f'{where}.{name}', hint=hint)
    if config.weights and config.source.type is not None:
        raise errors.UsageError(
            where=f'{where}.weights',
            expected=f'not set, because source.type is {config.source.type}',
            hint='the weights of source.mixture stand in its parts',
        )
    if _has_masks(config) and (config.source.type in ('yolo', 'tfds') or config.tfds_name):
        raise errors.UsageError(
            'this kind of source has no masks',
            where=f'{where}.source.type',
            expected='coco, voc, tfrecord, embedded or a mixture of those',
            hint='task.model.include_mask=false trains boxes only',
        )
    if getattr(config.decoder.get(), 'attribute_names', None) and config.source.type not in (
        None,
        'tfrecord',
    ):
        raise errors.UsageError(
            'only TFRecords have attributes of objects',
            where=f'{where}.decoder.simple_decoder.attribute_names',
            expected=f'an empty list with source.type={config.source.type}',
        )
