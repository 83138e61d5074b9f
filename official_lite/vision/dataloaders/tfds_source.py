"""Examples from TensorFlow Datasets: any data set with an image and boxes with classes.

The records are read directly: their index gives a free seek and the library is needed only to find
the files and the features.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import (
    data_cache,
    folder_source,
    image_decoding,
    notices,
    table_source,
    tfds_features,
    tfrecord_index,
    tfrecord_scan,
    tfrecord_source,
)
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['TfdsDecoder', 'TfdsSource', 'build_tfds_source', 'get_records', 'read_one_by_one']

_VERSION = 1


def build_tfds_source(
    name: str,
    split: str,
    *,
    data_dir: str = '',
    download: bool = False,
    image_feature: str = '',
    objects_feature: str = '',
    label_feature: str = '',
    skipped_features: str = '',
    skip_corrupt: bool = False,
    cache: bool = False,
) -> source_lib.Source:
    """The examples of a split.

    The classes 0..K-1 become the labels 1..K. Objects marked as crowds or as difficult are crowds.

    Args:
        name: Name of the data set, with config and version if wanted.
        split: Split, or a part or sum of splits, such as 'train[:80%]' or 'train+test'.
        data_dir: Where data sets are kept. '' means the library's default.
        download: Whether to download and prepare a data set that is not there.
        image_feature, objects_feature, label_feature: Names of features. '' means the only one.
        skipped_features: Features that the library is not to decode, joined by commas, as in Model
            Garden. It decodes none here, so they only have to exist.
        skip_corrupt: Whether to leave out records that cannot be read.
        cache: Whether to keep the serialized records in memory.

    Raises:
        UsageError: The library is not installed; no such data set, split or feature.
        DataError: A record cannot be used.
    """
    builder = tfds_features.get_builder(name, data_dir, download=download)
    instructions = tfds_features.get_instructions(builder, split)
    features = tfds_features.find_features(
        builder.info.features,
        image_feature=image_feature,
        objects_feature=objects_feature,
        label_feature=label_feature,
    )
    tfds_features.check_skipped(skipped_features, builder.info.features)
    paths = tuple(dict.fromkeys(path for path, _, _ in instructions))
    table, facts = _scan(paths, features)
    usable = get_records(table, instructions)
    if not skip_corrupt:
        _refuse_problems(table, usable)
    bad = np.array(sorted(set(table.problems) & set(usable.tolist())), np.int64)
    origin = f'tfds:{builder.info.full_name} ({split})'
    source = TfdsSource(table, np.setdiff1d(usable, bad), features, facts, origin)
    if skip_corrupt:
        source = _leave_out_bad(source, table, usable, facts, origin)
    return source.load_records() if cache and source.info.num_examples else source


# ---- records ------------------------------------------------------------------------------------


def _scan(
    paths: Sequence[str], features: tfds_features.TfdsFeatures
) -> tuple[tfrecord_scan.TfrecordTable, dict[str, int]]:
    """Labels of all records, and what is wrong with them; kept in the cache folder."""
    versions = [[p, s.length, s.mtime_nsec] for p in paths for s in [tf.io.gfile.stat(p)]]
    description = [_VERSION, versions, dataclasses.asdict(features)]
    arrays, facts = data_cache.get_cached_arrays(
        'tfds', description, lambda: _scan_files(paths, features)
    )
    table = tfrecord_scan.TfrecordTable(
        paths=tuple(paths),
        problems={int(record): text for record, text in facts['problems'].items()},
        file_problems={int(number): text for number, text in facts['file_problems'].items()},
        names=dict(enumerate(features.class_names, start=1)),
        **arrays,
    )
    return table, facts['counts']


def _scan_files(paths: Sequence[str], features: tfds_features.TfdsFeatures) -> data_cache.Found:
    indices = [tfrecord_index.index_file(path) for path in paths]
    num_boxes: list[int] = []
    labels: list[np.ndarray] = []
    problems: dict[str, str] = {}
    counts = {'without_area': 0, 'outside': 0, 'crowds': 0}
    for path, index in zip(paths, indices, strict=True):
        for serialized in read_one_by_one(path, index):
            found = _scan_record(serialized, features, counts)
            if isinstance(found, str):
                problems[str(len(num_boxes))] = found
                found = np.zeros([0], np.int64)
            num_boxes.append(len(found))
            labels.append(found)
    arrays = {
        'file_numbers': np.repeat(np.arange(len(indices)), [len(i) for i in indices]),
        'offsets': np.concatenate([i.offsets for i in indices]),
        'lengths': np.concatenate([i.lengths for i in indices]),
        'num_boxes': np.array(num_boxes, np.int64),
        'labels': np.concatenate([*labels, np.zeros([0], np.int64)]),
    }
    file_problems = {
        str(n): f'{i.damage} at byte {i.damage_offset}, after {len(i)} records'
        for n, i in enumerate(indices)
        if i.damage
    }
    facts = {'problems': problems, 'file_problems': file_problems, 'counts': counts}
    return arrays, facts


def read_one_by_one(path: str, index: tfrecord_index.FileIndex) -> Iterator[bytes | None]:
    """The serialized records, None for one whose checksum is wrong."""
    if not len(index):
        return
    records = iter(tfrecord_scan.make_record_dataset(path).take(len(index)))
    for record in range(len(index)):
        try:
            yield next(records).numpy()
        except tf.errors.DataLossError:
            yield None
            if record + 1 < len(index):
                offset = int(index.offsets[record + 1])
                records = iter(tfrecord_scan.make_record_dataset(path, offset))


def _scan_record(
    serialized: bytes | None, features: tfds_features.TfdsFeatures, counts: dict[str, int]
) -> np.ndarray | str:
    """int64 labels of the usable boxes, or why the record cannot be used. Adds to `counts`."""
    if serialized is None:
        return 'the record is corrupt: its checksum is wrong'
    try:
        values = tf.train.Example.FromString(serialized).features.feature
    except Exception:  # protobuf's error, whose class depends on its implementation
        return 'the record is not a tf.train.Example'
    boxes = np.array(values[features.boxes].float_list.value, np.float32).reshape(-1, 4)
    labels = np.ones([len(boxes)], np.int64)
    if features.labels:
        labels = np.array(values[features.labels].int64_list.value, np.int64) + 1
    if len(labels) != len(boxes):
        return f'{len(labels)} labels but {len(boxes)} boxes'
    if len(labels) and not 1 <= labels.min() <= labels.max() <= len(features.class_names):
        worst = labels.min() - 1 if labels.min() < 1 else labels.max() - 1
        return f'the class {worst} is out of range; expected 0 to {len(features.class_names) - 1}'
    is_kept = _find_usable(boxes)
    counts['without_area'] += int((~is_kept).sum())
    counts['outside'] += int((is_kept & ((boxes < 0) | (boxes > 1)).any(-1)).sum())
    if features.crowds:
        flags = np.array(values[features.crowds].int64_list.value, bool)
        counts['crowds'] += int(flags[is_kept].sum()) if len(flags) == len(boxes) else 0
    return labels[is_kept]


def _find_usable(boxes: np.ndarray) -> np.ndarray:
    clipped = np.clip(boxes, 0, 1)
    return np.asarray(np.all(clipped[:, 2:] > clipped[:, :2], axis=-1))


def get_records(
    table: tfrecord_scan.TfrecordTable, instructions: Sequence[tuple[str, int, int]]
) -> np.ndarray:
    """int64, numbers of the records of a split, ascending."""
    numbers: list[np.ndarray] = []
    for path, skip, take in instructions:
        own = np.flatnonzero(table.file_numbers == table.paths.index(path))
        numbers.append(own[skip : None if take < 0 else skip + take])
    return np.unique(np.concatenate([*numbers, np.zeros([0], np.int64)])).astype(np.int64)


def _refuse_problems(table: tfrecord_scan.TfrecordTable, usable: np.ndarray) -> None:
    hint = 'prepare the data set again, or set skip_corrupt=true to leave such records out'
    for record in sorted(set(table.problems) & set(usable.tolist())):
        raise errors.DataError(table.problems[record], where=table.describe(record), hint=hint)
    for number, text in table.file_problems.items():
        raise errors.DataError(text, where=table.paths[number], hint=hint)


def _leave_out_bad(
    source: TfdsSource,
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
    counts: Mapping[str, int],
    origin: str,
) -> TfdsSource:
    good = np.setdiff1d(usable, np.array(list(table.problems), np.int64))
    found = data_cache.get_cached_reasons(
        [table.get_description(), good.tolist()],
        lambda: dict(source.find_bad_images(range(len(good)))),
    )
    problems = {**table.problems, **{int(good[index]): text for index, text in found.items()}}
    lines = [f'{table.describe(r)}: {t}' for r, t in sorted(problems.items()) if r in usable]
    lines += [f'{table.paths[n]}: {t}' for n, t in table.file_problems.items()]
    notices.report_skipped(lines)
    rest = np.delete(good, list(found))
    return TfdsSource(
        dataclasses.replace(table, problems=problems),
        rest,
        source.features,
        counts,
        origin,
        num_corrupt=len(lines),
    )


class TfdsDecoder:
    """Decodes the records of a data set.

    Args:
        features: Their keys.
    """

    def __init__(self, features: tfds_features.TfdsFeatures) -> None:
        self._features = features

    def decode(
        self, serialized_example: tf.Tensor, fallback_source_id: tf.Tensor | None = None
    ) -> dict[str, Any]:
        """One record, as `source.Source.decode` describes it; ids are strings."""
        features = self._features
        parsed = tf.io.parse_single_example(serialized_example, features.make_specs())
        image = image_decoding.decode_image(parsed[features.image])
        boxes = tf.clip_by_value(tf.reshape(parsed[features.boxes], [-1, 4]), 0.0, 1.0)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        sides = boxes[:, 2:] - boxes[:, :2]
        labels = parsed[features.labels] + 1 if features.labels else tf.ones_like(boxes[:, 0])
        areas = sides[:, 0] * sides[:, 1] * size[0] * size[1]
        if features.areas:
            given = tf.cast(parsed[features.areas], tf.float32)
            areas = tf.where(given > 0, given, areas)
        crowds = tf.zeros_like(boxes[:, 0], tf.bool)
        if features.crowds:
            crowds = tf.cast(parsed[features.crowds], tf.bool)
        keep = tf.reduce_all(sides > 0, axis=-1)
        source_id = fallback_source_id
        if features.source_id:
            source_id = tf.strings.as_string(parsed[features.source_id])
        return {
            'source_id': source_id,
            'image': image,
            'height': tf.shape(image, tf.int64)[0],
            'width': tf.shape(image, tf.int64)[1],
            'groundtruth_classes': tf.boolean_mask(tf.cast(labels, tf.int64), keep),
            'groundtruth_is_crowd': tf.boolean_mask(crowds, keep),
            'groundtruth_area': tf.boolean_mask(areas, keep),
            'groundtruth_boxes': tf.boolean_mask(boxes, keep),
        }


class TfdsSource(tfrecord_source.TfrecordSource):
    """Records of a data set's split.

    Args:
        table: What is in the files.
        usable: int64 [n], numbers of the records to use, ascending.
        features: Keys of the records.
        counts: What a scan counted of all files.
        origin: What the data is called in messages.
        num_corrupt: Records that are left out.
    """

    def __init__(
        self,
        table: tfrecord_scan.TfrecordTable,
        usable: np.ndarray,
        features: tfds_features.TfdsFeatures,
        counts: Mapping[str, int],
        origin: str,
        *,
        num_corrupt: int = 0,
    ) -> None:
        self.features = features
        info = _make_info(table, usable, features, counts, origin, num_corrupt)
        super().__init__(table, usable, TfdsDecoder(features), info=info, image_key=features.image)


def _make_info(
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
    features: tfds_features.TfdsFeatures,
    counts: Mapping[str, int],
    origin: str,
    num_corrupt: int,
) -> DataInfo:
    records = np.repeat(np.arange(len(table)), table.num_boxes)
    labels = table.labels[np.isin(records, usable)]
    names = features.class_names
    per_class = table_source.count_per_class(labels, len(names))
    ids = tuple(range(1, len(names) + 1))
    digest = hashlib.sha256(json.dumps([origin, *names]).encode())
    for array in (table.lengths[usable], table.num_boxes[usable], labels):
        digest.update(np.ascontiguousarray(array, '<i8').tobytes())
    return DataInfo(
        num_examples=len(usable),
        class_names=names,
        category_ids=ids,
        num_boxes=len(labels),
        boxes_per_class=per_class,
        max_label=int(labels.max(initial=0)),
        fingerprint=digest.hexdigest(),
        origin=origin,
        num_corrupt=num_corrupt,
        max_boxes_per_image=int(table.num_boxes[usable].max(initial=0)),
        num_empty_images=int((table.num_boxes[usable] == 0).sum()),
        findings=(
            *_describe_counts(counts),
            *folder_source.find_class_findings(names, ids, per_class),
        ),
    )


def _describe_counts(counts: Mapping[str, int]) -> list[str]:
    texts = {
        'without_area': 'boxes of the files have no area and are left out',
        'outside': 'boxes of the files leave their image and are cut at its edge',
        'crowds': 'objects of the files are marked as crowds or difficult and are ignored',
    }
    return [f'{counts[name]:,} {text}' for name, text in texts.items() if counts[name]]
