"""Metrics of pixels: by hand, in NumPy and Pillow, and with Model Garden's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.evaluation import segmentation_metrics as metrics
from official_lite.vision.ops import spatial_transform_ops


def _make_info(sizes: list, input_size: tuple[int, int]) -> np.ndarray:
    """What resizing images of these sizes into the input notes."""
    info = np.zeros([len(sizes), 4, 2], np.float32)
    for i, size in enumerate(sizes):
        scale = min(input_size[0] / size[0], input_size[1] / size[1])
        scaled = np.round(np.array(size) * scale)
        info[i] = [size, input_size, scaled / np.array(size), (0, 0)]
    return info


def _make_case(num_classes: int = 4, seed: int = 0) -> tuple[dict, tf.Tensor]:
    """Three images of different sizes and shapes, padded ground truth, coarse logits."""
    generator = np.random.default_rng(seed)
    sizes, padded = [(24, 36), (40, 20), (31, 33)], (40, 36)
    masks = np.full([3, *padded, 1], 255, np.float32)
    for i, (height, width) in enumerate(sizes):
        masks[i, :height, :width] = generator.integers(0, num_classes - 1, (height, width, 1))
    masks[0, :4, :9] = 255
    logits = generator.normal(size=(3, 6, 7, num_classes)).astype(np.float32)
    labels = {
        'masks': tf.constant(masks),
        'valid_masks': tf.constant(masks != 255),
        'image_info': tf.constant(_make_info(sizes, (48, 56))),
    }
    return labels, tf.constant(logits)


def _make_labels(masks: Any) -> dict:
    masks = tf.constant(masks, tf.float32)[..., None]
    info = tf.constant(_make_info([masks.shape[1:3]] * masks.shape[0], tuple(masks.shape[1:3])))
    return {'masks': masks, 'valid_masks': masks != 255, 'image_info': info}


def test_figures_by_hand() -> None:
    """True 0 0 1 1 and one ignored; predicted 0 1 1 1 and anything; class 2 never occurs."""
    labels = _make_labels([[[0, 0, 1, 1, 255]]])
    logits = tf.one_hot([[[0, 1, 1, 1, 2]]], 3)
    scores = metrics.SegmentationScores(3)
    scores.update_state(labels, logits)
    got = {name: float(value) for name, value in scores.result().items()}
    assert got == pytest.approx(
        {
            'mean_iou': (1 / 2 + 2 / 3) / 2,
            'mean_iou_all_classes': (1 / 2 + 2 / 3) / 3,
            'iou/0': 1 / 2,
            'iou/1': 2 / 3,
            'iou/2': 0.0,
        }
    )


def test_a_perfect_prediction_of_one_class_of_three() -> None:
    """Both definitions of the mean, which Model Garden calls by one name."""
    labels, logits = _make_labels([[[1, 1, 1, 1]]]), tf.one_hot([[[1, 1, 1, 1]]], 3)
    present, all_classes = metrics.MeanIoU(3), metrics.MeanIoUV2(num_classes=3)
    for metric in (present, all_classes):
        metric.update_state(labels, logits)
    assert float(present.result()) == 1.0
    assert float(all_classes.result()) == pytest.approx(1 / 3)
    chosen = metrics.MeanIoUV2(num_classes=3, target_class_ids=(1, 2, 1))
    chosen.update_state(labels, logits)
    assert float(chosen.result()) == pytest.approx(0.5)


def test_nothing_counted_is_0() -> None:
    scores = metrics.SegmentationScores(2)
    scores.update_state(_make_labels([[[255, 255]]]), tf.one_hot([[[0, 1]]], 2))
    assert {float(value) for value in scores.result().values()} == {0.0}


def test_images_that_fill_the_batch_and_impossible_labels_do_not_count() -> None:
    labels = _make_labels([[[0, 1]], [[1, 1]], [[7, 0]]])
    logits = tf.one_hot([[[0, 1]], [[0, 0]], [[0, 0]]], 2)
    metric = metrics.PerClassIoU(2)
    metric.update_state({**labels, 'is_valid': tf.constant([True, False, True])}, logits)
    np.testing.assert_array_equal(metric.confusion, [[2, 0], [0, 1]])


def test_states_add_up_and_reset() -> None:
    labels, logits = _make_case()
    whole, parts = metrics.PerClassIoU(4), metrics.PerClassIoU(4)
    whole.update_state(labels, logits)
    for i in range(3):
        parts.update_state({k: v[i : i + 1] for k, v in labels.items()}, logits[i : i + 1])
    np.testing.assert_array_equal(whole.confusion, parts.confusion)
    whole.reset_state()
    np.testing.assert_array_equal(whole.confusion, 0.0)


def test_many_pixels_are_counted_one_by_one() -> None:
    """2^24 + 1 pixels of one kind: float32 would stop at 2^24."""
    metric = metrics.PerClassIoU(2)
    metric.confusion.assign([[2.0**24, 0], [0, 0]])
    metric.update_state(_make_labels([[[0]]]), tf.one_hot([[[0]]], 2))
    assert float(metric.confusion[0, 0]) == 2.0**24 + 1


@pytest.mark.parametrize('cls', [metrics.MeanIoU, metrics.PerClassIoU, metrics.SegmentationScores])
def test_config_round_trip(cls: Any) -> None:
    metric = cls(5, rescale_predictions=True, name='x')
    again = cls.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()


def test_resizing_each_image_to_its_size_is_tensorflows() -> None:
    images = tf.random.stateless_normal([2, 5, 7, 3], [1, 2])
    sizes, windows, offsets = [(11, 9), (4, 20)], [(8, 6), (3, 15)], [(2, 1), (1, 5)]
    got = spatial_transform_ops.bilinear_resize_with_crop_and_pad(
        images, tf.constant(sizes), tf.constant(offsets), tf.constant(windows), [10, 16]
    )
    expected = np.zeros([2, 10, 16, 3], np.float32)
    for i, (size, (rows, columns), (y, x)) in enumerate(zip(sizes, windows, offsets)):
        resized = tf.image.resize(images[i], size).numpy()
        expected[i, :rows, :columns] = resized[y : y + rows, x : x + columns]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_at_original_size_the_prediction_covers_what_the_image_covered() -> None:
    """A 6x8 image scaled by 2 into 16x16 takes the upper 12 rows; the rest is padding."""
    info = tf.constant(_make_info([(6, 8)], (16, 16)))
    classes = np.zeros([1, 16, 16], int)
    classes[:, 12:] = 1
    logits, is_image = metrics.rescale_to_original(tf.one_hot(classes, 2), info, [9, 10])
    assert is_image.numpy().sum() == 48
    assert is_image.numpy()[0, :6, :8].all()
    assert not tf.argmax(logits, -1).numpy()[0, :6, :8].any()


@pytest.mark.garden
@pytest.mark.parametrize('rescale', [False, True])
def test_figures_are_model_gardens(rescale: bool) -> None:
    from official.vision.evaluation import segmentation_metrics as garden

    for seed in (0, 1):
        labels, logits = _make_case(seed=seed)
        for name in ('MeanIoU', 'PerClassIoU', 'MeanIoUV2', 'PerClassIoUV2'):
            results = []
            for module in (metrics, garden):
                metric = getattr(module, name)(num_classes=4, rescale_predictions=rescale)
                metric.update_state(labels, logits)
                metric.update_state(labels, logits[:, ::-1])
                results.append(np.array(metric.result()))
            np.testing.assert_allclose(*results, rtol=1e-5, err_msg=name)


@pytest.mark.garden
def test_rescaled_logits_are_model_gardens() -> None:
    from official.vision.evaluation import segmentation_metrics as garden

    labels, logits = _make_case()
    ours = metrics.preprocess_inputs(labels, logits, True)
    theirs = garden.preprocess_inputs(labels, logits, True)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.array(a, np.float32), np.array(b, np.float32), atol=1e-5)
