"""Examples in TFRecord files, with the features of Model Garden's detection data sets."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.core import randomness
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import (
    class_file,
    data_cache,
    notices,
    table_source,
    tf_example_decoder,
    tf_example_label_map_decoder,
    tfrecord_index,
    tfrecord_scan,
)
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['TfrecordSource', 'build_tfrecord_source']

_DEFAULT_CYCLE_LENGTH = 8


@dataclasses.dataclass(frozen=True)
class _Segments:
    """Runs of usable records that follow each other in a file."""

    paths: np.ndarray  # str [s]
    offsets: np.ndarray  # int64 [s], where the first record begins
    counts: np.ndarray  # int64 [s]
    first_indices: np.ndarray  # int64 [s], the first record's number among the usable ones


class RecordDecoder(Protocol):
    """What makes an example of a serialized record."""

    def decode(
        self, serialized_example: tf.Tensor, fallback_source_id: tf.Tensor | None = None
    ) -> dict[str, Any]:
        """As `source.Source.decode`; an id may be a string."""


class TfrecordSource(source_lib.Source):
    """Usable records of TFRecord files.

    The files are read in sequence, several in turn, through a shuffle buffer: the order of an epoch
    is a function of (seed, epoch) and of the sizes of buffer and cycle. Seeking skips serialized
    records of one epoch. Every worker reads all files and keeps its share. A list of classes beside
    the files (`class_file`) tells names and ids, those of classes that do not occur included.

    Args:
        table: What is in the files.
        usable: int64 [n], numbers of the records to use, ascending.
        decoder: What decodes a record.
        is_compressed: Whether the files are compressed by gzip.
        info: Counts and classes. None means what the table tells.
        image_key: Feature that has the encoded image.
    """

    def __init__(
        self,
        table: tfrecord_scan.TfrecordTable,
        usable: np.ndarray,
        decoder: RecordDecoder,
        *,
        is_compressed: bool = False,
        info: DataInfo | None = None,
        image_key: str = 'image/encoded',
    ) -> None:
        self._table = table
        self._usable = usable
        self._decoder = decoder
        self._is_compressed = is_compressed
        self._image_key = image_key
        has_label_map = isinstance(decoder, tf_example_label_map_decoder.TfExampleDecoderLabelMap)
        if info is None:
            classes = None if has_label_map else class_file.load_class_list(table.paths)
            info = _make_info(table, usable, classes, declares_classes=has_label_map)
        self._info = info
        self._segments = _find_segments(table, usable)

    @property
    def info(self) -> DataInfo:
        return self._info

    @property
    def image_key(self) -> str:
        """The feature of the records that holds the encoded image."""
        return self._image_key

    def make_examples(self, order: source_lib.Order) -> tf.data.Dataset:
        stream = self._make_training_stream(order) if order.is_training else self._make_pass(order)
        return stream.shard(order.num_workers, order.worker)

    def _make_pass(self, order: source_lib.Order) -> tf.data.Dataset:
        """Every example once, by index; then the first one again, not valid."""
        records = self._make_ordered().take(order.num_examples)
        num_missing = max(0, order.num_positions - order.num_examples)
        padding = (
            records.take(1)
            .repeat(num_missing)
            .map(lambda example: {**example, 'is_valid': tf.constant(False)})
        )
        return records.concatenate(padding).skip(order.first_position)

    def _make_training_stream(self, order: source_lib.Order) -> tf.data.Dataset:
        epoch, num_seen = divmod(order.first_position, order.num_examples)
        epochs = tf.data.Dataset.counter(start=epoch)
        return epochs.flat_map(lambda e: self._make_epoch(e, order)).skip(num_seen)

    def _make_epoch(self, epoch: tf.Tensor, order: source_lib.Order) -> tf.data.Dataset:
        key = randomness.make_key(order.seed, epoch=epoch, name='order')
        num_segments = len(self._segments.counts)
        permuted = tf.random.experimental.stateless_shuffle(
            tf.range(num_segments), seed=randomness.fold_in(key, 'files')
        )
        cycle_length = min(num_segments, order.cycle_length or _DEFAULT_CYCLE_LENGTH)
        dataset = tf.data.Dataset.from_tensor_slices(permuted).interleave(
            lambda number: self._read_segment(number, epoch),
            cycle_length=cycle_length,
            block_length=order.block_length,
            num_parallel_calls=cycle_length if cycle_length > 1 else None,
            deterministic=True,
        )
        if order.num_examples < len(self._usable):
            dataset = dataset.filter(lambda example: example['index'] < order.num_examples)
        if order.shuffle_buffer_size > 1:
            # Of this function's graph only: so the global seed, set or not, plays no part.
            tf.compat.v1.set_random_seed(1)
            seed = tf.cast(randomness.fold_in(key, 'buffer')[0], tf.int64)
            dataset = dataset.shuffle(
                order.shuffle_buffer_size, seed=seed, reshuffle_each_iteration=False
            )
        return dataset

    def _make_ordered(self) -> tf.data.Dataset:
        segments = tf.data.Dataset.range(len(self._segments.counts))
        return segments.flat_map(lambda n: self._read_segment(n, tf.zeros([], tf.int64)))

    def _read_segment(self, number: tf.Tensor, epoch: tf.Tensor) -> tf.data.Dataset:
        segments = self._segments
        number = tf.cast(number, tf.int64)
        first, count = (
            tf.gather(tf.constant(array), number)
            for array in (segments.first_indices, segments.counts)
        )
        has_offsets = bool(segments.offsets.any())  # only where records are left out
        records = tfrecord_scan.make_record_dataset(
            tf.gather(tf.constant(segments.paths), number),
            tf.gather(tf.constant(segments.offsets), number) if has_offsets else 0,
            is_compressed=self._is_compressed,
        )
        indices = tf.data.Dataset.range(first, first + count)
        # Zipped, not mapped: no function is called for an example.
        return tf.data.Dataset.zip(
            {
                'serialized': records.take(count),
                'index': indices,
                'epoch': _repeat(epoch),
                'is_valid': _repeat(tf.constant(True)),
            }
        )

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        fallback = tf.strings.as_string(example['index'] + 1)
        record = self._decoder.decode(example['serialized'], fallback_source_id=fallback)
        return {**record, 'source_id': source_lib.to_number(record['source_id'])}

    def describe(self, index: int) -> str:
        return self._table.describe(int(self._usable[index]))

    def read_image(self, index: int) -> bytes:
        serialized = self.read_record(index)
        features = tf.train.Example.FromString(serialized).features.feature
        values = features[self._image_key].bytes_list.value
        if not values:
            raise errors.DataError(f'the record has no feature {self._image_key!r}')
        return values[0]

    def read_record(self, index: int) -> bytes:
        """One serialized record, read eagerly."""
        record = int(self._usable[index])
        path = self._table.paths[self._table.file_numbers[record]]
        if self._is_compressed:
            first = int(np.searchsorted(self._table.file_numbers, self._table.file_numbers[record]))
            dataset = tfrecord_scan.make_record_dataset(path, is_compressed=True)
            dataset = dataset.skip(record - first)
        else:
            dataset = tfrecord_scan.make_record_dataset(path, int(self._table.offsets[record]))
        return next(iter(dataset.take(1))).numpy()

    def load_records(self) -> CachedTfrecordSource:
        """The same source with its serialized records in memory."""
        records = [example['serialized'].numpy() for example in self._make_ordered()]
        return CachedTfrecordSource(self, records)


class CachedTfrecordSource(source_lib.IndexedSource):
    """Serialized records in memory.

    Args:
        source: The source they were read from.
        records: The records in its order.
    """

    def __init__(self, source: TfrecordSource, records: Sequence[bytes]) -> None:
        self._source = source
        with tf.init_scope():
            self._records = tf.constant(list(records), tf.string)

    @property
    def info(self) -> DataInfo:
        return self._source.info

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        serialized = self._records[example['index']]
        return self._source.decode({**example, 'serialized': serialized})

    def describe(self, index: int) -> str:
        return self._source.describe(index)

    def read_image(self, index: int) -> bytes:
        return self._source.read_image(index)


def build_tfrecord_source(
    input_path: str | Sequence[str],
    *,
    is_compressed: bool = False,
    regenerate_source_id: bool = False,
    label_map: str = '',
    attribute_names: Sequence[str] = (),
    include_mask: bool = False,
    mask_binarize_threshold: float | None = None,
    skip_corrupt: bool = False,
    cache: bool = False,
    where: str = 'input_path',
) -> source_lib.Source:
    """The examples of TFRecord files.

    Args:
        input_path: Path or pattern, several joined by commas, or a list of those.
        is_compressed: Whether the files are compressed by gzip.
        regenerate_source_id: Whether examples are numbered from 1 rather than by their own ids.
        label_map: CSV file `label,name` for records whose classes are names. '': they are numbers.
        attribute_names: Attributes of objects to read, from `image/object/attribute/NAME`.
        include_mask: Whether masks are read, from the PNGs in `image/object/mask`.
        mask_binarize_threshold: See `tf_example_decoder.TfExampleDecoder`.
        skip_corrupt: Whether to leave out what cannot be read, after one pass that also decodes
            every image. If not, the first such record is an error.
        cache: Whether to keep the serialized records in memory.
        where: The config's path, for messages.

    Raises:
        UsageError: There is no such file, or it is no TFRecord file.
        DataError: A record cannot be used.
    """
    paths = tfrecord_index.expand_patterns(input_path, where=where)
    labels = tf_example_label_map_decoder.load_label_map(label_map) if label_map else None
    table = tfrecord_scan.scan_files(paths, is_compressed=is_compressed, label_map=labels)
    if not skip_corrupt:
        _refuse_problems(table)
    elif is_compressed and (table.problems or table.file_problems):
        _refuse_problems(table, 'skip_corrupt works on files that are not compressed')
    mask_options: dict[str, Any] = {
        'include_mask': include_mask,
        'mask_binarize_threshold': mask_binarize_threshold,
    }
    decoder = (
        tf_example_label_map_decoder.TfExampleDecoderLabelMap(
            label_map, regenerate_source_id=regenerate_source_id, **mask_options
        )
        if label_map
        else tf_example_decoder.TfExampleDecoder(
            regenerate_source_id=regenerate_source_id,
            attribute_names=attribute_names,
            **mask_options,
        )
    )
    usable = np.setdiff1d(np.arange(len(table)), np.array(list(table.problems), np.int64))
    source = TfrecordSource(table, usable, decoder, is_compressed=is_compressed)
    if skip_corrupt:
        source = _leave_out_bad_images(source, table, usable, decoder)
    return source.load_records() if cache and len(usable) else source


def _repeat(value: tf.Tensor) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(value).repeat()


def _refuse_problems(table: tfrecord_scan.TfrecordTable, hint: str = '') -> None:
    hint = hint or 'mend or remove it, or set skip_corrupt=true to leave such records out'
    for record, text in sorted(table.problems.items()):
        raise errors.DataError(text, where=table.describe(record), hint=hint)
    for file_number, text in table.file_problems.items():
        raise errors.DataError(text, where=table.paths[file_number], hint=hint)


def _leave_out_bad_images(
    source: TfrecordSource,
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
    decoder: tf_example_decoder.TfExampleDecoder,
) -> TfrecordSource:
    bad = data_cache.get_cached_reasons(
        [table.get_description(), usable.tolist()],
        lambda: dict(source.find_bad_images(range(len(usable)))),
    )
    lines = [f'{table.describe(r)}: {text}' for r, text in sorted(table.problems.items())]
    lines += [f'{table.paths[n]}: {text}' for n, text in table.file_problems.items()]
    lines += [f'{source.describe(index)}: {text}' for index, text in bad.items()]
    notices.report_skipped(lines)
    problems = {**table.problems, **{int(usable[index]): text for index, text in bad.items()}}
    kept = np.delete(usable, list(bad))
    return TfrecordSource(dataclasses.replace(table, problems=problems), kept, decoder)


def _make_info(
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
    listed: class_file.ClassList | None,
    *,
    declares_classes: bool,
) -> DataInfo:
    # Labels of records without problems; those with a bad image only are in the table too.
    records = np.repeat(np.arange(len(table)), table.num_boxes)
    labels = table.labels[np.isin(records, usable)]
    max_label = int(labels.max(initial=0))
    classes = listed or _guess_classes(max([max_label, *table.names]), table.names)
    num_labels = len(classes.class_names)
    if max_label > num_labels:
        raise errors.DataError(
            f'a record has the label {max_label}, and there are {num_labels} classes',
            where=class_file.get_class_file(table.paths[0]) or table.paths[0],
            hint='remove this list of classes if it does not belong to the records beside it',
        )
    digest = hashlib.sha256()
    for array in (table.lengths[usable], table.num_boxes[usable], labels):
        digest.update(np.ascontiguousarray(array, '<i8').tobytes())
    return DataInfo(
        num_examples=len(usable),
        class_names=classes.class_names,
        category_ids=classes.category_ids,
        num_boxes=len(labels),
        boxes_per_class=table_source.count_per_class(labels, num_labels),
        max_label=max_label,
        fingerprint=digest.hexdigest(),
        origin=','.join(table.paths) if len(table.paths) <= 2 else f'{table.paths[0]},...',
        num_corrupt=len(table.problems) + len(table.file_problems),
        max_boxes_per_image=int(table.num_boxes[usable].max(initial=0)),
        num_empty_images=int((table.num_boxes[usable] == 0).sum()),
        num_crowds=_sum(table.num_crowds, usable),
        findings=_find_oddities(table, usable),
        declares_classes=declares_classes or listed is not None,
    )


def _sum(counts: np.ndarray | None, records: np.ndarray) -> int:
    return 0 if counts is None else int(counts[records].sum())


def _find_oddities(table: tfrecord_scan.TfrecordTable, usable: np.ndarray) -> tuple[str, ...]:
    """Boxes that look wrong. They stay as they are, as in Model Garden."""
    texts = (
        (table.num_without_area, 'boxes have no area: nothing can find them'),
        (table.num_outside, 'boxes leave their image by more than 1%'),
    )
    findings = []
    for counts, text in texts:
        number = _sum(counts, usable)
        if counts is not None and number:
            first = table.describe(int(usable[np.flatnonzero(counts[usable])[0]]))
            findings.append(f'{number:,} {text}, the first in {first}')
    return tuple(findings)


def _guess_classes(num_labels: int, names: Mapping[int, str]) -> class_file.ClassList:
    labels = range(1, num_labels + 1)
    return class_file.ClassList(
        class_names=tuple(names.get(label, f'class_{label}') for label in labels),
        category_ids=tuple(labels),
    )


def _find_segments(table: tfrecord_scan.TfrecordTable, usable: np.ndarray) -> _Segments:
    files = table.file_numbers[usable]
    is_first = np.ones(len(usable), bool)
    is_first[1:] = (np.diff(usable) != 1) | (np.diff(files) != 0)
    starts = np.flatnonzero(is_first)
    return _Segments(
        paths=np.array([table.paths[n] for n in files[starts]], object).astype(str),
        offsets=table.offsets[usable[starts]],
        counts=np.diff(np.append(starts, len(usable))),
        first_indices=starts.astype(np.int64),
    )
