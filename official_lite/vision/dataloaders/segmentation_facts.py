"""From the values of masks to what is known about a data set of segmented images."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from official_lite.core.segmentation_info import SegmentationInfo
from official_lite.vision.dataloaders.mask_files import IGNORED, LabelMap

__all__ = ['NO_INFO', 'Labelling', 'Values', 'make_info']

_MATTING_NAMES = ('background', 'foreground')
# The largest opacity that is background: half of 255.
_MAX_BACKGROUND = 127

# Of data that was not looked at yet.
NO_INFO = SegmentationInfo(
    num_examples=0,
    class_names=(),
    category_ids=(),
    num_boxes=0,
    boxes_per_class=(),
    max_label=-1,
    fingerprint='',
    origin='',
)


@dataclasses.dataclass(frozen=True)
class Labelling:
    """What the task says about labels.

    Attributes:
        class_names: Names of the labels 0, 1, ... Empty: not known.
        ignore_label: Label of pixels that do not count.
        is_matting: Whether values are opacities, not labels.
    """

    class_names: tuple[str, ...] = ()
    ignore_label: int = 255
    is_matting: bool = False


@dataclasses.dataclass(frozen=True)
class Values:
    """The values in all masks.

    Attributes:
        values: int64 [v], ascending.
        counts: int64 [v], pixels that have each.
        examples: Where each occurs first.
    """

    values: np.ndarray
    counts: np.ndarray
    examples: Sequence[str]


def make_info(
    found: Values,
    sizes_px: np.ndarray,
    *,
    label_map: LabelMap,
    labelling: Labelling,
    names: Sequence[str],
    origin: str,
    num_corrupt: int = 0,
    findings: Sequence[str] = (),
) -> SegmentationInfo:
    """Counts and classes.

    Args:
        found: The values in all masks.
        sizes_px: int64 [n, 2], height and width of each image.
        label_map: Which label each value is.
        labelling: What the task says about labels.
        names: What tells an image from the others wherever the data lies: for the fingerprint.
        origin: What the data is called in messages.
        num_corrupt: Images that are left out.
        findings: What is noteworthy; one sentence each.
    """
    if labelling.is_matting:
        labels = (found.values > _MAX_BACKGROUND).astype(np.int64)
        class_names = labelling.class_names or _MATTING_NAMES
    else:
        labels = label_map.apply(found.values).astype(np.int64)
        class_names = labelling.class_names or _make_names(label_map)
    is_ignored = np.isin(labels, [IGNORED, labelling.ignore_label])
    if labelling.is_matting:
        is_ignored[:] = False
    occurring, firsts = np.unique(labels[~is_ignored], return_index=True)
    examples = [found.examples[i] for i in np.flatnonzero(~is_ignored)]
    counts = _count(labels[~is_ignored], found.counts[~is_ignored], len(class_names))
    return SegmentationInfo(
        num_examples=len(sizes_px),
        class_names=class_names,
        category_ids=tuple(range(len(class_names))),
        num_boxes=int(found.counts[~is_ignored].sum()),
        boxes_per_class=tuple(counts.tolist()),
        max_label=int(occurring.max(initial=-1)),
        fingerprint=_make_fingerprint(names, sizes_px, labels, found.counts),
        origin=origin,
        num_corrupt=num_corrupt,
        declares_classes=bool(class_names),
        findings=(*findings, *_find_missing(class_names, counts)),
        labels=tuple(occurring.tolist()),
        label_examples=tuple(examples[i] for i in firsts),
        num_ignored_pixels=int(found.counts[is_ignored].sum()),
        max_height_px=int(sizes_px[:, 0].max(initial=0)),
        max_width_px=int(sizes_px[:, 1].max(initial=0)),
    )


def _make_names(label_map: LabelMap) -> tuple[str, ...]:
    """Names of labels that have none; empty where only the values tell which labels there are."""
    if not label_map.is_complete:
        return ()
    return tuple(f'class_{label}' for label in sorted(set(label_map.labels.values()) - {IGNORED}))


def _count(labels: np.ndarray, counts: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels of each label from 0 on, int64."""
    is_label = labels >= 0
    total = np.zeros([max(num_classes, int(labels.max(initial=-1)) + 1)], np.int64)
    np.add.at(total, labels[is_label], counts[is_label])
    return total


def _make_fingerprint(names: Sequence[str], *arrays: np.ndarray) -> str:
    digest = hashlib.sha256('\n'.join(names).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array, '<i8').tobytes())
    return digest.hexdigest()


def _find_missing(class_names: Sequence[str], counts: np.ndarray) -> tuple[str, ...]:
    missing = [name for name, count in zip(class_names, counts) if not count]
    if not missing or len(missing) == len(class_names):
        return ()
    shown = ', '.join(repr(name) for name in missing[:8])
    more = f' and {len(missing) - 8} more' if len(missing) > 8 else ''
    return (f'{len(missing)} of {len(class_names)} classes have no pixels: {shown}{more}',)
