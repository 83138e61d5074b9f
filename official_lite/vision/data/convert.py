"""Converts the examples of any source into TFRecords or into a COCO data set."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from official_lite import errors
from official_lite.core import write_errors
from official_lite.vision.data import parallel, records, shards
from official_lite.vision.dataloaders import (
    class_file,
    coco_writer,
    image_decoding,
    image_headers,
    tfrecord_writer,
)
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.tfrecord_source import TfrecordSource
from official_lite.vision.ops import run_lengths

__all__ = ['Conversion', 'convert_to_coco', 'convert_to_tfrecords', 'make_storable']

# JPEG and PNG, what every reader of TFRecords decodes.
_KEPT = (b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n')
# Encoded images are some 100 kB: enough of them to keep threads busy, few enough for the memory.
_NUM_AHEAD_PER_WORKER = 8
# Shards of about 100 MB at that size.
_EXAMPLES_PER_SHARD = 1000

Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        paths: The TFRecord files, or the annotation file.
        class_path: The list of classes; '' where the annotation file has it.
        num_examples, num_boxes: Counts.
        num_bytes: Bytes of the encoded images.
        num_reencoded: Images that became PNG: neither JPEG nor PNG, or turned by an EXIF orientation.
    """

    paths: tuple[str, ...]
    class_path: str
    num_examples: int
    num_boxes: int
    num_bytes: int
    num_reencoded: int


@dataclasses.dataclass(frozen=True)
class _Loaded:
    record: records.Record
    image_bytes: bytes
    is_reencoded: bool


class _Loader:
    """Reads the images of a source in parallel, and checks that they can be decoded."""

    def __init__(
        self, source: source_lib.Source, num_workers: int, finish: Callable[[_Loaded], object]
    ) -> None:
        self._source = source
        self._num_workers = num_workers
        self._finish = finish
        self.num_boxes = self.num_bytes = self.num_reencoded = 0

    def __iter__(self) -> Iterator[object]:
        """What `finish` makes of each example, in the source's order; it runs in the threads too."""
        num_ahead = _NUM_AHEAD_PER_WORKER * self._num_workers
        found = records.iterate_records(self._source)
        with futures.ThreadPoolExecutor(self._num_workers) as pool:
            executor = pool if self._num_workers > 1 else None
            results = parallel.map_in_order(self._work, found, executor, num_ahead=num_ahead)
            for loaded, finished in results:
                self.num_boxes += len(loaded.record.labels)
                self.num_bytes += len(loaded.image_bytes)
                self.num_reencoded += loaded.is_reencoded
                yield finished

    def _work(self, record: records.Record) -> tuple[_Loaded, object]:
        original = self._read(record)
        stored = make_storable(original, self._source.get_reading(record.index))
        loaded = _Loaded(record, stored, stored is not original)
        return loaded, self._finish(loaded)

    def _read(self, record: records.Record) -> bytes:
        if record.serialized is not None and isinstance(self._source, TfrecordSource):
            features = tf.train.Example.FromString(record.serialized).features.feature
            return bytes(features[self._source.image_key].bytes_list.value[0])
        return read_checked_image(self._source, record.index, is_decoded=record.is_decoded)


def read_checked_image(source: source_lib.Source, index: int, *, is_decoded: bool = False) -> bytes:
    """The encoded image of an example.

    Args:
        source: The examples.
        index: Which one.
        is_decoded: Whether it has been decoded already, so is known to be fine.

    Raises:
        DataError: It cannot be read, or not be decoded.
    """
    try:
        content = source.read_image(index)
        reason = '' if is_decoded else source_lib.check_image(content, source.get_reading(index))
    except (tf.errors.OpError, OSError) as error:
        reason = f'the image cannot be read ({getattr(error, "message", error)})'
    if reason:
        raise errors.DataError(
            reason,
            where=source.describe(index),
            hint='mend or remove it, or set skip_corrupt=true to leave such examples out',
        )
    return content


def make_storable(image_bytes: bytes, reading: int = 0) -> bytes:
    """The same bytes if readers of TFRecords get the same pixels from them; else a PNG of these.

    JPEG and PNG stay as they are, unless they have to be turned upright.

    Args:
        image_bytes: An image that can be decoded.
        reading: How (see `image_decoding.decode_image`).
    """
    if image_bytes.startswith(_KEPT) and reading <= 1:
        return image_bytes
    by_pillow, orientation = divmod(reading, image_headers.BY_PILLOW)
    pixels = (
        image_decoding.decode_with_pillow(image_bytes)
        if by_pillow
        else image_decoding.decode_image(tf.constant(image_bytes))
    )
    upright = image_decoding.orient_image(tf.constant(pixels), tf.constant(orientation))
    buffer = io.BytesIO()
    Image.fromarray(upright.numpy()).save(buffer, 'PNG')
    return buffer.getvalue()


def convert_to_tfrecords(
    source: source_lib.Source,
    prefix: str,
    *,
    num_shards: int | None = None,
    num_workers: int = 1,
    is_compressed: bool = False,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Conversion:
    """Writes `PREFIX-00000-of-00008.tfrecord` and so on, with Model Garden's features.

    Read one after the other, the files have the examples in the source's order. All features that
    records of the source have besides (masks, attributes) are kept. The files appear at the end, all
    at once; an error leaves nothing behind.

    Args:
        source: The examples.
        prefix: Folder and beginning of the files' names.
        num_shards: Number of files. None means one for every 1,000 images.
        num_workers: Threads that read, check and encode. The files do not depend on it.
        is_compressed: Whether to compress the files by gzip.
        overwrite: Whether files of an earlier conversion may be replaced.
        on_progress: Called with the number of examples written so far.

    Raises:
        UsageError: There are such files already, or more shards than examples.
        DataError: An example cannot be read.
    """
    info = source.info
    num_shards = choose_num_shards(num_shards, num_workers, info.num_examples)

    def finish(loaded: _Loaded) -> bytes:
        return tfrecord_writer.serialize(_make_example(source, loaded))

    writer = shards.ShardWriter(
        prefix,
        num_shards=num_shards,
        num_examples=info.num_examples,
        classes=class_file.ClassList(info.class_names, info.category_ids),
        is_compressed=is_compressed,
        overwrite=overwrite,
    )
    loader = _Loader(source, num_workers, finish)
    with write_errors.clear_write_errors('--output', prefix), writer:
        for serialized in loader:
            assert isinstance(serialized, bytes)
            writer.write(serialized)
            if on_progress:
                on_progress(writer.num_written)
    return _make_conversion(loader, writer.paths, writer.class_path, writer.num_written)


def choose_num_shards(num_shards: int | None, num_workers: int, num_examples: int) -> int:
    """Number of TFRecord files: as given, or one for every 1,000 images.

    Raises:
        UsageError: It, or the number of workers, makes no sense.
    """
    _check_count('num_workers', num_workers, None)
    if num_shards is None:
        num_shards = -(-num_examples // _EXAMPLES_PER_SHARD)
    _check_count('num_shards', num_shards, num_examples)
    return num_shards


def _check_count(name: str, value: int, maximum: int | None) -> None:
    if value < 1 or (maximum is not None and value > maximum):
        limit = '1 or more' if maximum is None else f'1 to {maximum}, the number of images'
        raise errors.UsageError(where=f'--{name}', expected=limit, received=str(value))


def _make_example(source: source_lib.Source, loaded: _Loaded) -> tfrecord_writer.DetectionExample:
    record = loaded.record
    return tfrecord_writer.DetectionExample(
        image_bytes=loaded.image_bytes,
        source_id=record.source_id,
        height_px=record.height_px,
        width_px=record.width_px,
        boxes=record.boxes,
        labels=record.labels,
        is_crowd=record.is_crowd,
        areas=record.areas,
        class_names=source.info.class_names,
        file_name='' if record.serialized is not None else get_file_name(source, record.index),
        masks=_decode_masks(record),
        base=record.serialized if _has_our_features(source) else None,
    )


def _decode_masks(record: records.Record) -> np.ndarray | None:
    """uint8 [n, height, width]; None if there are none."""
    if record.masks is None:
        return None
    return run_lengths.decode(record.masks, record.height_px, record.width_px)


def _has_our_features(source: source_lib.Source) -> bool:
    return isinstance(source, TfrecordSource) and source.image_key == 'image/encoded'


def get_file_name(source: source_lib.Source, index: int) -> str:
    """Name of the image's file; '' where images are not files of their own."""
    path = source.describe(index)
    return os.path.basename(path) if os.path.isfile(path) else ''


def _make_conversion(
    loader: _Loader, paths: list[str], class_path: str, num_examples: int
) -> Conversion:
    return Conversion(
        paths=tuple(paths),
        class_path=class_path,
        num_examples=num_examples,
        num_boxes=loader.num_boxes,
        num_bytes=loader.num_bytes,
        num_reencoded=loader.num_reencoded,
    )


def convert_to_coco(
    source: source_lib.Source,
    folder: str,
    *,
    num_workers: int = 1,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Conversion:
    """Writes `FOLDER/annotations.json` and `FOLDER/images/`, named by the images' ids.

    Both appear at the end, when they are complete.

    Args:
        source: The examples.
        folder: Where to; made if it does not exist.
        num_workers: Threads that read and check images.
        overwrite: Whether the two may be replaced.
        on_progress: Called with the number of examples written so far.

    Raises:
        UsageError: They exist already.
        DataError: An example cannot be read, or two images have the same id.
    """
    _check_count('num_workers', num_workers, None)
    target = Path(folder)
    old = [path for path in (target / 'annotations.json', target / 'images') if path.exists()]
    if old and not overwrite:
        raise errors.UsageError(
            f'{old[0]} exists already',
            where=f'--output={folder}',
            hint='give another folder, or --overwrite',
        )
    temporary = target / '.partial'
    loader = _Loader(source, num_workers, lambda loaded: _make_example(source, loaded))
    try:
        with write_errors.clear_write_errors('--output', folder):
            shutil.rmtree(temporary, ignore_errors=True)
            writer = coco_writer.CocoWriter(temporary, source.info)
            for example in loader:
                assert isinstance(example, tfrecord_writer.DetectionExample)
                writer.add(example)
                if on_progress:
                    on_progress(writer.num_images)
            writer.finish()
            _publish(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _make_conversion(loader, [str(target / 'annotations.json')], '', writer.num_images)


def _publish(temporary: Path, target: Path) -> None:
    """Moves a COCO data set to where it belongs, in place of one that is there."""
    for name in ('images', 'annotations.json'):
        old = target / name
        if old.is_dir():
            shutil.rmtree(old)
        (temporary / name).replace(old)
