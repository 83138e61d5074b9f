"""Writes records of your own in parallel; Model Garden's names.

For data that one of the sources reads, `official-lite data convert` needs no program.
"""

from __future__ import annotations

import functools
import hashlib
import io
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from official_lite.vision.data import parallel

__all__ = [
    'check_and_make_dir',
    'convert_to_feature',
    'encode_mask_as_png',
    'image_info_to_feature_dict',
    'read_image',
    'write_tf_record_dataset',
]

_NUM_AHEAD_PER_PROCESS = 16
_TYPES = ('bytes', 'int64', 'float')


def convert_to_feature(value: Any, value_type: str | None = None) -> tf.train.Feature:
    """Makes a feature of a number or bytes, or of a list of them.

    Args:
        value: The value, or a list; arrays are flattened where the type ends with `_list`.
        value_type: 'bytes', 'int64', 'float', or one of these with `_list`. None: the value tells;
            an empty list becomes a feature without a type, which readers take as missing.

    Raises:
        ValueError: The value, or the type, is none of these.
    """
    if value_type is None and isinstance(value, list) and not value:
        return tf.train.Feature()
    kind = _infer_type(value) if value_type is None else value_type
    name, is_list = kind.removesuffix('_list'), kind.endswith('_list')
    if name not in _TYPES:
        known = [*_TYPES, *(f'{t}_list' for t in _TYPES)]
        raise ValueError(f'Unknown value_type parameter - {value_type}. Expected one of {known}.')
    if name == 'bytes':
        values = list(value) if is_list else [value]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    dtype = np.int64 if name == 'int64' else np.float32
    numbers = np.asarray(value).astype(dtype).reshape(-1)
    if name == 'int64':
        return tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
    return tf.train.Feature(float_list=tf.train.FloatList(value=numbers))


def _infer_type(value: Any) -> str:
    is_list = isinstance(value, list)
    element = value[0] if is_list else value
    for name, types in (
        ('bytes', (bytes,)),
        ('int64', (int, np.integer)),
        ('float', (float, np.floating)),
    ):
        if isinstance(element, types):
            return f'{name}_list' if is_list else name
    raise ValueError(f'Cannot convert type {type(element)} to feature')


def image_info_to_feature_dict(
    height: int, width: int, filename: str, image_id: Any, encoded_str: bytes, encoded_format: str
) -> dict[str, tf.train.Feature]:
    """The features of an image: its bytes, size, names, id and digest."""
    return {
        'image/height': convert_to_feature(height),
        'image/width': convert_to_feature(width),
        'image/filename': convert_to_feature(filename.encode()),
        'image/source_id': convert_to_feature(str(image_id).encode()),
        'image/key/sha256': convert_to_feature(hashlib.sha256(encoded_str).hexdigest().encode()),
        'image/encoded': convert_to_feature(encoded_str),
        'image/format': convert_to_feature(encoded_format.encode()),
    }


def read_image(image_path: str) -> np.ndarray:
    """The pixels of an image file as it stores them."""
    with Image.open(image_path) as image:
        return np.asarray(image)


def encode_mask_as_png(mask: np.ndarray) -> bytes:
    """A uint8 mask, [height, width], as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format='PNG')
    return buffer.getvalue()


def write_tf_record_dataset(
    output_path: str,
    annotation_iterator: Iterable[Any],
    process_func: Callable[..., tuple[tf.train.Example, int]],
    num_shards: int,
    multiple_processes: int | None = None,
    unpack_arguments: bool = True,
) -> int:
    """Writes `PATH-00000-of-00008.tfrecord` and so on, record after record in turn.

    Annotations are taken as they are needed, so that they need not fit into memory.

    Args:
        output_path: Folder and beginning of the files' names.
        annotation_iterator: What `process_func` gets, one for each record.
        process_func: Makes an example, and says how many of its annotations it left out. With
            processes it must be a function at the top of a module that can be imported, and a script
            that calls this needs `if __name__ == '__main__'`.
        num_shards: Number of files.
        multiple_processes: Number of processes. None means as many as processors, 0 this one.
        unpack_arguments: Whether an annotation is a tuple of arguments.

    Returns:
        How many annotations were left out.
    """
    function = functools.partial(_serialize, process_func, unpack_arguments)
    paths = [f'{output_path}-{i:05d}-of-{num_shards:05d}.tfrecord' for i in range(num_shards)]
    writers = [tf.io.TFRecordWriter(path) for path in paths]
    num_processes = os.cpu_count() or 1 if multiple_processes is None else multiple_processes
    pool = None
    if num_processes:
        # A process that has used TensorFlow cannot be forked safely.
        context = multiprocessing.get_context('spawn')
        pool = futures.ProcessPoolExecutor(num_processes, mp_context=context)
    num_left_out = 0
    try:
        results = parallel.map_in_order(
            function,
            annotation_iterator,
            pool,
            num_ahead=_NUM_AHEAD_PER_PROCESS * max(1, num_processes),
        )
        for number, (serialized, left_out) in enumerate(results):
            writers[number % num_shards].write(serialized)
            num_left_out += left_out
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        for writer in writers:
            writer.close()
    return num_left_out


def _serialize(
    process_func: Callable[..., tuple[tf.train.Example, int]], unpack: bool, annotation: Any
) -> tuple[bytes, int]:
    example, num_left_out = process_func(*annotation) if unpack else process_func(annotation)
    return example.SerializeToString(), num_left_out


def check_and_make_dir(directory: str) -> None:
    """Makes a folder unless it exists."""
    tf.io.gfile.makedirs(directory)
