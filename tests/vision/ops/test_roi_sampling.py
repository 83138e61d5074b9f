"""Which proposals are drawn, and what they match."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import roi_sampling

THRESHOLDS = (0.1, 0.4, 0.6)


def test_matches() -> None:
    rois = tf.constant(
        [
            [[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 5, 10, 15], [50, 50, 60, 60], [-1, -1, -1, -1]],
            [[0.0, 0, 10, 10]] * 5,
        ]
    )
    gt_boxes = tf.constant([[[0.0, 0, 10, 10], [0, 8, 10, 20]], [[-1.0] * 4] * 2])
    outer = gt_boxes * 2.0
    classes = tf.constant([[7, 3], [-1, -1]])
    matches, worth = roi_sampling.match_rois(rois, gt_boxes, classes, outer, thresholds=THRESHOLDS)
    # Overlaps: 1 with the first box; 0.5 with the first; 7/15 with the second; none; padding.
    np.testing.assert_array_equal(worth, [[1, -2, -2, -3, -3], [-3] * 5])
    np.testing.assert_array_equal(matches.gt_classes, [[7, 7, 3, 0, 0], [0] * 5])
    np.testing.assert_array_equal(matches.gt_indices, [[0, 0, 1, -1, -1], [-1] * 5])
    np.testing.assert_array_equal(matches.gt_boxes[0, 2], gt_boxes[0, 1])
    np.testing.assert_array_equal(matches.gt_outer_boxes[0, 2], outer[0, 1])
    assert not np.any(matches.gt_boxes[0, 3:])
    assert not np.any(matches.gt_boxes[1])
    some = matches.take(tf.constant([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(some.gt_classes, [[3, 7], [0, 0]])
    assert some.rois.shape == (2, 2, 4)


def test_background_below_the_low_threshold_is_not_drawn_first() -> None:
    rois = tf.constant([[[0.0, 0, 10, 10], [0, 0, 10, 2], [0, 9, 10, 20], [50, 50, 60, 60]]])
    _, worth = roi_sampling.match_rois(
        rois, tf.constant([[[0.0, 0, 10, 10]]]), tf.constant([[1]]), thresholds=THRESHOLDS
    )
    np.testing.assert_array_equal(worth, [[1, -1, -3, -3]])  # 0.2 is background, 0.05 is not


def test_no_ground_truth_at_all() -> None:
    rois = tf.constant([[[0.0, 0, 10, 10]]])
    matches, worth = roi_sampling.match_rois(
        rois, tf.zeros([1, 0, 4]), tf.zeros([1, 0], tf.int32), thresholds=THRESHOLDS
    )
    np.testing.assert_array_equal(worth, [[roi_sampling.INVALID]])
    np.testing.assert_array_equal(matches.gt_indices, [[-1]])


def _sample(positive: list[int], candidate: list[int], num: int, fraction: float) -> list[int]:
    """Places drawn, where later ones come first."""
    got = roi_sampling.sample_balanced(
        tf.constant([positive]) > 0,
        tf.constant([candidate]) > 0,
        tf.range(len(positive))[None],
        num_samples=num,
        foreground_fraction=fraction,
    )
    return got[0].numpy().tolist()


def test_balance() -> None:
    positive = [1, 1, 1, 0, 0, 0, 0, 0]
    every = [1] * 8
    assert _sample(positive, every, 4, 0.25) == [2, 5, 6, 7]
    assert _sample(positive, every, 4, 0.5) == [1, 2, 6, 7]
    assert _sample(positive, every, 4, 1.0) == [0, 1, 2, 7]
    assert _sample(positive, every, 4, 0.0) == [4, 5, 6, 7]
    assert _sample(positive, every, 20, 0.1) == list(range(8))


def test_what_fills_up() -> None:
    """First what is no candidate, first ones first, then positives beyond the share."""
    positive = [1, 1, 0, 0, 0, 0]
    candidate = [1, 1, 0, 0, 0, 1]
    assert _sample(positive, candidate, 4, 0.25) == [1, 2, 3, 5]
    assert _sample(positive, candidate, 6, 0.2) == [0, 1, 2, 3, 4, 5]
    assert _sample([0] * 6, [0] * 6, 2, 0.5) == [0, 1]
    assert _sample([1] * 6, [1] * 6, 3, 0.34) == [3, 4, 5]


def test_orders_are_permutations_that_the_key_decides() -> None:
    orders = [roi_sampling.make_order(randomness.make_key(seed), [3, 50]) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(np.sort(orders[0], axis=-1), np.tile(np.arange(50), (3, 1)))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert np.any(orders[0] != orders[2])
    assert np.any(orders[0][0] != orders[0][1])


def test_all_are_drawn_as_often() -> None:
    positive = tf.constant([[True] * 10 + [False] * 30] * 2000)
    order = roi_sampling.make_order(randomness.make_key(3), tf.shape(positive))
    drawn = roi_sampling.sample_balanced(
        positive, tf.ones_like(positive), order, num_samples=8, foreground_fraction=0.5
    )
    counts = np.bincount(np.asarray(drawn).ravel(), minlength=40) / 2000
    np.testing.assert_allclose(counts[:10], 0.4, atol=0.05)
    np.testing.assert_allclose(counts[10:], 4 / 30, atol=0.03)
