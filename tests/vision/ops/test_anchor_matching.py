"""Matching of a batch equals the matcher of one similarity matrix."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import anchor, anchor_matching, iou_similarity

INDICATORS = (anchor.NEGATIVE, anchor.IGNORED, anchor.POSITIVE)


def make_boxes(rng: np.random.Generator, shape: tuple[int, ...], grid: int) -> np.ndarray:
    """Boxes with whole corners below `grid`, so that many overlaps tie."""
    corner = rng.integers(0, grid, [*shape, 2])
    return np.concatenate([corner, corner + rng.integers(1, grid, [*shape, 2])], -1).astype('f4')


def match_by_matrix(anchors: np.ndarray, boxes: np.ndarray, thresholds: tuple[float, float]):
    """Indices and indicators by `BoxMatcher`, image by image."""
    matcher = anchor.make_matcher(thresholds[1], thresholds[0])
    rows = []
    for image_boxes in boxes:
        similarity = iou_similarity.iou(anchors, image_boxes)
        is_padding = (image_boxes < 0).all(-1)
        rows.append(matcher(tf.where(is_padding, -1.0, similarity)))
    return [np.stack(values) for values in zip(*rows, strict=True)]


@pytest.mark.parametrize('jit_compile', [False, True])
@pytest.mark.parametrize('num_anchors', [1, 255, 256, 700])
def test_equals_the_matcher(num_anchors: int, jit_compile: bool):
    rng = np.random.default_rng(num_anchors)
    anchors = make_boxes(rng, (num_anchors,), 7)
    boxes = make_boxes(rng, (3, 6), 7)
    boxes[0, 4:] = boxes[1, 2] = boxes[2] = -1  # padding at the end, in between, everywhere
    boxes[1, 5] = boxes[1, 0]  # a box twice: the first of the two counts
    match = tf.function(anchor_matching.match_anchors, jit_compile=jit_compile, autograph=False)
    for thresholds in ((0.5, 0.5), (0.3, 0.6)):
        found = match(tf.constant(anchors), tf.constant(boxes), thresholds, INDICATORS)
        expected = match_by_matrix(anchors, boxes, thresholds)
        np.testing.assert_array_equal(found[1], expected[1])
        is_real = expected[1] != anchor.NEGATIVE
        np.testing.assert_array_equal(np.where(is_real, found[0], 0), expected[0] * is_real)


def test_a_box_that_overlaps_nothing_gets_the_first_anchor():
    anchors = tf.constant([[0.0, 0, 2, 2], [2, 2, 4, 4]])
    boxes = tf.constant([[[50.0, 50, 60, 60], [2, 2, 4, 4]]])
    indices, indicators = anchor_matching.match_anchors(anchors, boxes, (0.5, 0.5), INDICATORS)
    np.testing.assert_array_equal(indices, [[0, 1]])
    np.testing.assert_array_equal(indicators, [[1, 1]])
