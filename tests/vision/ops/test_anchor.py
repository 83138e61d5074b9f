"""Anchors, matching and labels: hand-made values, and Model Garden's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import (
    anchor,
    anchor_generator,
    box_matcher,
    box_ops,
    iou_similarity,
    target_gather,
)


def test_anchor_values_by_hand() -> None:
    anchors = anchor.Anchor(3, 4, 1, [1.0, 4.0], 2.0, (16, 32))
    boxes = anchors.multilevel_boxes
    assert anchors.anchors_per_location == 2
    assert {level: tuple(b.shape) for level, b in boxes.items()} == {'3': (2, 4, 8), '4': (1, 2, 8)}
    # Level 3: cells of 8 px, squares of side 16; four times as wide as high: 8 by 32.
    np.testing.assert_allclose(boxes['3'][0, 0], [-4, -4, 12, 12, 0, -12, 8, 20])
    np.testing.assert_allclose(boxes['3'][1, 2], [4, 12, 20, 28, 8, 4, 16, 36])
    np.testing.assert_allclose(boxes['4'][0, 1], [-8, 8, 24, 40, 0, -8, 16, 56])


def test_scales_are_slower_than_aspect_ratios() -> None:
    boxes = anchor.Anchor(3, 3, 2, [1.0, 2.0], 4.0, (8, 8)).multilevel_boxes['3'][0, 0]
    sides = tf.reshape(boxes, [4, 4])
    areas = ((sides[:, 2] - sides[:, 0]) * (sides[:, 3] - sides[:, 1])).numpy()
    np.testing.assert_allclose(areas, [1024, 1024, 2048, 2048], rtol=1e-5)


def test_dynamic_size_gives_the_same_anchors() -> None:
    make = anchor.build_anchor_generator(3, 5, 2, [0.5, 1.0], 3.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def make_dynamic(size: tf.Tensor) -> dict:
        return make([size[0], size[1]])

    expected = make((40, 72))
    for level, boxes in make_dynamic(tf.constant([40, 72])).items():
        np.testing.assert_allclose(boxes, expected[level], rtol=1e-6)


def test_matcher_by_hand() -> None:
    similarity = tf.constant(
        [
            [0.1, 0.2],  # negative
            [0.4, 0.0],  # on the lower bound: ignored
            [0.5, 0.5],  # on the upper bound: positive, the first of equal columns
            [0.45, 0.3],
            [0.0, 0.0],
        ]
    )
    matcher = box_matcher.BoxMatcher([0.4, 0.5], [-1, -2, 1])
    columns, indicators = matcher(similarity)
    np.testing.assert_array_equal(columns, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(indicators, [-1, -2, 1, -2, -1])


def test_forced_matches_by_hand() -> None:
    # Both columns are most similar to row 1: the first column wins, and the second gets none.
    similarity = tf.constant([[[0.1, 0.0], [0.3, 0.4], [0.3, 0.1]]])
    matcher = box_matcher.BoxMatcher([0.5], [-1, 1], force_match_for_each_col=True)
    columns, indicators = matcher(similarity)
    np.testing.assert_array_equal(columns[0, 1], 0)
    np.testing.assert_array_equal(indicators, [[-1, 1, -1]])


@pytest.mark.parametrize('shape', [(4, 0), (2, 4, 0)])
def test_matcher_without_columns(shape: tuple[int, ...]) -> None:
    columns, indicators = box_matcher.BoxMatcher([0.5], [-1, 1], True)(tf.zeros(shape))
    np.testing.assert_array_equal(columns, np.zeros(shape[:-1]))
    np.testing.assert_array_equal(indicators, -np.ones(shape[:-1]))


def test_matcher_refuses() -> None:
    with pytest.raises(ValueError, match=r'ascending thresholds. Received: \[0.5, 0.4\]'):
        box_matcher.BoxMatcher([0.5, 0.4], [-1, -2, 1])
    with pytest.raises(ValueError, match='one indicator more than thresholds'):
        box_matcher.BoxMatcher([0.4, 0.5], [-1, 1])


def test_iou_by_hand() -> None:
    boxes = tf.constant([[0.0, 0, 2, 2], [0, 0, 2, 4], [5, 5, 6, 6], [3, 3, 3, 9]])
    iou = iou_similarity.iou(boxes, boxes[:2])
    np.testing.assert_allclose(iou, [[1, 0.5], [0.5, 1], [0, 0], [0, 0]])
    masked = iou_similarity.IouSimilarity()(
        boxes, boxes[:2], boxes_2_masks=tf.constant([[False], [True]])
    )
    np.testing.assert_allclose(masked[:, 1], -np.ones(4))
    with pytest.raises(ValueError, match=r'Received: ranks \(2, 3\)'):
        iou_similarity.IouSimilarity()(boxes, boxes[None])


def _make_batch(
    num_images: int = 4, num_boxes: int = 6, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in an image of 96 by 160, padded with -1; the last image has none."""
    generator = np.random.default_rng(seed)
    boxes = -np.ones((num_images, num_boxes, 4), np.float32)
    classes = -np.ones((num_images, num_boxes), np.int32)
    for image in range(num_images - 1):
        count = generator.integers(1, num_boxes + 1)
        low = generator.uniform(0, [80, 140], (count, 2))
        size = np.exp(generator.uniform(0, [3.0, 4.5], (count, 2)))
        boxes[image, :count] = np.concatenate([low, np.minimum(low + size, [96, 160])], 1)
        classes[image, :count] = generator.integers(1, 9, count)
    return boxes, classes


def test_labels_without_any_box_are_all_negative() -> None:
    anchors = anchor.Anchor(3, 4, 1, [1.0], 4.0, (32, 32)).multilevel_boxes
    for num_boxes in (0, 3):
        labels = anchor.label_anchors_batch(
            anchors, -tf.ones([2, num_boxes, 4]), -tf.ones([2, num_boxes], tf.int32)
        )
        cls_targets, _, cls_weights, box_weights, _ = labels
        assert {level: tuple(t.shape) for level, t in cls_targets.items()} == {
            '3': (2, 4, 4, 1),
            '4': (2, 2, 2, 1),
        }
        for targets in cls_targets.values():
            np.testing.assert_array_equal(targets, -np.ones(targets.shape))
        np.testing.assert_array_equal(cls_weights, np.ones((2, 20)))
        np.testing.assert_array_equal(box_weights, np.zeros((2, 20)))


def test_every_box_gets_an_anchor_and_decodes_to_itself() -> None:
    anchors = anchor.Anchor(3, 5, 2, [0.5, 1.0], 3.0, (96, 160)).multilevel_boxes
    boxes = tf.constant([[[10.0, 20, 11, 21], [40, 50, 80, 130]]])
    labels = anchor.label_anchors_batch(anchors, boxes, tf.constant([[3, 7]]))
    cls_targets, box_targets, _, box_weights, _ = labels
    flat = tf.concat([tf.reshape(t, [-1]) for t in cls_targets.values()], 0).numpy()
    deltas = tf.concat([tf.reshape(t, [-1, 4]) for t in box_targets.values()], 0)
    decoded = box_ops.decode_boxes(deltas, anchor.flatten_anchors(anchors)).numpy()
    assert set(flat) == {-1, 3, 7}
    np.testing.assert_array_equal(flat > 0, box_weights[0] == 1.0)
    for label, box in zip((3, 7), boxes[0].numpy(), strict=True):
        np.testing.assert_allclose(
            decoded[flat == label], np.tile(box, (np.sum(flat == label), 1)), atol=1e-3
        )


@pytest.mark.garden
@pytest.mark.parametrize('size', [(96, 160), (100, 60), (512, 640)])
def test_anchors_equal_model_garden(size: tuple[int, int]) -> None:
    from official.vision.ops import anchor as garden_anchor

    arguments = (3, 7, 3, [0.5, 1.0, 2.0], 4.0)
    expected = garden_anchor.build_anchor_generator(*arguments)(size)
    got = anchor.build_anchor_generator(*arguments)(size)
    assert list(got) == list(expected)
    for level, boxes in expected.items():
        np.testing.assert_allclose(got[level], boxes, rtol=1e-6, atol=1e-4)


@pytest.mark.garden
@pytest.mark.parametrize('thresholds', [(0.5, 0.5), (0.5, 0.4), (0.7, 0.3)])
@pytest.mark.parametrize('weights', [None, [10.0, 10.0, 5.0, 5.0]])
def test_labels_equal_model_garden(thresholds: tuple[float, float], weights: list | None) -> None:
    from official.vision.ops import anchor as garden_anchor

    anchors = anchor.Anchor(3, 7, 3, [0.5, 1.0, 2.0], 4.0, (96, 160)).multilevel_boxes
    boxes, classes = _make_batch()
    theirs = garden_anchor.AnchorLabeler(*thresholds, weights)
    one_by_one = anchor.AnchorLabeler(*thresholds, weights)
    batch = anchor.label_anchors_batch(anchors, boxes, classes, *thresholds, weights)
    assert int(tf.reduce_sum(batch[3])) > 10
    for image, (image_boxes, image_classes) in enumerate(zip(boxes, classes, strict=True)):
        count = int((image_classes >= 0).sum())
        inputs = (
            anchors,
            tf.constant(image_boxes[:count]),
            tf.constant(image_classes[:count, None]),
        )
        expected = theirs.label_anchors(*inputs)
        single = one_by_one.label_anchors(*inputs)
        for level in anchors:
            for index in (0, 1):
                np.testing.assert_allclose(
                    single[index][level], expected[index][level], rtol=1e-4, atol=1e-5
                )
                np.testing.assert_allclose(
                    batch[index][level][image], expected[index][level], rtol=1e-4, atol=1e-5
                )
        for index in (2, 3):
            np.testing.assert_array_equal(single[index + 1], expected[index + 1])
            np.testing.assert_array_equal(batch[index][image], expected[index + 1])


@pytest.mark.garden
def test_attributes_and_weights_equal_model_garden() -> None:
    from official.vision.ops import anchor as garden_anchor

    anchors = anchor.Anchor(3, 5, 3, [0.5, 1.0, 2.0], 4.0, (96, 160)).multilevel_boxes
    boxes, classes = _make_batch()
    inputs = (anchors, tf.constant(boxes[0, :1]), tf.constant(classes[0, :1, None]))
    extra = ({'depth': tf.constant([[4.0, 5.0]])}, tf.constant([0.25]))
    expected = garden_anchor.AnchorLabeler().label_anchors(*inputs, *extra)
    got = anchor.AnchorLabeler().label_anchors(*inputs, *extra)
    for level in anchors:
        np.testing.assert_allclose(got[2]['depth'][level], expected[2]['depth'][level])
    np.testing.assert_allclose(got[3], expected[3])
    np.testing.assert_allclose(got[4], expected[4])


@pytest.mark.garden
@pytest.mark.parametrize('thresholds', [(0.5, 0.5), (0.6, 0.4)])
def test_ties_padding_and_boxes_on_thresholds_equal_model_garden(
    thresholds: tuple[float, float],
) -> None:
    """Hand-made: equal boxes, boxes with two best anchors, exact anchors, one of 1 px, halves of
    anchors (overlaps of exactly 0.5), boxes that force the same anchor."""
    from official.vision.ops import anchor as garden_anchor

    anchors = anchor.Anchor(3, 4, 1, [1.0, 2.0], 4.0, (64, 96)).multilevel_boxes
    boxes = np.float32(
        [
            [4, 4, 36, 36],  # exactly between four cells: several best anchors
            [4, 4, 36, 36],  # the same again
            [0, 0, 1, 1],  # one pixel
            [-4, -4, 28, 28],  # the half of it lies in the next
            [12, 12, 44, 28],  # half of an anchor
            [13, 13, 14, 14],  # forces the anchor of the next one
            [12, 12, 14, 14],
            [0, 0, 64, 96],  # all of the image
        ]
    )
    classes = np.arange(1, 9, dtype=np.int32)
    padded = np.concatenate([boxes, -np.ones((3, 4), np.float32)])[None]
    padded_classes = np.concatenate([classes, -np.ones(3, np.int32)])[None]
    attributes = {'number': tf.constant(np.arange(11)[None, :, None])}
    got = anchor.label_anchors_batch(
        anchors, padded, padded_classes, *thresholds, attributes=attributes
    )
    expected = garden_anchor.AnchorLabeler(*thresholds).label_anchors(
        anchors, boxes, classes[:, None], {'number': tf.range(8, dtype=tf.int64)[:, None]}
    )
    for level in anchors:
        np.testing.assert_array_equal(got.cls_targets[level][0], expected[0][level])
        np.testing.assert_allclose(got.box_targets[level][0], expected[1][level], atol=1e-5)
        np.testing.assert_array_equal(
            got.attribute_targets['number'][level][0], expected[2]['number'][level]
        )
    np.testing.assert_array_equal(got.cls_weights[0], expected[3])
    np.testing.assert_array_equal(got.box_weights[0], expected[4])
    assert set(np.concatenate([np.ravel(t) for t in got.cls_targets.values()])) > {-1, 1, 3, 4, 8}


@pytest.mark.parametrize(
    ('num_positives', 'num_negatives', 'expected'),
    [(25, 25, (25, 25)), (200, 100, (128, 100)), (100, 200, (100, 156)), (200, 200, (128, 128))],
)
def test_samples_of_proposals(
    num_positives: int, num_negatives: int, expected: tuple[int, int]
) -> None:
    results = np.full([1000], anchor.IGNORED, np.int32)
    results[:num_positives] = 0
    results[num_positives : num_positives + num_negatives] = anchor.NEGATIVE
    labeler = anchor.RpnAnchorLabeler()
    key = tf.constant([1, 2])
    scores, positive, negative = labeler._get_rpn_samples(tf.constant(results), key)
    assert (np.sum(scores == 1), np.sum(scores == 0)) == expected
    assert (np.sum(positive == 2), np.sum(negative == 1)) == expected
    assert not np.any(scores[num_positives + num_negatives :] >= 0)
    assert not np.any(scores[num_positives : num_positives + num_negatives] == 1)
    again = labeler._get_rpn_samples(tf.constant(results), key)[0]
    np.testing.assert_array_equal(again, scores)
    other = labeler._get_rpn_samples(tf.constant(results), tf.constant([3, 4]))[0]
    assert np.any(other != scores) is np.bool_(num_positives + num_negatives > 256)


@pytest.mark.garden
def test_labels_of_proposals_equal_model_garden() -> None:
    """With a sample that all anchors are in, so that nothing is drawn."""
    from official.vision.ops import anchor as garden_anchor

    anchors = anchor.Anchor(3, 5, 1, [0.5, 1.0], 4.0, (96, 160)).multilevel_boxes
    boxes, classes = _make_batch()
    options = {'rpn_batch_size_per_im': 2000}
    inputs = (anchors, tf.constant(boxes[0, :2]), tf.constant(classes[0, :2, None]))
    expected = garden_anchor.RpnAnchorLabeler(**options).label_anchors(*inputs)
    got = anchor.RpnAnchorLabeler(**options).label_anchors(*inputs)
    for level in anchors:
        np.testing.assert_array_equal(got[0][level], expected[0][level])
        np.testing.assert_allclose(got[1][level], expected[1][level], atol=1e-5)


@pytest.mark.garden
@pytest.mark.parametrize('clip_boxes', [False, True])
def test_anchors_by_size_and_stride_equal_model_garden(clip_boxes: bool) -> None:
    from official.vision.ops import anchor_generator as garden

    for sizes, scales, strides in (
        ([32, 64.0], [[1.0, 2.0], [0.5]], [16, 30]),
        ({'3': 32, '4': 70}, [1.0, 1.5], {'3': 8, '4': 16}),
    ):
        arguments = (sizes, scales, [0.5, 1.0], strides, clip_boxes)
        expected = garden.AnchorGeneratorv1(*arguments)((64, 100))
        got = anchor_generator.AnchorGeneratorv1(*arguments)((64, 100))
        tf.nest.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5), got, expected
        )


def test_values_by_match() -> None:
    values = tf.constant([[[1, 2], [3, 4]], [[5, 6], [7, 8]]])
    mask = tf.constant([[False, True], [False, False]])[..., None]
    got = target_gather.TargetGather()(values, tf.constant([[1, 0], [1, 1]]), mask, -1)
    np.testing.assert_array_equal(got, [[[3, 4], [-1, -1]], [[7, 8], [7, 8]]])
    empty = target_gather.gather_targets(tf.zeros([0, 2]), tf.constant([0, 0, 0]), mask_val=7.0)
    np.testing.assert_array_equal(empty, np.full((3, 2), 7.0))
    with pytest.raises(ValueError, match=r'at most 3 dimensions. Received: shape \(1, 1, 1, 1\)'):
        target_gather.TargetGather()(tf.zeros([1, 1, 1, 1]), tf.constant([[0]]))
