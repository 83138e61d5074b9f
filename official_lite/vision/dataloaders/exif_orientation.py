"""Whether boxes refer to an image as it is stored or turned upright as its EXIF tag says.

Cameras store pixels sideways and note how to turn them. Some annotation tools turn the image before
they show it (so do OpenCV and Ultralytics), others do not (Pillow and pycocotools do not). The sizes
in the annotations tell which: an image of 3000x4000 annotated as 4000x3000 was turned.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

__all__ = ['Orientation', 'Turns', 'decide_turns']

Orientation = Literal['auto', 'upright', 'stored']

# Orientations that exchange height and width.
_FIRST_TRANSPOSED = 5


@dataclasses.dataclass(frozen=True)
class Turns:
    """How images are turned.

    Attributes:
        orientations: int8 [n], what each image is turned by; 1 leaves it as it is stored.
        heights_px, widths_px: int64 [n], after that.
        findings: What is noteworthy; one sentence each.
    """

    orientations: np.ndarray
    heights_px: np.ndarray
    widths_px: np.ndarray
    findings: tuple[str, ...]


def decide_turns(
    stored_px: np.ndarray,
    annotated_px: np.ndarray | None,
    orientations: np.ndarray,
    *,
    mode: Orientation = 'auto',
    default: Literal['upright', 'stored'] = 'stored',
) -> Turns:
    """Decides for each image.

    Args:
        stored_px: int64 [n, 2], (height, width) of the pixels in the files; 0 where unknown.
        annotated_px: int64 [n, 2], (height, width) in the annotations; 0 where they have none. None:
            they have none at all.
        orientations: int8 [n], EXIF's.
        mode: 'upright' turns all images, 'stored' none. 'auto' believes the annotated size; where
            that does not tell (square images, half turns, no size), what the other images of the
            data set tell, and where those do not either, `default`.
        default: See `mode`.
    """
    is_tagged = orientations > 1
    swaps = orientations >= _FIRST_TRANSPOSED
    upright_px = np.where(swaps[:, None], stored_px[:, ::-1], stored_px)
    tells, votes_upright = _read_sizes(stored_px, upright_px, annotated_px, is_tagged)
    if mode == 'auto':
        num_upright, num_stored = int(votes_upright.sum()), int((tells & ~votes_upright).sum())
        others = default == 'upright' if num_upright == num_stored else num_upright > num_stored
        is_turned = is_tagged & np.where(tells, votes_upright, others)
    else:
        is_turned = is_tagged & (mode == 'upright')
    sizes = np.where(is_turned[:, None], upright_px, stored_px)
    return Turns(
        orientations=np.where(is_turned, orientations, 1).astype(np.int8),
        heights_px=sizes[:, 0],
        widths_px=sizes[:, 1],
        findings=_describe(is_tagged, is_turned, tells & (mode == 'auto')),
    )


def _read_sizes(
    stored_px: np.ndarray,
    upright_px: np.ndarray,
    annotated_px: np.ndarray | None,
    is_tagged: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Whose annotated size tells the two apart, and for which of them it says upright."""
    if annotated_px is None:
        nobody = np.zeros([len(stored_px)], bool)
        return nobody, nobody
    fits_stored = (annotated_px == stored_px).all(-1)
    fits_upright = (annotated_px == upright_px).all(-1)
    tells = is_tagged & (fits_stored != fits_upright)
    return tells, tells & fits_upright


def _describe(is_tagged: np.ndarray, is_turned: np.ndarray, tells: np.ndarray) -> tuple[str, ...]:
    if not is_tagged.any():
        return ()
    num_turned = int(is_turned.sum())
    num_left = int(is_tagged.sum()) - num_turned
    parts = []
    if num_turned:
        parts.append(f'{num_turned:,} turned upright')
    if num_left:
        parts.append(f'{num_left:,} left as stored')
    how = f'; the annotated sizes tell for {int(tells.sum()):,} of them' if tells.any() else ''
    return (f'images with an EXIF orientation: {" and ".join(parts)}{how}',)
