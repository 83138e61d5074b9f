"""From a data config of semantic segmentation to its source, and to what is known about the data."""

from __future__ import annotations

from typing import Any

from official_lite import errors
from official_lite.core.data_info import check_not_empty
from official_lite.core.segmentation_info import SegmentationInfo
from official_lite.vision import registries
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.full_paths import full_paths
from official_lite.vision.dataloaders.segmentation_facts import Labelling

__all__ = ['build_embedded', 'build_png_pairs', 'build_source', 'build_tfrecord', 'get_data_info']


def get_data_info(
    data_config: Any, labelling: Labelling, *, where: str = 'data'
) -> SegmentationInfo:
    """Counts, classes and fingerprint of the data of a config.

    Args:
        data_config: A `configs.semantic_segmentation.DataConfig`.
        labelling: What the task says about labels.
        where: The config's path in the experiment, for messages.

    Raises:
        UsageError: The config names no data, or data that is not there.
        DataError: The data cannot be read, or is empty.
    """
    info = build_source(data_config, labelling, where=where).info
    check_not_empty(info)
    assert isinstance(info, SegmentationInfo)
    return info


def build_source(
    data_config: Any, labelling: Labelling, *, where: str = 'data'
) -> source_lib.Source:
    """The source of a data config.

    `source.type` names it; where that is null, Model Garden's `input_path` is read as TFRecords.

    Raises:
        UsageError: As `get_data_info`.
    """
    _refuse_unsupported(data_config, where)
    kind = data_config.source.type
    if kind is None:
        with full_paths(data_config, where):
            return _build_records(
                data_config.input_path, data_config.file_type, data_config, labelling
            )
    builder = registries.SEGMENTATION_SOURCES.get_builder(kind)
    config = data_config.source.get()
    with full_paths(config, f'{where}.source.{kind}'):
        return builder(config, data_config, labelling)


def _refuse_unsupported(config: Any, where: str) -> None:
    """Raises UsageError where there is no data, or a field of Model Garden's asks for too much."""
    if config.tfds_name:
        raise errors.UsageError(
            'segmented images of TensorFlow Datasets cannot be read yet',
            where=f'{where}.tfds_name',
            hint='write image and mask of each example into two folders: source.type=png_pairs',
        )
    path = config.input_path
    is_mixture = path is not None and not isinstance(path, (str, list, tuple))
    if is_mixture or config.weights:
        raise errors.UsageError(
            'there are no mixtures of segmented images yet',
            where=f'{where}.{"input_path" if is_mixture else "weights"}',
            expected='a path or pattern, or a list of those' if is_mixture else 'not set',
        )
    if config.source.type is None and not path:
        raise errors.UsageError(
            'no data',
            where=where,
            expected='source.type (png_pairs, tfrecord or embedded), or input_path',
        )


@registries.register_segmentation_source('png_pairs')
def build_png_pairs(config: Any, data_config: Any, labelling: Labelling) -> source_lib.Source:
    """Builds `source.png_pairs`."""
    from official_lite.vision.dataloaders import image_pairs, mask_files, pair_source

    pairs = image_pairs.find_pairs(
        config.image_dir,
        config.mask_dir,
        image_suffix=config.image_suffix,
        mask_suffix=config.mask_suffix,
        split=config.split,
        validation_share=config.validation_share,
        split_seed=config.split_seed,
    )
    names = tuple(config.class_names) or labelling.class_names
    return pair_source.build_pair_source(
        pairs,
        mask_files.LabelMap.make(config.mask_values, config.mask_colors, config.ignored_values),
        Labelling(names, labelling.ignore_label, labelling.is_matting),
        orientation=config.orientation,
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )


@registries.register_segmentation_source('embedded')
def build_embedded(config: Any, data_config: Any, labelling: Labelling) -> source_lib.Source:
    """Builds `source.embedded`."""
    from official_lite.vision.dataloaders import scene_masks

    return scene_masks.build_scene_mask_source(
        config.name, split=config.split, num_scenes=config.num_scenes, labelling=labelling
    )


@registries.register_segmentation_source('tfrecord')
def build_tfrecord(config: Any, data_config: Any, labelling: Labelling) -> source_lib.Source:
    """Builds `source.tfrecord`."""
    return _build_records(config.input_path, config.file_type, data_config, labelling)


def _build_records(
    input_path: Any, file_type: str, data_config: Any, labelling: Labelling
) -> source_lib.Source:
    from official_lite.vision.dataloaders import segmentation_records

    return segmentation_records.build_record_source(
        input_path,
        labelling,
        image_feature=data_config.image_feature,
        additional_dense_features=data_config.additional_dense_features,
        is_compressed=file_type == 'tfrecord_compressed',
        skip_corrupt=data_config.skip_corrupt,
        cache=data_config.cache,
    )
