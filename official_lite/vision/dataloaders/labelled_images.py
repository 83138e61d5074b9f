"""Image files with their classes: what is common to folders and tables of them."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.core.classification_info import ClassificationInfo
from official_lite.vision.dataloaders import data_cache, folder_source, notices
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.exif_orientation import Orientation

__all__ = [
    'LabelledImageSource',
    'LabelledImages',
    'build_labelled_source',
    'choose_validation',
    'forget',
    'make_info',
    'sort_names',
]

_SKIP_HINT = 'mend or remove it, or set skip_corrupt=true to leave such images out'


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Image files and their labels.

    Attributes:
        paths: The files.
        labels: int64 arrays, the labels of each image, from 0.
        class_names: Names of the labels.
        origin: What the data is called in messages.
        names: What tells an image from the others wherever the data lies: for the fingerprint.
        findings: What is noteworthy; one sentence each.
    """

    paths: tuple[str, ...]
    labels: tuple[np.ndarray, ...]
    class_names: tuple[str, ...]
    origin: str
    names: tuple[str, ...]
    findings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, keep: Sequence[int] | np.ndarray) -> LabelledImages:
        """Some of the images."""
        return dataclasses.replace(
            self,
            paths=tuple(self.paths[i] for i in keep),
            labels=tuple(self.labels[i] for i in keep),
            names=tuple(self.names[i] for i in keep),
        )


def sort_names(names: Sequence[str]) -> list[str]:
    """Names of classes in order: numbers by their value, others by their letters."""
    unique = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in unique):
        unique.sort(key=lambda name: (int(name), name))
    return unique


def choose_validation(
    names: Sequence[str], groups: Sequence[Any], share: float, seed: int
) -> np.ndarray:
    """Which images are held out: of each group the same share, chosen by a hash of the names.

    So the choice is the same on every machine and for every order, and nearly the same when images
    are added.

    Args:
        names: Of the images.
        groups: The class of each image.
        share: The share, rounded to whole images; of two or more images one at least stays and one
            at least is held out, unless the share is 0 or 1.
        seed: Another one holds out others.

    Returns:
        bool [n].
    """
    members: dict[Any, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    is_held_out = np.zeros([len(names)], bool)
    for numbers in members.values():
        ranked = sorted(numbers, key=lambda i: _hash(f'{seed}:{names[i]}'))
        count = round(share * len(ranked))
        if 0 < share < 1 and len(ranked) > 1:
            count = min(max(count, 1), len(ranked) - 1)
        is_held_out[ranked[:count]] = True
    return is_held_out


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class LabelledImageSource(source_lib.IndexedSource):
    """Encoded images and their labels.

    Args:
        images: Files and labels.
        info: Counts and classes.
        readings: int32 [n], how to decode each (see `image_decoding.decode_image`).
        is_in_memory: Whether files are read once, and kept.
    """

    def __init__(
        self,
        images: LabelledImages,
        info: ClassificationInfo,
        readings: np.ndarray,
        *,
        is_in_memory: bool = False,
    ) -> None:
        self._images = images
        self._info = info
        self._readings = readings
        self._is_in_memory = is_in_memory
        self._contents: list[bytes] | None = None
        self._tensors: source_lib.Tensors | None = None

    @property
    def info(self) -> ClassificationInfo:
        return self._info

    @property
    def labels(self) -> tuple[np.ndarray, ...]:
        """int64 arrays, the labels of each image."""
        return self._images.labels

    def make_examples(self, order: source_lib.Order) -> tf.data.Dataset:
        if self._is_in_memory and self._contents is None:
            self._contents = [self.read_image(i) for i in range(len(self._images))]
        # Outside of any graph, so that the functions of the pipeline capture these, not copy them.
        with tf.init_scope():
            counts = [len(labels) for labels in self._images.labels]
            images: list[Any] = self._contents or list(self._images.paths)
            self._tensors = {
                'images': tf.constant(images, tf.string),
                'readings': tf.constant(self._readings, tf.int32),
                'labels': tf.constant(np.concatenate(self._images.labels), tf.int64),
                'splits': tf.constant(np.concatenate([[0], np.cumsum(counts)]), tf.int64),
            }
        return super().make_examples(order)

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        """One example, encoded.

        Returns:
            'image/encoded' string []; 'image/class/label' int64 [n]; 'image/reading' int32 [], see
            `image_decoding.decode_image`; 'source_id' int64 [].
        """
        assert self._tensors is not None, 'make_examples comes first'
        tensors, index = self._tensors, example['index']
        image = tensors['images'][index]
        return {
            'image/encoded': image if self._contents else tf.io.read_file(image),
            'image/class/label': tensors['labels'][
                tensors['splits'][index] : tensors['splits'][index + 1]
            ],
            'image/reading': tensors['readings'][index],
            'source_id': index,
        }

    def describe(self, index: int) -> str:
        return self._images.paths[index]

    def get_reading(self, index: int) -> int:
        return int(self._readings[index])

    def read_image(self, index: int) -> bytes:
        return tf.io.read_file(self._images.paths[index]).numpy()


def build_labelled_source(
    images: LabelledImages,
    *,
    orientation: Orientation = 'auto',
    skip_corrupt: bool = False,
    cache: bool = False,
    image_option: str = '',
) -> LabelledImageSource:
    """The source of image files.

    Args:
        images: Files and labels.
        orientation: See `exif_orientation.decide_turns`; 'auto' turns images upright.
        skip_corrupt: Whether to leave out images that cannot be decoded, after one pass that
            decodes them all. If not, one that is missing or no image is an error at once.
        cache: Whether to keep the encoded images in memory.
        image_option: The field that says where images are, for the hint of an error.

    Raises:
        DataError: An image cannot be read.
    """
    looks = _look_at(images.paths, orientation)
    bad = dict(looks.problems)
    if not skip_corrupt:
        _refuse(images, looks, image_option)
    good = np.setdiff1d(np.arange(len(images)), np.array(list(bad), np.int64))
    if skip_corrupt:
        found = _find_bad(images.select(good), looks.readings[good])
        bad |= {int(good[i]): text for i, text in found.items()}
        good = np.setdiff1d(good, np.array(list(bad), np.int64))
        notices.report_skipped([f'{images.paths[i]}: {bad[i]}' for i in sorted(bad)])
    kept = images.select(good)
    info = make_info(kept, num_corrupt=len(bad), findings=looks.findings)
    return LabelledImageSource(kept, info, looks.readings[good], is_in_memory=cache)


# Headers of the files of a data set take minutes to read if there are a million; what a run asks for
# several times is kept.
_looks: collections.deque[tuple[tuple[str, ...], Orientation, folder_source.Images]] = (
    collections.deque(maxlen=4)
)


def forget() -> None:
    """Drops what was read in this process, so that files are read again."""
    _looks.clear()


def _look_at(paths: tuple[str, ...], orientation: Orientation) -> folder_source.Images:
    for known_paths, known_orientation, looks in _looks:
        if (known_paths, known_orientation) == (paths, orientation):
            if not folder_source.is_stale(looks):
                return looks
            break
    looks = folder_source.look_at_images(paths, None, mode=orientation, default='upright')
    if not looks.problems:
        _looks.append((paths, orientation, looks))
    return looks


def _refuse(images: LabelledImages, looks: folder_source.Images, image_option: str) -> None:
    if looks.num_missing:
        first = next(i for i, text in looks.problems.items() if 'missing' in text)
        place = f'give the folder of the images as {image_option}, or ' if image_option else ''
        raise errors.DataError(
            f'{looks.num_missing} of {len(images)} images are missing, the first: '
            f'{images.paths[first]}',
            where=images.origin,
            hint=f'{place}set skip_corrupt=true',
        )
    for number, text in looks.problems.items():
        raise errors.DataError(text, where=images.paths[number], hint=_SKIP_HINT)


def _find_bad(images: LabelledImages, readings: np.ndarray) -> Mapping[int, str]:
    source = LabelledImageSource(images, make_info(images), readings)
    stats = [os.stat(path) for path in images.paths]
    description = [[p, s.st_size, s.st_mtime_ns] for p, s in zip(images.paths, stats)]
    return data_cache.get_cached_reasons(
        ['labelled images', description],
        lambda: dict(source.find_bad_images(range(len(images)))),
    )


def make_info(
    images: LabelledImages, *, num_corrupt: int = 0, findings: tuple[str, ...] = ()
) -> ClassificationInfo:
    """Counts and classes of image files."""
    flat = np.concatenate(images.labels) if images.labels else np.zeros([0], np.int64)
    counts = np.bincount(flat, minlength=len(images.class_names))
    digest = hashlib.sha256(repr(images.class_names).encode())
    for name, labels in sorted(zip(images.names, images.labels), key=lambda pair: pair[0]):
        digest.update(f'{name}:{labels.tolist()}\n'.encode())
    return ClassificationInfo(
        num_examples=len(images),
        class_names=images.class_names,
        category_ids=tuple(range(len(images.class_names))),
        num_boxes=len(flat),
        boxes_per_class=tuple(int(count) for count in counts),
        max_label=int(flat.max(initial=-1)),
        fingerprint=digest.hexdigest(),
        origin=images.origin,
        num_corrupt=num_corrupt,
        findings=(*images.findings, *findings, *_find_empty_classes(images.class_names, counts)),
    )


def _find_empty_classes(names: Sequence[str], counts: np.ndarray) -> tuple[str, ...]:
    empty = [name for name, count in zip(names, counts) if not count]
    if not empty or len(empty) == len(names):
        return ()
    shown = ', '.join(repr(name) for name in empty[:8])
    more = f' and {len(empty) - 8} more' if len(empty) > 8 else ''
    return (f'{len(empty)} of {len(names)} classes have no images: {shown}{more}',)
