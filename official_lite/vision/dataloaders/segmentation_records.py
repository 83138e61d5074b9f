"""Segmented images in TFRecord files, with Model Garden's features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import (
    data_cache,
    mask_decoding,
    mask_files,
    notices,
    segmentation_facts,
    segmentation_input,
    tfrecord_index,
    tfrecord_scan,
    tfrecord_source,
)
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['RecordDecoder', 'build_record_source']

# Raise with every change of what a scan finds: it is part of the cached file's name.
_VERSION = 1
_BATCH_SIZE = 64
_NUM_THREADS = 8
_SKIP_HINT = 'mend or remove it, or set skip_corrupt=true to leave such records out'
_LABELS_AS_THEY_ARE = mask_files.LabelMap()


class RecordDecoder:
    """Decodes images and mask of a record.

    Args:
        image_feature: The image: a `segmentation_input.DenseFeature`, or a config with its fields.
        additional_dense_features: Further images, whose channels follow.
        is_plain: Whether all masks are PNGs of 8 bits, grey.
    """

    def __init__(
        self,
        image_feature: Any,
        additional_dense_features: Sequence[Any] = (),
        *,
        is_plain: bool = False,
    ) -> None:
        self._features = (image_feature, list(additional_dense_features))
        self._decoder = segmentation_input.Decoder(*self._features)
        self._is_plain = is_plain

    def decode(
        self, serialized_example: tf.Tensor, fallback_source_id: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """One example.

        Returns:
            'image' uint8 [height, width, channels]; 'mask' int32 [height, width, 1], labels;
            'source_id' string [].
        """
        features = self._decoder.decode(serialized_example)
        fallback = tf.constant('0') if fallback_source_id is None else fallback_source_id
        source_id = features['image/source_id']
        return {
            'image': segmentation_input.decode_images(features, *self._features),
            'mask': mask_decoding.decode_mask(
                features[segmentation_input.MASK_KEY], _LABELS_AS_THEY_ARE, is_plain=self._is_plain
            ),
            'source_id': tf.where(tf.strings.length(source_id) > 0, source_id, fallback),
        }


def build_record_source(
    input_path: str | Sequence[str],
    labelling: segmentation_facts.Labelling,
    *,
    image_feature: Any,
    additional_dense_features: Sequence[Any] = (),
    is_compressed: bool = False,
    skip_corrupt: bool = False,
    cache: bool = False,
    where: str = 'input_path',
) -> source_lib.Source:
    """The examples of TFRecord files. Reads all masks once, before anything is trained on them.

    Args:
        input_path: Path or pattern, several joined by commas, or a list of those.
        labelling: What the task says about labels.
        image_feature: See `RecordDecoder`.
        additional_dense_features: See `RecordDecoder`.
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
    table = tfrecord_scan.scan_files(paths, is_compressed=is_compressed)
    if not skip_corrupt:
        _refuse(table)
    usable = np.setdiff1d(np.arange(len(table)), np.array(list(table.problems), np.int64))

    def make_source(
        kept: np.ndarray, info: Any, *, is_plain: bool = False
    ) -> tfrecord_source.TfrecordSource:
        decoder = RecordDecoder(image_feature, additional_dense_features, is_plain=is_plain)
        return tfrecord_source.TfrecordSource(
            table,
            kept,
            decoder,
            is_compressed=is_compressed,
            info=info,
            image_key=image_feature.feature_name,
        )

    unscanned = make_source(usable, segmentation_facts.NO_INFO)
    scan = _scan(unscanned, table, usable)
    if skip_corrupt:
        usable = np.delete(usable, _report_bad(unscanned, table, usable, scan))
        unscanned = make_source(usable, segmentation_facts.NO_INFO)
        scan = _scan(unscanned, table, usable)
    for number, text in sorted(scan.problems.items()):
        raise errors.DataError(text, where=unscanned.describe(number), hint=_SKIP_HINT)
    origin = ','.join(paths) if len(paths) <= 2 else f'{paths[0]},...'
    info = _make_info(unscanned, scan, table, usable, labelling, origin)
    source = make_source(usable, info, is_plain=bool(scan.is_plain.all()))
    return source.load_records() if cache and len(usable) else source


def _report_bad(
    source: tfrecord_source.TfrecordSource,
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
    scan: mask_files.MaskScan,
) -> list[int]:
    """Says which records cannot be used; returns their numbers in `source`."""
    bad = {**_find_bad_images(source, table, usable), **scan.problems}
    notices.report_skipped([f'{source.describe(i)}: {bad[i]}' for i in sorted(bad)])
    return sorted(bad)


def _make_info(
    source: tfrecord_source.TfrecordSource,
    scan: mask_files.MaskScan,
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
    labelling: segmentation_facts.Labelling,
    origin: str,
) -> Any:
    places = [source.describe(int(i)) for i in scan.firsts]
    return segmentation_facts.make_info(
        segmentation_facts.Values(scan.values, scan.counts, places),
        np.stack([scan.heights_px, scan.widths_px], axis=-1),
        label_map=_LABELS_AS_THEY_ARE,
        labelling=labelling,
        names=[str(length) for length in table.lengths[usable]],
        origin=origin,
        num_corrupt=len(table) - len(usable),
    )


def _refuse(table: tfrecord_scan.TfrecordTable) -> None:
    for record, text in sorted(table.problems.items()):
        raise errors.DataError(text, where=table.describe(record), hint=_SKIP_HINT)
    for number, text in table.file_problems.items():
        raise errors.DataError(text, where=table.paths[number], hint=_SKIP_HINT)


def _describe(table: tfrecord_scan.TfrecordTable, usable: np.ndarray) -> list[Any]:
    digest = hashlib.sha256(np.ascontiguousarray(usable, '<i8').tobytes()).hexdigest()
    return [_VERSION, table.get_description(), digest]


def _scan(
    source: tfrecord_source.TfrecordSource,
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
) -> mask_files.MaskScan:
    """What is in the masks; found once, then kept in the cache folder."""
    arrays, facts = data_cache.get_cached_arrays(
        'record_masks',
        _describe(table, usable),
        lambda: mask_files.join_scans(_scan_all(source, len(usable))),
    )
    return mask_files.to_mask_scan(arrays, facts)


def _scan_all(
    source: tfrecord_source.TfrecordSource, num_examples: int
) -> list[mask_files.ScannedMask | str]:
    if not num_examples:
        return []
    features = {
        segmentation_input.MASK_KEY: tf.io.FixedLenFeature((), tf.string, ''),
        'image/height': tf.io.FixedLenFeature((), tf.int64, 0),
        'image/width': tf.io.FixedLenFeature((), tf.int64, 0),
    }
    order = source_lib.Order(num_examples, is_training=False)
    records = source.make_examples(order).map(lambda example: example['serialized'])
    batches = records.batch(_BATCH_SIZE).map(lambda batch: tf.io.parse_example(batch, features))
    found: list[mask_files.ScannedMask | str] = []
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for batch in batches.as_numpy_iterator():
            rows = zip(
                batch[segmentation_input.MASK_KEY], batch['image/height'], batch['image/width']
            )
            found += pool.map(lambda row: _scan_record(*row), rows)
    return found


def _scan_record(mask: bytes, height_px: int, width_px: int) -> mask_files.ScannedMask | str:
    if not mask:
        return f'the record has no mask: the feature {segmentation_input.MASK_KEY!r} is empty'
    scanned = mask_files.scan_mask(mask)
    if isinstance(scanned, str):
        return scanned
    size_px = (scanned.height_px, scanned.width_px)
    if height_px > 0 and width_px > 0 and size_px != (height_px, width_px):
        return f'the image is {width_px}x{height_px} px, its mask {size_px[1]}x{size_px[0]} px'
    return scanned


def _find_bad_images(
    source: tfrecord_source.TfrecordSource,
    table: tfrecord_scan.TfrecordTable,
    usable: np.ndarray,
) -> dict[int, str]:
    return data_cache.get_cached_reasons(
        ['segmentation', *_describe(table, usable)],
        lambda: dict(source.find_bad_images(range(len(usable)))),
    )
