"""What a data set knows about itself: counts, classes, and where that was read."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from official_lite import errors

__all__ = ['DataInfo', 'check_classes', 'check_has_boxes', 'check_not_empty', 'list_classes']

# Classes whose boxes are counted for the reader; further ones are summed up.
_NUM_LISTED_CLASSES = 40


@dataclasses.dataclass(frozen=True)
class DataInfo:
    """Facts of one data set, counted once.

    Attributes:
        num_examples: Number of examples that can be read.
        class_names: Names of the labels 1..K. Label 0 is the background and has no name.
        category_ids: The data set's own ids of the labels 1..K.
        num_boxes: Number of boxes, crowds included.
        boxes_per_class: Number of boxes of the labels 1..K.
        max_label: Largest label that occurs. 0 if there are no boxes.
        fingerprint: Hexadecimal digest of the content, not of the place.
        origin: Path, or 'embedded:digits'.
        num_corrupt: Records and images that cannot be read and are left out.
        num_dropped_boxes: Boxes without area inside their image, which are left out.
        max_boxes_per_image: Number of boxes of the image that has the most.
        declares_classes: Whether there are no other classes than `class_names`. False where only the
            examples tell: then there may be larger labels that do not occur, and names may be
            made up (`class_7`).
        num_crowds: Number of boxes that mark crowds.
        num_empty_images: Number of examples without boxes.
        findings: What was left out, changed or looks wrong; one sentence each.
    """

    num_examples: int
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    num_boxes: int
    boxes_per_class: tuple[int, ...]
    max_label: int
    fingerprint: str
    origin: str
    num_corrupt: int = 0
    num_dropped_boxes: int = 0
    max_boxes_per_image: int = 0
    declares_classes: bool = True
    num_crowds: int = 0
    num_empty_images: int = 0
    findings: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes with the background, as models count them."""
        return len(self.class_names) + 1

    def describe(self, what: str = 'data') -> str:
        """What was found, for people: a line of counts, the classes, and each finding.

        Args:
            what: What the data is for, such as 'training data'.
        """
        counts = f'{self.num_examples:,} images'
        if self.num_empty_images:
            counts += f' ({self.num_empty_images:,} without objects)'
        counts += f', {self.num_boxes:,} boxes'
        if self.num_crowds:
            counts += f' ({self.num_crowds:,} crowds)'
        counts += f', at most {self.max_boxes_per_image:,} in an image'
        lines = [
            f'{what}: {self.origin}',
            counts,
            *list_classes(self.class_names, self.boxes_per_class, counted='boxes', first_label=1),
        ]
        if self.num_corrupt:
            lines.append(
                f'! {self.num_corrupt:,} images or records cannot be read and are left out'
            )
        lines += [f'! {finding}' for finding in self.findings]
        return '\n  '.join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DataInfo:
        """The inverse of `to_dict`."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return cls(**values)


def list_classes(
    class_names: Sequence[str], counts: Sequence[int], *, counted: str, first_label: int
) -> list[str]:
    """Lines of at most 100 characters: label, name and number of what is counted of each class."""
    entries = [
        f'{label} {name} {count:,}'
        for label, (name, count) in enumerate(zip(class_names, counts), start=first_label)
    ]
    num_left_out = max(0, len(entries) - _NUM_LISTED_CLASSES)
    if num_left_out:
        entries = [*entries[:_NUM_LISTED_CLASSES], f'and {num_left_out} more']
    text = f'{len(class_names)} classes (label, name, {counted}): {"; ".join(entries)}'
    return textwrap.wrap(
        text, 98, subsequent_indent='  ', break_long_words=False, break_on_hyphens=False
    )


def check_not_empty(info: DataInfo) -> None:
    """Raises DataError when there is no example."""
    if info.num_examples:
        return
    reason = f'; {info.num_corrupt} could not be read' if info.num_corrupt else ''
    raise errors.DataError(f'{info.origin}: the data set is empty: it has no examples{reason}')


def check_has_boxes(info: DataInfo) -> None:
    """Raises DataError when no example has a box, from which nothing could be learned."""
    if info.num_boxes:
        return
    dropped = (
        f' ({info.num_dropped_boxes} without area were dropped)' if info.num_dropped_boxes else ''
    )
    raise errors.DataError(
        f'{info.origin}: no boxes at all in {info.num_examples} examples{dropped}; '
        'expected at least one annotated object'
    )


def check_classes(info: DataInfo, num_classes: int) -> None:
    """Raises DataError when a label does not fit a model of `num_classes` (with background)."""
    if info.max_label < num_classes:
        return
    name = info.class_names[info.max_label - 1] if info.max_label else ''
    raise errors.DataError(
        f'{info.origin}: label {info.max_label} ({name!r}) is out of range; expected labels 1 to '
        f'{num_classes - 1}, because num_classes is {num_classes} (background included); '
        'leave num_classes out to take it from the data'
    )
