"""Detections of two-stage detectors: hard, soft and batched suppression as in Model Garden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.layers import roi_detection_generator

VERSIONS: dict[str, dict[str, Any]] = {
    'v1': {'nms_version': 'v1'},
    'v1, few candidates': {'nms_version': 'v1', 'pre_nms_top_k': 7},
    'v1 soft': {'nms_version': 'v1', 'soft_nms_sigma': 0.3},
    'v2': {'nms_version': 'v2'},
    'batched': {'nms_version': 'batched'},
    'sigmoid': {'nms_version': 'v2', 'use_sigmoid_probability': True},
    'all': {'apply_nms': False},
}
NUM_CLASSES = 5
WEIGHTS = [10.0, 10.0, 5.0, 5.0]


def _make_inputs(bbox_per_class: bool) -> tuple[tf.Tensor, ...]:
    """Codes, logits and regions of two images; five regions of each lie about each of eight places."""
    random = np.random.default_rng(0)
    places = random.uniform(0, 50, (2, 8, 1, 2))
    corners = places + random.normal(0, 3, (2, 8, 5, 2))
    sides = 20 + random.normal(0, 2, (2, 8, 5, 2))
    regions = np.concatenate([corners, corners + sides], -1).reshape(2, 40, 4)
    codes = random.normal(0, 0.5, (2, 40, 4 * NUM_CLASSES if bbox_per_class else 4))
    logits = random.normal(0, 2, (2, 40, NUM_CLASSES))
    shapes = [[64.0, 96.0], [50.0, 80.0]]
    return tuple(tf.constant(part, tf.float32) for part in (codes, logits, regions, shapes))


@pytest.mark.garden
@pytest.mark.parametrize('bbox_per_class', [True, False])
@pytest.mark.parametrize('version', list(VERSIONS))
def test_detections_equal_model_garden(version: str, bbox_per_class: bool) -> None:
    from official.vision.modeling.layers import detection_generator as garden

    options = {
        'pre_nms_score_threshold': 0.05,
        'max_num_detections': 30,
        'nms_iou_threshold': 0.5,
        **VERSIONS[version],
    }
    inputs = _make_inputs(bbox_per_class)
    arguments = {'regression_weights': WEIGHTS, 'bbox_per_class': bbox_per_class}
    expected = garden.DetectionGenerator(**options)(*inputs, **arguments)
    found = roi_detection_generator.DetectionGenerator(**options)(*inputs, **arguments)
    assert set(found) == set(expected)
    if 'num_detections' not in expected:
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-4, err_msg=name)
        return
    np.testing.assert_array_equal(found['num_detections'], expected['num_detections'])
    assert int(tf.reduce_min(found['num_detections'])) > 5
    for image, count in enumerate(np.asarray(expected['num_detections'])):
        for name in ('detection_boxes', 'detection_classes', 'detection_scores'):
            got, values = (np.asarray(part[name][image, :count]) for part in (found, expected))
            np.testing.assert_allclose(got, values, atol=1e-4, err_msg=name)
            assert not np.any(found[name][image, count:])


def test_v2_is_greedy_below_a_threshold_of_a_half() -> None:
    """As 'v1' is; Model Garden's 'v2' drops other boxes there."""
    found = [
        roi_detection_generator.DetectionGenerator(
            nms_version=version, nms_iou_threshold=0.3, max_num_detections=30
        )(*_make_inputs(True), regression_weights=WEIGHTS)
        for version in ('v1', 'v2')
    ]
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values, name)


def test_options_that_do_not_go_together() -> None:
    with pytest.warns(UserWarning, match="soft_nms_sigma has no effect with nms_version='v2'"):
        roi_detection_generator.DetectionGenerator(nms_version='v2', soft_nms_sigma=0.3)
    with pytest.raises(ValueError, match='Expected nms_version of'):
        roi_detection_generator.DetectionGenerator(nms_version='v9')
    layer = roi_detection_generator.DetectionGenerator(nms_version='v1', soft_nms_sigma=0.3)
    copy = roi_detection_generator.DetectionGenerator.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
