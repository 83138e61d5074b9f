"""Suppression: against a plain NumPy loop, and Model Garden's generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import nms

NUM_CLASSES = 3


def _make_case(
    seed: int, num_images: int = 2, num_boxes: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """Crowded boxes, and scores of which a third ties with others."""
    generator = np.random.default_rng(seed)
    low = generator.integers(0, 40, (num_images, num_boxes, 2))
    boxes = np.concatenate([low, low + generator.integers(4, 30, low.shape)], -1).astype(np.float32)
    scores = generator.uniform(0, 1, (num_images, num_boxes, NUM_CLASSES))
    scores = np.where(scores > 0.67, np.round(scores, 1), scores).astype(np.float32)
    return boxes, scores


def _iou(a: np.ndarray, b: np.ndarray) -> np.float32:
    height = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    width = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return np.float32(height * width / area) if area else np.float32(0)


def _reference(
    boxes: np.ndarray,
    scores: np.ndarray,
    limit: int,
    score: float,
    iou: float,
    top_k: int,
    at: bool,
) -> list[tuple[float, int, int]]:
    """(score, class, candidate) of one image, best first."""
    kept = []
    for label in range(scores.shape[1]):
        order = sorted(range(len(boxes)), key=lambda i: (-scores[i, label], i))[:top_k]
        mine: list[int] = []
        for i in order:
            if scores[i, label] <= score:
                break
            overlaps = (_iou(boxes[i], boxes[j]) for j in mine)
            is_clear = all(
                o < np.float32(iou) or (not at and o == np.float32(iou)) for o in overlaps
            )
            if is_clear:
                mine.append(i)
        kept += [(-scores[i, label], label, rank, i) for rank, i in enumerate(mine)]
    return [(-s, label, i) for s, label, _, i in sorted(kept)][:limit]


@pytest.mark.parametrize('top_k', [7, 1000])
def test_where_the_best_pairs_do_not_fill_the_detections_all_are_looked_at(top_k: int) -> None:
    boxes, scores = _make_case(0, num_images=2)
    # The best of the first image all overlap: there are more of them than are looked at first.
    boxes[0, :55] = boxes[0, 0]
    scores[0, :55] += 1.0
    limit = 2
    assert 16 * limit < 55 * NUM_CLASSES
    got = nms.select_per_class(
        boxes,
        scores,
        max_num_detections=limit * NUM_CLASSES,
        score_threshold=0.1,
        iou_threshold=0.5,
        pre_nms_top_k=top_k,
    )
    few = nms.select_per_class(
        boxes[:, :, :],
        scores[:, :, :1],
        max_num_detections=limit,
        score_threshold=0.1,
        iou_threshold=0.5,
        pre_nms_top_k=top_k,
    )
    for result, which, count in ((got, scores, limit * NUM_CLASSES), (few, scores[..., :1], limit)):
        for image in range(2):
            expected = _reference(boxes[image], which[image], count, 0.1, 0.5, top_k, True)
            number = int(result.num_valid[image])
            assert number == len(expected)
            np.testing.assert_array_equal(result.indices[image, :number], [e[2] for e in expected])
            np.testing.assert_array_equal(result.scores[image, :number], [e[0] for e in expected])


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('top_k', [10, 1000])
@pytest.mark.parametrize('is_threshold_suppressed', [True, False])
def test_per_class_equals_a_plain_loop(
    seed: int, top_k: int, is_threshold_suppressed: bool
) -> None:
    boxes, scores = _make_case(seed)
    got = tf.function(nms.select_per_class)(
        boxes,
        scores,
        max_num_detections=25,
        score_threshold=0.3,
        iou_threshold=0.5,
        pre_nms_top_k=top_k,
        is_threshold_suppressed=is_threshold_suppressed,
    )
    for image in range(len(boxes)):
        expected = _reference(
            boxes[image], scores[image], 25, 0.3, 0.5, top_k, is_threshold_suppressed
        )
        count = int(got.num_valid[image])
        assert count == len(expected)
        np.testing.assert_array_equal(got.scores[image, :count], [e[0] for e in expected])
        np.testing.assert_array_equal(got.classes[image, :count], [e[1] for e in expected])
        np.testing.assert_array_equal(got.indices[image, :count], [e[2] for e in expected])
        np.testing.assert_array_equal(
            got.boxes[image, :count], boxes[image][[e[2] for e in expected]]
        )
        for filled in (got.boxes, got.scores, got.classes):
            assert not np.any(filled[image, count:])


def test_an_overlap_equal_to_the_threshold() -> None:
    boxes = tf.constant([[[0.0, 0, 2, 4], [0, 0, 2, 2]]])  # intersection over union: 0.5
    scores = tf.constant([[[0.9], [0.8]]])
    arguments: dict[str, Any] = {'max_num_detections': 3}
    arguments |= {'score_threshold': 0.1, 'iou_threshold': 0.5}
    suppressed = nms.select_per_class(boxes, scores, **arguments)
    kept = nms.select_per_class(boxes, scores, is_threshold_suppressed=False, **arguments)
    assert [int(s.num_valid[0]) for s in (suppressed, kept)] == [1, 2]


def test_score_equal_to_the_threshold_and_boxes_at_the_corner_are_left_out() -> None:
    boxes = tf.constant([[[0.0, 0, 0, 0], [0, 0, 2, 2], [5, 5, 9, 9]]])
    scores = tf.constant([[[0.9], [0.5], [0.6]]])
    got = nms.select_per_class(
        boxes, scores, max_num_detections=3, score_threshold=0.5, iou_threshold=0.5
    )
    np.testing.assert_array_equal(got.indices[0, :1], [2])
    assert int(got.num_valid[0]) == 1


@pytest.mark.parametrize('num_boxes', [0, 4])
def test_nothing_to_detect(num_boxes: int) -> None:
    got = nms.select_per_class(
        tf.ones([2, num_boxes, 4]),
        tf.zeros([2, num_boxes, NUM_CLASSES]),
        max_num_detections=5,
        score_threshold=0.5,
        iou_threshold=0.5,
        pre_nms_top_k=3,
    )
    np.testing.assert_array_equal(got.num_valid, [0, 0])
    np.testing.assert_array_equal(got.boxes, np.zeros((2, 5, 4)))
    np.testing.assert_array_equal(got.scores, np.zeros((2, 5)))


def test_class_agnostic_suppresses_across_classes() -> None:
    boxes = tf.constant([[[0.0, 0, 4, 4], [0, 0, 4, 5], [20, 20, 24, 24]]])
    scores = tf.constant([[[0.2, 0.9], [0.8, 0.1], [0.5, 0.5]]])
    got = nms.select_class_agnostic(
        boxes, scores, max_num_detections=4, score_threshold=0.1, iou_threshold=0.5
    )
    assert int(got.num_valid[0]) == 2
    np.testing.assert_array_equal(got.classes[0], [1, 0, 0, 0])
    np.testing.assert_array_equal(got.indices[0, :2], [0, 2])


def _run_garden(
    function_name: str, boxes: np.ndarray, scores: np.ndarray, **kwargs: Any
) -> list[np.ndarray]:
    from official.vision.modeling.layers import detection_generator as garden

    results = getattr(garden, function_name)(
        tf.constant(boxes[:, :, None]), tf.constant(scores), **kwargs
    )
    return [np.asarray(value) for value in results[:4]]


def _assert_same(got: nms.Selection, expected: list[np.ndarray]) -> None:
    expected_boxes, expected_scores, expected_classes, expected_count = expected
    np.testing.assert_array_equal(got.num_valid, expected_count)
    for image, count in enumerate(expected_count):
        np.testing.assert_allclose(
            got.scores[image, :count], expected_scores[image, :count], rtol=1e-6
        )
        np.testing.assert_array_equal(got.classes[image, :count], expected_classes[image, :count])
        np.testing.assert_allclose(
            got.boxes[image, :count], expected_boxes[image, :count], rtol=1e-6
        )


def _make_garden_case(seed: int, num_boxes: int = 700) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 80, (2, num_boxes, 2))
    boxes = np.concatenate([low, low + generator.uniform(8, 40, low.shape)], -1).astype(np.float32)
    return boxes, generator.beta(0.5, 3.0, (2, num_boxes, NUM_CLASSES)).astype(np.float32)


COMMON: dict[str, Any] = {
    'pre_nms_score_threshold': 0.2,
    'nms_iou_threshold': 0.5,
    'max_num_detections': 60,
}
OURS: dict[str, Any] = {'score_threshold': 0.2, 'iou_threshold': 0.5, 'max_num_detections': 60}


@pytest.mark.garden
@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('top_k', [50, 5000])
def test_versions_equal_model_garden(seed: int, top_k: int) -> None:
    boxes, scores = _make_garden_case(seed)
    expected = _run_garden('_generate_detections_v2', boxes, scores, pre_nms_top_k=top_k, **COMMON)
    _assert_same(nms.select_per_class(boxes, scores, pre_nms_top_k=top_k, **OURS), expected)
    expected = _run_garden('_generate_detections_v1', boxes, scores, pre_nms_top_k=top_k, **COMMON)
    _assert_same(nms.select_per_class(boxes, scores, pre_nms_top_k=top_k, **OURS), expected)
    strict = {'is_threshold_suppressed': False, 'drop_empty_boxes': False, **OURS}
    expected = _run_garden('_generate_detections_batched', boxes, scores, **COMMON)
    _assert_same(nms.select_per_class(boxes, scores, **strict), expected)
    expected = _run_garden(
        '_generate_detections_v2',
        boxes,
        scores,
        pre_nms_top_k=top_k,
        use_class_agnostic_nms=True,
        **COMMON,
    )
    _assert_same(nms.select_class_agnostic(boxes, scores, pre_nms_top_k=top_k, **OURS), expected)
    expected = _run_garden(
        '_generate_detections_v1', boxes, scores, pre_nms_top_k=top_k, soft_nms_sigma=0.5, **COMMON
    )
    got = nms.select_soft(boxes, scores, pre_nms_top_k=top_k, soft_nms_sigma=0.5, **OURS)
    _assert_same(got, expected)


def _make_tied_case(seed: int, num_boxes: int = 1200) -> tuple[np.ndarray, np.ndarray]:
    """More boxes than two of Model Garden's tiles of 512, and scores of which many are equal."""
    boxes, scores = _make_garden_case(seed, num_boxes)
    return boxes, np.where(scores > 0.5, np.round(scores, 2), scores).astype(np.float32)


@pytest.mark.garden
@pytest.mark.parametrize('iou', [0.3, 0.4, 0.5, 0.7])
def test_every_overlap_equals_the_plain_loop_and_model_garden(iou: float) -> None:
    boxes, scores = _make_tied_case(7)
    got = nms.select_per_class(boxes, scores, pre_nms_top_k=5000, **OURS | {'iou_threshold': iou})
    for image in range(len(boxes)):
        expected = _reference(boxes[image], scores[image], 60, 0.2, iou, 5000, True)
        np.testing.assert_array_equal(got.indices[image], [e[2] for e in expected])
    options = COMMON | {'nms_iou_threshold': iou, 'pre_nms_top_k': 5000}
    _assert_same(got, _run_garden('_generate_detections_v1', boxes, scores, **options))
    if iou >= 0.5:
        _assert_same(got, _run_garden('_generate_detections_v2', boxes, scores, **options))


def _suppress_once(
    overlaps: tf.Tensor, _: tf.Tensor, total: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What a step of Model Garden's loop is to do: boxes that are hit for sure hit nothing any more.

    Its own asks for overlaps above 0.5, whatever the threshold.
    """
    is_free = tf.reduce_max(overlaps, axis=1) == 0.0
    is_hit = tf.reduce_max(tf.where(is_free[:, :, None], overlaps, 0.0), axis=1) > 0.0
    left = tf.where(is_hit[:, :, None], 0.0, overlaps)
    return left, tf.reduce_any(left != overlaps), total


@pytest.mark.garden
@pytest.mark.parametrize('iou', [0.3, 0.4])
def test_below_a_half_equals_model_garden_with_one_step_mended(
    iou: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from official.vision.ops import nms as garden_nms

    monkeypatch.setattr(garden_nms, '_self_suppression', _suppress_once)
    boxes, scores = _make_tied_case(7)
    got = nms.select_per_class(boxes, scores, pre_nms_top_k=5000, **OURS | {'iou_threshold': iou})
    options = COMMON | {'nms_iou_threshold': iou, 'pre_nms_top_k': 5000}
    _assert_same(got, _run_garden('_generate_detections_v2', boxes, scores, **options))


@pytest.mark.garden
@pytest.mark.parametrize(
    ('iou', 'shift', 'expected'), [(0.3, 6, [1]), (0.4, 5, [1]), (0.5, 4, [1]), (0.6, 2, [2])]
)
def test_up_to_a_half_model_garden_suppresses_by_what_is_suppressed(
    iou: float, shift: int, expected: list[int]
) -> None:
    """Each box overlaps the next by just the threshold or little more, and only the next.

    The second goes because of the first, so the third stays.
    """
    starts = shift * np.arange(3)
    boxes = np.stack([0 * starts, starts, 0 * starts + 12, starts + 12], -1)[None]
    boxes, scores = boxes.astype(np.float32), np.array([[[0.9], [0.8], [0.7]]], np.float32)
    ours = nms.select_per_class(boxes, scores, **OURS | {'iou_threshold': iou})
    np.testing.assert_array_equal(ours.indices[0, : int(ours.num_valid[0])], [0, 2])
    options = COMMON | {'nms_iou_threshold': iou, 'pre_nms_top_k': 3}
    theirs = _run_garden('_generate_detections_v2', boxes, scores, **options)
    assert theirs[3] == expected
