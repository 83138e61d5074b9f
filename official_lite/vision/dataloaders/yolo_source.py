"""Examples from images with YOLO's text labels."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import (
    box_cleaning,
    class_names,
    exif_orientation,
    folder_source,
    table_source,
    yolo_labels,
    yolo_layout,
)

__all__ = ['build_yolo_source', 'forget']

_MAX_CLASS = 100_000


def build_yolo_source(
    root: str,
    split: str = '',
    *,
    names: Sequence[str] = (),
    orientation: exif_orientation.Orientation = 'auto',
    skip_corrupt: bool = False,
    cache: bool = False,
) -> table_source.TableSource:
    """Images with labels in text files; an image without such a file has no objects.

    Class c becomes label c + 1. Images with an EXIF orientation are turned upright, as the tools do
    that write such labels.

    Args:
        root: A `data.yaml`, or the folder that has one, or a folder of images and labels.
        split: 'train', 'val', 'test', or the name of a folder or list. '' means the whole folder.
        names: Class names in order, or the path of a file with one in each line. () means those of
            `data.yaml` or `classes.txt`; without any, classes are called class_0, class_1, ...
        orientation: See `exif_orientation.decide_turns`.
        skip_corrupt: Whether to leave out what cannot be read, after one pass that decodes every
            image.
        cache: Whether to keep the encoded images in memory.

    Raises:
        UsageError: A folder or a split does not exist.
        DataError: A file cannot be used, or a class has no name.
    """
    listed = class_names.read_class_names(names)
    data = _load(root, split, listed, orientation)
    if folder_source.is_stale(data.images):
        forget()
        data = _load(root, split, listed, orientation)
    return folder_source.build_folder_source(data, skip_corrupt=skip_corrupt, cache=cache)


def forget() -> None:
    """Drops what was read in this process, so that files are read again."""
    _load.cache_clear()


@functools.lru_cache(maxsize=4)
def _load(
    root: str, split: str, names: tuple[str, ...], mode: exif_orientation.Orientation
) -> folder_source.FolderData:
    layout = yolo_layout.find_layout(root, split)
    paths = yolo_layout.get_label_paths(layout.image_paths)
    num_without = sum(not os.path.isfile(path) for path in paths)
    if paths and num_without == len(paths):
        raise errors.DataError(
            f'none of the {len(paths)} images has a label file',
            where=root,
            expected=f'{paths[0]} for the image {layout.image_paths[0]}',
        )
    labels = yolo_labels.load_yolo_labels(paths, has_keypoints=layout.has_keypoints)
    listed = names or layout.class_names
    _check_classes(labels, listed, 'class_names' if names else layout.names_from)
    found = listed or tuple(f'class_{i}' for i in range(int(labels.classes.max(initial=-1)) + 1))
    images = folder_source.look_at_images(layout.image_paths, None, mode=mode, default='upright')
    cleaned = _clean(labels, images, layout.image_paths)
    return folder_source.FolderData(
        table=cleaned.table,
        images=images,
        class_names=found,
        category_ids=tuple(range(len(found))),
        fingerprint=_compute_fingerprint(layout.image_paths, found, cleaned.table),
        origin=f'{root} ({split})' if split else root,
        findings=(
            *_find_label_findings(labels, num_without),
            *_find_lonely_labels(paths),
            *cleaned.findings,
        ),
        num_dropped_boxes=len(labels.classes) - cleaned.num_boxes,
        declares_classes=bool(listed),
        problems=labels.problems,
    )


def _check_classes(labels: yolo_labels.YoloLabels, names: Sequence[str], names_from: str) -> None:
    limit = len(names) or _MAX_CLASS
    wrong = np.flatnonzero(labels.classes >= limit)
    if not len(wrong):
        return
    first = int(wrong[0])
    raise errors.DataError(
        f'there is no class {labels.classes[first]}',
        where=_name_line(labels, first),
        expected=f'0 to {limit - 1}'
        + (f', because {names_from} has {len(names)} names' if names else ''),
        hint='' if len(wrong) == 1 else f'{len(wrong)} objects have such a class',
    )


def _name_line(labels: yolo_labels.YoloLabels, row: int) -> str:
    file = int(np.searchsorted(labels.splits, row, side='right')) - 1
    return f'{labels.paths[file]}:{labels.lines[row]}'


def _clean(
    labels: yolo_labels.YoloLabels, images: folder_source.Images, image_paths: Sequence[str]
) -> box_cleaning.CleanBoxes:
    counts = np.diff(labels.splits)
    image_numbers = np.repeat(np.arange(len(counts)), counts)
    heights, widths = (np.maximum(v, 1) for v in (images.heights_px, images.widths_px))
    sizes = np.tile(np.stack([heights, widths], axis=-1), 2)[image_numbers]
    num_objects = len(labels.classes)
    raw = box_cleaning.RawBoxes(
        image_numbers=image_numbers,
        boxes_px=labels.boxes * sizes,
        labels=labels.classes + 1,
        is_crowd=np.zeros([num_objects], bool),
        areas=np.full([num_objects], np.nan),
    )
    stems = [os.path.splitext(path)[0] for path in image_paths]
    return box_cleaning.clean_boxes(
        raw,
        heights_px=heights,
        widths_px=widths,
        source_ids=np.array(class_names.make_source_ids(stems), np.int64),
        describe=lambda row: _name_line(labels, row),
    )


def _find_label_findings(labels: yolo_labels.YoloLabels, num_without: int) -> list[str]:
    findings = []
    if num_without:
        findings.append(
            f'{num_without:,} of {len(labels.paths):,} images have no label file: they count as '
            'images without objects'
        )
    if labels.num_polygons:
        findings.append(
            f'{labels.num_polygons:,} objects are polygons; the boxes around them are used'
        )
    return findings


def _find_lonely_labels(paths: Sequence[str]) -> list[str]:
    """Label files beside those in use that belong to no image: often a wrong name or suffix."""
    used = set(paths)
    lonely = [
        path
        for folder in sorted({os.path.dirname(path) for path in paths})
        if os.path.basename(folder) == 'labels' or f'{os.sep}labels{os.sep}' in folder + os.sep
        for path in _list_labels(folder)
        if path not in used
    ]
    if not lonely:
        return []
    return [f'{len(lonely):,} label files have no image, the first: {min(lonely)}']


def _list_labels(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    names = (name for name in os.listdir(folder) if name.endswith('.txt') and name != 'classes.txt')
    return [os.path.join(folder, name) for name in names]


def _compute_fingerprint(
    image_paths: Sequence[str], names: Sequence[str], table: table_source.AnnotationTable
) -> str:
    stems = [os.path.splitext(os.path.basename(path))[0] for path in image_paths]
    digest = hashlib.sha256('\n'.join([*stems, '', *names]).encode())
    for array in (table.splits, table.labels, table.boxes):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
