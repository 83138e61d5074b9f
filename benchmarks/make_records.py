"""Writes synthetic 640x480 JPEGs as TFRecord shards in Model Garden's feature layout.

With boxes, their masks, a class of the whole image and a mask of classes, so that each task can read
them.

python benchmarks/make_records.py FOLDER
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import tensorflow as tf

_HEIGHT, _WIDTH = 480, 640
_SHARDS, _PER_SHARD = 4, 64


def make_image(boxes: np.ndarray, rng: np.random.Generator) -> bytes:
    """A smooth random background with one flat rectangle for each box, plus noise, as JPEG."""
    coarse = rng.integers(0, 255, (12, 16, 3)).astype(np.float32)
    image = tf.image.resize(coarse, (_HEIGHT, _WIDTH)).numpy()
    for ymin, xmin, ymax, xmax in boxes * [_HEIGHT, _WIDTH, _HEIGHT, _WIDTH]:
        image[int(ymin) : int(ymax), int(xmin) : int(xmax)] = rng.integers(0, 255, 3)
    image += rng.normal(0, 8, image.shape)
    return tf.io.encode_jpeg(tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)).numpy()


def make_mask(boxes: np.ndarray, rng: np.random.Generator) -> bytes:
    """The same rectangles, each of one of 20 classes, on class 0, as PNG."""
    mask = np.zeros((_HEIGHT, _WIDTH, 1), np.uint8)
    for ymin, xmin, ymax, xmax in boxes * [_HEIGHT, _WIDTH, _HEIGHT, _WIDTH]:
        mask[int(ymin) : int(ymax), int(xmin) : int(xmax)] = rng.integers(1, 21)
    return tf.io.encode_png(mask).numpy()


def make_instance_masks(boxes: np.ndarray) -> list[bytes]:
    """Of each box the ellipse in it, as PNG of 0 and 1."""
    masks = []
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    for ymin, xmin, ymax, xmax in boxes * [_HEIGHT, _WIDTH, _HEIGHT, _WIDTH]:
        center, radii = ((ymin + ymax) / 2, (xmin + xmax) / 2), (ymax - ymin, xmax - xmin)
        distance = ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2
        mask = (distance < 0.25).astype(np.uint8)
        masks.append(tf.io.encode_png(mask[..., None]).numpy())
    return masks


def make_example(index: int, rng: np.random.Generator) -> bytes:
    """One serialized tf.train.Example with 3 to 14 boxes of 90 classes."""
    count = int(rng.integers(3, 15))
    corner, side = rng.uniform(0, 0.7, (count, 2)), rng.uniform(0.05, 0.3, (count, 2))
    boxes = np.concatenate([corner, corner + side], axis=1)  # normalised yxyx
    areas = side.prod(axis=1) * _HEIGHT * _WIDTH

    def feature(values: list[object] | np.ndarray) -> tf.train.Feature:
        values = list(values)
        if isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    features = {
        'image/encoded': feature([make_image(boxes, rng)]),
        'image/format': feature([b'jpeg']),
        'image/height': feature([_HEIGHT]),
        'image/width': feature([_WIDTH]),
        'image/source_id': feature([str(index + 1).encode()]),
        'image/object/class/label': feature(rng.integers(1, 91, count).tolist()),
        'image/object/is_crowd': feature([0] * count),
        'image/object/area': feature(areas.tolist()),
        'image/object/mask': feature(make_instance_masks(boxes)),
        'image/class/label': feature([index % 1000 + 1]),
        'image/segmentation/class/encoded': feature(
            [make_mask(boxes, np.random.default_rng(index))]
        ),
    }
    for column, name in enumerate(('ymin', 'xmin', 'ymax', 'xmax')):
        features[f'image/object/bbox/{name}'] = feature(boxes[:, column].tolist())
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def main(folder: pathlib.Path) -> None:
    """Writes 256 examples in four shards."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for shard in range(_SHARDS):
        path = folder / f'scenes-{shard:05d}-of-{_SHARDS:05d}.tfrecord'
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i in range(_PER_SHARD):
                writer.write(make_example(shard * _PER_SHARD + i, rng))


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
