"""What a data set of classified images knows about itself."""

from __future__ import annotations

import dataclasses

from official_lite import errors
from official_lite.core.data_info import DataInfo, list_classes

__all__ = ['ClassificationInfo', 'check_labels']


@dataclasses.dataclass(frozen=True)
class ClassificationInfo(DataInfo):
    """Facts of classified images: labels count from 0, and there is no background.

    So `class_names` has the names of the labels 0 to K - 1, `num_boxes` is the number of labels of
    all images, and `boxes_per_class` says how many images have each. `max_label` is -1 without
    labels.
    """

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def describe(self, what: str = 'data') -> str:
        """What was found, for people: counts, the classes, and each finding."""
        lines = [
            f'{what}: {self.origin}',
            f'{self.num_examples:,} images, {self.num_boxes:,} labels',
            *list_classes(self.class_names, self.boxes_per_class, counted='images', first_label=0),
        ]
        if self.num_corrupt:
            lines.append(f'! {self.num_corrupt:,} images cannot be read and are left out')
        lines += [f'! {finding}' for finding in self.findings]
        return '\n  '.join(lines)


def check_labels(info: ClassificationInfo, num_classes: int) -> None:
    """Raises DataError when a label does not fit a model of `num_classes`."""
    if info.max_label < num_classes:
        return
    raise errors.DataError(
        f'{info.origin}: label {info.max_label} is out of range; expected labels 0 to '
        f'{num_classes - 1}, because num_classes is {num_classes}; '
        'leave num_classes out to take it from the data'
    )
