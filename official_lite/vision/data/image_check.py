"""Looks into the headers of images: real sizes, kinds of pixels, orientation."""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from official_lite import errors
from official_lite.vision.data.findings import Finding
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders import table_source

__all__ = ['ImageCheck', 'check_images']

_NUM_EXAMPLES = 5
_EXIF_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class ImageCheck:
    """What the headers of images say.

    Attributes:
        num_checked: Images looked at, spread evenly over the data set.
        kinds: Number of images of each format and mode, such as 'JPEG RGB'; most frequent first.
        findings: What looks wrong.
    """

    num_checked: int
    kinds: dict[str, int]
    findings: tuple[Finding, ...]


def check_images(
    source: source_lib.Source, sizes_px: np.ndarray | None, max_num_images: int | None
) -> ImageCheck:
    """Reads the headers of images.

    Args:
        source: The examples.
        sizes_px: int [n, 2], height and width as annotated. None where nothing says them.
        max_num_images: Most images to look at. None means all.
    """
    total = source.info.num_examples
    count = total if max_num_images is None else min(total, max_num_images)
    kinds: collections.Counter[str] = collections.Counter()
    unreadable, other_size, turned = [], [], []
    for index in _spread(total, count):
        header = _read_header(source, index)
        if isinstance(header, str):
            unreadable.append(f'{source.describe(index)}: {header}')
            continue
        kind, size, orientation = header
        kinds[kind] += 1
        annotated = size if sizes_px is None else tuple(sizes_px[index, ::-1].tolist())
        if orientation != 1:
            turned.append(f'{source.describe(index)} (orientation {orientation})')
        if annotated not in (size, size[::-1] if orientation > 4 else size):
            other_size.append(
                f'{source.describe(index)}: {size[0]}x{size[1]}, annotated as '
                f'{annotated[0]}x{annotated[1]} (width x height)'
            )
    if isinstance(source, table_source.TableSource) and source.readings is not None:
        other_size, turned = [], []  # reading the source has looked at all headers, and tells it
    found = (
        ('unreadable', unreadable, 'cannot be read', 'mend them, or set skip_corrupt=true'),
        (
            'other_size',
            other_size,
            'have another size than their annotations say',
            'boxes are in shares of the annotated size, so they may be in the wrong place',
        ),
        ('turned', turned, 'are stored turned, with an EXIF orientation', 'check the preview'),
    )
    findings = tuple(
        Finding(kind, len(items), f'images that {what}: {len(items)} of {count}', _cut(items), hint)
        for kind, items, what, hint in found
        if items
    )
    return ImageCheck(count, dict(kinds.most_common()), findings)


def _spread(num_images: int, count: int) -> Iterable[int]:
    return np.unique(np.linspace(0, num_images - 1, count).round().astype(int)).tolist()


def _cut(items: list[str]) -> tuple[str, ...]:
    return tuple(items[:_NUM_EXAMPLES])


def _read_header(source: source_lib.Source, index: int) -> Any:
    """(kind, (width, height), orientation), or why there is none."""
    try:
        content = source.read_image(index)
        with Image.open(io.BytesIO(content)) as image:
            orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1) or 1)
            return f'{image.format} {image.mode}', image.size, orientation
    except errors.DataError as error:
        return error.message
    except (OSError, ValueError, SyntaxError, tf.errors.OpError) as error:
        return f'the image cannot be read ({getattr(error, "message", error)})'
