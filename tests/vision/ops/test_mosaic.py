"""Mosaics, worked out by hand."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import mosaic

HEIGHT, WIDTH = 20, 32


def make_batch() -> tuple[tf.Tensor, tf.Tensor]:
    """Image i has the value 50 i + 1 with a rectangle of 50 i + 20; box n = 1 is padding."""
    images = np.zeros([4, HEIGHT, WIDTH, 3], np.uint8)
    boxes = np.full([4, 2, 4], -1, np.float32)
    for i in range(4):
        images[i] = 50 * i + 1
        images[i, 5 + i : 12, 8:20] = 50 * i + 20
        boxes[i, 0] = [5 + i, 8, 12, 20]
    return tf.constant(images), tf.constant(boxes)


def make_keys(seed: int = 0) -> tf.Tensor:
    return tf.stack([randomness.make_key(seed, index=i) for i in range(4)])


def test_tiles_are_parts_of_four_images_and_boxes_move_along() -> None:
    images, boxes = make_batch()
    sizes = tf.fill([4, 2], 0) + tf.constant([HEIGHT, WIDTH])
    num_boxes = 0
    for seed in range(8):
        mixed, moved, is_kept, sources = mosaic.make_mosaics(
            images, boxes, sizes, make_keys(seed), prob=1.0, min_box_overlap=0.0
        )
        for i in range(4):
            assert sorted(sources[i].numpy()) == [0, 1, 2, 3]
            # The corners are the four images, in their order.
            corners = mixed[i].numpy()[[0, 0, -1, -1], [0, -1, 0, -1], 0] // 50
            np.testing.assert_array_equal(corners, sources[i])
            kept = is_kept[i].numpy().reshape([4, 2])
            assert not kept[:, 1].any()  # padding
            for tile, (source, box) in enumerate(
                zip(sources[i].numpy(), moved[i].numpy().reshape([4, 2, 4])[:, 0])
            ):
                where = np.argwhere(mixed[i].numpy()[..., 0] == 50 * source + 20)
                assert kept[tile, 0] == bool(len(where))
                if len(where):
                    expected = [*where.min(0), *(where.max(0) + 1)]
                    np.testing.assert_array_equal(box, expected)
                    num_boxes += 1
    assert num_boxes > 40


def test_small_rests_are_dropped_and_padding_is_not_shown() -> None:
    images, boxes = make_batch()
    content = tf.fill([4, 2], 16)  # the rest is padding
    for minimum in (0.3, 0.9):
        _, moved, is_kept, _ = mosaic.make_mosaics(
            images, boxes, content, make_keys(), prob=1.0, min_box_overlap=minimum
        )
        area = np.prod(moved.numpy()[..., 2:] - moved.numpy()[..., :2], axis=-1)
        assert (area[is_kept.numpy()] >= minimum * 12 * 4).all()
        assert is_kept.numpy().any()


def test_probability_decides_for_each_image() -> None:
    images, boxes = make_batch()
    sizes = tf.fill([4, 2], 20)
    mixed, moved, is_kept, sources = mosaic.make_mosaics(
        images, boxes, sizes, make_keys(), prob=0.0
    )
    np.testing.assert_array_equal(mixed, images)
    np.testing.assert_array_equal(moved[:, :2], boxes)
    np.testing.assert_array_equal(is_kept.numpy().sum(1), [1] * 4)
    np.testing.assert_array_equal(sources[:, 0], range(4))
    changed = []
    for seed in range(30):
        mixed, *_ = mosaic.make_mosaics(images, boxes, sizes, make_keys(seed), prob=0.3)
        changed += list((mixed.numpy() != images.numpy()).any((1, 2, 3)))
    assert abs(np.mean(changed) - 0.3) < 0.12


def test_compact_rows() -> None:
    values = tf.constant([[1, 2, 3, 4], [5, 6, 7, 8]])
    is_kept = tf.constant([[False, True, False, True], [False, False, False, True]])
    expected = [[2, 4], [8, -1]]
    np.testing.assert_array_equal(mosaic.compact_rows(values, is_kept, -1), expected)
    none = mosaic.compact_rows(values[..., None], tf.zeros_like(is_kept), -1)
    assert none.shape == (2, 0, 1)
