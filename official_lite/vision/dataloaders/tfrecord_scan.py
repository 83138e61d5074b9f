"""One pass over TFRecord files: what is in them, and which records cannot be used."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import data_cache, tf_example_decoder, tfrecord_index

__all__ = ['TfrecordTable', 'make_record_dataset', 'scan_files']

# Raise with every change of what a scan finds: it is part of the cached file's name.
_VERSION = 2
_BATCH_SIZE = 64
# Of a record that is no tf.Example. TensorFlow quotes its bytes, which may be no text.
_PARSE_ERRORS = (tf.errors.OpError, UnicodeDecodeError)
_LABEL_KEY = 'image/object/class/label'
_TEXT_KEY = 'image/object/class/text'
_CROWD_KEY = 'image/object/is_crowd'
# What is counted of each record: boxes, and among them crowds and those that look wrong.
_COUNTS = ('num_boxes', 'num_crowds', 'num_without_area', 'num_outside')
# Further outside of its image than this, as a share of it, a box is counted.
_OUTSIDE = 0.01
# Boxes may leave their image by rounding; this far only pixel coordinates do.
_MIN_COORDINATE, _MAX_COORDINATE = -1.0, 2.0


@dataclasses.dataclass(frozen=True)
class TfrecordTable:
    """The records of all files, file after file.

    Attributes:
        paths: The files.
        file_numbers: int64 [n], which of `paths`.
        offsets: int64 [n], where each record begins in its file.
        lengths: int64 [n], bytes of data.
        num_boxes: int64 [n].
        num_crowds, num_without_area, num_outside: int64 [n], of those. None: not counted.
        labels: int64, of all boxes of all usable records.
        problems: What is wrong with a record, by its number.
        file_problems: What is wrong with a file after its last record, by the file's number.
        names: Names of labels, where the records have them.
    """

    paths: tuple[str, ...]
    file_numbers: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    num_boxes: np.ndarray
    labels: np.ndarray
    problems: Mapping[int, str]
    file_problems: Mapping[int, str]
    names: Mapping[int, str]
    num_crowds: np.ndarray | None = None
    num_without_area: np.ndarray | None = None
    num_outside: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def get_description(self) -> list[Any]:
        """What tells these files from others and from other versions of themselves."""
        return [[path, *_get_version(path)] for path in self.paths]

    def describe(self, record: int) -> str:
        """File and position of a record."""
        file_number = self.file_numbers[record]
        first = int(np.searchsorted(self.file_numbers, file_number))
        offset = int(self.offsets[record])
        path = self.paths[file_number]
        return f'{path}, record {record - first} (counted from 0; at byte {offset})'


def make_record_dataset(
    path: str | tf.Tensor, offset: int | tf.Tensor = 0, *, is_compressed: bool = False
) -> tf.data.Dataset:
    """The serialized records of one file from the one that begins at `offset`; works in graphs."""
    if isinstance(offset, int) and offset == 0:
        return tf.data.TFRecordDataset(path, compression_type='GZIP' if is_compressed else '')
    # TensorFlow cannot copy the operation that takes an offset into the graph of a pipeline, but
    # leaves alone what is inside of a function.
    place = tf.data.Dataset.from_tensors((path, tf.cast(offset, tf.int64)))
    return place.flat_map(_read_from)


def _read_from(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=path[None],
        compression_type='',
        buffer_size=256 << 10,  # as tf.data.TFRecordDataset
        byte_offsets=offset[None],
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


def scan_files(
    paths: Sequence[str], *, is_compressed: bool = False, label_map: Mapping[str, int] | None = None
) -> TfrecordTable:
    """Reads labels and checksums of all records once; the result is kept in the cache folder.

    Args:
        paths: The files.
        is_compressed: Whether they are compressed by gzip.
        label_map: Labels by name, for records whose classes are names. None: labels are numbers.

    Raises:
        UsageError: A file is not a TFRecord file.
        DataError: A file cannot be opened.
    """
    cached = _get_cache_path(paths, is_compressed, label_map)
    if cached.exists():
        table = _load(cached, paths)
        if table is not None:
            return table
    scan = _Scan(paths, is_compressed, label_map)
    table = scan.run()
    _save(cached, table)
    return table


class _Scan:
    def __init__(
        self, paths: Sequence[str], is_compressed: bool, label_map: Mapping[str, int] | None
    ) -> None:
        self._paths = tuple(paths)
        self._is_compressed = is_compressed
        self._label_map = label_map
        self._names: dict[int, str] = {v: k for k, v in label_map.items()} if label_map else {}

    def run(self) -> TfrecordTable:
        indices = [
            tfrecord_index.index_file(path, is_compressed=self._is_compressed)
            for path in self._paths
        ]
        all_counts: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        problems: dict[int, str] = {}
        first = 0
        for path, index in zip(self._paths, indices, strict=True):
            counts, file_labels, file_problems = self._scan_file(path, index)
            all_counts.append(counts)
            labels.append(file_labels)
            problems |= {first + record: text for record, text in file_problems.items()}
            first += len(index)
        return TfrecordTable(
            paths=self._paths,
            file_numbers=np.repeat(np.arange(len(indices)), [len(i) for i in indices]),
            offsets=np.concatenate([i.offsets for i in indices]),
            lengths=np.concatenate([i.lengths for i in indices]),
            **dict(zip(_COUNTS, np.concatenate(all_counts).T, strict=True)),
            labels=np.concatenate(labels),
            problems=problems,
            file_problems={
                n: f'{i.damage} at byte {i.damage_offset}, after {len(i)} records'
                for n, i in enumerate(indices)
                if i.damage
            },
            names=self._names,
        )

    def _scan_file(
        self, path: str, index: tfrecord_index.FileIndex
    ) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """(counts of each record, labels, problems by record) of a file; in batches if all is well.

        Counts are int64 [records, 4], in the order of `_COUNTS`.
        """
        if not len(index):
            return np.zeros([0, len(_COUNTS)], np.int64), np.zeros([0], np.int64), {}
        try:
            dataset = make_record_dataset(path, is_compressed=self._is_compressed)
            batches = dataset.take(len(index)).batch(_BATCH_SIZE)
            parts = [self._parse(batch) for batch in batches]
        except _PARSE_ERRORS:
            parts = [self._parse_alone(path, index, record) for record in range(len(index))]
        counts = np.concatenate([part[0] for part in parts])
        labels = np.concatenate([part[1] for part in parts])
        problems: dict[int, str] = {}
        first = 0
        for part in parts:
            problems |= {first + record: text for record, text in part[2].items()}
            first += len(part[0])
        return counts, labels, problems

    def _parse_alone(
        self, path: str, index: tfrecord_index.FileIndex, record: int
    ) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        try:
            if self._is_compressed:
                dataset = make_record_dataset(path, is_compressed=True).skip(record)
            else:
                dataset = make_record_dataset(path, int(index.offsets[record]))
            serialized = next(iter(dataset.take(1)))
        except tf.errors.DataLossError:
            return self._make_bad('the record is corrupt: its checksum is wrong')
        try:
            return self._parse(serialized[None])
        except _PARSE_ERRORS as error:
            return self._make_bad(_explain_parse_error(error))

    def _make_bad(self, text: str) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        return np.zeros([1, len(_COUNTS)], np.int64), np.zeros([0], np.int64), {0: text}

    def _parse(self, serialized: tf.Tensor) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """The same for a batch of serialized records. Raises OpError if one is no tf.Example."""
        features = {key: tf.io.RaggedFeature(tf.float32) for key in tf_example_decoder.BOX_KEYS}
        features[_LABEL_KEY] = tf.io.RaggedFeature(tf.int64)
        features[_CROWD_KEY] = tf.io.RaggedFeature(tf.int64)
        features[_TEXT_KEY] = tf.io.RaggedFeature(tf.string)
        parsed = tf.io.parse_example(serialized, features)
        edges = [parsed[key] for key in tf_example_decoder.BOX_KEYS]
        label_lists = self._get_labels(parsed)
        problems: dict[int, str] = {}
        counts = np.zeros([len(serialized), len(_COUNTS)], np.int64)
        labels: list[np.ndarray] = []
        values = [_split(edge) for edge in edges]
        texts, crowds = _split(parsed[_TEXT_KEY]), _split(parsed[_CROWD_KEY])
        for record, record_labels in enumerate(label_lists):
            boxes = [edge[record] for edge in values]
            problem = _find_problem(boxes, record_labels, self._label_map, texts[record])
            if problem:
                problems[record] = problem
                continue
            counts[record] = _count(boxes, crowds[record])
            labels.append(record_labels)
            if self._label_map is None and len(texts[record]) == len(record_labels):
                self._learn_names(record_labels, texts[record])
        flat = np.concatenate(labels) if labels else np.zeros([0], np.int64)
        return counts, flat, problems

    def _get_labels(self, parsed: Mapping[str, tf.RaggedTensor]) -> list[np.ndarray]:
        if self._label_map is None:
            return _split(parsed[_LABEL_KEY])
        look_up = self._label_map
        return [
            np.array([look_up.get(text.decode(), -1) for text in texts], np.int64)
            for texts in _split(parsed[_TEXT_KEY])
        ]

    def _learn_names(self, labels: np.ndarray, texts: np.ndarray) -> None:
        for label, text in zip(labels.tolist(), texts, strict=True):
            if text:
                self._names.setdefault(label, text.decode('utf-8', 'replace'))


def _split(ragged: tf.RaggedTensor) -> list[np.ndarray]:
    splits = ragged.row_splits.numpy()
    return np.split(ragged.flat_values.numpy(), splits[1:-1])


def _count(boxes: Sequence[np.ndarray], crowds: np.ndarray) -> tuple[int, int, int, int]:
    """What `_COUNTS` says of one record, whose boxes are given by their edges, yxyx."""
    ymin, xmin, ymax, xmax = boxes
    has_area = (ymax > ymin) & (xmax > xmin)
    low, high = np.minimum(ymin, xmin), np.maximum(ymax, xmax)
    is_outside = has_area & ((low < -_OUTSIDE) | (high > 1 + _OUTSIDE))
    return len(ymin), int((crowds != 0).sum()), int((~has_area).sum()), int(is_outside.sum())


def _find_problem(
    boxes: Sequence[np.ndarray],
    labels: np.ndarray,
    label_map: Mapping[str, int] | None,
    texts: np.ndarray,
) -> str:
    """Why a record cannot be used; '' if it can."""
    counts = {len(edge) for edge in boxes}
    if counts != {len(labels)}:
        numbers = ', '.join(str(len(edge)) for edge in boxes)
        return (
            f'{len(labels)} labels but {numbers} ymin, xmin, ymax, xmax; expected as many of each'
        )
    if not len(labels):
        return ''
    if labels.min() < 1:
        if label_map is not None:
            unknown = texts[int(np.argmin(labels))].decode('utf-8', 'replace')
            return f'class name {unknown!r} is not in the label map'
        return (
            f'label {labels.min()} is out of range; expected 1 or more, because 0 is the background'
        )
    coordinates = np.stack(boxes)
    is_fine = (coordinates >= _MIN_COORDINATE) & (coordinates <= _MAX_COORDINATE)
    if not is_fine.all():
        worst = coordinates[~is_fine][0]
        return (
            f'a box has the coordinate {worst:g}; expected shares of the image, 0 to 1, not pixels'
        )
    return ''


def _explain_parse_error(error: Exception) -> str:
    text = str(error)
    if isinstance(error, UnicodeDecodeError) or 'Could not parse' in text:
        return 'the record is not a tf.train.Example'
    if "Data types don't match" in text:
        return 'a feature has another type than expected (coordinates float, labels int64)'
    return f'the record cannot be parsed ({text.splitlines()[0]})'


# ---- cache --------------------------------------------------------------------------------------


def _get_cache_path(
    paths: Sequence[str], is_compressed: bool, label_map: Mapping[str, int] | None
) -> Path:
    stats = [[path, *_get_version(path)] for path in paths]
    description = json.dumps([_VERSION, stats, is_compressed, label_map])
    digest = hashlib.sha256(description.encode()).hexdigest()[:32]
    return data_cache.get_cache_dir() / 'tfrecord' / f'{digest}.npz'


def _get_version(path: str) -> list[Any]:
    """Full path, size and time of the last change."""
    try:
        stat = tf.io.gfile.stat(path)
    except tf.errors.OpError as error:
        raise errors.DataError(f'the file cannot be read ({error.message})', where=path) from error
    full = path if '://' in path else str(Path(path).resolve())
    return [full, stat.length, stat.mtime_nsec]


_ARRAYS = ('file_numbers', 'offsets', 'lengths', 'labels', *_COUNTS)
_MAPPINGS = ('problems', 'file_problems', 'names')


def _save(path: Path, table: TfrecordTable) -> None:
    mappings = {name: dict(getattr(table, name)) for name in _MAPPINGS}
    arrays = {name: getattr(table, name) for name in _ARRAYS}
    with data_cache.open_atomically(path) as temporary, temporary.open('wb') as file:
        np.savez(file, mappings=np.array(json.dumps(mappings)), **arrays)


def _load(path: Path, paths: Sequence[str]) -> TfrecordTable | None:
    """What was saved; None if the file is damaged, so that it is made again."""
    try:
        with np.load(path) as arrays:
            mappings = json.loads(str(arrays['mappings']))
            fields = {name: arrays[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fields |= {name: {int(k): v for k, v in mappings[name].items()} for name in _MAPPINGS}
    return TfrecordTable(paths=tuple(paths), **fields)
