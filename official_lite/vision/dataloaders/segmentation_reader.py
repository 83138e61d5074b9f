"""From the data config of semantic segmentation to its reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from official_lite import errors
from official_lite.core.data_info import check_not_empty
from official_lite.core.segmentation_info import (
    SegmentationInfo,
    check_has_two_classes,
    check_label_values,
)
from official_lite.vision.dataloaders import (
    input_reader,
    input_reader_factory,
    segmentation_input,
    segmentation_sources,
)
from official_lite.vision.dataloaders.segmentation_facts import Labelling

__all__ = ['build_parser', 'build_segmentation_reader']


def build_segmentation_reader(
    data_config: Any,
    *,
    input_size: Sequence[int | None],
    num_classes: int,
    labelling: Labelling,
    where: str = 'data',
) -> input_reader.InputReader:
    """The reader of training or validation data.

    Args:
        data_config: A `configs.semantic_segmentation.DataConfig`.
        input_size: (height, width) of the network's input, pixels; None where it varies.
        num_classes: Of the model; labels must be below it.
        labelling: What the task says about labels.
        where: The config's path in the experiment, for messages.

    Raises:
        UsageError: The config asks for what is not there, or says no size.
        DataError: The data is empty, or has labels out of range.
    """
    source = segmentation_sources.build_source(data_config, labelling, where=where)
    info = source.info
    assert isinstance(info, SegmentationInfo)
    check_not_empty(info)
    check_label_values(info, num_classes, labelling.ignore_label)
    is_training = bool(data_config.is_training)
    if is_training and num_classes > 1:
        check_has_two_classes(info)
    num_examples = data_config.num_examples
    if num_examples is not None and num_examples > info.num_examples:
        raise errors.UsageError(
            where=f'{where}.num_examples',
            expected=f'at most the {info.num_examples} examples of {info.origin}',
            received=str(num_examples),
        )
    return input_reader.InputReader(
        source,
        build_parser(
            data_config,
            input_size=input_size,
            labelling=labelling,
            largest_px=(info.max_height_px, info.max_width_px),
            where=where,
        ),
        is_training=is_training,
        global_batch_size=data_config.global_batch_size,
        num_examples=num_examples,
        options=input_reader_factory.build_reader_options(data_config, where=where),
    )


def build_parser(
    data_config: Any,
    *,
    input_size: Sequence[int | None],
    labelling: Labelling,
    largest_px: Sequence[int] = (0, 0),
    where: str = 'data',
) -> segmentation_input.Parser:
    """The parser of a data config.

    Args:
        data_config: A `configs.semantic_segmentation.DataConfig`.
        input_size: See `build_segmentation_reader`.
        labelling: What the task says about labels.
        largest_px: Height of the highest and width of the widest image. Masks of original size are
            padded to them where they are more than `groundtruth_padded_size`, so that none is cut.
        where: The config's path in the experiment, for messages.

    Raises:
        UsageError: Nothing says how large images become.
    """
    config = data_config
    padded_size = list(config.groundtruth_padded_size) or [1, 1]
    return segmentation_input.Parser(
        _get_output_size(config, input_size, where),
        crop_size=list(config.crop_size) if config.is_training else None,
        resize_eval_groundtruth=config.resize_eval_groundtruth,
        gt_is_matting_map=labelling.is_matting,
        groundtruth_padded_size=[max(a, b) for a, b in zip(padded_size, largest_px)],
        ignore_label=labelling.ignore_label,
        aug_rand_hflip=config.aug_rand_hflip,
        preserve_aspect_ratio=config.preserve_aspect_ratio,
        aug_scale_min=config.aug_scale_min,
        aug_scale_max=config.aug_scale_max,
        dtype=config.dtype,
        image_feature=config.image_feature,
        additional_dense_features=config.additional_dense_features,
        centered_crop=config.centered_crop,
        aug_rand_rot90=config.aug_rand_rot90,
        color_jitter=config.color_jitter,
    )


def _get_output_size(config: Any, input_size: Sequence[int | None], where: str) -> list[int]:
    """`output_size`, or the model's input size; [] where images are cropped as they are."""
    if config.output_size:
        return list(config.output_size)
    if config.is_training and config.crop_size and config.preserve_aspect_ratio:
        return []
    known = [side for side in input_size if side is not None]
    if len(known) == 2:
        return known
    raise errors.UsageError(
        'nothing says how large images become',
        where=f'{where}.output_size',
        expected='[height, width], because task.model.input_size leaves them open',
        received='[]',
    )
