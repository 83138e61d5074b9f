"""tf.data service, with dispatcher and workers in this process."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import (
    data_service,
    input_reader,
    input_reader_factory,
    retinanet_input,
)
from tests.vision.dataloaders import data_makers

NUM_EXAMPLES = 12


@pytest.fixture(scope='module')
def address() -> Iterator[str]:
    """A dispatcher with two workers."""
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    host = dispatcher.target.split('://')[1]
    workers = [
        service.WorkerServer(service.WorkerConfig(dispatcher_address=host)) for _ in range(2)
    ]
    yield dispatcher.target
    for worker in workers:
        worker._stop()
    dispatcher._stop()


def make_reader(address: str | None, *, is_training: bool = True, **service: Any) -> Any:
    parser = retinanet_input.Parser([32, 32], 3, max_num_instances=8)
    options = input_reader.ReaderOptions(
        data_service=data_service.DataService(address, **service) if address else None
    )
    return input_reader.InputReader(
        data_makers.make_table([i % 3 for i in range(NUM_EXAMPLES)]),
        parser,
        is_training=is_training,
        global_batch_size=2,
        options=options,
    )


def name_images(dataset: tf.data.Dataset, num_batches: int) -> collections.Counter[bytes]:
    """How often each image comes."""
    images = (image for batch, _ in dataset.take(num_batches) for image in batch.numpy())
    return collections.Counter(image.tobytes() for image in images)


@pytest.mark.parametrize('is_before_batching', [False, True])
def test_examples_come_once_an_epoch(address: str, is_before_batching: bool):
    epochs = 5
    num_batches = epochs * NUM_EXAMPLES // 2
    reader = make_reader(address, is_before_batching=is_before_batching)
    assert reader.read().element_spec == make_reader(None).read().element_spec
    counts = name_images(reader.read(), num_batches)
    expected = name_images(make_reader(None).read(), num_batches)
    assert counts.keys() == expected.keys()
    # What the workers hold ready when reading ends is missing, and stands before its turn.
    assert all(abs(count - epochs) <= 2 for count in counts.values())


def test_readers_of_one_job_share_a_stream(address: str):
    contexts = [tf.distribute.InputContext(2, worker, 2) for worker in range(2)]
    orders = [
        make_reader(address, job_name='shared')._make_order(context, 0) for context in contexts
    ]
    assert orders[0] == orders[1]
    assert [(o.worker, o.num_workers) for o in orders] == [(0, 1)] * 2
    alone = [make_reader(address)._make_order(context, 0) for context in contexts]
    assert [(o.worker, o.num_workers) for o in alone] == [(0, 2), (1, 2)]


def test_evaluation_does_not_use_the_service():
    reader = make_reader('grpc://nowhere:1', is_training=False)
    assert sum(name_images(reader.read(), 10).values()) == NUM_EXAMPLES


def make_config(**fields: Any) -> Any:
    config = retinanet_cfg.DataConfig(is_training=True, global_batch_size=4)
    config.override(fields)
    return config


def test_fields_of_the_config_reach_the_service():
    config = make_config(
        enable_tf_data_service=True,
        tf_data_service_address='grpc://host:5000',
        tf_data_service_job_name='job',
        enable_shared_tf_data_service_between_parallel_trainers=True,
        apply_tf_data_service_before_batching=True,
        trainer_id='first',
    )
    service = input_reader_factory.build_reader_options(config).data_service
    assert service == data_service.DataService(
        'grpc://host:5000', 'job', 'first', is_before_batching=True
    )
    config.enable_shared_tf_data_service_between_parallel_trainers = False
    service = input_reader_factory.build_reader_options(config).data_service
    assert service is not None
    assert service.trainer_id is None
    config.enable_tf_data_service = False
    assert input_reader_factory.build_reader_options(config).data_service is None


def test_without_an_address_this_process_makes_the_batches(capsys: pytest.CaptureFixture[str]):
    """As in Model Garden, whose YAMLs leave the address to the command line."""
    config = make_config(enable_tf_data_service=True)
    assert input_reader_factory.build_reader_options(config).data_service is None
    assert 'data.enable_tf_data_service: there is no tf_data_service_address' in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (
            {
                'tf_data_service_address': 'grpc://host:5000',
                'enable_shared_tf_data_service_between_parallel_trainers': True,
            },
            r'data.tf_data_service_job_name: expected a name',
        ),
    ],
)
def test_what_is_missing_is_named(fields: Any, message: str):
    config = make_config(enable_tf_data_service=True, **fields)
    with pytest.raises(errors.UsageError, match=message):
        input_reader_factory.build_reader_options(config)
