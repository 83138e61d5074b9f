"""From the bytes of a mask to labels, inside tf.data."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from official_lite.vision.dataloaders import mask_files
from official_lite.vision.dataloaders.mask_files import LabelMap

__all__ = ['decode_mask']

_NUM_GREY_LEVELS = 256


def decode_mask(mask_bytes: tf.Tensor, label_map: LabelMap, *, is_plain: bool) -> tf.Tensor:
    """Decodes a mask.

    TensorFlow decodes PNGs of 8 bits, grey. Others, whose numbers it would turn into grey levels,
    Pillow decodes.

    Args:
        mask_bytes: string [].
        label_map: Which label a value is.
        is_plain: Whether the mask is known to be a PNG of 8 bits, grey. If not, its header decides.

    Returns:
        int32 [height, width, 1], labels, -1 for none.
    """
    if is_plain:
        return _decode_with_tensorflow(mask_bytes, label_map)
    is_png = tf.strings.substr(mask_bytes, 0, 8) == mask_files.PNG_SIGNATURE
    is_grey = tf.strings.substr(mask_bytes, 24, 2) == mask_files.PLAIN_HEADER
    decoded = tf.cond(
        is_png & is_grey & (not label_map.has_colors),
        lambda: _decode_with_tensorflow(mask_bytes, label_map),
        lambda: _decode_with_pillow(mask_bytes, label_map),
    )
    return tf.ensure_shape(decoded, [None, None, 1])


def _decode_with_tensorflow(mask_bytes: tf.Tensor, label_map: LabelMap) -> tf.Tensor:
    values = tf.cast(tf.io.decode_png(mask_bytes, channels=1), tf.int32)
    if not label_map.labels:
        return values
    return tf.gather(tf.constant(label_map.apply(np.arange(_NUM_GREY_LEVELS))), values)


def _decode_with_pillow(mask_bytes: tf.Tensor, label_map: LabelMap) -> tf.Tensor:
    def decode(content: bytes) -> np.ndarray:
        return label_map.apply(mask_files.read_mask(content, has_colors=label_map.has_colors))

    decoded = tf.numpy_function(decode, [mask_bytes], tf.int32, stateful=False)
    return tf.ensure_shape(decoded, [None, None])[..., None]
