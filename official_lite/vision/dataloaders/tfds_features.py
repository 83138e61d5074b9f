"""TensorFlow Datasets: finding a data set's files, and image, boxes and classes in its records."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite import errors

__all__ = [
    'TfdsFeatures',
    'check_skipped',
    'find_features',
    'find_image_and_class',
    'get_builder',
    'get_instructions',
]

_INSTALL = "pip install 'official-lite[tfds]'"
# Names of the flag that takes an object out of training and evaluation, in the order of preference.
_CROWD_NAMES = ('is_crowd', 'iscrowd', 'is_difficult', 'difficult', 'is_group_of')


@dataclasses.dataclass(frozen=True)
class TfdsFeatures:
    """The keys of a data set's records.

    Attributes:
        image: The encoded image.
        boxes: The boxes, yxyx normalised.
        labels: The classes from 0; '' if there is only one.
        crowds: A flag of objects that are ignored; '' if there is none.
        areas: Areas in square pixels; '' if there are none.
        has_integer_areas: Whether they are integers.
        source_id: A number of the image; '' if there is none.
        class_names: Names of the classes; () where they have none.
    """

    image: str
    boxes: str
    labels: str = ''
    crowds: str = ''
    areas: str = ''
    has_integer_areas: bool = True
    source_id: str = ''
    class_names: tuple[str, ...] = ()

    def make_specs(self, *, has_image: bool = True) -> dict[str, Any]:
        """What `tf.io.parse_example` needs."""
        specs: dict[str, Any] = {self.boxes: tf.io.RaggedFeature(tf.float32)}
        if has_image:
            specs[self.image] = tf.io.FixedLenFeature((), tf.string)
        for key in (self.labels, self.crowds):
            if key:
                specs[key] = tf.io.RaggedFeature(tf.int64)
        if self.areas:
            dtype = tf.int64 if self.has_integer_areas else tf.float32
            specs[self.areas] = tf.io.RaggedFeature(dtype)
        if self.source_id:
            specs[self.source_id] = tf.io.FixedLenFeature((), tf.int64)
        return specs


def _import_tfds() -> Any:
    try:
        return importlib.import_module('tensorflow_datasets')
    except ImportError as error:
        raise errors.UsageError(
            'TensorFlow Datasets is not installed', where='tfds', hint=f'install it: {_INSTALL}'
        ) from error


def get_builder(name: str, data_dir: str = '', *, download: bool = False) -> Any:
    """The `tfds.core.DatasetBuilder` of a data set that is on disk.

    Args:
        name: Its name, with config and version if wanted.
        data_dir: Where data sets are kept. '' means the library's default.
        download: Whether to download and prepare one that is not there.

    Raises:
        UsageError: The library is not installed, or there is no such data set.
    """
    tfds = _import_tfds()
    arguments = {'data_dir': data_dir} if data_dir else {}
    try:
        builder = tfds.builder(name, **arguments)
    except Exception as error:  # each kind of mistake in a name has a type of its own there
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise errors.UsageError(
            lines[0].rstrip('.') if lines else type(error).__name__,
            where='name',
            expected="a data set's name, such as 'coco/2017'",
            received=repr(name),
        ) from error
    if not builder.info.splits:
        if not download:
            raise errors.UsageError(
                f'the data set {name!r} is not in {builder.data_dir}',
                where='data_dir',
                expected='a prepared data set',
                hint=f'set download=true, or run: tfds build {name}',
            )
        builder.download_and_prepare()
    return builder


def get_instructions(builder: Any, split: str) -> list[tuple[str, int, int]]:
    """(file, records to skip, records to take; -1: all that follow) of a split, in order.

    Raises:
        UsageError: There is no such split, or it is not kept as TFRecords.
    """
    try:
        found = builder.info.splits[split].file_instructions
    except (ValueError, KeyError, AssertionError) as error:
        raise errors.UsageError(
            f'there is no split {split!r}',
            where='split',
            expected=f"one of {', '.join(builder.info.splits)}, or a part such as 'train[:80%]'",
        ) from error
    if 'tfrecord' not in str(builder.info.file_format.value):
        raise errors.UsageError(
            f'the data set is kept as {builder.info.file_format.value}',
            where='name',
            expected='TFRecords',
            hint="prepare it again with tfds.builder(..., file_format='tfrecord')",
        )
    return [(str(i.filename), int(i.skip), int(i.take)) for i in found]


def check_skipped(skipped_features: str, features: Any) -> None:
    """Raises UsageError where a name in the list, joined by commas, is no feature."""
    for name in filter(None, (part.strip() for part in skipped_features.split(','))):
        if name not in features:
            raise errors.UsageError(
                f'there is no feature {name!r}',
                where='tfds_skip_decoding_feature',
                expected=f'of: {", ".join(sorted(features))}',
            )


def find_features(
    features: Any, *, image_feature: str = '', objects_feature: str = '', label_feature: str = ''
) -> TfdsFeatures:
    """Finds image, boxes and classes among the features of a data set.

    Args:
        features: A `tfds.features.FeaturesDict`.
        image_feature, objects_feature, label_feature: Their names. '' means the only one there is.

    Raises:
        UsageError: There is none, or more than one and none is chosen.
    """
    kinds = _import_tfds().features
    images = [key for key, feature in features.items() if isinstance(feature, kinds.Image)]
    objects = [
        key
        for key, feature in features.items()
        if isinstance(getattr(feature, 'feature', None), kinds.FeaturesDict)
        and _list_of(feature.feature, kinds.BBoxFeature)
    ]
    image = _choose('image_feature', image_feature, images, 'an image')
    chosen = _choose('objects_feature', objects_feature, objects, 'boxes')
    inner = features[chosen].feature
    labels = _list_of(inner, kinds.ClassLabel)
    label = _choose('label_feature', label_feature, labels, 'a class') if labels else ''
    crowd = next((name for name in _CROWD_NAMES if name in inner), '')
    names = tuple(inner[label].names) if label else ('object',)
    has_id = 'image/id' in features and _is_integer(features['image/id'])
    return TfdsFeatures(
        image=image,
        boxes=f'{chosen}/{_list_of(inner, kinds.BBoxFeature)[0]}',
        labels=label and f'{chosen}/{label}',
        crowds=crowd and f'{chosen}/{crowd}',
        areas=f'{chosen}/area' if 'area' in inner else '',
        has_integer_areas='area' not in inner or _is_integer(inner['area']),
        source_id='image/id' if has_id else '',
        class_names=names,
    )


def find_image_and_class(
    features: Any, *, image_feature: str = '', label_feature: str = ''
) -> tuple[str, str, tuple[str, ...]]:
    """Finds the image and its class among the features of a data set.

    Args:
        features: A `tfds.features.FeaturesDict`.
        image_feature, label_feature: Their names. '' means the only one there is; of several classes
            the one that is called 'label'.

    Returns:
        Both names, and the names of the classes.

    Raises:
        UsageError: There is none, or more than one and none is chosen.
    """
    kinds = _import_tfds().features
    image = _choose('image_feature', image_feature, _list_of(features, kinds.Image), 'an image')
    labels = _list_of(features, kinds.ClassLabel)
    if not label_feature and 'label' in labels:
        label_feature = 'label'
    label = _choose('label_feature', label_feature, labels, 'a class')
    return image, label, tuple(features[label].names)


def _list_of(features: Any, kind: type) -> list[str]:
    return [key for key, feature in features.items() if isinstance(feature, kind)]


def _is_integer(feature: Any) -> bool:
    return bool(np.issubdtype(feature.np_dtype, np.integer))


def _choose(field: str, wanted: str, found: Sequence[str], what: str) -> str:
    if wanted in found:
        return wanted
    if wanted or len(found) != 1:
        listed = ', '.join(found) or 'none'
        raise errors.UsageError(
            f'no feature {wanted!r} holds {what}'
            if wanted
            else f'{len(found)} features hold {what}',
            where=field,
            expected=f'one of: {listed}' if found else f'a data set that has {what}',
        )
    return found[0]
