"""Writes a handful of examples to one file."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

# File type, in lower case -> compression of the TFRecord file.
_COMPRESSIONS = {
    'tfrecord': '',
    'tfrecords': '',
    'tfrecord_compressed': 'GZIP',
    'tfrecords_gzip': 'GZIP',
}


def write_small_dataset(
    examples: Iterable[tf.train.Example | tf.train.SequenceExample],
    output_path: str,
    file_type: str = 'tfrecord',
) -> None:
    """Writes `examples` to the TFRecord file `output_path`, one after the other.

    Args:
        examples: What to write.
        output_path: The file; it is overwritten.
        file_type: 'tfrecord' or 'tfrecords', or, compressed with gzip, 'tfrecord_compressed' or
            'tfrecords_gzip'. Upper and lower case are the same.

    Raises:
        ValueError: `file_type` is none of these.
    """
    compression = _COMPRESSIONS.get(file_type.lower())
    if compression is None:
        valid = ', '.join(map(repr, _COMPRESSIONS))
        raise ValueError(f'file_type: expected one of {valid}; received {file_type!r}')
    options = tf.io.TFRecordOptions(compression_type=compression)
    with tf.io.TFRecordWriter(output_path, options) as writer:
        for example in examples:
            writer.write(example.SerializeToString())
