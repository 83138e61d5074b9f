"""Objects pasted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.vision.ops import copy_paste

_SIZE = 41


def _make_batch() -> tuple[tf.Tensor, dict[str, Any], tf.Tensor]:
    """Two images: a large square in the first, and one in the second that hides its right half."""
    images = np.stack([np.full([_SIZE, _SIZE, 3], 10), np.full([_SIZE, _SIZE, 3], 200)])
    boxes = np.full([2, 2, 4], -1.0, np.float32)
    boxes[0, 0], boxes[1, 0] = [10, 10, 30, 30], [10, 20, 30, 40]
    classes = np.array([[1, -1], [2, -1]], np.int32)
    masks = np.full([2, 2, 21, 21], -1.0, np.float32)
    masks[:, 0] = 1.0
    info = np.tile(np.array([[[_SIZE] * 2, [_SIZE] * 2, [1, 1], [0, 0]]], np.float32), [2, 1, 1])
    labels = {
        'image_info': tf.constant(info),
        'gt_boxes': tf.constant(boxes),
        'gt_outer_boxes': tf.constant(boxes),
        'gt_classes': tf.constant(classes),
        'gt_masks': tf.constant(masks),
    }
    return tf.constant(images, tf.uint8), labels, tf.constant([[1, 2], [3, 4]])


def test_an_object_hides_what_is_below_it() -> None:
    images, labels, keys = _make_batch()
    mixed, found = copy_paste.CopyPaste(prob=1.0, object_prob=1.0)(images, labels, keys)
    first = mixed[0, ..., 0].numpy()
    inside = np.zeros([_SIZE, _SIZE], bool)
    inside[10:30, 20:40] = True
    np.testing.assert_array_equal(first == 200, inside)
    np.testing.assert_array_equal(found['gt_classes'][0], [1, 2])
    # Of 20 px across 10 are hidden; the edges are known to half a step of the mask.
    np.testing.assert_allclose(found['gt_boxes'][0, 0], [10, 10, 30, 20], atol=1.01)
    np.testing.assert_allclose(found['gt_boxes'][0, 1], [10, 20, 30, 40])
    assert found['gt_masks'][0, 0].numpy().mean() > 0.9  # cropped to what is left
    np.testing.assert_array_equal(found['gt_masks'][0, 1], np.ones([21, 21]))


def test_what_is_hidden_is_dropped() -> None:
    images, labels, keys = _make_batch()
    paste = copy_paste.CopyPaste(prob=1.0, object_prob=1.0, min_visible=0.9)
    _, found = paste(images, labels, keys)
    np.testing.assert_array_equal(found['gt_classes'], [[2], [1]])


def test_nothing_is_pasted_by_chance() -> None:
    images, labels, keys = _make_batch()
    for options in ({'prob': 0.0}, {'object_prob': 0.0}):
        mixed, found = copy_paste.CopyPaste(**options)(images, labels, keys)
        np.testing.assert_array_equal(mixed, images)
        np.testing.assert_array_equal(found['gt_boxes'], labels['gt_boxes'][:, :1])


def test_an_image_alone_stays_as_it_is() -> None:
    images, labels, keys = _make_batch()
    alone = {name: values[:1] for name, values in labels.items()}
    mixed, found = copy_paste.CopyPaste(prob=1.0, object_prob=1.0)(images[:1], alone, keys[:1])
    np.testing.assert_array_equal(mixed, images[:1])
    np.testing.assert_array_equal(found['gt_masks'], alone['gt_masks'][:, :1])
