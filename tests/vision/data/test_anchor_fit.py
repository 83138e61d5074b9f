"""The best anchor of each box, against all anchors of `ops.anchor`; and what is suggested."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from official_lite import errors
from official_lite.core import exp_factory
from official_lite.vision.data import anchor_fit
from official_lite.vision.ops import anchor, iou_similarity

SETTINGS = anchor_fit.AnchorSettings(
    min_level=3,
    max_level=6,
    num_scales=2,
    aspect_ratios=(0.5, 1.0, 3.0),
    anchor_size=3.0,
    input_size=(100, 200),
)


def make_boxes(count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(1)
    centres = rng.uniform(0, [100, 200], [count, 2])
    sides = np.exp(rng.uniform(np.log(2), np.log(150), [count, 2]))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).clip(
        0, [100, 200, 100, 200]
    )


def test_the_best_iou_is_that_over_all_anchors() -> None:
    boxes = make_boxes()
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    # The network's input is padded to multiples of 64.
    anchors = anchor.Anchor(3, 6, 2, [0.5, 1.0, 3.0], 3.0, [128, 256]).multilevel_boxes
    everything = iou_similarity.iou(
        boxes.astype(np.float32), anchor.flatten_anchors(anchors)
    ).numpy()
    np.testing.assert_allclose(
        anchor_fit.compute_best_iou(boxes, SETTINGS), everything.max(axis=1), atol=2e-6
    )


def test_shares_by_hand() -> None:
    # Anchors of 32 px around (16, 16): the first box is one of them, the second is 16 px wide and
    # high within it (IoU 1/4), the third as wide and half as high (1/2).
    settings = anchor_fit.AnchorSettings(5, 5, 1, (1.0,), 1.0, (64, 64))
    boxes = np.array([[0, 0, 32, 32], [8, 8, 24, 24], [8, 0, 24, 32.0]])
    fit = anchor_fit.fit_anchors(boxes, settings)
    assert fit.share == pytest.approx(2 / 3)
    assert fit.median_iou == pytest.approx(0.5)
    assert fit.share_by_size == {
        'small': (pytest.approx(1 / 2), 2),
        'medium': (1.0, 1),
        'large': (0.0, 0),
    }


def test_small_boxes_get_smaller_anchors() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 480, [200, 2])
    sides = rng.uniform(9, 14, [200, 1]) * np.array([[1.0, 3.0]])
    boxes = np.concatenate([corners, corners + sides], axis=1)
    settings = anchor_fit.AnchorSettings(3, 7, 3, (0.5, 1.0, 2.0), 4.0, (512, 512))
    before = anchor_fit.fit_anchors(boxes, settings)
    after = anchor_fit.suggest_anchors(boxes, settings)
    assert after is not None
    assert before.share < 0.5
    assert after.share > 0.9
    assert after.settings.anchor_size < 4
    assert after.settings.num_scales == settings.num_scales
    assert len(set(after.settings.aspect_ratios)) == 3


def test_nothing_is_suggested_where_anchors_fit() -> None:
    settings = dataclasses.replace(SETTINGS, aspect_ratios=(1.0,), anchor_size=4.0)
    boxes = np.array([[16, 16, 48, 48], [40, 40, 80, 80.0]])
    assert anchor_fit.suggest_anchors(boxes, settings) is None


def test_settings_of_an_experiment() -> None:
    config = exp_factory.get_exp_config('retinanet_resnetfpn_coco')
    settings = anchor_fit.build_anchor_settings(config.task)
    assert settings == anchor_fit.AnchorSettings(3, 7, 3, (0.5, 1.0, 2.0), 4.0, (640, 640), 0.5)
    config = exp_factory.get_exp_config('retinanet')
    with pytest.raises(errors.UsageError, match=r'task\.model: expected anchors and an input_size'):
        anchor_fit.build_anchor_settings(config.task)
