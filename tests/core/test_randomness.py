"""Keys decide, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import data_info, randomness


def test_a_key_is_a_function_of_seed_epoch_index_and_name():
    reference = randomness.make_key(7, epoch=2, index=5, name='flip').numpy()
    tf.random.set_seed(123)
    again = tf.function(lambda e, i: randomness.make_key(7, epoch=e, index=i, name='flip'))
    np.testing.assert_array_equal(reference, again(tf.constant(2), tf.constant(5, tf.int64)))
    others = [
        randomness.make_key(8, epoch=2, index=5, name='flip'),
        randomness.make_key(7, epoch=5, index=2, name='flip'),
        randomness.make_key(7, epoch=2, index=5, name='scale'),
        randomness.make_key(7, epoch=2, index=5 + 2**31, name='flip'),
        randomness.make_key(7 + 2**40, epoch=2, index=5, name='flip'),
    ]
    keys = {tuple(key.numpy().tolist()) for key in others} | {tuple(reference.tolist())}
    assert len(keys) == 6


def test_names_hash_to_a_part_of_their_sha256():
    # Python's own hash() differs from process to process.
    assert randomness.hash_name('flip') == 1313114263


def test_draws_are_uniform_and_independent_between_names():
    def draw(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = randomness.make_key(0, epoch=0, index=index)
        return randomness.uniform(key, 'one'), randomness.uniform(
            key, 'two', minval=2.0, maxval=4.0
        )

    one, two = next(iter(tf.data.Dataset.range(2000).map(draw).batch(2000)))
    # Standard errors of mean and correlation of 2,000 draws are 0.0065 and 0.022.
    assert abs(one.numpy().mean() - 0.5) < 0.03
    assert abs(two.numpy().mean() - 3.0) < 0.06
    assert two.numpy().min() >= 2.0
    assert two.numpy().max() < 4.0
    assert abs(np.corrcoef(one.numpy(), two.numpy())[0, 1]) < 0.09


def test_uniform_int_stays_in_its_range():
    drawn = randomness.uniform_int(randomness.make_key(1), 'n', [500], minval=3, maxval=6).numpy()
    assert set(drawn.tolist()) == {3, 4, 5}


def test_shuffle_index_is_a_permutation_that_the_key_decides():
    def permute(epoch: int, length: int) -> list[int]:
        key = randomness.make_key(0, epoch=epoch)
        slots = range(length)
        return [int(randomness.shuffle_index(tf.constant(s), length, key)) for s in slots]

    assert sorted(permute(0, 37)) == list(range(37))
    assert permute(0, 37) == permute(0, 37)
    assert permute(0, 37) != permute(1, 37)
    assert permute(0, 1) == [0]


def test_data_info_survives_json():
    info = data_info.DataInfo(3, ('a', 'b'), (1, 7), 5, (2, 3), 2, 'f', 'here', 1)
    assert data_info.DataInfo.from_dict(info.to_dict()) == info
    assert info.num_classes == 3


@pytest.mark.parametrize('data', [0, 5, 2**31 - 1])
def test_folding_is_tensorflows_own(data: int):
    key = tf.constant([5, -7])
    expected = tf.random.experimental.stateless_fold_in(key, data, alg='philox')
    np.testing.assert_array_equal(randomness.fold_in(key, data), expected)
    np.testing.assert_array_equal(randomness.fold_in(key, tf.constant(data)), expected)
    large = data + (3 << 31)
    np.testing.assert_array_equal(randomness.fold_in(key, large), expected + tf.constant([0, 3]))
