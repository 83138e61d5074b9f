"""Which examples come, in which batch, on which worker, and how batches are padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import (
    detection_augmentation,
    input_reader,
    retinanet_input,
    table_source,
    tfrecord_source,
    tfrecord_writer,
)
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import data_makers

NUM_EXAMPLES = 11
COUNTS = [0, 3, 1, 9, 2, 0, 5, 1, 4, 2, 8]


@pytest.fixture(scope='module')
def table() -> table_source.TableSource:
    return data_makers.make_table(COUNTS)


@pytest.fixture(scope='module', params=['table', 'tfrecord', 'cached tfrecord'])
def source(
    request: pytest.FixtureRequest,
    table: table_source.TableSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> source_lib.Source:
    """The same examples, read in each of the ways there are."""
    if request.param == 'table':
        return table
    folder = tmp_path_factory.mktemp('records')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OFFICIAL_LITE_CACHE', str(folder))
        examples = tfrecord_writer.make_examples(table)
        paths = tfrecord_writer.write_tfrecords(examples, folder / 'part', num_shards=3)
        return tfrecord_source.build_tfrecord_source(paths, cache='cached' in request.param)


def make_reader(
    source: source_lib.Source, *, is_training: bool = True, batch: int = 4, **options: Any
) -> input_reader.InputReader:
    parser = retinanet_input.Parser(
        [32, 32],
        3,
        augmentation=detection_augmentation.Augmentation(hflip=True),
        aug_scale_min=0.5,
        aug_scale_max=2.0,
        max_num_instances=10,
    )
    return input_reader.InputReader(
        source,
        parser,
        is_training=is_training,
        global_batch_size=batch,
        options=input_reader.ReaderOptions(**{'seed': 3, 'shuffle_buffer_size': 4} | options),
    )


def make_context(worker: int, num_workers: int, num_replicas: int) -> tf.distribute.InputContext:
    return tf.distribute.InputContext(num_workers, worker, num_replicas)


def take(dataset: tf.data.Dataset, num_batches: int) -> list[Any]:
    return [data_makers.to_numpy(batch) for batch in dataset.take(num_batches)]


def make_order(**options: Any) -> source_lib.Order:
    return source_lib.Order(
        **{'num_examples': NUM_EXAMPLES, 'is_training': True, 'shuffle_buffer_size': 4} | options
    )


# ---- order --------------------------------------------------------------------------------------


def test_every_example_comes_once_in_each_epoch(source: source_lib.Source):
    stream = data_makers.read_order(source, make_order(), 3 * NUM_EXAMPLES)
    epochs = [stream[i : i + NUM_EXAMPLES] for i in range(0, len(stream), NUM_EXAMPLES)]
    for number, epoch in enumerate(epochs):
        assert sorted(epoch) == [(number, index) for index in range(NUM_EXAMPLES)]
    orders = [[index for _, index in epoch] for epoch in epochs]
    assert orders[0] != orders[1] != orders[2]
    assert list(range(NUM_EXAMPLES)) not in orders


def test_the_order_depends_on_the_seed_and_not_on_the_global_one(source: source_lib.Source):
    reference = data_makers.read_order(source, make_order(seed=1), 20)
    tf.random.set_seed(99)
    assert data_makers.read_order(source, make_order(seed=1), 20) == reference
    assert data_makers.read_order(source, make_order(seed=2), 20) != reference


@pytest.mark.parametrize('first_position', [0, 8, 12, 24])
@pytest.mark.parametrize('num_workers', [1, 2, 4])
def test_workers_share_the_stream_from_any_position(
    source: source_lib.Source, first_position: int, num_workers: int
):
    whole = data_makers.read_order(source, make_order(), 40)[first_position:]
    for worker in range(num_workers):
        order = make_order(first_position=first_position, worker=worker, num_workers=num_workers)
        expected = whole[worker::num_workers]
        assert data_makers.read_order(source, order, len(expected)) == expected


def test_the_first_examples_only(source: source_lib.Source):
    order = make_order(num_examples=5)
    stream = data_makers.read_order(source, order, 10)
    assert sorted(stream[:5]) == [(0, i) for i in range(5)]
    assert sorted(stream[5:]) == [(1, i) for i in range(5)]


def test_a_pass_is_in_order_and_padded(source: source_lib.Source):
    order = make_order(is_training=False, num_positions=16)
    examples = list(source.make_examples(order).as_numpy_iterator())
    assert [e['index'] for e in examples if e['is_valid']] == list(range(NUM_EXAMPLES))
    assert [bool(e['is_valid']) for e in examples] == [True] * 11 + [False] * 5


# ---- batches ------------------------------------------------------------------------------------


def test_batches_from_n_on_equal_those_of_an_uninterrupted_run(source: source_lib.Source):
    reader = make_reader(source)
    batches = take(reader.read(), 8)
    data_makers.assert_equal_batches(take(reader.read(first_batch=5), 3), batches[5:])
    data_makers.assert_equal_batches(take(make_reader(source).read(), 8), batches)  # a second run


def test_two_workers_see_together_what_one_sees(source: source_lib.Source):
    reader = make_reader(source)
    whole = take(reader.read(first_batch=2), 3)
    parts = [take(reader.read(make_context(w, 2, 2), first_batch=2), 3) for w in range(2)]
    for (images, labels), *halves in zip(whole, *parts, strict=True):
        for worker, (half_images, half_labels) in enumerate(halves):
            np.testing.assert_array_equal(half_images, images[worker::2])
            np.testing.assert_array_equal(
                half_labels['image_info'], labels['image_info'][worker::2]
            )


def test_replicas_of_one_worker_take_turns(source: source_lib.Source):
    reader = make_reader(source)
    whole = take(reader.read(), 2)
    quarters = take(reader.read(make_context(0, 1, 2)), 4)
    images = np.concatenate([batch[0] for batch in quarters])
    np.testing.assert_array_equal(images, np.concatenate([batch[0] for batch in whole]))


def test_without_sharding_every_worker_sees_everything(table: table_source.TableSource):
    reader = make_reader(table, sharding=False)
    first, second = (take(reader.read(make_context(w, 2, 2)), 2) for w in range(2))
    data_makers.assert_equal_batches(first, second)


def test_augmentation_differs_between_epochs_and_seeds(table: table_source.TableSource):
    one = data_makers.make_table([1])
    reader = make_reader(one, batch=1)
    scales = [labels['image_info'][0, 2, 0] for _, labels in take(reader.read(), 6)]
    assert len(set(scales)) == 6
    other = take(make_reader(one, batch=1, seed=4).read(), 6)
    assert scales != [labels['image_info'][0, 2, 0] for _, labels in other]


def test_evaluation_covers_every_example_once(source: source_lib.Source):
    reader = make_reader(source, is_training=False)
    batches = [data_makers.to_numpy(batch) for batch in reader.read()]
    assert len(batches) == reader.num_batches == 3
    valid = np.concatenate([labels['is_valid'] for _, labels in batches])
    ids = np.concatenate([labels['groundtruths']['source_id'] for _, labels in batches])
    assert sorted(ids[valid].tolist()) == [10 * i for i in range(1, 12)]
    assert ids[~valid].tolist() == [-1]
    counts = np.concatenate([labels['groundtruths']['num_detections'] for _, labels in batches])
    assert dict(zip(ids, counts)) == {10 * (i + 1): n for i, n in enumerate(COUNTS)} | {-1: 0}
    last = batches[-1][1]['groundtruths']
    assert (last['boxes'][-1] == -1).all()  # padding has no objects
    assert (batches[-1][1]['boxes'][-1] == -1).all()


def test_evaluation_on_two_workers_covers_every_example_once(source: source_lib.Source):
    reader = make_reader(source, is_training=False)
    ids: list[int] = []
    for worker in range(2):
        batches = list(reader.read(make_context(worker, 2, 2)))
        assert len(batches) == 3  # as many on each, or collective operations would wait for ever
        for _, labels in batches:
            ids += labels['groundtruths']['source_id'][labels['is_valid']].numpy().tolist()
    assert sorted(ids) == [10 * i for i in range(1, 12)]


def test_boxes_are_padded_to_a_multiple_of_eight(table: table_source.TableSource):
    parser = retinanet_input.Parser([24, 32], 3, max_num_instances=10)
    reader = input_reader.InputReader(
        table, parser, is_training=False, global_batch_size=3, num_examples=6
    )
    first, second = take(reader.read(), 2)
    assert first[1]['boxes'].shape == (3, 8, 4)  # at most 3 boxes
    assert second[1]['boxes'].shape == (3, 16, 4)  # 9 boxes
    assert second[1]['classes'].shape == (3, 16)
    np.testing.assert_array_equal(first[1]['boxes'][0], -1)  # the example without objects
    np.testing.assert_array_equal(first[1]['classes'][1, 3:], -1)
    rows = slice(table.table.splits[1], table.table.splits[2])
    np.testing.assert_array_equal(first[1]['classes'][1, :3], table.table.labels[rows])
    expected = table.table.boxes[rows] * [24, 32, 24, 32]
    np.testing.assert_allclose(first[1]['boxes'][1, :3], expected, rtol=1e-6)
    truth = second[1]['groundtruths']
    assert truth['boxes'].shape == (3, 10, 4)
    assert truth['num_detections'].tolist() == COUNTS[3:6]
    np.testing.assert_array_equal(truth['classes'][0, 9:], -1)
    np.testing.assert_array_equal(truth['areas'][2], -1)
    np.testing.assert_array_equal(truth['is_crowds'], 0)


def test_static_shapes_where_they_are_needed(table: table_source.TableSource):
    reader = make_reader(table, max_num_instances=12)
    images, labels = reader.read().element_spec
    assert images.shape == [4, 32, 32, 3]
    assert images.dtype == tf.uint8
    assert labels['boxes'].shape == [4, 12, 4]
    assert labels['classes'].shape == [4, 12]


def test_options_reach_tf_data(table: table_source.TableSource):
    reader = make_reader(
        table, deterministic=False, ram_budget_gb=2, num_threads=1, autotune_algorithm='HILL_CLIMB'
    )
    options = reader.read().options()
    assert options.deterministic is False
    assert options.autotune.ram_budget == 2 << 30
    assert options.threading.private_threadpool_size == 1
    assert options.autotune.autotune_algorithm.name == 'HILL_CLIMB'
    assert options.autotune.enabled
    assert make_reader(table).read().options().deterministic is True


def test_nothing_is_tuned_unless_it_is_asked_for(table: table_source.TableSource):
    assert make_reader(table).read().options().autotune.enabled is False
    for chosen in ({'ram_budget_gb': 1}, {'autotune_algorithm': 'STAGE_BASED'}):
        assert make_reader(table, **chosen).read().options().autotune.enabled


def test_batch_sizes_that_do_not_fit_are_refused(table: table_source.TableSource):
    with pytest.raises(errors.UsageError, match=r'global_batch_size: expected 1 or more'):
        make_reader(table, batch=0)
    with pytest.raises(errors.UsageError, match=r'a multiple of the number of replicas \(3\)'):
        make_reader(table).read(make_context(0, 1, 3))


def test_more_epochs_than_examples_in_a_batch():
    reader = make_reader(data_makers.make_table([1, 2]), batch=5)
    (images, labels), *_ = take(reader.read(), 1)
    assert images.shape[0] == 5
    assert (labels['classes'][:, 0] > 0).any()
