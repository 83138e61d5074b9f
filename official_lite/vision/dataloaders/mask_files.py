"""Masks in image files: what pixels hold, and which label that is. Pillow and NumPy only."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import data_cache

__all__ = [
    'IGNORED',
    'LabelMap',
    'MaskScan',
    'ScannedMask',
    'check_known_values',
    'join_scans',
    'pack_color',
    'read_mask',
    'scan_mask',
    'scan_masks',
    'to_mask_scan',
]

# Of a PNG of 8 bits, grey: its first 8 bytes, and those at 24.
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PLAIN_HEADER = b'\x08\x00'

# Label of pixels of no class.
IGNORED = -1

# Raise with every change of what a scan finds: it is part of the cached file's name.
_VERSION = 1
_NUM_THREADS = 8
# Further different values of one mask are not told apart: no mask has so many classes.
_MAX_VALUES = 4096


def pack_color(color: Sequence[int]) -> int:
    """One number for [red, green, blue]: 65536 red + 256 green + blue."""
    red, green, blue = color
    return (red << 16) | (green << 8) | blue


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """Which label a value of a mask is.

    Attributes:
        labels: Label by value, `IGNORED` for a value of no class.
        is_complete: Whether there are no other values. If not, others are labels as they stand.
        has_colors: Whether values are colours, see `pack_color`.
    """

    labels: Mapping[int, int] = dataclasses.field(default_factory=dict)
    is_complete: bool = False
    has_colors: bool = False

    @classmethod
    def make(
        cls,
        values: Sequence[int] = (),
        colors: Sequence[Sequence[int]] = (),
        ignored: Sequence[int] = (),
    ) -> LabelMap:
        """The map for masks whose label 0, 1, ... has a value or a colour each.

        Args:
            values: The value of each label. Empty, without colours too: values are labels.
            colors: The colour of each label, [red, green, blue].
            ignored: Values of no class.
        """
        codes = [int(value) for value in values] or [pack_color(color) for color in colors]
        labels = {value: label for label, value in enumerate(codes)}
        labels |= {int(value): IGNORED for value in ignored}
        return cls(labels, is_complete=bool(codes), has_colors=bool(colors))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Labels of values, int32 of the same shape; of a value that the map lacks `IGNORED`."""
        values = np.asarray(values, np.int32)
        if not self.labels:
            return values
        keys = np.array(sorted(self.labels), np.int32)
        labels = np.array([self.labels[int(key)] for key in keys], np.int32)
        places = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        others = np.full_like(values, IGNORED) if self.is_complete else values
        return np.where(keys[places] == values, labels[places], others).astype(np.int32)

    def show_value(self, value: int) -> str:
        """A value as people know it."""
        if not self.has_colors:
            return str(value)
        return str([value >> 16, (value >> 8) & 255, value & 255])


def read_mask(file: str | bytes, *, has_colors: bool = False) -> np.ndarray:
    """Reads what the pixels of a mask hold.

    Args:
        file: Path, or the file's bytes.
        has_colors: Whether to return colours, packed, rather than numbers.

    Returns:
        int32 [height, width]: grey levels as they are stored (0 and 1 of one bit), of a palette the
        numbers of its colours.

    Raises:
        ValueError: It is no image, or holds colours where numbers are wanted.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            if has_colors:
                return _pack(np.asarray(image.convert('RGB')))
            return _get_numbers(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f'the mask cannot be decoded ({error})') from error


def _pack(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _get_numbers(image: Image.Image) -> np.ndarray:
    if image.mode in ('1', 'L', 'P', 'I', 'I;16', 'I;16B', 'I;16L'):
        return np.asarray(image).astype(np.int32)
    if image.mode == 'LA':
        return np.asarray(image)[..., 0].astype(np.int32)
    if image.mode in ('RGB', 'RGBA'):
        pixels = np.asarray(image)[..., :3]
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0].astype(np.int32)
        raise ValueError('the mask has colours; mask_colors says which label each of them is')
    raise ValueError(f'the mask is of kind {image.mode!r}; save it as PNG of 8 bits')


@dataclasses.dataclass(frozen=True)
class MaskScan:
    """What is in many masks.

    Attributes:
        heights_px, widths_px: int64 [n]. 0 where a mask cannot be read.
        is_plain: bool [n], whether it is a PNG of 8 bits, grey, which TensorFlow decodes.
        values: int64 [v], what occurs in any, ascending.
        counts: int64 [v], in how many pixels of all masks together.
        firsts: int64 [v], number of the first mask that has it.
        problems: Why a mask cannot be read, by its number.
    """

    heights_px: np.ndarray
    widths_px: np.ndarray
    is_plain: np.ndarray
    values: np.ndarray
    counts: np.ndarray
    firsts: np.ndarray
    problems: dict[int, str]


@dataclasses.dataclass(frozen=True)
class ScannedMask:
    """What is in one mask.

    Attributes:
        height_px, width_px: Its size.
        is_plain: See `MaskScan`.
        values: int [v], what occurs, ascending.
        counts: int [v], in how many pixels.
    """

    height_px: int
    width_px: int
    is_plain: bool
    values: np.ndarray
    counts: np.ndarray


def scan_masks(paths: Sequence[str], *, has_colors: bool = False) -> MaskScan:
    """Reads masks once; the result is kept in the cache folder.

    Args:
        paths: Files that exist. One that is no mask becomes a problem, not an error.
        has_colors: See `read_mask`.
    """
    stats = [os.stat(path) for path in paths]
    description = [
        _VERSION,
        has_colors,
        [[os.path.abspath(p), s.st_size, s.st_mtime_ns] for p, s in zip(paths, stats)],
    ]
    arrays, facts = data_cache.get_cached_arrays(
        'masks', description, lambda: join_scans(_scan_all(paths, has_colors))
    )
    return to_mask_scan(arrays, facts)


def to_mask_scan(arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> MaskScan:
    """What `join_scans` returned, perhaps kept in a file since."""
    problems = {int(number): text for number, text in facts['problems'].items()}
    return MaskScan(**arrays, problems=problems)


def _scan_all(paths: Sequence[str], has_colors: bool) -> list[ScannedMask | str]:
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(lambda path: scan_mask(path, has_colors=has_colors), paths))


def scan_mask(file: str | bytes, *, has_colors: bool = False) -> ScannedMask | str:
    """What is in one mask, a path or a file's bytes; or why it cannot be read."""
    try:
        mask = read_mask(file, has_colors=has_colors)
        is_plain = not has_colors and _is_plain(file)
    except (ValueError, OSError) as error:
        return str(error)
    values, counts = np.unique(mask, return_counts=True)
    height_px, width_px = mask.shape
    return ScannedMask(height_px, width_px, is_plain, values[:_MAX_VALUES], counts[:_MAX_VALUES])


def _is_plain(file: str | bytes) -> bool:
    """Whether a file is a PNG whose header says 8 bits and grey (RFC 2083, 4.1.1)."""
    if isinstance(file, bytes):
        start = file[:26]
    else:
        with open(file, 'rb') as opened:
            start = opened.read(26)
    return start.startswith(PNG_SIGNATURE) and start[24:26] == PLAIN_HEADER


def join_scans(
    masks: Sequence[ScannedMask | str],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of many masks, as `data_cache.get_cached_arrays` keeps them."""
    counts: dict[int, int] = {}
    firsts: dict[int, int] = {}
    for number, mask in enumerate(masks):
        if isinstance(mask, str):
            continue
        for value, count in zip(mask.values.tolist(), mask.counts.tolist()):
            counts[value] = counts.get(value, 0) + count
            firsts.setdefault(value, number)
    values = sorted(counts)
    good = [None if isinstance(mask, str) else mask for mask in masks]
    arrays = {
        'heights_px': np.array([m.height_px if m else 0 for m in good], np.int64),
        'widths_px': np.array([m.width_px if m else 0 for m in good], np.int64),
        'is_plain': np.array([bool(m and m.is_plain) for m in good], bool),
        'values': np.array(values, np.int64),
        'counts': np.array([counts[value] for value in values], np.int64),
        'firsts': np.array([firsts[value] for value in values], np.int64),
    }
    problems = {number: mask for number, mask in enumerate(masks) if isinstance(mask, str)}
    return arrays, {'problems': problems}


def check_known_values(scan: MaskScan, label_map: LabelMap, paths: Sequence[str]) -> None:
    """Raises DataError when a mask has a value that the map lacks.

    Args:
        scan: Of the masks.
        label_map: Which label each value is.
        paths: The masks' files.
    """
    if not label_map.is_complete:
        return
    unknown = [i for i, value in enumerate(scan.values.tolist()) if value not in label_map.labels]
    if not unknown:
        return
    shown = ', '.join(label_map.show_value(int(scan.values[i])) for i in unknown[:8])
    more = f', ... ({len(unknown)} values)' if len(unknown) > 8 else ''
    share = scan.counts[unknown].sum() / max(1, scan.counts.sum())
    known = ', '.join(label_map.show_value(value) for value in list(label_map.labels)[:12])
    raise errors.DataError(
        f'masks have values without a label: {shown}{more}, in {share:.2%} of all pixels',
        where=paths[int(scan.firsts[unknown[0]])],
        expected=f'one of: {known}',
        hint='add them to mask_values, mask_colors or ignored_values; many values near each other '
        'come from saving masks as JPEG or from resizing them smoothly',
    )
