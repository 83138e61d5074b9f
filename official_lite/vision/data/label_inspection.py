"""What is in a data set of classified or segmented images: counts, sizes, what looks wrong."""

from __future__ import annotations

import collections
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from official_lite import errors
from official_lite.core import segmentation_info
from official_lite.core.classification_info import ClassificationInfo
from official_lite.core.segmentation_info import SegmentationInfo
from official_lite.vision.data import image_check, labelled_records
from official_lite.vision.data.findings import Finding
from official_lite.vision.data.inspection import Distribution
from official_lite.vision.dataloaders import mask_files, pair_source
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['LabelCount', 'LabelInspection', 'Palette', 'inspect_labels']

_MAX_NUM_EXAMPLES = 5
# A class with fewer of the images, or of the pixels, is hardly learned.
_RARE_SHARE = 0.001
# The most frequent class has so many times what the least frequent one has.
_UNEVEN = 10


@dataclasses.dataclass(frozen=True)
class LabelCount:
    """One class.

    Attributes:
        label: From 0, as models count.
        name: Its name; '' if it has none.
        count: Images, or pixels, with this label.
        num_images: Images where it occurs.
    """

    label: int
    name: str
    count: int
    num_images: int


@dataclasses.dataclass(frozen=True)
class Palette:
    """Colours of masks that are PNG files with a palette.

    Attributes:
        num_masks: Masks with these colours.
        colors: [red, green, blue] by the value that pixels hold; only of values that occur.
        example: One of the masks.
    """

    num_masks: int
    colors: dict[int, tuple[int, int, int]]
    example: str


@dataclasses.dataclass(frozen=True)
class LabelInspection:
    """All that was found.

    Attributes:
        origin: Where the data is.
        counted: What has labels: 'images' or 'pixels'.
        num_images: Number of images.
        num_labels: Labels of all images, or pixels with a label.
        num_ignored: Pixels of no class.
        classes: By label.
        distributions: By a short name.
        palettes: Different ones, of masks that have one.
        mask_kinds: Number of masks of each format and mode; {} where masks are no files.
        images: What the headers of images say; None if they were not looked at.
        findings: What looks wrong.
    """

    origin: str
    counted: str
    num_images: int
    num_labels: int
    num_ignored: int
    classes: tuple[LabelCount, ...]
    distributions: dict[str, Distribution]
    palettes: tuple[Palette, ...]
    mask_kinds: dict[str, int]
    images: image_check.ImageCheck | None
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it, without the single values."""
        plain = ('origin', 'counted', 'num_images', 'num_labels', 'num_ignored')
        return {
            **{name: getattr(self, name) for name in plain},
            'classes': [dataclasses.asdict(c) for c in self.classes],
            'distributions': {
                key: {'name': d.name, **d.summarize()} for key, d in self.distributions.items()
            },
            'palettes': [
                {**dataclasses.asdict(p), 'colors': {str(k): list(v) for k, v in p.colors.items()}}
                for p in self.palettes
            ],
            'mask_kinds': self.mask_kinds,
            'image_kinds': self.images.kinds if self.images else {},
            'findings': [f.to_dict() for f in self.findings],
        }


def inspect_labels(
    source: source_lib.Source,
    *,
    num_classes: int = 0,
    ignore_label: int = 255,
    max_num_checked_images: int | None = 1000,
) -> LabelInspection:
    """Reads all labels of a source, and the headers of some images.

    Args:
        source: Classified or segmented images.
        num_classes: Of the experiment's model: labels must be below it. 0 means from the data.
        ignore_label: The label of pixels that do not count.
        max_num_checked_images: Images whose headers are read. None means all, 0 none.

    Raises:
        DataError: An example cannot be read.
    """
    info = source.info
    assert isinstance(info, ClassificationInfo)
    has_masks = labelled_records.has_masks(source)
    found = list(_count_each(source, ignore_label if has_masks else None))
    totals = _add_up([counts for counts, _ in found], len(info.class_names))
    occurrences = _add_up([counts > 0 for counts, _ in found], len(info.class_names))
    names = [*info.class_names, *[''] * (len(totals) - len(info.class_names))]
    classes = tuple(
        LabelCount(label, name, int(totals[label]), int(occurrences[label]))
        for label, name in enumerate(names)
    )
    sizes_px = np.array([size for _, size in found], np.int64).reshape(-1, 2)
    checked = (
        None
        if max_num_checked_images == 0
        else image_check.check_images(
            source, sizes_px if has_masks else None, max_num_checked_images
        )
    )
    mask_kinds, palettes = _look_at_masks(source)
    return LabelInspection(
        origin=info.origin,
        counted='pixels' if has_masks else 'images',
        num_images=len(found),
        num_labels=int(totals.sum()),
        num_ignored=info.num_ignored_pixels if isinstance(info, SegmentationInfo) else 0,
        classes=classes,
        distributions=_measure(found, sizes_px, has_masks),
        palettes=palettes,
        mask_kinds=mask_kinds,
        images=checked,
        findings=(
            *(checked.findings if checked else ()),
            *_find_wrong_labels(info, num_classes, ignore_label),
            *_find_uneven(classes),
            *_find_unlike(palettes),
        ),
    )


def _count_each(
    source: source_lib.Source, ignore_label: int | None
) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Of each image how often each label occurs, int64, and its (height, width)."""
    num_classes = len(source.info.class_names)
    records = labelled_records.iterate_labelled(source, ignore_label=ignore_label)
    return [(record.count(num_classes), (record.height_px, record.width_px)) for record in records]


def _add_up(rows: Sequence[np.ndarray], minimum: int) -> np.ndarray:
    """Sums of rows that may differ in length."""
    total = np.zeros([max([minimum, *(len(row) for row in rows)])], np.int64)
    for row in rows:
        total[: len(row)] += row
    return total


def _measure(
    found: Sequence[tuple[np.ndarray, tuple[int, int]]], sizes_px: np.ndarray, has_masks: bool
) -> dict[str, Distribution]:
    per_image = np.array([(counts > 0).sum() for counts, _ in found], np.float64)
    result = {'classes_per_image': Distribution('classes per image', per_image)}
    if has_masks:
        sides = sizes_px.astype(np.float64)
        result['image_width'] = Distribution('image width, px', sides[:, 1])
        result['image_height'] = Distribution('image height, px', sides[:, 0])
    return result


# ---- what looks wrong ---------------------------------------------------------------------------


def _find_wrong_labels(
    info: ClassificationInfo, num_classes: int, ignore_label: int
) -> list[Finding]:
    """What a run would stop at."""
    findings = [Finding('noteworthy', 1, text) for text in info.findings]
    try:
        if isinstance(info, SegmentationInfo):
            limit = num_classes or len(info.class_names)
            if limit:
                segmentation_info.check_label_values(info, limit, ignore_label)
            segmentation_info.check_plausible(info)
    except errors.DataError as error:
        where = (error.where,) if error.where else ()
        findings.append(Finding('label_values', 1, error.message, where, error.hint))
    if num_classes and not isinstance(info, SegmentationInfo) and info.max_label >= num_classes:
        text = f'label {info.max_label} is no class: num_classes is {num_classes}'
        findings.append(Finding('label_values', 1, text))
    return findings


def _find_uneven(classes: Sequence[LabelCount]) -> list[Finding]:
    """Classes of which there are few."""
    total = sum(row.count for row in classes)
    there = [row for row in classes if row.count]
    rare = [row for row in there if row.count < _RARE_SHARE * total]
    if rare:
        return [
            Finding(
                'rare_classes',
                len(rare),
                f'classes with less than {_RARE_SHARE:.1%} of all labels: {len(rare)}',
                tuple(f'{row.label} {row.name}: {row.count}' for row in rare[:_MAX_NUM_EXAMPLES]),
                'they are hardly learned; give them more weight, or more images',
            )
        ]
    counts = [row.count for row in there]
    if len(counts) > 1 and max(counts) > _UNEVEN * min(counts):
        ratio = max(counts) / min(counts)
        text = f'the most frequent class occurs {ratio:.0f} times as often as the rarest'
        return [Finding('uneven_classes', 1, text, (), 'look at the figures of each class')]
    return []


def _find_unlike(palettes: Sequence[Palette]) -> list[Finding]:
    if len(palettes) < 2:
        return []
    return [
        Finding(
            'palettes',
            len(palettes),
            f'masks have {len(palettes)} different palettes',
            tuple(f'{p.example}: {p.colors}' for p in palettes[:_MAX_NUM_EXAMPLES]),
            'the same number may mean another colour; if colours are right, give mask_colors',
        )
    ]


def _look_at_masks(source: source_lib.Source) -> tuple[dict[str, int], tuple[Palette, ...]]:
    """Kinds of mask files, and their palettes."""
    if not isinstance(source, pair_source.PairSource):
        return {}, ()
    kinds: collections.Counter[str] = collections.Counter()
    groups: dict[tuple[Any, ...], list[str]] = {}
    for path in source.mask_paths:
        with open(path, 'rb') as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            kinds[f'{image.format} {image.mode}'] += 1
            colors = _get_colors(image, content)
        if colors:
            groups.setdefault(tuple(sorted(colors.items())), []).append(path)
    merged = _merge_palettes(groups)
    return dict(kinds.most_common()), merged


def _get_colors(image: Image.Image, content: bytes) -> dict[int, tuple[int, int, int]]:
    """Colours of the values that occur in a mask with a palette; {} without one."""
    if image.mode != 'P':
        return {}
    flat = image.getpalette('RGB') or []
    values = np.unique(mask_files.read_mask(content)).tolist()
    return {v: tuple(flat[3 * v : 3 * v + 3]) for v in values if len(flat) >= 3 * v + 3}  # type: ignore[misc]


def _merge_palettes(groups: dict[tuple[Any, ...], list[str]]) -> tuple[Palette, ...]:
    """Palettes that agree wherever both have a value become one."""
    merged: list[Palette] = []
    for items, paths in sorted(groups.items(), key=lambda group: -len(group[1])):
        colors = dict(items)
        for number, palette in enumerate(merged):
            if all(palette.colors.get(value, color) == color for value, color in colors.items()):
                both = dict(sorted({**palette.colors, **colors}.items()))
                merged[number] = Palette(palette.num_masks + len(paths), both, palette.example)
                break
        else:
            merged.append(Palette(len(paths), colors, paths[0]))
    return tuple(merged)
