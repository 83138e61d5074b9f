"""Reads Pascal VOC annotation files (http://host.robots.ox.ac.uk/pascal/VOC/), as they are found."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import data_cache

__all__ = ['VocAnnotation', 'VocFiles', 'load_voc_files', 'parse_voc']

# Raise with every change of what is read: it is part of the cached file's name.
_VERSION = 1
_NUM_THREADS = 8
_CHUNK = 64
_EDGES = ('ymin', 'xmin', 'ymax', 'xmax')


@dataclasses.dataclass(frozen=True)
class VocAnnotation:
    """One annotation file.

    Attributes:
        file_name: Of the image, as the file says; '' if it does not.
        height_px, width_px: Of the image; 0 if the file does not say.
        names: Class of each object.
        boxes: (ymin, xmin, ymax, xmax) of each object, as they are written.
        is_difficult: Of each object.
    """

    file_name: str
    height_px: int
    width_px: int
    names: tuple[str, ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    is_difficult: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class VocFiles:
    """Many annotation files.

    Attributes:
        paths: The files.
        file_names: Of the images, as the files say.
        sizes_px: int64 [files, 2], (height, width); 0 where a file does not say.
        splits: int64 [files + 1]: file i has the objects splits[i] to splits[i + 1].
        names: Class names that occur, sorted.
        classes: int64 [objects], which of `names`.
        boxes: float64 [objects, 4], yxyx as written.
        is_difficult: bool [objects].
        problems: Why a file cannot be used, by its number.
    """

    paths: tuple[str, ...]
    file_names: tuple[str, ...]
    sizes_px: np.ndarray
    splits: np.ndarray
    names: tuple[str, ...]
    classes: np.ndarray
    boxes: np.ndarray
    is_difficult: np.ndarray
    problems: dict[int, errors.DataError]


def parse_voc(content: bytes, where: str) -> VocAnnotation:
    """Parses one annotation file.

    Args:
        content: The XML.
        where: Its path, for messages.

    Raises:
        DataError: It is no XML, or an object has no class or no usable box; names file and line.
    """
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise errors.DataError(
            f'not a well-formed XML file ({error})', where=f'{where}:{error.position[0]}'
        ) from error
    except (LookupError, ValueError) as error:  # an encoding that nobody knows
        raise errors.DataError(f'not a readable XML file ({error})', where=where) from error
    if root.tag != 'annotation':
        raise errors.DataError(
            'not a Pascal VOC annotation',
            where=where,
            expected='<annotation>',
            received=f'<{root.tag}>',
        )
    objects = root.findall('object')
    parsed = [_parse_object(o, i, content, where) for i, o in enumerate(objects)]
    return VocAnnotation(
        file_name=(root.findtext('filename') or '').strip(),
        height_px=_parse_size(root.findtext('size/height')),
        width_px=_parse_size(root.findtext('size/width')),
        names=tuple(name for name, _ in parsed),
        boxes=tuple(box for _, box in parsed),
        is_difficult=tuple((o.findtext('difficult') or '0').strip() == '1' for o in objects),
    )


def _parse_size(text: str | None) -> int:
    try:
        return max(0, int(float(text or 0)))
    except (ValueError, OverflowError):
        return 0


def _parse_object(
    element: ElementTree.Element, number: int, content: bytes, where: str
) -> tuple[str, tuple[float, float, float, float]]:
    name = (element.findtext('name') or '').strip()
    box = element.find('bndbox')
    if box is None or not name:
        raise _explain(element, name, number, content, where)
    texts = {edge.tag: edge.text for edge in box}
    edges = [_parse_number(texts.get(edge)) for edge in _EDGES]
    for edge, value in zip(_EDGES, edges, strict=True):
        if not math.isfinite(value):
            raise errors.DataError(
                f'object {number + 1} ({name!r}) has no usable {edge}',
                where=f'{where}:{_find_line(content, number)}',
                expected='a number of pixels',
                received=repr(texts.get(edge)),
            )
    return name, (edges[0], edges[1], edges[2], edges[3])


def _explain(
    element: ElementTree.Element, name: str, number: int, content: bytes, where: str
) -> errors.DataError:
    """The error of an object without name or box."""
    place = f'{where}:{_find_line(content, number)}'
    if not name:
        return errors.DataError(f'object {number + 1} has no name', where=place)
    is_rotated = element.find('robndbox') is not None
    return errors.DataError(
        f'object {number + 1} ({name!r}) has no box',
        where=place,
        expected='<bndbox> with xmin, ymin, xmax, ymax',
        hint='rotated boxes (<robndbox>) are not read' if is_rotated else '',
    )


def _parse_number(text: str | None) -> float:
    try:
        return float(text or 'nan')
    except ValueError:
        return math.nan


def _find_line(content: bytes, number: int) -> int:
    """Line, from 1, in which the object of this number begins."""
    starts = [match.start() for match in re.finditer(rb'<object[\s>]', content)]
    return content[: starts[number]].count(b'\n') + 1 if number < len(starts) else 1


def load_voc_files(paths: Sequence[str]) -> VocFiles:
    """Reads annotation files, in parallel; the result is kept in the cache folder.

    Args:
        paths: The files. One that cannot be used becomes a problem, not an error.
    """
    stats = [os.stat(path) for path in paths]
    description = [
        _VERSION,
        [[os.path.abspath(p), s.st_size, s.st_mtime_ns] for p, s in zip(paths, stats)],
    ]
    arrays, facts = data_cache.get_cached_arrays('voc', description, lambda: _read_all(paths))
    return VocFiles(
        paths=tuple(paths),
        file_names=tuple(facts['file_names']),
        names=tuple(facts['names']),
        problems={int(i): data_cache.load_error(fields) for i, fields in facts['problems'].items()},
        **arrays,
    )


def _read_all(paths: Sequence[str]) -> data_cache.Found:
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        read = [item for chunk in pool.map(_read_chunk, chunks) for item in chunk]
    empty = VocAnnotation('', 0, 0, (), (), ())
    files = [item if isinstance(item, VocAnnotation) else empty for item in read]
    names = sorted({name for file in files for name in file.names})
    numbers = {name: number for number, name in enumerate(names)}
    boxes = [box for file in files for box in file.boxes]
    arrays = {
        'sizes_px': np.array([(f.height_px, f.width_px) for f in files], np.int64).reshape(-1, 2),
        'splits': np.cumsum([0] + [len(file.names) for file in files], dtype=np.int64),
        'classes': np.array([numbers[name] for f in files for name in f.names], np.int64),
        'boxes': np.array(boxes, np.float64).reshape(-1, 4),
        'is_difficult': np.array([flag for f in files for flag in f.is_difficult], bool),
    }
    problems = {
        i: data_cache.dump_error(item)
        for i, item in enumerate(read)
        if isinstance(item, errors.DataError)
    }
    file_names = [file.file_name for file in files]
    return arrays, {'file_names': file_names, 'names': names, 'problems': problems}


def _read_chunk(paths: Sequence[str]) -> list[VocAnnotation | errors.DataError]:
    return [_try_read(path) for path in paths]


def _try_read(path: str) -> VocAnnotation | errors.DataError:
    try:
        with open(path, 'rb') as file:
            return parse_voc(file.read(), path)
    except OSError as error:
        return errors.DataError(f'the file cannot be read ({error.strerror})', where=path)
    except errors.DataError as error:
        return error
