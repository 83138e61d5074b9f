"""Classified images in TFRecord files: Model Garden's, and those of TensorFlow Datasets."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.core.classification_info import ClassificationInfo
from official_lite.vision.dataloaders import (
    classification_input,
    data_cache,
    notices,
    tfds_features,
    tfds_source,
    tfrecord_index,
    tfrecord_scan,
    tfrecord_source,
)
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['RecordDecoder', 'RecordKeys', 'build_record_source', 'build_tfds_source']

# Raise with every change of what a scan finds: it is part of the cached file's name.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class RecordKeys:
    """The features of a record.

    Attributes:
        image: The encoded image.
        label: The class, or the classes, from 0.
        is_multilabel: Whether there may be any number of classes.
        has_other_formats: Whether images may be something else than JPEGs.
    """

    image: str = classification_input.IMAGE_KEY
    label: str = classification_input.LABEL_KEY
    is_multilabel: bool = False
    has_other_formats: bool = False


class RecordDecoder:
    """Parses records; images stay encoded.

    Args:
        keys: Their features.
    """

    def __init__(self, keys: RecordKeys) -> None:
        self._keys = keys

    def decode(
        self, serialized_example: tf.Tensor, fallback_source_id: tf.Tensor | None = None
    ) -> dict[str, Any]:
        """One record, as `labelled_images.LabelledImageSource.decode` describes it; ids are strings."""
        keys = self._keys
        parsed = tf.io.parse_single_example(
            serialized_example,
            {
                keys.image: tf.io.FixedLenFeature((), tf.string),
                keys.label: tf.io.RaggedFeature(tf.int64),
            },
        )
        record = {
            classification_input.IMAGE_KEY: parsed[keys.image],
            classification_input.LABEL_KEY: parsed[keys.label],
            'source_id': fallback_source_id,
        }
        if keys.has_other_formats:
            record[classification_input.READING_KEY] = tf.zeros([], tf.int32)
        return record


def build_record_source(
    input_path: str | Sequence[str],
    keys: RecordKeys,
    *,
    is_compressed: bool = False,
    skip_corrupt: bool = False,
    cache: bool = False,
    where: str = 'input_path',
) -> source_lib.Source:
    """The examples of TFRecord files.

    Args:
        input_path: Path or pattern, several joined by commas, or a list of those.
        keys: Features of the records.
        is_compressed: Whether the files are compressed by gzip.
        skip_corrupt: Whether to leave out what cannot be read, after one pass that also decodes
            every image. If not, the first such record is an error.
        cache: Whether to keep the serialized records in memory.
        where: The config's path, for messages.

    Raises:
        UsageError: There is no such file, or it is no TFRecord file.
        DataError: A record cannot be used.
    """
    paths = tfrecord_index.expand_patterns(input_path, where=where)
    table = _scan(paths, keys, is_compressed=is_compressed)
    origin = ','.join(paths) if len(paths) <= 2 else f'{paths[0]},...'
    return _build(
        table,
        np.arange(len(table)),
        keys,
        origin=origin,
        is_compressed=is_compressed,
        skip_corrupt=skip_corrupt,
        cache=cache,
    )


def build_tfds_source(
    name: str,
    split: str,
    *,
    data_dir: str = '',
    download: bool = False,
    skipped_features: str = '',
    skip_corrupt: bool = False,
    cache: bool = False,
) -> source_lib.Source:
    """The examples of a split of TensorFlow Datasets, with one image and one class each.

    Args:
        name, split, data_dir, download, skipped_features: See `tfds_source.build_tfds_source`.
        skip_corrupt, cache: See `build_record_source`.

    Raises:
        UsageError: The library is not installed; no such data set or split, or without a class.
        DataError: A record cannot be used.
    """
    builder = tfds_features.get_builder(name, data_dir, download=download)
    instructions = tfds_features.get_instructions(builder, split)
    tfds_features.check_skipped(skipped_features, builder.info.features)
    image, label, class_names = tfds_features.find_image_and_class(builder.info.features)
    keys = RecordKeys(image, label, has_other_formats=True)
    table = _scan(tuple(dict.fromkeys(path for path, _, _ in instructions)), keys)
    return _build(
        table,
        tfds_source.get_records(table, instructions),
        keys,
        origin=f'tfds:{builder.info.full_name} ({split})',
        class_names=class_names,
        skip_corrupt=skip_corrupt,
        cache=cache,
    )


def _build(
    table: tfrecord_scan.TfrecordTable,
    wanted: np.ndarray,
    keys: RecordKeys,
    *,
    origin: str,
    class_names: Sequence[str] = (),
    is_compressed: bool = False,
    skip_corrupt: bool = False,
    cache: bool = False,
) -> source_lib.Source:
    """The source of some records of a table."""
    if not skip_corrupt:
        _refuse_problems(table, wanted)
    elif is_compressed and (table.problems or table.file_problems):
        _refuse_problems(table, wanted, 'skip_corrupt works on files that are not compressed')
    usable = np.setdiff1d(wanted, np.array(list(table.problems), np.int64))

    def make(kept: np.ndarray, num_corrupt: int) -> tfrecord_source.TfrecordSource:
        return tfrecord_source.TfrecordSource(
            table,
            kept,
            RecordDecoder(keys),
            is_compressed=is_compressed,
            info=_make_info(table, kept, origin, class_names, num_corrupt),
            image_key=keys.image,
        )

    source = make(usable, 0)
    if skip_corrupt:
        bad = _find_bad(table, wanted, usable, source)
        source = make(np.delete(usable, list(bad)), len(wanted) - len(usable) + len(bad))
    return source.load_records() if cache and source.info.num_examples else source


def _refuse_problems(
    table: tfrecord_scan.TfrecordTable, wanted: np.ndarray, hint: str = ''
) -> None:
    hint = hint or 'mend or remove it, or set skip_corrupt=true to leave such records out'
    for record in sorted(set(table.problems) & set(wanted.tolist())):
        raise errors.DataError(table.problems[record], where=table.describe(record), hint=hint)
    for file_number, text in table.file_problems.items():
        raise errors.DataError(text, where=table.paths[file_number], hint=hint)


def _find_bad(
    table: tfrecord_scan.TfrecordTable,
    wanted: np.ndarray,
    usable: np.ndarray,
    source: source_lib.Source,
) -> Mapping[int, str]:
    """Reasons by place in `usable` of the records whose image cannot be decoded; says all."""
    bad = data_cache.get_cached_reasons(
        [table.get_description(), usable.tolist()],
        lambda: dict(source.find_bad_images(range(len(usable)))),
    )
    problems = {record: table.problems[record] for record in set(table.problems) & set(wanted)}
    problems |= {int(usable[index]): text for index, text in bad.items()}
    lines = [f'{table.describe(record)}: {text}' for record, text in sorted(problems.items())]
    lines += [f'{table.paths[n]}: {text}' for n, text in table.file_problems.items()]
    notices.report_skipped(lines)
    return bad


def _make_info(
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
    origin: str,
    class_names: Sequence[str],
    num_corrupt: int,
) -> ClassificationInfo:
    records = np.repeat(np.arange(len(table)), table.num_boxes)
    labels = table.labels[np.isin(records, usable)]
    max_label = int(labels.max(initial=-1))
    if class_names and max_label >= len(class_names):
        raise errors.DataError(
            f'a record has the label {max_label}, and there are {len(class_names)} classes',
            where=origin,
        )
    names = tuple(class_names) or tuple(f'class_{label}' for label in range(max_label + 1))
    digest = hashlib.sha256()
    for array in (table.lengths[usable], table.num_boxes[usable], labels):
        digest.update(np.ascontiguousarray(array, '<i8').tobytes())
    return ClassificationInfo(
        num_examples=len(usable),
        class_names=names,
        category_ids=tuple(range(len(names))),
        num_boxes=len(labels),
        boxes_per_class=tuple(int(n) for n in np.bincount(labels, minlength=len(names))),
        max_label=max_label,
        fingerprint=digest.hexdigest(),
        origin=origin,
        num_corrupt=num_corrupt,
        declares_classes=bool(class_names),
    )


# ---- scan ---------------------------------------------------------------------------------------


def _scan(
    paths: Sequence[str], keys: RecordKeys, *, is_compressed: bool = False
) -> tfrecord_scan.TfrecordTable:
    """Labels of all records, and what is wrong with them; kept in the cache folder.

    Of the table, `num_boxes` is the number of labels of each record.
    """
    versions = [[p, s.length, s.mtime_nsec] for p in paths for s in [tf.io.gfile.stat(p)]]
    description = [_VERSION, versions, dataclasses.asdict(keys), is_compressed]
    arrays, facts = data_cache.get_cached_arrays(
        'classified', description, lambda: _scan_files(paths, keys, is_compressed=is_compressed)
    )
    return tfrecord_scan.TfrecordTable(
        paths=tuple(paths),
        problems={int(record): text for record, text in facts['problems'].items()},
        file_problems={int(number): text for number, text in facts['file_problems'].items()},
        names={},
        **arrays,
    )


def _scan_files(paths: Sequence[str], keys: RecordKeys, *, is_compressed: bool) -> data_cache.Found:
    indices = [tfrecord_index.index_file(path, is_compressed=is_compressed) for path in paths]
    labels: list[np.ndarray] = []
    problems: dict[str, str] = {}
    for path, index in zip(paths, indices, strict=True):
        records = (
            _read_compressed(path, index)
            if is_compressed
            else tfds_source.read_one_by_one(path, index)
        )
        for serialized in records:
            found = _find_labels(serialized, keys)
            if isinstance(found, str):
                problems[str(len(labels))] = found
                found = np.zeros([0], np.int64)
            labels.append(found)
    arrays = {
        'file_numbers': np.repeat(np.arange(len(indices)), [len(i) for i in indices]),
        'offsets': np.concatenate([i.offsets for i in indices]),
        'lengths': np.concatenate([i.lengths for i in indices]),
        'num_boxes': np.array([len(found) for found in labels], np.int64),
        'labels': np.concatenate([*labels, np.zeros([0], np.int64)]),
    }
    file_problems = {
        str(n): f'{i.damage} at byte {i.damage_offset}, after {len(i)} records'
        for n, i in enumerate(indices)
        if i.damage
    }
    return arrays, {'problems': problems, 'file_problems': file_problems}


def _read_compressed(path: str, index: tfrecord_index.FileIndex) -> Iterator[bytes | None]:
    """The serialized records, None for those from one on whose checksum is wrong."""
    records = iter(tfrecord_scan.make_record_dataset(path, is_compressed=True).take(len(index)))
    for record in range(len(index)):
        try:
            serialized = next(records).numpy()
        except tf.errors.DataLossError:
            yield from [None] * (len(index) - record)
            return
        yield serialized


def _find_labels(serialized: bytes | None, keys: RecordKeys) -> np.ndarray | str:
    """int64 labels of a record, or why it cannot be used."""
    if serialized is None:
        return 'the record is corrupt: its checksum is wrong'
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except Exception:  # protobuf's error, whose class depends on its implementation
        return 'the record is not a tf.train.Example'
    for key in (keys.image, keys.label):
        if key not in features and not (key == keys.label and keys.is_multilabel):
            listed = ', '.join(sorted(features)) or 'none'
            return f'the record has no feature {key!r}; it has: {listed}'
    if not features[keys.image].bytes_list.value:
        return f'the feature {keys.image!r} has no bytes'
    labels = np.array(features[keys.label].int64_list.value, np.int64)
    if not keys.is_multilabel and len(labels) != 1:
        return f'{len(labels)} labels in {keys.label!r}; expected 1, or is_multilabel=true'
    if len(labels) and labels.min() < 0:
        return f'label {labels.min()} is out of range; expected 0 or more'
    return labels
