"""Examples from a COCO annotation file and a folder of images."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image

from official_lite import errors
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import coco_annotations, data_cache, notices, table_source

__all__ = ['build_coco_source', 'forget']


def build_coco_source(
    annotation_file: str,
    image_dir: str = '',
    *,
    skip_corrupt: bool = False,
    cache: bool = False,
) -> table_source.TableSource:
    """The images of a COCO annotation file, those without objects included.

    Category ids, which may have gaps, become the labels 1 to K by ascending id.

    Args:
        annotation_file: The JSON file.
        image_dir: The folder its `file_name`s are relative to; an image that is not there is looked
            for by its name in the folders below. '' means the annotation file's folder.
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
    annotations, paths = _load(annotation_file, folder, _get_time(annotation_file))
    source = _make_source(annotations, paths, annotation_file)
    missing = [i for i, path in enumerate(paths) if not os.path.isfile(path)]
    if missing and not skip_corrupt:
        raise errors.DataError(
            f'{len(missing)} of {len(paths)} images are missing, the first: {paths[missing[0]]}',
            where=annotation_file,
            hint='give the folder of the images as image_dir, or set skip_corrupt=true',
        )
    if skip_corrupt:
        source = _leave_out_bad_images(source, annotations, paths, missing, annotation_file)
    return source.load_images() if cache else source


def forget() -> None:
    """Drops what was read in this process, so that files are read again."""
    _load.cache_clear()


def _get_time(path: str) -> int:
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


@functools.lru_cache(maxsize=4)  # one run reads its data several times: for facts, for batches
def _load(
    annotation_file: str, folder: Path, modified_ns: int
) -> tuple[coco_annotations.CocoAnnotations, list[str]]:
    """The annotations and the paths of their images. `modified_ns` tells versions apart."""
    finder = _ImageFinder(folder)
    annotations = coco_annotations.load_coco_annotations(
        annotation_file, get_size=lambda name: _read_size(finder.find(name))
    )
    return annotations, [finder.find(name) for name in annotations.file_names]


class _ImageFinder:
    """Finds images in a folder, and by their name in the folders below."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, file_name: str) -> str:
        """The image's path; where it should be, if it is nowhere."""
        expected = str(self._folder / file_name)
        if os.path.isfile(expected):
            return expected
        found = self._paths_by_name.get(os.path.basename(file_name), [])
        if len(found) > 1:
            raise errors.DataError(
                f'there are {len(found)} files of this name below {self._folder}: {found[0]}, '
                f'{found[1]}',
                where=file_name,
                hint='give paths relative to image_dir in the annotation file',
            )
        return found[0] if found else expected

    @functools.cached_property
    def _paths_by_name(self) -> dict[str, list[str]]:
        paths: dict[str, list[str]] = {}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                paths.setdefault(name, []).append(os.path.join(folder, name))
        return paths


def _read_size(path: str) -> tuple[int, int]:
    """(height, width) of an image file."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise errors.DataError(f'the image cannot be read ({error})', where=path) from error


def _make_source(
    annotations: coco_annotations.CocoAnnotations, paths: list[str], origin: str
) -> table_source.TableSource:
    table = annotations.table
    info = DataInfo(
        num_examples=len(table),
        class_names=annotations.class_names,
        category_ids=annotations.category_ids,
        num_boxes=len(table.labels),
        boxes_per_class=table_source.count_per_class(table.labels, len(annotations.class_names)),
        max_label=int(table.labels.max(initial=0)),
        fingerprint=annotations.fingerprint,
        origin=origin,
        num_dropped_boxes=annotations.num_dropped_boxes,
        max_boxes_per_image=int(np.diff(table.splits).max(initial=0)),
    )
    return table_source.TableSource(table, paths, info)


def _leave_out_bad_images(
    source: table_source.TableSource,
    annotations: coco_annotations.CocoAnnotations,
    paths: list[str],
    missing: list[int],
    origin: str,
) -> table_source.TableSource:
    bad = dict.fromkeys(missing, 'the image is missing')
    present = np.setdiff1d(np.arange(len(paths)), missing)
    stats = [os.stat(paths[i]) for i in present]
    description = [[paths[i], s.st_size, s.st_mtime_ns] for i, s in zip(present, stats)]
    bad |= data_cache.get_cached_reasons(
        [annotations.fingerprint, description],
        lambda: dict(source.find_bad_images(present.tolist())),
    )
    notices.report_skipped([f'{paths[i]}: {text}' for i, text in sorted(bad.items())])
    if not bad:
        return source
    kept = np.setdiff1d(np.arange(len(paths)), np.array(list(bad), np.int64))
    table = annotations.table.select(kept)
    rest = _make_source(
        dataclasses.replace(annotations, table=table), [paths[i] for i in kept], origin
    )
    info = dataclasses.replace(rest.info, num_corrupt=len(bad))
    return table_source.TableSource(table, [paths[i] for i in kept], info)
