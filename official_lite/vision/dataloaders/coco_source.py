"""Examples from a COCO annotation file and a folder of images."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import (
    coco_annotations,
    coco_masks,
    exif_orientation,
    folder_source,
    image_finder,
    table_source,
)

__all__ = ['build_coco_source', 'forget']


def build_coco_source(
    annotation_file: str,
    image_dir: str = '',
    *,
    orientation: exif_orientation.Orientation = 'auto',
    include_mask: bool = False,
    skip_corrupt: bool = False,
    cache: bool = False,
) -> table_source.TableSource:
    """The images of a COCO annotation file, those without objects included.

    Category ids, which may have gaps, become the labels 1 to K by ascending id.

    Args:
        annotation_file: The JSON file.
        image_dir: The folder its `file_name`s are relative to; an image that is not there is looked
            for by its name in the folders below. '' means the annotation file's folder.
        orientation: See `exif_orientation.decide_turns`.
        include_mask: Whether polygons and run lengths are read as masks. An object without one is
            ignored in training and evaluation, as crowds are.
        skip_corrupt: Whether to leave out images that are missing or cannot be decoded, after one
            pass that decodes every image. If not, a missing one is an error at once.
        cache: Whether to keep the encoded images in memory.

    Raises:
        UsageError: The file or the folder does not exist.
        DataError: The file is not what it should be, or an image is missing.
    """
    folder = Path(image_dir) if image_dir else Path(annotation_file).parent
    if image_dir and not folder.is_dir():
        raise errors.UsageError(f'the folder {image_dir!r} does not exist', where='image_dir')
    options = (folder, orientation, include_mask, _get_time(annotation_file))
    data = _load(annotation_file, *options)
    if folder_source.is_stale(data.images):
        forget()
        data = _load(annotation_file, *options)
    return folder_source.build_folder_source(data, skip_corrupt=skip_corrupt, cache=cache)


def forget() -> None:
    """Drops what was read in this process, so that files are read again."""
    _load.cache_clear()


def _get_time(path: str) -> int:
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


@functools.lru_cache(maxsize=4)  # one run reads its data several times: for facts, for batches
def _load(
    annotation_file: str,
    folder: Path,
    mode: exif_orientation.Orientation,
    include_mask: bool,
    modified_ns: int,
) -> folder_source.FolderData:
    """The annotations and their images. `modified_ns` tells versions apart."""
    finder = image_finder.ImageFinder(folder)
    annotations = coco_annotations.load_coco_annotations(
        annotation_file,
        get_size=lambda name: _read_size(finder.find(name)),
        has_segmentations=include_mask,
    )
    table, findings = annotations.table, annotations.findings
    if include_mask:
        table, more = coco_masks.add_masks(annotations, annotation_file)
        findings = (*findings, *more)
    images = folder_source.look_at_images(
        [finder.find(name) for name in annotations.file_names],
        np.stack([table.heights_px, table.widths_px], axis=-1),
        mode=mode,
    )
    return folder_source.FolderData(
        table=table,
        images=images,
        class_names=annotations.class_names,
        category_ids=annotations.category_ids,
        fingerprint=annotations.fingerprint,
        origin=annotation_file,
        findings=findings,
        num_dropped_boxes=annotations.num_dropped_boxes,
        image_option='image_dir',
    )


def _read_size(path: str) -> tuple[int, int]:
    """(height, width) of an image file."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise errors.DataError(f'the image cannot be read ({error})', where=path) from error
