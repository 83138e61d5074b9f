"""IoU of each class, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from official_lite.vision.evaluation import iou


def test_labels_with_weights() -> None:
    metric = iou.PerClassIoU(num_classes=3)
    metric.update_state([[0, 0], [1, 1]], [[0, 1], [0, 1]], [[0.2, 0.3], [0.4, 0.1]])
    # 0: 0.2 of 0.5 true and 0.6 found; 1: 0.1 of 0.5 and 0.4; 2 does not occur.
    np.testing.assert_allclose(metric.result(), [0.2 / 0.9, 0.1 / 0.8, 0.0], atol=1e-6)
    copy = iou.PerClassIoU.from_config(metric.get_config())
    assert copy.num_classes == 3
    assert np.array_equal(copy.result(), [0, 0, 0])


def test_masks_may_overlap_and_states_add_up() -> None:
    metric = iou.PerClassIoUV2(num_classes=2)
    truth = [[[1, 1], [1, 0]]]  # [batch, pixels, classes]
    metric.update_state(truth, [[[1, 0], [0, 0]]])
    np.testing.assert_allclose(metric.result(), [1 / 2, 0.0])
    metric.update_state(truth, [[[1, 1], [1, 1]]])
    np.testing.assert_allclose(metric.result(), [3 / 4, 1 / 3])
    metric.reset_state()
    np.testing.assert_allclose(metric.result(), [0, 0])


@pytest.mark.parametrize('axis', [0, -1])
def test_numbers_of_classes(axis: int) -> None:
    metric = iou.PerClassIoUV2(
        num_classes=3, sparse_y_true=True, sparse_y_pred=True, axis=axis, dtype='float64'
    )
    metric.update_state([1, 2, 1, 2, 2, 1], [2, 0, 1, 2, 0, 1])
    np.testing.assert_allclose(metric.result(), [0, 2 / 3, 1 / 4])
    copy = iou.PerClassIoUV2.from_config(metric.get_config())
    assert copy.get_config() == metric.get_config()


def test_dimensions_after_the_classes_are_kept() -> None:
    metric = iou.PerClassIoUV2(
        num_classes=3, shape=(3, 2), sparse_y_true=True, sparse_y_pred=True, axis=0
    )
    metric.update_state([2, 0], [2, 1])
    np.testing.assert_allclose(metric.result(), [[0, 0], [0, 0], [1, 0]])
