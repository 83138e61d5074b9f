"""Suppression where each class has boxes of its own, as in the second stage of a detector."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.ops import nms


def _make(candidates: int = 40, classes: int = 3) -> tuple[tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (2, candidates, classes, 2))
    sides = random.uniform(5, 30, (2, candidates, classes, 2))
    boxes = np.concatenate([corners, corners + sides], axis=-1)
    scores = random.uniform(0, 1, (2, candidates, classes))
    return tf.constant(boxes, tf.float32), tf.constant(scores, tf.float32)


@pytest.mark.parametrize('num_best', [1, 16])
def test_equals_classes_one_by_one(num_best: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of what each class alone gives; also where not all pairs are looked at first."""
    monkeypatch.setattr(nms, '_NUM_BEST_PAIRS', num_best)
    boxes, scores = _make()
    options = {'max_num_detections': 12, 'score_threshold': 0.3, 'iou_threshold': 0.4}
    got = nms.select_per_class(boxes, scores, pre_nms_top_k=20, **options)
    _check(
        got,
        [
            nms.select_per_class(
                boxes[:, :, label], scores[:, :, label, None], pre_nms_top_k=20, **options
            )
            for label in range(3)
        ],
    )


def test_soft_equals_classes_one_by_one() -> None:
    boxes, scores = _make()
    options = {'max_num_detections': 12, 'score_threshold': 0.3, 'iou_threshold': 0.4}
    options |= {'pre_nms_top_k': 20, 'soft_nms_sigma': 0.5}
    got = nms.select_soft(boxes, scores, **options)
    alone = [
        nms.select_soft(boxes[:, :, label], scores[:, :, label, None], **options)
        for label in range(3)
    ]
    _check(got, alone)


def _check(got: nms.Selection, alone: list[nms.Selection]) -> None:
    for image in range(2):
        rows = [
            (float(one.scores[image, i]), label, one.boxes[image, i].numpy().tolist())
            for label, one in enumerate(alone)
            for i in range(int(one.num_valid[image]))
        ]
        rows = sorted(rows, reverse=True)[:12]
        assert int(got.num_valid[image]) == len(rows) > 5
        np.testing.assert_allclose(got.scores[image, : len(rows)], [row[0] for row in rows])
        np.testing.assert_array_equal(got.classes[image, : len(rows)], [row[1] for row in rows])
        np.testing.assert_allclose(got.boxes[image, : len(rows)], [row[2] for row in rows])
