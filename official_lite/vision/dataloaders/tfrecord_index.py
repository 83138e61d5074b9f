"""Where the records of TFRecord files begin.

A record is: length (uint64), masked CRC-32C of the length (uint32), data, masked CRC-32C of the data
(uint32), all little endian (tensorflow/core/lib/io/record_writer.h). Following the lengths finds
every record without reading the data, and tells a TFRecord file from anything else.
"""

from __future__ import annotations

import dataclasses
import gzip
import struct
from collections.abc import Sequence
from typing import BinaryIO, cast

import numpy as np
import tensorflow as tf

from official_lite import errors

__all__ = ['FileIndex', 'compute_crc32c', 'expand_patterns', 'index_file']

_HEADER = struct.Struct('<QI')
_FOOTER_BYTES = 4
_CRC_MASK_DELTA = 0xA282EAD8
_CRC32C_POLYNOMIAL = 0x82F63B78  # Castagnoli, reversed

# First bytes of what people give as TFRecord by mistake.
_MAGIC_NUMBERS = {
    b'\xff\xd8\xff': 'a JPEG image',
    b'\x89PNG': 'a PNG image',
    b'GIF8': 'a GIF image',
    b'BM': 'a BMP image',
    b'RIFF': 'a WebP image or another RIFF file',
    b'{': 'a JSON file',
    b'[': 'a JSON file',
    b'<': 'an XML file',
    b'PK\x03\x04': 'a zip archive',
    b'%PDF': 'a PDF file',
    b'\x89HDF': 'an HDF5 file',
    b'PAR1': 'a Parquet file',
}
_GZIP_MAGIC = b'\x1f\x8b'
_HINTS = {
    'image': 'folders of images are read with source.type=coco, voc or yolo',
    'JSON': 'a COCO annotation file is read with source.type=coco',
    'XML': 'a Pascal VOC folder is read with source.type=voc',
}


@dataclasses.dataclass(frozen=True)
class FileIndex:
    """The records of one file.

    Attributes:
        offsets: int64 [n], where each record's header begins (in a compressed file: uncompressed).
        lengths: int64 [n], bytes of each record's data.
        damage: Why the records after these cannot be reached; '' if these are all.
        damage_offset: Where that is.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    damage: str = ''
    damage_offset: int = 0

    def __len__(self) -> int:
        return len(self.offsets)


def expand_patterns(input_path: str | Sequence[str], *, where: str = 'input_path') -> list[str]:
    """The files of a path or pattern, of several joined by commas, or of a list of those.

    Raises:
        UsageError: A path does not exist, is a folder, or a pattern matches nothing.
    """
    texts = [input_path] if isinstance(input_path, str) else list(input_path)
    files: list[str] = []
    for text in texts:
        # A comma in the name of a file that exists is part of the name.
        parts = [text] if tf.io.gfile.exists(text) else [p.strip() for p in text.split(',')]
        for part in filter(None, parts):
            files.extend(_expand_pattern(part, where))
    if not files:
        raise errors.UsageError(
            where=where,
            expected='the path of a TFRecord file, or a pattern',
            received=repr(input_path),
        )
    return list(dict.fromkeys(files))


def _expand_pattern(pattern: str, where: str) -> list[str]:
    if tf.io.gfile.isdir(pattern):
        raise errors.UsageError(
            f'{pattern!r} is a folder',
            where=where,
            expected='files',
            hint=f"use a pattern such as '{pattern.rstrip('/')}/*.tfrecord'",
        )
    if tf.io.gfile.exists(pattern):
        return [pattern]
    if not any(c in pattern for c in '*?['):
        raise errors.UsageError(f'the file {pattern!r} does not exist', where=where)
    files = sorted(f for f in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(f))
    if not files:
        raise errors.UsageError(f'no file matches the pattern {pattern!r}', where=where)
    return files


def index_file(path: str, *, is_compressed: bool = False) -> FileIndex:
    """Finds the records of a file.

    Raises:
        UsageError: The file is not a TFRecord file at all.
        DataError: It cannot be opened.
    """
    try:
        with _open(path, is_compressed) as file:
            index = _follow_lengths(file, _get_size(path, is_compressed))
    except (OSError, EOFError, tf.errors.OpError) as error:
        if is_compressed and isinstance(error, gzip.BadGzipFile):
            raise errors.UsageError(
                'not a GZIP-compressed file', where=path, hint='set file_type=tfrecord'
            ) from error
        reason = getattr(error, 'strerror', None) or str(error)
        raise errors.DataError(f'the file cannot be read ({reason})', where=path) from error
    if index.damage and not len(index):
        _refuse_foreign_file(path, index)
    return index


def _open(path: str, is_compressed: bool) -> BinaryIO:
    is_remote = '://' in path
    file = tf.io.gfile.GFile(path, 'rb') if is_remote else open(path, 'rb')  # noqa: SIM115
    return cast(BinaryIO, gzip.open(file) if is_compressed else file)


def _get_size(path: str, is_compressed: bool) -> int | None:
    return None if is_compressed else tf.io.gfile.stat(path).length


def _follow_lengths(file: BinaryIO, size: int | None) -> FileIndex:
    offsets: list[int] = []
    lengths: list[int] = []
    position = 0

    def finish(damage: str = '') -> FileIndex:
        return FileIndex(np.array(offsets, np.int64), np.array(lengths, np.int64), damage, position)

    while size is None or position < size:
        file.seek(position)
        header = file.read(_HEADER.size)
        if not header:
            break
        if len(header) < _HEADER.size:
            return finish('the file ends inside of a record')
        length, checksum = _HEADER.unpack(header)
        if checksum != _mask(compute_crc32c(header[:8])):
            return finish("the checksum of a record's length is wrong")
        end = position + _HEADER.size + length + _FOOTER_BYTES
        if size is not None and end > size:
            return finish(f'the file ends inside of a record of {length} bytes')
        offsets.append(position)
        lengths.append(length)
        position = end
    return finish()


def _refuse_foreign_file(path: str, index: FileIndex) -> None:
    """Says what a file is whose very first record is none, as far as its first bytes tell."""
    with _open(path, False) as file:
        start = file.read(16)
    if start.startswith(_GZIP_MAGIC):
        raise errors.UsageError(
            'the file is compressed', where=path, hint='set file_type=tfrecord_compressed'
        )
    for magic, kind in _MAGIC_NUMBERS.items():
        if start.startswith(magic):
            hint = next((text for word, text in _HINTS.items() if word in kind), '')
            raise errors.UsageError(
                f'this is {kind}', where=path, expected='a TFRecord file', hint=hint
            )
    raise errors.DataError(
        f'not a TFRecord file, or damaged from its start: {index.damage}', where=path
    )


def _make_crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_CRC32C_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _make_crc_table()


def compute_crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + _CRC_MASK_DELTA) & 0xFFFFFFFF
