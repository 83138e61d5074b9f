"""What the headers of image files say: size, orientation, and how the image has to be decoded.

Reading a header takes some 30 microseconds, decoding an image some milliseconds. So every image is
looked at once before training, and only those that need it are decoded in a special way.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import struct
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np
from PIL import Image

from official_lite.vision.dataloaders import data_cache

__all__ = ['BY_PILLOW', 'Header', 'ImageScan', 'read_header', 'scan_images']

# Added to the orientation in `Header.reading`.
BY_PILLOW = 16

# Raise with every change of what is found: it is part of the cached file's name.
_VERSION = 1
_NUM_THREADS = 16
_CHUNK = 64

_EXIF_ORIENTATION = 0x0112
# Start of frame, with the size: baseline, extended and progressive (ITU T.81, table B.1).
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_KINDS = {1: 'grey', 3: '', 4: 'CMYK'}
# Colour type of a PNG (RFC 2083, 4.1.1).
_PNG_KINDS = {0: 'grey', 2: '', 3: 'palette', 4: 'grey with alpha', 6: 'alpha'}
_PILLOW_KINDS = {
    '1': 'grey',
    'L': 'grey',
    'LA': 'grey with alpha',
    'P': 'palette',
    'RGBA': 'alpha',
    'CMYK': 'CMYK',
}
# Modes of BMP files that TensorFlow decodes rightly.
_TENSORFLOW_BMP_MODES = {'L', 'RGB', 'RGBA'}


@dataclasses.dataclass(frozen=True)
class Header:
    """What one header says.

    Attributes:
        height_px, width_px: Of the pixels as they are stored.
        orientation: EXIF's, 1 to 8; 1 is upright, 5 to 8 exchange height and width.
        kind: What is unusual about the pixels, such as 'CMYK' or 'grey'. '' for RGB of 8 bits.
        needs_pillow: Whether TensorFlow cannot decode it, or not rightly.
    """

    height_px: int
    width_px: int
    orientation: int = 1
    kind: str = ''
    needs_pillow: bool = False


@dataclasses.dataclass(frozen=True)
class ImageScan:
    """The headers of many images.

    Attributes:
        heights_px, widths_px: int64 [n], as stored. 0 where the header cannot be read.
        orientations: int8 [n], EXIF's, 1 to 8.
        needs_pillow: bool [n].
        kinds: Number of images of each unusual kind.
        problems: Why a header cannot be read, by the image's number.
    """

    heights_px: np.ndarray
    widths_px: np.ndarray
    orientations: np.ndarray
    needs_pillow: np.ndarray
    kinds: dict[str, int]
    problems: dict[int, str]


def read_header(path: str | os.PathLike[str]) -> Header:
    """Reads the header of an image file.

    Raises:
        OSError: The file cannot be read, or is no image.
    """
    with open(path, 'rb') as file:
        start = file.read(8)
        if not start:
            raise OSError('the image is empty (0 bytes)')
        if start.startswith(b'\xff\xd8'):
            file.seek(2)
            return _read_jpeg(file)
        if start == b'\x89PNG\r\n\x1a\n':
            return _read_png(file)
    return _read_by_pillow(path)


def scan_images(paths: Sequence[str]) -> ImageScan:
    """Reads the headers of images; the result is kept in the cache folder.

    Args:
        paths: Files that exist. A file that is no image becomes a problem, not an error.
    """
    stats = [os.stat(path) for path in paths]
    description = [
        _VERSION,
        [[os.path.abspath(p), s.st_size, s.st_mtime_ns] for p, s in zip(paths, stats)],
    ]
    arrays, facts = data_cache.get_cached_arrays(
        'images', description, lambda: _to_arrays(_read_all(paths))
    )
    return ImageScan(
        heights_px=arrays['heights_px'],
        widths_px=arrays['widths_px'],
        orientations=arrays['orientations'],
        needs_pillow=arrays['needs_pillow'],
        kinds=facts['kinds'],
        problems={int(number): text for number, text in facts['problems'].items()},
    )


def _read_all(paths: Sequence[str]) -> list[Header | str]:
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    with warnings.catch_warnings(), ThreadPoolExecutor(_NUM_THREADS) as pool:
        warnings.simplefilter('ignore')  # Pillow's, of damaged metadata
        return [header for chunk in pool.map(_read_chunk, chunks) for header in chunk]


def _read_chunk(paths: Sequence[str]) -> list[Header | str]:
    return [_try_header(path) for path in paths]


def _try_header(path: str) -> Header | str:
    """The header, or why there is none."""
    try:
        return read_header(path)
    except OSError as error:
        reason = error.strerror or str(error)
        is_plain = reason.startswith('the image')
        return reason if is_plain else f'the image cannot be read ({reason})'


def _to_arrays(
    headers: Sequence[Header | str],
) -> data_cache.Found:
    fine = [h if isinstance(h, Header) else Header(0, 0) for h in headers]
    arrays: dict[str, np.ndarray] = {
        'heights_px': np.array([h.height_px for h in fine], np.int64),
        'widths_px': np.array([h.width_px for h in fine], np.int64),
        'orientations': np.array([h.orientation for h in fine], np.int8),
        'needs_pillow': np.array([h.needs_pillow for h in fine], bool),
    }
    kinds = collections.Counter(h.kind for h in fine if h.kind)
    problems = {str(i): h for i, h in enumerate(headers) if isinstance(h, str)}
    return arrays, {'kinds': dict(kinds.most_common()), 'problems': problems}


# ---- formats ------------------------------------------------------------------------------------


def _read_jpeg(file: BinaryIO) -> Header:
    orientation = 1
    while True:
        marker = _find_marker(file)
        length = int.from_bytes(file.read(2), 'big')
        if marker in _JPEG_FRAMES:
            depth, height, width, num_components = struct.unpack('>BHHB', _read(file, 6))
            kind = _JPEG_KINDS.get(num_components, f'{num_components} channels')
            if depth != 8:
                kind = f'{depth}-bit JPEG'
            return Header(height, width, orientation, kind)
        if length < 2:
            raise OSError('the image is damaged: a JPEG without size')
        if marker == 0xE1:
            payload = file.read(length - 2)
            if payload.startswith(b'Exif\0\0') and orientation == 1:
                orientation = _parse_orientation(payload)
        else:
            file.seek(length - 2, os.SEEK_CUR)


def _find_marker(file: BinaryIO) -> int:
    """The next marker that has a length; skips fill bytes and markers without one."""
    while True:
        byte = file.read(1)
        while byte and byte != b'\xff':
            byte = file.read(1)
        while byte == b'\xff':
            byte = file.read(1)
        if not byte or byte[0] in (0xD9, 0xDA):
            raise OSError('the image is damaged: a JPEG without size')
        if byte[0] not in (0x00, 0x01, 0xD8) and not 0xD0 <= byte[0] <= 0xD7:
            return byte[0]


def _read_png(file: BinaryIO) -> Header:
    _read(file, 8)  # length and name of the first chunk
    width, height, depth, colour = struct.unpack('>IIBB', _read(file, 10))
    kind = _PNG_KINDS.get(colour, '')
    if depth == 16:
        kind = f'16-bit {kind}'.strip()
    file.seek(8 + 4 + 4 + 13 + 4)
    return Header(height, width, _find_png_orientation(file), kind)


def _find_png_orientation(file: BinaryIO) -> int:
    """Of the chunk eXIf, if it comes before the pixels, as it should."""
    while True:
        start = file.read(8)
        if len(start) < 8 or start[4:] in (b'IDAT', b'IEND'):
            return 1
        length = int.from_bytes(start[:4], 'big')
        if start[4:] == b'eXIf':
            return _parse_orientation(b'Exif\0\0' + file.read(length))
        file.seek(length + 4, os.SEEK_CUR)


def _read_by_pillow(path: str | os.PathLike[str]) -> Header:
    try:
        with Image.open(path) as image:
            return _describe(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f'the image cannot be decoded ({error})') from error


def _describe(image: Image.Image) -> Header:
    kind = _PILLOW_KINDS.get(image.mode, '' if image.mode == 'RGB' else image.mode)
    if getattr(image, 'n_frames', 1) > 1:
        kind = 'several frames, the first one counts'
    # Pillow turns TIFFs upright by itself.
    orientation = 1 if image.format == 'TIFF' else int(image.getexif().get(_EXIF_ORIENTATION, 1))
    is_bmp = image.format == 'BMP' and image.mode in _TENSORFLOW_BMP_MODES
    needs_pillow = image.format not in ('GIF', 'WEBP') and not is_bmp
    if needs_pillow:
        kind = f'{image.format} {kind}'.strip()
    return Header(image.height, image.width, _in_range(orientation), kind, needs_pillow)


def _parse_orientation(exif_bytes: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(exif_bytes)
        return _in_range(int(exif.get(_EXIF_ORIENTATION, 1)))
    except Exception:  # what a camera wrote there is no reason to refuse its image
        return 1


def _in_range(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1


def _read(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise OSError('the image is damaged: it ends within its header')
    return content
