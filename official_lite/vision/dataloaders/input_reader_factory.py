"""From the data config of a task to its reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from official_lite import errors
from official_lite.core import randomness
from official_lite.core.data_info import check_classes, check_has_boxes, check_not_empty
from official_lite.vision.dataloaders import (
    data_service,
    input_reader,
    maskrcnn_input,
    retinanet_input,
    sources,
)
from official_lite.vision.dataloaders import parser as parser_lib
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['build_maskrcnn_reader', 'build_reader_options', 'build_retinanet_reader']


def build_retinanet_reader(
    data_config: Any,
    *,
    output_size: Sequence[int],
    max_level: int,
    num_classes: int | None = None,
    seed: int | None = None,
    num_threads: int | None = None,
    has_static_shapes: bool = False,
    where: str = 'data',
) -> input_reader.InputReader:
    """The reader of a RetinaNet's training or validation data.

    Args:
        data_config: A `configs.retinanet.DataConfig`.
        output_size: (height, width) of the network input, before padding.
        max_level: Coarsest level of the feature pyramid.
        num_classes: Of the model, background included; labels must be below it. None: not checked.
        seed: Seed of order and augmentation, where the data config has none. None means the run's
            seed (`randomness.set_run_seed`).
        num_threads: Threads of the pipeline. None means the shared pool.
        has_static_shapes: Whether boxes are padded to `max_num_instances` in every batch.
        where: The config's path in the experiment, for messages.

    Raises:
        UsageError: The config asks for what is not there.
        DataError: The data is empty, has no boxes to train on, or labels out of range.
    """
    source = _build_source(data_config, num_classes, where)
    is_training = bool(data_config.is_training)
    parser = retinanet_input.build_parser(
        output_size,
        max_level=max_level,
        parser_config=data_config.parser,
        max_boxes_per_image=0 if is_training else source.info.max_boxes_per_image,
        where=f'{where}.parser',
    )
    fixed = data_config.parser.max_num_instances if has_static_shapes else None
    options = build_reader_options(
        data_config, seed=seed, num_threads=num_threads, max_num_instances=fixed, where=where
    )
    return _build_reader(source, parser, data_config, options)


def build_maskrcnn_reader(
    data_config: Any,
    *,
    output_size: Sequence[int],
    max_level: int,
    include_mask: bool,
    outer_boxes_scale: float = 1.0,
    num_classes: int | None = None,
    has_static_shapes: bool = False,
    where: str = 'data',
) -> input_reader.InputReader:
    """The reader of an R-CNN's training or validation data.

    Args:
        data_config: A `configs.maskrcnn.DataConfig`.
        include_mask: Whether there are masks.
        outer_boxes_scale: Masks are cut out of boxes enlarged by this.
        output_size, max_level, num_classes, has_static_shapes, where: See `build_retinanet_reader`.

    Raises:
        UsageError, DataError: See `build_retinanet_reader`.
    """
    source = _build_source(data_config, num_classes, where)
    is_training = bool(data_config.is_training)
    parser = maskrcnn_input.build_parser(
        output_size,
        max_level=max_level,
        parser_config=data_config.parser,
        include_mask=include_mask,
        outer_boxes_scale=outer_boxes_scale,
        max_boxes_per_image=0 if is_training else source.info.max_boxes_per_image,
        where=f'{where}.parser',
    )
    fixed = data_config.parser.max_num_instances if has_static_shapes else None
    options = build_reader_options(data_config, max_num_instances=fixed, where=where)
    return _build_reader(source, parser, data_config, options)


def _build_source(data_config: Any, num_classes: int | None, where: str) -> source_lib.Source:
    """The source of a data config, checked."""
    source = sources.build_source(data_config, where=where)
    info = source.info
    check_not_empty(info)
    if data_config.is_training:
        check_has_boxes(info)
    if num_classes is not None:
        check_classes(info, num_classes)
    num_examples = data_config.num_examples
    if num_examples is not None and num_examples > info.num_examples:
        raise errors.UsageError(
            where=f'{where}.num_examples',
            expected=f'at most the {info.num_examples} examples of {info.origin}',
            received=str(num_examples),
        )
    return source


def _build_reader(
    source: source_lib.Source,
    parser: parser_lib.Parser,
    data_config: Any,
    options: input_reader.ReaderOptions,
) -> input_reader.InputReader:
    return input_reader.InputReader(
        source,
        parser,
        is_training=bool(data_config.is_training),
        global_batch_size=data_config.global_batch_size,
        num_examples=data_config.num_examples,
        options=options,
    )


def build_reader_options(
    data_config: Any,
    *,
    seed: int | None = None,
    num_threads: int | None = None,
    max_num_instances: int | None = None,
    where: str = 'data',
) -> input_reader.ReaderOptions:
    """What a data config says about reading."""
    seeds = (data_config.seed, seed, randomness.get_run_seed())
    return input_reader.ReaderOptions(
        seed=next(s for s in seeds if s is not None),
        shuffle_buffer_size=data_config.shuffle_buffer_size,
        cycle_length=data_config.cycle_length,
        block_length=data_config.block_length,
        sharding=data_config.sharding,
        deterministic=data_config.deterministic,
        prefetch_buffer_size=data_config.prefetch_buffer_size,
        ram_budget_gb=data_config.ram_budget,
        autotune_algorithm=data_config.autotune_algorithm,
        num_threads=num_threads,
        max_num_instances=max_num_instances,
        data_service=data_service.build_data_service(
            is_enabled=data_config.enable_tf_data_service,
            address=data_config.tf_data_service_address,
            job_name=data_config.tf_data_service_job_name,
            is_shared_by_trainers=(
                data_config.enable_shared_tf_data_service_between_parallel_trainers
            ),
            trainer_id=data_config.trainer_id,
            is_before_batching=data_config.apply_tf_data_service_before_batching,
            where=where,
        ),
    )
