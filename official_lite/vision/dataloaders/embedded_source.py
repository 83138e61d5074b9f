"""The data sets that need no download."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

from official_lite import errors
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import embedded_scenes, table_source
from official_lite.vision.ops import run_lengths

__all__ = ['build_embedded_source', 'get_table']

_NAMES = ('digits',)


def build_embedded_source(
    name: str = 'digits',
    *,
    split: str = 'train',
    num_scenes: int | None = None,
    include_mask: bool = False,
) -> table_source.TableSource:
    """Scenes of handwritten digits on photographs, 128x128, with 10 classes.

    Args:
        name: 'digits'.
        split: 'train' or 'validation'.
        num_scenes: Number of scenes. None means 8,000 to train, 200 to validate.
        include_mask: Whether the visible pixels of each digit are read too.

    Raises:
        UsageError: Unknown name or split, or scikit-learn is not installed.
    """
    if name not in _NAMES:
        raise errors.UsageError(
            f'no embedded data set {name!r}', expected=f'one of: {", ".join(_NAMES)}'
        )
    scenes = embedded_scenes.load_scenes(split, num_scenes)
    table = get_table(scenes, include_mask=include_mask)
    description = f'{name} v{embedded_scenes.VERSION} {split} {len(scenes)}'
    info = DataInfo(
        num_examples=len(scenes),
        class_names=embedded_scenes.DIGIT_NAMES,
        category_ids=tuple(range(1, 11)),
        num_boxes=len(table.labels),
        boxes_per_class=table_source.count_per_class(table.labels, 10),
        max_label=int(table.labels.max(initial=0)),
        fingerprint=hashlib.sha256(description.encode()).hexdigest(),
        origin=f'embedded:{name}',
        max_boxes_per_image=int(np.diff(scenes.splits).max(initial=0)),
    )
    names = [f'embedded:{name} {split} scene {i}' for i in range(len(scenes))]
    return table_source.TableSource(table, scenes.images, info, names=names, is_in_memory=True)


def get_table(
    scenes: embedded_scenes.Scenes, *, include_mask: bool = False
) -> table_source.AnnotationTable:
    """The scenes' annotations. Scenes are numbered from 1 in `source_ids`."""
    num_scenes, num_boxes = len(scenes), len(scenes.labels)
    size = np.full([num_scenes], embedded_scenes.SCENE_SIZE_PX, np.int64)
    return table_source.AnnotationTable(
        splits=scenes.splits,
        boxes=scenes.boxes_yxyx_px.astype(np.float32) / embedded_scenes.SCENE_SIZE_PX,
        labels=scenes.labels,
        is_crowd=np.zeros([num_boxes], bool),
        areas=scenes.areas,
        heights_px=size,
        widths_px=size,
        source_ids=np.arange(1, num_scenes + 1, dtype=np.int64),
        masks=_encode_masks(scenes) if include_mask else None,
    )


def _encode_masks(scenes: embedded_scenes.Scenes) -> np.ndarray:
    counts = [run_lengths.encode(scenes.get_masks(i)) for i in range(len(scenes))]
    return np.array(list(itertools.chain.from_iterable(counts)), np.object_)
