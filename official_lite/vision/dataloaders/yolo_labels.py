"""Reads YOLO's label files: a line `class x y width height` for each object, shares of the image."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import data_cache

__all__ = ['YoloLabels', 'load_yolo_labels', 'parse_yolo']

# Raise with every change of what is read: it is part of the cached file's name.
_VERSION = 1
_NUM_THREADS = 8
_CHUNK = 64
# Boxes may leave their image a little; this far only pixels or percents do.
_MIN_COORDINATE, _MAX_COORDINATE = -0.5, 1.5

Row = tuple[int, int, float, float, float, float]


@dataclasses.dataclass(frozen=True)
class YoloLabels:
    """Many label files.

    Attributes:
        paths: The files.
        splits: int64 [files + 1]: file i has the objects splits[i] to splits[i + 1].
        classes: int64 [objects], from 0.
        lines: int64 [objects], from 1.
        boxes: float64 [objects, 4], yxyx, shares of the image.
        num_polygons: Number of objects that were polygons.
        problems: Why a file cannot be used, by its number.
    """

    paths: tuple[str, ...]
    splits: np.ndarray
    classes: np.ndarray
    lines: np.ndarray
    boxes: np.ndarray
    num_polygons: int
    problems: dict[int, errors.DataError]


def parse_yolo(text: str, where: str, *, has_keypoints: bool = False) -> tuple[list[Row], int]:
    """Parses one label file.

    Args:
        text: The file.
        where: Its path, for messages.
        has_keypoints: Whether lines go on with keypoints after the box. If not, a longer line is a
            polygon `class x1 y1 x2 y2 x3 y3 ...`, of which the box is taken.

    Returns:
        (line, class, ymin, xmin, ymax, xmax) of each object, and how many were polygons.

    Raises:
        DataError: A line is not what it should be; names file and line.
    """
    rows: list[Row] = []
    num_polygons = 0
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            values = [float(field) for field in fields]
        except ValueError:
            values = [math.nan]
        is_polygon = len(values) > 5 and not has_keypoints
        reason = _find_problem(values, is_polygon)
        if reason:
            raise errors.DataError(
                reason,
                where=f'{where}:{number}',
                expected='class x_centre y_centre width height, as shares of the image',
                received=line.strip()[:80],
            )
        num_polygons += is_polygon
        box = _enclose(values[1:]) if is_polygon else _to_corners(values[1:5])
        rows.append((number, int(values[0]), *box))
    return rows, num_polygons


def _find_problem(values: Sequence[float], is_polygon: bool) -> str:
    if not all(math.isfinite(value) for value in values):
        return 'not numbers'
    if len(values) < 5:
        return f'{len(values)} numbers are too few'
    if is_polygon and (len(values) % 2 == 0 or len(values) < 7):
        return f'{len(values)} numbers are neither a box nor a polygon'
    if values[0] < 0 or values[0] != int(values[0]):
        return f'the class {values[0]:g} is no number from 0 on'
    coordinates = values[1:] if is_polygon else values[1:5]
    worst = max(coordinates, key=lambda value: abs(value - 0.5))
    if not _MIN_COORDINATE <= worst <= _MAX_COORDINATE:
        return f'the coordinate {worst:g} is not a share of the image, 0 to 1 (pixels or percent?)'
    return ''


def _to_corners(box: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2


def _enclose(polygon: Sequence[float]) -> tuple[float, float, float, float]:
    xs, ys = polygon[::2], polygon[1::2]
    return min(ys), min(xs), max(ys), max(xs)


def load_yolo_labels(paths: Sequence[str], *, has_keypoints: bool = False) -> YoloLabels:
    """Reads label files, in parallel; the result is kept in the cache folder.

    Args:
        paths: The files. One that is not there has no objects; one that cannot be used becomes a
            problem, not an error.
        has_keypoints: See `parse_yolo`.
    """
    versions = [_get_version(path) for path in paths]
    description = [_VERSION, has_keypoints, versions]
    arrays, facts = data_cache.get_cached_arrays(
        'yolo', description, lambda: _read_all(paths, has_keypoints)
    )
    return YoloLabels(
        paths=tuple(paths),
        num_polygons=facts['num_polygons'],
        problems={int(i): data_cache.load_error(e) for i, e in facts['problems'].items()},
        **arrays,
    )


def _get_version(path: str) -> list[object]:
    try:
        stat = os.stat(path)
    except OSError:
        return [os.path.abspath(path)]
    return [os.path.abspath(path), stat.st_size, stat.st_mtime_ns]


def _read_all(paths: Sequence[str], has_keypoints: bool) -> data_cache.Found:
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        parts = pool.map(lambda chunk: [_try_read(path, has_keypoints) for path in chunk], chunks)
        read = [item for part in parts for item in part]
    problems = {
        i: data_cache.dump_error(item)
        for i, item in enumerate(read)
        if isinstance(item, errors.DataError)
    }
    files = [([], 0) if isinstance(item, errors.DataError) else item for item in read]
    rows = np.array([row for file, _ in files for row in file], np.float64).reshape(-1, 6)
    arrays = {
        'splits': np.cumsum([0] + [len(file) for file, _ in files], dtype=np.int64),
        'lines': rows[:, 0].astype(np.int64),
        'classes': rows[:, 1].astype(np.int64),
        'boxes': rows[:, 2:],
    }
    return arrays, {'num_polygons': sum(n for _, n in files), 'problems': problems}


def _try_read(path: str, has_keypoints: bool) -> tuple[list[Row], int] | errors.DataError:
    try:
        with open(path, encoding='utf-8-sig') as file:
            return parse_yolo(file.read(), path, has_keypoints=has_keypoints)
    except FileNotFoundError:
        return [], 0
    except UnicodeDecodeError:
        return errors.DataError('not a text file', where=path)
    except OSError as error:
        return errors.DataError(f'the file cannot be read ({error.strerror})', where=path)
    except errors.DataError as error:
        return error
