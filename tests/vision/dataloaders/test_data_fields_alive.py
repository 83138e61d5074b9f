"""Every field of the detection data config changes what is read or how, or is listed here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import tensorflow as tf

from official_lite.core import config_definitions as cfg
from official_lite.core import input_pipelines
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import input_reader_factory, tfrecord_source, tfrecord_writer
from tests.vision.dataloaders import data_makers

SERVICE = {
    'enable_tf_data_service': True,
    'tf_data_service_address': 'grpc://host:5000',
    'tf_data_service_job_name': 'job',
    'enable_shared_tf_data_service_between_parallel_trainers': True,
    'trainer_id': 'first',
}

# Options that a field changes: its value, and what else must be set for it to count.
OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    'seed': (7, {}),
    'shuffle_buffer_size': (5, {}),
    'cycle_length': (2, {}),
    'block_length': (3, {}),
    'ram_budget': (2, {}),
    'deterministic': (False, {}),
    'sharding': (False, {}),
    'prefetch_buffer_size': (3, {}),
    'autotune_algorithm': ('HILL_CLIMB', {}),
    'enable_tf_data_service': (False, SERVICE),
    'tf_data_service_address': ('grpc://other:5000', SERVICE),
    'tf_data_service_job_name': ('other', SERVICE),
    'enable_shared_tf_data_service_between_parallel_trainers': (False, SERVICE),
    'trainer_id': ('second', SERVICE),
    'apply_tf_data_service_before_batching': (True, SERVICE),
}

ELSEWHERE = {
    'input_path': 'test_mixture, test_retinanet_input',
    'weights': 'test_mixture',
    'source': 'test_retinanet_input, test_mixture',
    'parser': 'test_retinanet_input, test_detection_augmentation',
    'decoder': 'test_tfrecord_source',
    'file_type': 'test_tfrecord_source',
    'skip_corrupt': 'test_tfrecord_source, tests/bad_input/test_data',
    'num_examples': 'test_retinanet_input',
    'is_training': 'test_input_reader',
    'global_batch_size': 'test_input_reader',
    'cache': 'below',
    'tfds_name': 'test_tfds_source',
    'tfds_split': 'test_tfds_source',
    'tfds_data_dir': 'test_tfds_source',
    'tfds_skip_decoding_feature': 'test_tfds_source',
    'tfds_as_supervised': 'refused',
}
WITHOUT_EFFECT = {
    'drop_remainder': 'training has no end, evaluation leaves nothing out',
    'dtype': 'images leave the host as uint8',
}


def make_config(**fields: Any) -> retinanet_cfg.DataConfig:
    config = retinanet_cfg.DataConfig(is_training=True, global_batch_size=4)
    config.override(fields)
    return config


def test_every_field_is_accounted_for():
    fields = {field.name for field in dataclasses.fields(retinanet_cfg.DataConfig)}
    listed = [*OPTIONS, *ELSEWHERE, *WITHOUT_EFFECT]
    assert sorted(fields) == sorted(listed)


@pytest.mark.parametrize('name', OPTIONS)
def test_the_field_changes_how_data_are_read(name: str):
    value, base = OPTIONS[name]
    before = input_reader_factory.build_reader_options(make_config(**base))
    after = input_reader_factory.build_reader_options(make_config(**{**base, name: value}))
    assert before != after


def test_cache_keeps_encoded_examples_and_leaves_the_order_random(tmp_path: Any):
    table = data_makers.make_table([1] * 6)
    [path] = tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), tmp_path / 'a')
    sources = [tfrecord_source.build_tfrecord_source(path, cache=cache) for cache in (False, True)]
    assert isinstance(sources[1], tfrecord_source.CachedTfrecordSource)
    config = make_config(input_path=path, cache=True, parser={'aug_scale_max': 2.0})
    reader = input_reader_factory.build_retinanet_reader(config, output_size=[32, 32], max_level=3)
    (tmp_path / path).unlink()  # is in memory
    first, second = (
        {
            image.tobytes()
            for batch, _ in reader.read(first_batch=n).take(3)
            for image in batch.numpy()
        }
        for n in (0, 3)
    )
    assert not first & second  # another epoch, other crops


@pytest.mark.parametrize('threads', [None, 3])
def test_private_threads_of_the_runtime_reach_the_pipeline(threads: int | None):
    runtime = cfg.RuntimeConfig(dataset_num_private_threads=threads)
    strategy = tf.distribute.OneDeviceStrategy('cpu:0')
    seen = []

    def make(context: Any) -> tf.data.Dataset:
        return tf.data.Dataset.range(4).batch(2)

    def spy(dataset_fn: Any) -> Any:
        seen.append(dataset_fn(tf.distribute.InputContext()).options())
        return seen[-1]

    strategy.distribute_datasets_from_function = spy  # type: ignore[method-assign]
    input_pipelines.distribute(strategy, make, runtime)
    assert seen[0].threading.private_threadpool_size == threads
