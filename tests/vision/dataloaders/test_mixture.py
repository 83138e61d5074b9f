"""Mixtures: shares, order, resuming, workers, evaluation, and what configs say about them."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import (
    input_reader_factory,
    mixture_source,
    sources,
    tfrecord_source,
    tfrecord_writer,
)
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import data_makers

SIZES = {'small': 3, 'large': 7}
BLOCK = mixture_source.BLOCK_LENGTH


def change(source: source_lib.Source, **fields: Any) -> source_lib.Source:
    source._info = dataclasses.replace(source.info, **fields)  # type: ignore[attr-defined]
    return source


@pytest.fixture(scope='module')
def records(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    table = data_makers.make_table([1] * SIZES['small'])
    folder = tmp_path_factory.mktemp('records')
    return tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), folder / 'part')


@pytest.fixture(scope='module')
def mixture(records: list[str]) -> mixture_source.MixtureSource:
    """Three TFRecords and seven images in memory, the former three times as often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OFFICIAL_LITE_CACHE', str(records[0]) + '.cache')
        small = tfrecord_source.build_tfrecord_source(records)
        return mixture_source.MixtureSource(
            {'small': small, 'large': data_makers.make_table([2] * SIZES['large'])},
            {'small': 0.75, 'large': 0.25},
        )


def read(mixture: source_lib.Source, number: int, **options: Any) -> list[tuple[int, int]]:
    fields = {'num_examples': 10, 'is_training': True, 'shuffle_buffer_size': 4}
    return data_makers.read_order(mixture, source_lib.Order(**fields | options), number)


@pytest.mark.parametrize(
    ('weights', 'counts'),
    [
        ([1, 1], [500, 500]),
        ([0.7, 0.2, 0.1], [700, 200, 100]),
        ([1, 1, 1], [334, 333, 333]),  # largest remainders, ties to the first
        ([2.0], [1000]),
        ([1e-3 + 1e-6, 0.999 - 1e-6], [1, 999]),
    ],
)
def test_shares_are_apportioned(weights: list[float], counts: list[int]):
    assert mixture_source.apportion(weights, 1000).tolist() == counts


@pytest.mark.parametrize('weights', [[1, 0], [1, -1], [], [float('nan')], [1, 1e-4]])
def test_weights_that_give_no_share(weights: list[float]):
    with pytest.raises(errors.UsageError, match='weights: expected'):
        mixture_source.apportion(weights, 1000)


def test_every_block_has_the_exact_shares(mixture: mixture_source.MixtureSource):
    stream = read(mixture, 2 * BLOCK)
    assert mixture.shares == {'small': 0.75, 'large': 0.25}
    is_small = np.array([index < SIZES['small'] for _, index in stream])
    assert is_small[:BLOCK].sum() == is_small[BLOCK:].sum() == 750
    assert (is_small[:BLOCK] != is_small[BLOCK:]).any()  # each block has an order of its own
    assert 5 <= is_small[:10].sum() <= 10  # and is mixed, not one after the other


def test_each_source_keeps_its_epochs(mixture: mixture_source.MixtureSource):
    stream = read(mixture, 200)
    for name, indices in (('small', range(3)), ('large', range(3, 10))):
        own = [pair for pair in stream if pair[1] in indices]
        size = SIZES[name]
        for epoch in range(len(own) // size):
            pairs = own[epoch * size : (epoch + 1) * size]
            assert sorted(pairs) == [(epoch, index) for index in indices]


@pytest.mark.parametrize('first', [0, 1, 37, BLOCK - 1, BLOCK, BLOCK + 3])
@pytest.mark.parametrize('num_workers', [1, 3])
def test_streams_resume_exactly_and_workers_share_them(
    mixture: mixture_source.MixtureSource, first: int, num_workers: int
):
    whole = read(mixture, first + 30)[first:]
    for worker in range(num_workers):
        found = read(
            mixture,
            30 // num_workers,
            first_position=first,
            worker=worker,
            num_workers=num_workers,
        )
        assert found == whole[worker::num_workers]


def test_the_order_depends_on_the_seed(mixture: mixture_source.MixtureSource):
    assert read(mixture, 30) != read(mixture, 30, seed=1)
    assert read(mixture, 30, seed=1) == read(mixture, 30, seed=1)


def test_records_are_those_of_their_source(mixture: mixture_source.MixtureSource):
    records = data_makers.read_records(mixture)
    large = data_makers.read_records(data_makers.make_table([2] * SIZES['large']))
    assert len(records) == SIZES['large']  # both count their ids from 10: the later one stays
    for source_id, record in large.items():
        for name, value in record.items():
            np.testing.assert_array_equal(records[source_id][name], value, err_msg=name)
    assert mixture.read_image(3) == mixture._sources[1].read_image(0)
    assert mixture.describe(9).startswith('large: ')
    assert mixture.find_error() is None


@pytest.mark.parametrize('first', [0, 4])
def test_evaluation_reads_everything_once(mixture: mixture_source.MixtureSource, first: int):
    order = source_lib.Order(
        num_examples=10, is_training=False, num_positions=12, first_position=first
    )
    examples = list(mixture.make_examples(order).as_numpy_iterator())
    assert [e['index'] for e in examples if e['is_valid']] == list(range(first, 10))
    assert len(examples) == 12 - first


def test_facts_are_merged(mixture: mixture_source.MixtureSource):
    info = mixture.info
    assert (info.num_examples, info.num_boxes, info.max_boxes_per_image) == (10, 17, 2)
    assert info.class_names == ('thing_1', 'thing_2', 'thing_3')
    assert sum(info.boxes_per_class) == 17


def test_contradicting_classes_are_refused():
    first = data_makers.make_table([1])
    other = change(data_makers.make_table([1]), class_names=('thing_1', 'cup', 'thing_3'))
    with pytest.raises(errors.DataError, match='b: the classes differ from label 2 on'):
        mixture_source.MixtureSource({'a': first, 'b': other})
    unnamed = change(data_makers.make_table([1]), declares_classes=False, max_label=4)
    with pytest.raises(errors.DataError, match='label 4 is not among the 3 classes of a'):
        mixture_source.MixtureSource({'a': first, 'b': unnamed})


# ---- configs ------------------------------------------------------------------------------------


def make_config(**fields: Any) -> retinanet_cfg.DataConfig:
    config = retinanet_cfg.DataConfig(is_training=True, global_batch_size=4)
    config.override(fields)
    return config


def count_sources(config: Any, num_batches: int = 25) -> collections.Counter[int]:
    """How often each source comes, by the number of its boxes in an image."""
    reader = input_reader_factory.build_retinanet_reader(config, output_size=[32, 32], max_level=3)
    counts: collections.Counter[int] = collections.Counter()
    for _, labels in reader.read().take(num_batches):
        counts.update((labels['classes'].numpy() > 0).sum(-1).tolist())
    return counts


def test_model_gardens_mapping_of_paths(records: list[str], tmp_path: Any):
    table = data_makers.make_table([2] * 4)
    others = tfrecord_writer.write_tfrecords(tfrecord_writer.make_examples(table), tmp_path / 'b')
    config = make_config(input_path={'a': records[0], 'b': others[0]}, weights={'a': 0.8, 'b': 0.2})
    counts = count_sources(config, 250)
    assert (counts[1], counts[2]) == (800, 200)
    config.weights = None
    assert sources.build_source(config).shares == {'a': 0.5, 'b': 0.5}
    config.override({'weights': {'a': 1.0, 'c': 1.0}})
    with pytest.raises(errors.UsageError, match=r'weights: expected a number for each of: a, b'):
        sources.build_source(config)


def test_the_branch_of_source(records: list[str]):
    parts = [
        {
            'name': 'a',
            'weight': 3,
            'source': {'type': 'tfrecord', 'tfrecord': {'input_path': records[0]}},
        },
        {'name': 'b', 'source': {'type': 'tfrecord', 'tfrecord': {'input_path': records[0]}}},
    ]
    config = make_config(source={'type': 'mixture', 'mixture': {'parts': parts}})
    source = sources.build_source(config)
    assert source.shares == {'a': 0.75, 'b': 0.25}
    assert source.info.num_examples == 6
    config.source.mixture.parts[1].source.tfrecord.input_path = '/nowhere.tfrecord'
    with pytest.raises(errors.UsageError, match=r'input_path: .*nowhere'):
        sources.build_source(config)


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        ([], 'mixture.parts: expected one or more sources'),
        ([{'name': 'a'}], r'parts\[0\].source.type: expected a kind of source other than mixture'),
        (
            [{'name': 'a', 'weight': 0, 'source': {'type': 'embedded'}}],
            r'parts\[0\].weight: expected more than 0',
        ),
        ([{'name': 'a', 'source': {'type': 'embedded'}}] * 2, "not 'a' twice"),
    ],
)
def test_bad_parts_are_reported(parts: Any, message: str):
    config = make_config(source={'type': 'mixture', 'mixture': {'parts': parts}})
    with pytest.raises(Exception, match=message):
        config.validate()


def test_weights_belong_to_names(records: list[str]):
    config = make_config(input_path=records[0], weights={'a': 1.0})
    with pytest.raises(errors.UsageError, match=r'data\.weights: expected not set'):
        sources.build_source(config)


def test_the_first_so_many_of_a_mixture_are_refused(mixture: mixture_source.MixtureSource):
    with pytest.raises(errors.UsageError, match='num_examples: expected not set, or 10'):
        read(mixture, 3, num_examples=5)


def test_the_global_seed_plays_no_part(mixture: mixture_source.MixtureSource):
    expected = read(mixture, 30)
    tf.random.set_seed(5)
    assert read(mixture, 30) == expected
