"""Reads COCO annotation files (https://cocodataset.org/#format-data), as they are found."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import box_cleaning, table_source

__all__ = ['CocoAnnotations', 'load_coco_annotations']

Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class CocoAnnotations:
    """What an annotation file says.

    Attributes:
        table: The boxes, clipped to their images; those without area are left out.
        file_names: Of the images, in the table's order, which is the file's.
        class_names: Names of the labels 1..K: all categories by ascending id.
        category_ids: Ids of the labels 1..K.
        num_dropped_boxes: Boxes without area inside their image.
        fingerprint: Digest of the file.
        segmentations: Of each box, as the file has them; None if not asked for.
        findings: What was left out, changed or looks wrong; one sentence each.
    """

    table: table_source.AnnotationTable
    file_names: tuple[str, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    num_dropped_boxes: int
    fingerprint: str
    segmentations: tuple[Any, ...] | None = None
    findings: tuple[str, ...] = ()


def load_coco_annotations(
    path: str | Path,
    *,
    get_size: Callable[[str], tuple[int, int]] | None = None,
    has_segmentations: bool = False,
) -> CocoAnnotations:
    """Reads an annotation file.

    Args:
        path: The JSON file.
        get_size: Returns (height, width) of an image by its `file_name`, where the file has none.
        has_segmentations: Whether to keep polygons and run-length masks.

    Raises:
        UsageError: The file does not exist.
        DataError: It cannot be read, or is not what COCO's format says; names the entry.
    """
    content = _read(Path(path))
    return _Reader(str(path), content, get_size, has_segmentations).read()


def _read(path: Path) -> bytes:
    if not path.exists():
        raise errors.UsageError(f'the file {str(path)!r} does not exist', where='annotation_file')
    if path.is_dir():
        raise errors.UsageError(
            f'{str(path)!r} is a folder', where='annotation_file', expected='a COCO JSON file'
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.DataError(
            f'the file cannot be read ({error.strerror})', where=str(path)
        ) from error


class _Reader:
    def __init__(
        self,
        path: str,
        content: bytes,
        get_size: Callable[[str], tuple[int, int]] | None,
        has_segmentations: bool,
    ) -> None:
        self._path = path
        self._get_size = get_size
        self._has_segmentations = has_segmentations
        self._fingerprint = hashlib.sha256(content).hexdigest()
        self._data = self._parse(content)

    def _parse(self, content: bytes) -> Json:
        try:
            data = json.loads(content)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            place = f':{error.lineno}' if isinstance(error, json.JSONDecodeError) else ''
            raise errors.DataError(
                f'not a JSON file ({error})', where=f'{self._path}{place}'
            ) from error
        missing = [key for key in ('images', 'categories') if not _is_list_of_dicts(data, key)]
        if missing:
            raise self._error('', f'not a COCO annotation file: it has no list {missing[0]!r}')
        return data

    def _error(self, entry: str, message: str, **details: str) -> errors.DataError:
        where = f'{self._path}, {entry}' if entry else self._path
        return errors.DataError(message, where=where, **details)

    def read(self) -> CocoAnnotations:
        categories = self._read_categories()
        images = self._read_images()
        boxes_by_image = self._group_annotations(images)
        category_labels = {id_: label for label, id_ in enumerate(categories, start=1)}
        numbers = {image_id: number for number, image_id in enumerate(images)}
        rows = [
            self._read_box(annotation, numbers[image_id], category_labels)
            for image_id in images
            for annotation in boxes_by_image.get(image_id, [])
        ]
        cleaned = _clean(rows, images)
        return CocoAnnotations(
            table=cleaned.table,
            file_names=tuple(image['file_name'] for image in images.values()),
            class_names=tuple(categories.values()),
            category_ids=tuple(categories),
            num_dropped_boxes=len(rows) - cleaned.num_boxes,
            fingerprint=self._fingerprint,
            segmentations=tuple(rows[i].segmentation for i in cleaned.kept)
            if self._has_segmentations
            else None,
            findings=(*_find_repeated_files(images), *cleaned.findings),
        )

    def _read_categories(self) -> dict[int, str]:
        categories: dict[int, str] = {}
        for number, category in enumerate(self._data['categories']):
            id_ = category.get('id')
            if not _is_int(id_):
                raise self._error(f'categories[{number}]', 'no id', expected='an integer')
            if id_ in categories:
                raise self._error(f'categories[{number}]', f'the category id {id_} occurs twice')
            categories[id_] = str(category.get('name', f'class_{id_}'))
        if not categories:
            raise self._error('categories', 'there are none', expected='at least one')
        return dict(sorted(categories.items()))

    def _read_images(self) -> dict[int, Json]:
        images: dict[int, Json] = {}
        for number, image in enumerate(self._data['images']):
            entry = f'images[{number}]'
            if not _is_int(image.get('id')):
                raise self._error(entry, 'no id', expected='an integer')
            if not isinstance(image.get('file_name'), str) or not image['file_name']:
                raise self._error(f'{entry} (id {image["id"]})', 'no file_name')
            if image['id'] in images:
                raise self._error(entry, f'the image id {image["id"]} occurs twice')
            images[image['id']] = self._add_size(image, entry)
        return images

    def _add_size(self, image: Json, entry: str) -> Json:
        height, width = image.get('height'), image.get('width')
        if not height or not width:
            if self._get_size is None:
                raise self._error(entry, 'no height and width')
            height, width = self._get_size(image['file_name'])
        is_fine = all(_is_number(v) and v >= 1 for v in (height, width))
        if not is_fine:
            raise self._error(
                entry, 'no usable size', expected='pixels', received=f'{height!r} x {width!r}'
            )
        return {**image, 'height': int(height), 'width': int(width)}

    def _group_annotations(self, images: Mapping[int, Json]) -> dict[int, list[Json]]:
        annotations = self._data.get('annotations', [])
        if not isinstance(annotations, list):
            raise self._error('annotations', 'not a list')
        groups: dict[int, list[Json]] = {}
        for number, annotation in enumerate(annotations):
            image_id: Any = annotation.get('image_id') if isinstance(annotation, dict) else None
            if not _can_be_id(image_id) or image_id not in images:
                raise self._error(
                    f'annotations[{number}]', f'there is no image with the id {image_id!r}'
                )
            groups.setdefault(image_id, []).append(annotation)
        return groups

    def _read_box(
        self, annotation: Json, image_number: int, category_labels: Mapping[int, int]
    ) -> _Box:
        """The annotation's box as it is there."""
        entry = f'annotation with the id {annotation.get("id")!r}'
        category_id: Any = annotation.get('category_id')
        label = category_labels.get(category_id) if _can_be_id(category_id) else None
        if label is None:
            raise self._error(
                entry,
                f'there is no category with the id {category_id!r}',
                expected=f'one of {_shorten(list(category_labels))}',
            )
        x, y, width, height = self._get_bbox(annotation, entry)
        area: Any = annotation.get('area')
        return _Box(
            id_=annotation.get('id'),
            image_number=image_number,
            box=(y, x, y + height, x + width),
            label=label,
            is_crowd=bool(annotation.get('iscrowd', 0)),
            area=float(area) if _is_number(area) else math.nan,
            segmentation=annotation.get('segmentation') if self._has_segmentations else None,
        )

    def _get_bbox(self, annotation: Json, entry: str) -> Sequence[float]:
        bbox: Any = annotation.get('bbox')
        if bbox is None:
            bbox = _get_polygon_bbox(annotation.get('segmentation'))
        is_fine = (
            isinstance(bbox, (list, tuple)) and len(bbox) == 4 and all(_is_number(v) for v in bbox)
        )
        if not is_fine:
            raise self._error(
                entry, 'no usable bbox', expected='[x, y, width, height]', received=repr(bbox)
            )
        return [float(v) for v in bbox]


@dataclasses.dataclass(frozen=True)
class _Box:
    id_: Any
    image_number: int
    box: tuple[float, float, float, float]  # yxyx, pixels
    label: int
    is_crowd: bool
    area: float
    segmentation: Any


def _is_list_of_dicts(data: Any, key: str) -> bool:
    value = data.get(key) if isinstance(data, dict) else None
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_int(value: Any) -> bool:
    """Whether this is an integer that fits into 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _can_be_id(value: Any) -> bool:
    """Whether an id can equal this: some tools write them as 10.0."""
    return isinstance(value, (int, float))


def _is_number(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, float) and math.isfinite(value))


def _shorten(values: Sequence[int]) -> str:
    text = ', '.join(str(v) for v in values[:10])
    return f'{text}, ...' if len(values) > 10 else text


def _get_polygon_bbox(segmentation: Any) -> list[float] | None:
    """[x, y, width, height] around polygons; None if there are none."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    try:
        points = np.concatenate([np.asarray(p, float).reshape(-1, 2) for p in segmentation])
    except (TypeError, ValueError):
        return None
    if not len(points):
        return None
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def _clean(rows: Sequence[_Box], images: Mapping[int, Json]) -> box_cleaning.CleanBoxes:
    names = [image['file_name'] for image in images.values()]
    raw = box_cleaning.RawBoxes(
        image_numbers=np.array([row.image_number for row in rows], np.int64),
        boxes_px=np.array([row.box for row in rows], np.float64).reshape(-1, 4),
        labels=np.array([row.label for row in rows], np.int64),
        is_crowd=np.array([row.is_crowd for row in rows], bool),
        areas=np.array([row.area for row in rows], np.float64),
    )
    return box_cleaning.clean_boxes(
        raw,
        heights_px=np.array([image['height'] for image in images.values()], np.int64),
        widths_px=np.array([image['width'] for image in images.values()], np.int64),
        source_ids=np.array(list(images), np.int64),
        describe=lambda i: f'annotation {rows[i].id_} on {names[rows[i].image_number]}',
    )


def _find_repeated_files(images: Mapping[int, Json]) -> tuple[str, ...]:
    counts = collections.Counter(image['file_name'] for image in images.values())
    repeated = [name for name, count in counts.items() if count > 1]
    if not repeated:
        return ()
    return (
        f'{len(repeated):,} image files are listed twice or more, the first: {repeated[0]}; '
        'each entry counts as an image',
    )
