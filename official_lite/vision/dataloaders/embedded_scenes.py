"""Scenes of handwritten digits on photographs, composed from what scikit-learn ships.

A data set that needs no download and is hard enough to tell a detector that works from one that does
not. The digits are the 1,797 of the UCI optical recognition set (8x8, 17 grey levels), the
photographs scikit-learn's two sample images (CC BY, `sklearn.datasets.load_sample_images`). Each
scene depends on (split, number of the scene) only. Nothing here needs TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import data_cache, notices

__all__ = ['DEFAULT_NUM_SCENES', 'DIGIT_NAMES', 'SCENE_SIZE_PX', 'Scenes', 'load_scenes']

# Raise with every change of what a scene looks like: it is part of the cached file's name.
VERSION = 1
SCENE_SIZE_PX = 128
DIGIT_NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
DEFAULT_NUM_SCENES = {'train': 8000, 'validation': 200}

_NUM_TRAIN_DIGITS = 1400
_MAX_DIGITS = 6
_MIN_SIDE_PX, _MAX_SIDE_PX = 16, 56
_MIN_CONTRAST = 60  # mean over the channels of the distance from what lies under a digit
_MAX_OVERLAP = 0.15  # of the smaller box
_MASK_THRESHOLD = 0.25  # of the digit's alpha
_MIN_CROP_PX = 128
_PLACING_ATTEMPTS = 20
_JPEG_QUALITY = 95
_SPLIT_NUMBERS = {'train': 0, 'validation': 1}
_SCENES_PER_TASK = 250


@dataclasses.dataclass(frozen=True)
class Scenes:
    """All scenes of one split.

    Attributes:
        images: JPEG files, one for each scene.
        instance_maps: PNG files: pixel values 0 for the background, k for the scene's k-th digit.
        boxes_yxyx_px: int32 [num_boxes, 4], tight around the visible pixels of the digits; the two
            last coordinates are exclusive.
        labels: int64 [num_boxes], the digit plus one.
        areas: float32 [num_boxes], visible pixels of the digits.
        splits: int64 [num_scenes + 1]: scene i has the boxes splits[i] to splits[i + 1].
    """

    images: tuple[bytes, ...]
    instance_maps: tuple[bytes, ...]
    boxes_yxyx_px: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def get_masks(self, index: int) -> np.ndarray:
        """The masks of one scene, bool [num_digits, height, width]."""
        instance_map = np.asarray(Image.open(io.BytesIO(self.instance_maps[index])))
        count = int(self.splits[index + 1] - self.splits[index])
        return instance_map[None] == np.arange(1, count + 1)[:, None, None]


def load_scenes(split: str, num_scenes: int | None = None) -> Scenes:
    """The scenes of a split: made on first use, then read from the cache.

    Args:
        split: 'train' or 'validation'. They share no digit.
        num_scenes: How many. None means 8,000 to train and 200 to validate. A smaller number gives
            the first ones of a larger.

    Raises:
        UsageError: Unknown split, or scikit-learn is not installed.
    """
    if split not in _SPLIT_NUMBERS:
        raise errors.UsageError(
            f'embedded data: unknown split {split!r}; expected one of: {", ".join(_SPLIT_NUMBERS)}'
        )
    if num_scenes is None:
        num_scenes = DEFAULT_NUM_SCENES[split]
    path = data_cache.get_cache_dir() / f'digits-v{VERSION}-{split}-{num_scenes}.npz'
    if not path.exists():
        with data_cache.make_once(path) as is_missing:
            if is_missing:
                _save_scenes(path, _compose_in_parallel(split, num_scenes))
        forget()
    try:
        return _read_scenes(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise errors.DataError(
            f'{path}: the cached data cannot be read ({error}); delete the file to make it again'
        ) from error


def forget() -> None:
    """Drops what was read in this process, so that files are read again."""
    _read_scenes.cache_clear()


# ---- composing ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Material:
    photographs: list[Image.Image]
    digits: np.ndarray  # uint8 [n, 8, 8], alpha
    labels: np.ndarray  # int64 [n], 1 to 10


def _load_material(split: str) -> _Material:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise errors.UsageError(
            'embedded data: scikit-learn is not installed, whose digits and photographs it is made '
            "of; install it: pip install 'official-lite[demo]'"
        ) from error
    photographs = [Image.fromarray(image) for image in datasets.load_sample_images().images]
    digits = datasets.load_digits()
    order = np.random.default_rng(VERSION).permutation(len(digits.target))
    chosen = order[:_NUM_TRAIN_DIGITS] if split == 'train' else order[_NUM_TRAIN_DIGITS:]
    alpha = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    return _Material(photographs, alpha, digits.target[chosen].astype(np.int64) + 1)


@dataclasses.dataclass
class _Scene:
    image: bytes
    instance_map: bytes
    boxes: list[tuple[int, int, int, int]]
    labels: list[int]
    areas: list[int]


def _compose_scene(material: _Material, split: str, number: int) -> _Scene:
    rng = np.random.default_rng([VERSION, _SPLIT_NUMBERS[split], number])
    canvas = _crop_background(material.photographs, rng)
    instance_map = np.zeros((SCENE_SIZE_PX, SCENE_SIZE_PX), np.uint8)
    placed: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(int(rng.integers(1, _MAX_DIGITS + 1))):
        which = int(rng.integers(len(material.digits)))
        alpha = _scale_digit(material.digits[which], rng)
        place = _find_place(alpha, placed, rng)
        if place is None:
            continue
        top, left, box = place
        placed.append(box)
        labels.append(int(material.labels[which]))
        _paint(canvas, instance_map, alpha, (top, left), len(placed), rng)
    return _finish_scene(canvas, instance_map, labels)


def _crop_background(photographs: Sequence[Image.Image], rng: np.random.Generator) -> np.ndarray:
    """A random square of a photograph, float32 [128, 128, 3] in [0, 255]."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    side = int(rng.integers(_MIN_CROP_PX, min(photograph.size) + 1))
    left = int(rng.integers(0, photograph.width - side + 1))
    top = int(rng.integers(0, photograph.height - side + 1))
    crop = photograph.resize(
        (SCENE_SIZE_PX, SCENE_SIZE_PX),
        Image.Resampling.BILINEAR,
        box=(left, top, left + side, top + side),
    )
    return np.asarray(crop, np.float32).copy()


def _scale_digit(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The digit's alpha in [0, 1], float32 [side, side], side log-uniform."""
    side = round(math.exp(rng.uniform(math.log(_MIN_SIDE_PX), math.log(_MAX_SIDE_PX))))
    scaled = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(scaled, np.float32) / 255.0


def _find_place(
    alpha: np.ndarray, placed: Sequence[tuple[int, int, int, int]], rng: np.random.Generator
) -> tuple[int, int, tuple[int, int, int, int]] | None:
    """A corner where the digit hides little of the others and little of it is hidden."""
    y0, x0, y1, x1 = _get_tight_box(alpha > _MASK_THRESHOLD)
    side = alpha.shape[0]
    for _ in range(_PLACING_ATTEMPTS):
        top, left = (int(v) for v in rng.integers(0, SCENE_SIZE_PX - side + 1, 2))
        box = (top + y0, left + x0, top + y1, left + x1)
        if all(_compute_overlap(box, other) <= _MAX_OVERLAP for other in placed):
            return top, left, box
    return None


def _compute_overlap(a: Sequence[int], b: Sequence[int]) -> float:
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    return height * width / min((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))


def _get_tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _paint(
    canvas: np.ndarray,
    instance_map: np.ndarray,
    alpha: np.ndarray,
    corner: tuple[int, int],
    number: int,
    rng: np.random.Generator,
) -> None:
    """Paints the digit in a colour that stands out, and its number into the instance map."""
    rows = slice(corner[0], corner[0] + alpha.shape[0])
    columns = slice(corner[1], corner[1] + alpha.shape[1])
    under = canvas[rows, columns]
    weight = alpha[..., None]
    mean = (under * weight).sum((0, 1)) / weight.sum()
    colour = rng.uniform(0, 255, 3)
    while np.abs(colour - mean).mean() < _MIN_CONTRAST:
        colour = rng.uniform(0, 255, 3)
    under += weight * (colour.astype(np.float32) - under)
    instance_map[rows, columns][alpha > _MASK_THRESHOLD] = number


def _finish_scene(canvas: np.ndarray, instance_map: np.ndarray, labels: list[int]) -> _Scene:
    boxes, areas = [], []
    for number in range(1, len(labels) + 1):
        mask = instance_map == number
        boxes.append(_get_tight_box(mask))
        areas.append(int(mask.sum()))
    image = Image.fromarray(np.clip(np.round(canvas), 0, 255).astype(np.uint8))
    return _Scene(
        image=_encode(image, 'JPEG', quality=_JPEG_QUALITY, subsampling=0),
        instance_map=_encode(Image.fromarray(instance_map), 'PNG', compress_level=1),
        boxes=boxes,
        labels=labels,
        areas=areas,
    )


def _encode(image: Image.Image, image_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


# ---- in parallel --------------------------------------------------------------------------------


def _compose_in_parallel(split: str, num_scenes: int) -> list[_Scene]:
    """Composes scenes in child processes, which, unlike a pool, never import the caller's script."""
    _load_material(split)  # a clear error here rather than in a child
    starts = range(0, num_scenes, _SCENES_PER_TASK)
    if num_scenes <= 2 * _SCENES_PER_TASK or (os.cpu_count() or 1) == 1:
        parts: Iterator[list[_Scene]] = (
            _compose_range(split, s, min(s + _SCENES_PER_TASK, num_scenes)) for s in starts
        )
        return _collect(parts, split, num_scenes)
    num_children = min(os.cpu_count() or 1, 8, len(starts))
    bounds = np.linspace(0, num_scenes, num_children * 4 + 1).astype(int)
    with ThreadPoolExecutor(num_children) as pool:
        parts = pool.map(
            lambda ends: _compose_in_child(split, *ends),
            [(int(a), int(b)) for a, b in itertools.pairwise(bounds)],
        )
        return _collect(parts, split, num_scenes)


def _collect(parts: Iterator[list[_Scene]], split: str, num_scenes: int) -> list[_Scene]:
    scenes: list[_Scene] = []
    is_terminal = sys.stderr.isatty()
    for part in parts:
        scenes.extend(part)
        if is_terminal:
            notices.write(f'\rcomposing {split} scenes of digits: {len(scenes)} of {num_scenes}')
    if is_terminal:
        notices.write('\n')
    else:
        notices.write(f'composed {num_scenes} {split} scenes of digits (kept in the cache)\n')
    return scenes


def _compose_range(split: str, start: int, stop: int) -> list[_Scene]:
    material = _load_material(split)
    return [_compose_scene(material, split, number) for number in range(start, stop)]


def _compose_in_child(split: str, start: int, stop: int) -> list[_Scene]:
    command = [sys.executable, '-m', __name__, split, str(start), str(stop)]
    search_path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        command, capture_output=True, check=False, env={**os.environ, 'PYTHONPATH': search_path}
    )
    if done.returncode:
        # Rather slowly here than not at all; an error of the material itself is raised here too.
        return _compose_range(split, start, stop)
    return _unpack(np.load(io.BytesIO(done.stdout)))


# ---- files --------------------------------------------------------------------------------------


def _pack(scenes: Sequence[_Scene]) -> dict[str, Any]:
    def join(blobs: Sequence[bytes]) -> np.ndarray:
        return np.frombuffer(b''.join(blobs), np.uint8)

    return {
        'image_bytes': join([s.image for s in scenes]),
        'image_lengths': np.array([len(s.image) for s in scenes], np.int64),
        'map_bytes': join([s.instance_map for s in scenes]),
        'map_lengths': np.array([len(s.instance_map) for s in scenes], np.int64),
        'boxes': np.array([b for s in scenes for b in s.boxes], np.int32).reshape(-1, 4),
        'labels': np.array([v for s in scenes for v in s.labels], np.int64),
        'areas': np.array([v for s in scenes for v in s.areas], np.float32),
        'counts': np.array([len(s.labels) for s in scenes], np.int64),
    }


def _cut(data: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    ends = np.cumsum(lengths)
    whole = data.tobytes()
    return [whole[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _unpack(arrays: np.lib.npyio.NpzFile) -> list[_Scene]:
    images = _cut(arrays['image_bytes'], arrays['image_lengths'])
    maps = _cut(arrays['map_bytes'], arrays['map_lengths'])
    ends = np.cumsum(arrays['counts'])
    boxes, labels, areas = (arrays[name] for name in ('boxes', 'labels', 'areas'))
    return [
        _Scene(image, instance_map, boxes[i:j].tolist(), labels[i:j].tolist(), areas[i:j].tolist())
        for image, instance_map, i, j in zip(
            images, maps, ends - arrays['counts'], ends, strict=True
        )
    ]


def _save_scenes(path: Path, scenes: Sequence[_Scene]) -> None:
    with data_cache.open_atomically(path) as temporary, temporary.open('wb') as file:
        np.savez(file, **_pack(scenes))


@functools.lru_cache(maxsize=2)
def _read_scenes(path: Path) -> Scenes:
    with np.load(path) as arrays:
        return Scenes(
            images=tuple(_cut(arrays['image_bytes'], arrays['image_lengths'])),
            instance_maps=tuple(_cut(arrays['map_bytes'], arrays['map_lengths'])),
            boxes_yxyx_px=arrays['boxes'],
            labels=arrays['labels'],
            areas=arrays['areas'],
            splits=np.concatenate([[0], np.cumsum(arrays['counts'])]).astype(np.int64),
        )


def _main(split: str, start: str, stop: str) -> None:
    np.savez(sys.stdout.buffer, **_pack(_compose_range(split, int(start), int(stop))))


if __name__ == '__main__':
    _main(*sys.argv[1:])
