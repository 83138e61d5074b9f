"""Labels of a batch of anchors against those of one image after the other."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.ops import anchor, box_ops, rpn_labels


@pytest.mark.parametrize('num_samples', [8, 64])
def test_a_batch_gets_the_labels_of_its_images(num_samples: int) -> None:
    anchors = anchor.build_anchor_generator(2, 4, 1, [0.5, 1.0, 2.0], 4.0)([48, 64])
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, [3, 5, 2])
    boxes = np.concatenate([corners, corners + rng.uniform(6, 16, [3, 5, 2])], -1).astype('float32')
    boxes[1, 2:], boxes[2] = -1, -1  # two boxes, and none
    keys = tf.stack([randomness.make_key(7, index=i) for i in range(3)])
    options = (0.6, 0.3, num_samples, 0.25)
    found = rpn_labels.label_rpn_anchors_batch(anchors, tf.constant(boxes), keys, *options)
    labeler = anchor.RpnAnchorLabeler(*options)
    for row in range(3):
        real = tf.constant(boxes[row][boxes[row, :, 2] > 0])
        scores, codes = labeler.label_anchors(anchors, real, tf.ones([len(real), 1]), keys[row])
        for level in anchors:
            np.testing.assert_array_equal(found.score_targets[level][row], scores[level])
            np.testing.assert_allclose(found.box_targets[level][row], codes[level], atol=1e-5)
    flat = np.concatenate([np.reshape(v, [3, -1]) for v in found.score_targets.values()], 1)
    assert ((flat >= 0).sum(1) == num_samples).all()
    assert ((flat == 1).sum(1) <= num_samples // 4).all()
    assert (flat[2] < 1).all()


def test_outer_boxes() -> None:
    boxes = tf.constant([[10.0, 20.0, 20.0, 60.0], [0.0, 0.0, 4.0, 4.0]])
    outer = box_ops.compute_outer_boxes(boxes, [40, 62], 1.5)
    np.testing.assert_allclose(outer, [[7.5, 10.0, 22.5, 62.0], [0.0, 0.0, 5.0, 5.0]])
    assert box_ops.compute_outer_boxes(boxes, [40, 62]) is boxes
    with pytest.raises(ValueError, match=r'Expected a scale of 1 or more. Received: 0.5'):
        box_ops.compute_outer_boxes(boxes, [40, 62], 0.5)
