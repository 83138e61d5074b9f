"""Cityscapes' labels get the numbers that are trained on."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.dataloaders import tfds_factory


def test_labels_and_sizes() -> None:
    # 7: road, 8: sidewalk, 33: bicycle; 0, 1 and 34 are not evaluated, and 255 is -1.
    labels = np.array([[7, 8, 33], [0, 34, 255]], np.uint8)[..., np.newaxis]
    image = np.full([2, 3, 3], 90, np.uint8)
    decoder = tfds_factory.get_segmentation_decoder('cityscapes/semantic_segmentation')
    record = decoder.decode({'image_left': image, 'segmentation_label': labels})
    mask = tf.io.decode_png(record['image/segmentation/class/encoded'])
    np.testing.assert_array_equal(mask[..., 0], [[0, 1, 18], [255, 255, 255]])
    assert (int(record['image/height']), int(record['image/width'])) == (2, 3)
    decoded = tf.io.decode_jpeg(record['image/encoded'])
    np.testing.assert_allclose(decoded, image, atol=2)


@pytest.mark.garden
def test_all_labels_are_model_gardens() -> None:
    from official.vision.dataloaders import tfds_factory as theirs

    labels = np.arange(34, dtype=np.uint8).reshape(2, 17, 1)
    example = {
        'image_left': tf.zeros([2, 17, 3], tf.uint8),
        'segmentation_label': tf.constant(labels),
    }
    masks = [
        tf.io.decode_png(
            module.get_segmentation_decoder('cityscapes').decode(example)[
                'image/segmentation/class/encoded'
            ]
        )
        for module in (theirs, tfds_factory)
    ]
    np.testing.assert_array_equal(*masks)
