"""How good predicted masks are: Mask Scoring R-CNN (https://arxiv.org/abs/1903.00241).

The score of a detection says how sure its class is. A head of its own predicts the intersection over
union of its mask and the object's; the product of both is the score of the mask.
"""

from __future__ import annotations

from typing import Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.heads import instance_heads

__all__ = ['compute_mask_ious', 'predict_mask_ious']


def predict_mask_ious(
    head: keras.layers.Layer,
    features: tf.Tensor,
    logits: tf.Tensor,
    classes: tf.Tensor,
    training: Optional[bool],
) -> tf.Tensor:
    """What the head says of the masks of these classes.

    Args:
        head: Maps [regions, height, width, channels + 1] to [regions, num_classes].
        features: Features of the regions, [batch, regions, height, width, channels].
        logits: Of the masks, [batch, regions, mask height, mask width], a multiple of the features'
            size. The largest chance of those that fall onto a place goes in as a further channel.
        classes: Of the regions, int [batch, regions].
        training: Whether batch normalisation uses the batch's moments.

    Returns:
        float32 [batch, regions].
    """
    chances = tf.sigmoid(tf.cast(instance_heads.merge_regions(logits), tf.float32))[..., None]
    merged = instance_heads.merge_regions(features)
    factors = [chances.shape[axis] // merged.shape[axis] for axis in (1, 2)]
    pooled = tf.nn.max_pool2d(chances, factors, factors, 'VALID')
    scores = head(tf.concat([merged, tf.cast(pooled, merged.dtype)], axis=-1), training=training)
    flat = tf.reshape(tf.cast(classes, tf.int32), [-1])
    chosen = tf.gather(tf.cast(scores, tf.float32), flat, batch_dims=1)
    return instance_heads.split_regions(chosen, features)


def compute_mask_ious(logits: tf.Tensor, targets: tf.Tensor, object_pixels: tf.Tensor) -> tf.Tensor:
    """Intersection over union of predicted masks and those of the objects, wholly.

    Args:
        logits: Of the masks within their regions, [batch, regions, height, width].
        targets: Shares of object there, of the same shape.
        object_pixels: What the whole object covers, also outside of its region, in pixels of the
            masks, float32 [batch, regions].

    Returns:
        float32 [batch, regions], without gradient; 0 where there is neither.
    """
    predicted = tf.cast(logits > 0.0, tf.float32)
    actual = tf.cast(targets >= 0.5, tf.float32)
    shared = tf.reduce_sum(predicted * actual, axis=[2, 3])
    # Rounding may leave the whole object smaller than what is seen of it.
    whole = tf.maximum(object_pixels, tf.reduce_sum(actual, axis=[2, 3]))
    union = tf.reduce_sum(predicted, axis=[2, 3]) + whole - shared
    return tf.stop_gradient(tf.math.divide_no_nan(shared, union))
