"""What a data set of segmented images knows about itself."""

from __future__ import annotations

import dataclasses

from official_lite import errors
from official_lite.core.classification_info import ClassificationInfo
from official_lite.core.data_info import list_classes

__all__ = ['SegmentationInfo', 'check_has_two_classes', 'check_label_values', 'check_plausible']

# From so many labels on, of which fewer than half occur, masks are taken for grey levels.
_MANY_LABELS = 40
_MAPPING_HINT = (
    'say which value is which class: source.png_pairs.mask_values=[0, 255] for masks in black and '
    'white'
)


@dataclasses.dataclass(frozen=True)
class SegmentationInfo(ClassificationInfo):
    """Facts of segmented images: labels count from 0, and the background, if any, is one of them.

    `num_boxes` is the number of pixels that have a label, `boxes_per_class` says how many have each.
    Labels above those of `class_names` may occur where `declares_classes` is False.

    Attributes:
        labels: The labels that occur, ascending; the ignore label is not among them.
        label_examples: Where each occurs first.
        num_ignored_pixels: Pixels of no class.
        max_height_px, max_width_px: Sides of the highest and of the widest image.
    """

    labels: tuple[int, ...] = ()
    label_examples: tuple[str, ...] = ()
    num_ignored_pixels: int = 0
    max_height_px: int = 0
    max_width_px: int = 0

    def describe(self, what: str = 'data') -> str:
        """What was found, for people: counts, the classes, and each finding."""
        total = self.num_boxes + self.num_ignored_pixels
        ignored = (
            f', {self.num_ignored_pixels / total:.1%} of the pixels of no class'
            if self.num_ignored_pixels
            else ''
        )
        size = f'at most {self.max_height_px} px high and {self.max_width_px} px wide'
        names = self.class_names or [f'class_{k}' for k in range(len(self.boxes_per_class))]
        lines = [
            f'{what}: {self.origin}',
            f'{self.num_examples:,} images with masks, {size}{ignored}',
            *list_classes(names, self.boxes_per_class, counted='pixels', first_label=0),
        ]
        if self.num_corrupt:
            lines.append(f'! {self.num_corrupt:,} images cannot be used and are left out')
        lines += [f'! {finding}' for finding in self.findings]
        return '\n  '.join(lines)


def check_label_values(info: SegmentationInfo, num_classes: int, ignore_label: int) -> None:
    """Raises DataError when a mask has a value that is no class of the model.

    Such a pixel would have no target: the loss would not see it, or become NaN.

    Args:
        info: Facts of the data.
        num_classes: Of the model.
        ignore_label: The label of pixels that do not count.
    """
    bad = [i for i, label in enumerate(info.labels) if not 0 <= label < num_classes]
    if not bad:
        return
    shown = ', '.join(str(info.labels[i]) for i in bad[:8])
    more = f', ... ({len(bad)} values)' if len(bad) > 8 else ''
    raise errors.DataError(
        f'masks have values that are no class: {shown}{more}',
        where=info.label_examples[bad[0]],
        expected=f'0 to {num_classes - 1}, because num_classes is {num_classes}, or '
        f'{ignore_label}, the ignore_label',
        hint=f'{_MAPPING_HINT}; or leave num_classes out to take it from the data',
    )


def check_plausible(info: SegmentationInfo) -> None:
    """Raises DataError when values of masks, taken as labels, look like grey levels."""
    check_has_two_classes(info)
    num_labels = info.max_label + 1
    if info.declares_classes or num_labels < _MANY_LABELS or 2 * len(info.labels) > num_labels:
        return
    raise errors.DataError(
        f'masks have values up to {info.max_label}, but only {len(info.labels)} different ones: '
        'they look like grey levels, not like labels',
        where=info.label_examples[-1],
        hint=f'{_MAPPING_HINT}; or set num_classes if they are labels',
    )


def check_has_two_classes(info: SegmentationInfo) -> None:
    """Raises DataError when all pixels that count have one label, from which nothing is learned."""
    if len(info.labels) > 1 or not info.num_ignored_pixels:
        return
    which = f'label {info.labels[0]}' if info.labels else 'none at all'
    raise errors.DataError(
        f'in all masks, the pixels that are not ignored have {which}',
        where=info.origin,
        hint=f'if an ignored value is a class, {_MAPPING_HINT}',
    )
