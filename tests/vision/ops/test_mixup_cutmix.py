"""Mixup and CutMix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import augment
from tests.vision.ops.distributions import measure_difference

BATCH, HEIGHT, WIDTH, CLASSES = 6, 24, 60, 8


def make_batch(dtype: Any = np.float32) -> tuple[tf.Tensor, tf.Tensor]:
    """Image i is of one value, 40 i."""
    images = np.broadcast_to(
        np.arange(BATCH).reshape([-1, 1, 1, 1]) * 40, [BATCH, HEIGHT, WIDTH, 3]
    )
    return tf.constant(images.astype(dtype)), tf.range(BATCH)


def mix(seed: int, dtype: Any = np.float32, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    mixer = augment.MixupAndCutmix(CLASSES, **options)
    images, labels = mixer(*make_batch(dtype), randomness.make_key(seed))
    return images.numpy(), labels.numpy()


def smooth(labels: np.ndarray, share: float = 0.1) -> np.ndarray:
    return np.eye(CLASSES)[labels] * (1 - share) + share / CLASSES


def test_b12_labels_are_mixed_by_the_area_that_is_pasted() -> None:
    num_clipped = 0
    for seed in range(20):
        images, labels = mix(seed, mixup_alpha=0.0)
        for i, (image, label) in enumerate(zip(images, labels)):
            own = (image[..., 0] == 40 * i).mean()
            expected = own * smooth(i) + (1 - own) * smooth(BATCH - 1 - i)
            np.testing.assert_allclose(label, expected, atol=1e-6)
            rows, columns = np.nonzero(image[..., 0] != 40 * i)
            num_clipped += len(rows) and (0 in rows or 0 in columns)
    assert num_clipped > 20


def test_b12_rectangles_have_the_images_aspect_ratio() -> None:
    """Model Garden's width follows from the height: here it would be 24 px at most."""
    widths = []
    for seed in range(60):
        for i, image in enumerate(mix(seed, mixup_alpha=0.0)[0]):
            rows, columns = np.nonzero(image[..., 0] != 40 * i)
            inside = len(rows) and rows.min() > 0 and rows.max() < HEIGHT - 1
            if inside and columns.min() > 0 and columns.max() < WIDTH - 1:
                height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
                assert abs(width - height * WIDTH / HEIGHT) < 5
                widths.append(width)
    assert max(widths) > 24


@pytest.mark.parametrize('dtype', [np.float32, np.uint8, np.float16])
def test_mixup_mixes_images_and_labels_alike(dtype: Any) -> None:
    shares = []
    for seed in range(10):
        images, labels = mix(seed, dtype, cutmix_alpha=0.0, label_smoothing=0.0)
        assert images.dtype == dtype
        for i in range(BATCH):
            share = labels[i, i]
            np.testing.assert_allclose(labels[i, BATCH - 1 - i], 1 - share, atol=1e-6)
            expected = 40 * (share * i + (1 - share) * (BATCH - 1 - i))
            tolerance = {'uint8': 0.51, 'float16': 0.3}.get(np.dtype(dtype).name, 1e-3)
            np.testing.assert_allclose(images[i], expected, atol=tolerance)
            shares.append(share)
    assert len(set(shares)) > 55


def test_probabilities_and_smoothing_alone() -> None:
    images, labels = mix(0, prob=0.0)
    np.testing.assert_array_equal(images, make_batch()[0])
    np.testing.assert_allclose(labels, smooth(np.arange(BATCH)), atol=1e-6)
    is_cutmix = [
        np.isin(mix(seed, switch_prob=0.3)[0], 40 * np.arange(BATCH)).all() for seed in range(150)
    ]
    assert abs(np.mean(is_cutmix) - 0.3) < 0.11
    is_mixed = [(mix(seed, prob=0.4)[0] != make_batch()[0].numpy()).any() for seed in range(150)]
    assert abs(np.mean(is_mixed) - 0.4) < 0.12


def test_videos_and_wrong_ranks() -> None:
    images, labels = make_batch()
    mixer = augment.MixupAndCutmix(CLASSES, mixup_alpha=0.0)
    key = randomness.make_key(2)
    videos, targets = mixer(tf.stack([images, images], axis=1), labels, key)
    single, expected = mixer(images, labels, key)
    np.testing.assert_array_equal(videos[:, 1], single)
    np.testing.assert_array_equal(targets, expected)
    with pytest.raises(ValueError, match='Bad image rank: 3'):
        mixer(images[0], labels)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'num_classes': 0}, 'num_classes to be 1 or more. Received: 0'),
        ({'num_classes': 3, 'mixup_alpha': 0, 'cutmix_alpha': 0}, 'mixup_alpha or cutmix_alpha'),
    ],
)
def test_errors(options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        augment.MixupAndCutmix(**options)


@pytest.mark.garden
def test_mixup_is_distributed_as_model_gardens() -> None:
    garden = pytest.importorskip('official.vision.ops.augment')
    tf.random.set_seed(2)
    images, labels = tf.zeros([600, 1, 1, 3]), tf.zeros([600], tf.int32)
    labels = tf.concat([labels[:300], labels[300:] + 1], 0)
    drawn = []
    for module, key in ((augment, (randomness.make_key(4),)), (garden, ())):
        mixer = module.MixupAndCutmix(2, cutmix_alpha=0.0, label_smoothing=0.0)
        drawn.append(mixer(images, labels, *key)[1].numpy()[:300, 0])
    assert measure_difference(*drawn) < 1
