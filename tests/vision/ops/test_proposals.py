"""Proposals against a suppression written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import proposals

SHAPES = {'2': (6, 8, 3), '3': (3, 4, 3)}
IMAGE = np.array([[48.0, 64.0], [40.0, 64.0]], np.float32)


def _make_inputs(seed: int = 0) -> tuple[dict, dict, dict]:
    random = np.random.default_rng(seed)
    boxes, scores, anchors = {}, {}, {}
    for level, (height, width, count) in SHAPES.items():
        boxes[level] = random.normal(0, 0.3, (2, height, width, count * 4)).astype(np.float32)
        scores[level] = random.normal(0, 2, (2, height, width, count)).astype(np.float32)
        centres = random.uniform(0, 1, (height, width, count, 2)) * [48, 64]
        sides = random.uniform(8, 30, (height, width, count, 2))
        corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)
        anchors[level] = corners.reshape(height, width, -1).astype(np.float32)
    return boxes, scores, anchors


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(height, 0) * max(width, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared + 1e-8)


def _decode(codes: np.ndarray, anchors: np.ndarray, image: np.ndarray) -> np.ndarray:
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + sides / 2 + codes[:, :2] * sides
    sides = np.exp(codes[:, 2:]) * sides
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)
    return np.clip(boxes, 0, np.tile(image, 2))


def _propose(inputs: tuple, options: proposals.ProposalOptions) -> tuple[list, list]:
    boxes, scores, anchors = inputs
    all_boxes, all_scores = [], []
    for image in range(2):
        found = []
        for level in SHAPES:
            decoded = _decode(
                boxes[level][image].reshape(-1, 4), anchors[level].reshape(-1, 4), IMAGE[image]
            )
            chance = 1 / (1 + np.exp(-scores[level][image].reshape(-1)))
            found += _suppress(decoded, chance, IMAGE[image], options)
        found.sort(key=lambda pair: -pair[1])
        found = found[: options.num_proposals]
        all_boxes.append([box for box, _ in found])
        all_scores.append([score for _, score in found])
    return all_boxes, all_scores


def _suppress(
    boxes: np.ndarray, scores: np.ndarray, image: np.ndarray, options: proposals.ProposalOptions
) -> list:
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sides / 2
    minimum = options.pre_nms_min_size_threshold
    is_fine = np.ones(len(boxes), bool)
    if minimum > 0:
        is_fine = np.all(sides > minimum, 1) & np.all((centres > 0) & (centres < image), 1)
    order = [i for i in np.argsort(-scores, kind='stable') if is_fine[i]]
    order = order[: options.pre_nms_top_k]
    kept: list[int] = []
    for i in order:
        if scores[i] <= options.pre_nms_score_threshold:
            continue
        overlaps = [_iou(boxes[i], boxes[j]) for j in kept]
        if options.nms_iou_threshold == 0 or not any(
            overlap >= options.nms_iou_threshold for overlap in overlaps
        ):
            kept.append(i)
    return [(boxes[i], scores[i]) for i in kept[: options.num_proposals]]


def _tile(anchors: dict) -> dict:
    """Anchors with the batch in front."""
    return {level: tf.tile(boxes[None], [2, 1, 1, 1]) for level, boxes in anchors.items()}


@pytest.mark.parametrize(
    'options',
    [
        proposals.ProposalOptions(pre_nms_top_k=40, nms_iou_threshold=0.3, num_proposals=20),
        proposals.ProposalOptions(nms_iou_threshold=0.5, num_proposals=500),
        proposals.ProposalOptions(30, 0.6, 0.0, 0.4, 25),
        proposals.ProposalOptions(30, 0.0, 20.0, 0.4, 25),
        proposals.ProposalOptions(200, 0.0, 0.0, 0.0, 25),
        proposals.ProposalOptions(200, 0.2, 0.0, 0.4, 25, use_batched_nms=True),
    ],
)
def test_values(options: proposals.ProposalOptions) -> None:
    inputs = _make_inputs()
    expected = _propose(inputs, options)
    inputs = tf.nest.map_structure(tf.constant, inputs)
    got = [
        tf.function(lambda: proposals.propose(*inputs, IMAGE, options))(),
        proposals.propose(*inputs[:2], _tile(inputs[2]), IMAGE, options),
    ]
    for boxes, scores in got:
        assert boxes.shape == (2, min(options.num_proposals, 180), 4)
        for image in range(2):
            count = len(expected[1][image])
            assert count > 3
            np.testing.assert_allclose(boxes[image, :count], expected[0][image], atol=1e-3)
            np.testing.assert_allclose(scores[image, :count], expected[1][image], atol=1e-6)
            assert not np.any(boxes[image, count:])
            assert not np.any(scores[image, count:])


def test_a_score_of_0_is_one_too() -> None:
    boxes, scores, anchors = tf.nest.map_structure(tf.constant, _make_inputs())
    scores = {level: tf.fill(score.shape, -200.0) for level, score in scores.items()}
    options = proposals.ProposalOptions(num_proposals=5)
    found, chances = proposals.propose(boxes, scores, anchors, IMAGE, options)
    assert np.all(np.any(found > 0, axis=-1))
    assert not np.any(chances)
