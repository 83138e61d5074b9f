"""Writes small sets of classified images for tests."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

COLOURS = ((230, 30, 30), (30, 200, 40), (40, 60, 240), (220, 200, 30))


def make_image(number: int, *, label: int = 0, kind: str = 'JPEG', size: int = 24) -> bytes:
    """An image in the colour of its class, with a little noise of its own."""
    noise = np.random.default_rng(number).integers(-20, 20, [size, size + 8, 3])
    pixels = np.clip(np.array(COLOURS[label % 4]) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({'quality': 95} if kind == 'JPEG' else {}))
    return buffer.getvalue()


def write_folders(
    root: pathlib.Path, counts: Mapping[str, int], *, kind: str = 'JPEG'
) -> pathlib.Path:
    """Writes a folder of images for each class; of so many images each."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = root / name / f'{number:02}.{kind.lower()}'
            path.write_bytes(make_image(100 * label + number, label=label, kind=kind))
    return root


def write_table(path: pathlib.Path, rows: Sequence[str], *, num_images: int = 0) -> pathlib.Path:
    """Writes a table, and images 0.jpg, 1.jpg ... beside it."""
    path.write_text('\n'.join(rows) + '\n', encoding='utf-8')
    for number in range(num_images):
        (path.parent / f'{number}.jpg').write_bytes(make_image(number, label=number))
    return path


def make_record(
    image: bytes | None, labels: Sequence[int], keys: tuple[str, str] | None = None
) -> bytes:
    """A serialized record with Model Garden's features, or those of `keys`."""
    image_key, label_key = keys or ('image/encoded', 'image/class/label')
    features: dict[str, Any] = {
        label_key: tf.train.Feature(int64_list=tf.train.Int64List(value=list(labels)))
    }
    if image is not None:
        features[image_key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path: pathlib.Path, records: Sequence[bytes], compression: str = '') -> str:
    """Writes a TFRecord file."""
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return str(path)
