"""What the formats have in common that annotate image files in folders: COCO, Pascal VOC, YOLO."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Literal

import numpy as np

from official_lite import errors
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import (
    data_cache,
    exif_orientation,
    image_headers,
    notices,
    table_source,
)

__all__ = [
    'FolderData',
    'Images',
    'build_folder_source',
    'find_class_findings',
    'is_stale',
    'look_at_images',
]

_SKIP_HINT = 'mend or remove it, or set skip_corrupt=true to leave such images out'
# Two aspect ratios that differ by less than this are the same image in two sizes.
_ASPECT_TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class Images:
    """The image files of a data set.

    Attributes:
        paths: Of all images.
        heights_px, widths_px: int64 [n], after turning. 0 where they are unknown.
        readings: int32 [n], how to decode each (see `image_decoding.decode_image`).
        problems: Why an image cannot be read, by its number: missing, or no image.
        num_missing: How many are missing.
        findings: What is noteworthy; one sentence each.
    """

    paths: tuple[str, ...]
    heights_px: np.ndarray
    widths_px: np.ndarray
    readings: np.ndarray
    problems: dict[int, str]
    num_missing: int
    findings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FolderData:
    """A data set as it was read.

    Attributes:
        table: The annotations of all images.
        images: Their files.
        class_names: Of the labels 1..K.
        category_ids: Of the labels 1..K.
        fingerprint: Digest of the annotations.
        origin: What the data is called in messages.
        findings: What is noteworthy about the annotations; one sentence each.
        num_dropped_boxes: Boxes that are left out.
        declares_classes: Whether there can be no other classes.
        problems: Annotation files that cannot be used, as errors, by the image's number.
        image_option: The field that says where images are, for the hint of an error.
    """

    table: table_source.AnnotationTable
    images: Images
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    fingerprint: str
    origin: str
    findings: tuple[str, ...] = ()
    num_dropped_boxes: int = 0
    declares_classes: bool = True
    problems: dict[int, errors.DataError] = dataclasses.field(default_factory=dict)
    image_option: str = ''


def look_at_images(
    paths: Sequence[str],
    annotated_px: np.ndarray | None,
    *,
    mode: exif_orientation.Orientation = 'auto',
    default: Literal['upright', 'stored'] = 'stored',
) -> Images:
    """Reads the headers of image files, and decides how each is decoded.

    Args:
        paths: The files; they need not exist.
        annotated_px: int64 [n, 2], (height, width) in the annotations; 0 where they have none.
        mode, default: See `exif_orientation.decide_turns`.
    """
    is_there = np.array([os.path.isfile(path) for path in paths], bool)
    present = np.flatnonzero(is_there)
    scan = image_headers.scan_images([paths[i] for i in present])
    stored = np.zeros([len(paths), 2], np.int64)
    stored[present] = np.stack([scan.heights_px, scan.widths_px], axis=-1)
    tags = np.ones([len(paths)], np.int8)
    tags[present] = scan.orientations
    turns = exif_orientation.decide_turns(stored, annotated_px, tags, mode=mode, default=default)
    readings = np.zeros([len(paths)], np.int32)
    readings[present] = scan.needs_pillow * image_headers.BY_PILLOW
    readings += np.where(turns.orientations > 1, turns.orientations, 0)
    problems = {int(i): 'the image is missing' for i in np.flatnonzero(~is_there)}
    problems |= {int(present[i]): text for i, text in scan.problems.items()}
    findings = (
        *_describe_kinds(scan.kinds),
        *turns.findings,
        *_find_other_sizes(paths, annotated_px, turns),
    )
    return Images(
        paths=tuple(paths),
        heights_px=turns.heights_px,
        widths_px=turns.widths_px,
        readings=readings,
        problems=dict(sorted(problems.items())),
        num_missing=int((~is_there).sum()),
        findings=findings,
    )


def is_stale(images: Images) -> bool:
    """Whether images have come or gone since they were looked at."""
    missing = sum(not os.path.isfile(path) for path in images.paths)
    return missing != images.num_missing


def _describe_kinds(kinds: dict[str, int]) -> tuple[str, ...]:
    if not kinds:
        return ()
    listed = ', '.join(f'{number:,} {kind}' for kind, number in kinds.items())
    deep = (
        '; of 16 bits the upper 8 are used' if any('16' in k and 'bit' in k for k in kinds) else ''
    )
    return (f'images that are not plain RGB, decoded as RGB: {listed}{deep}',)


def _find_other_sizes(
    paths: Sequence[str], annotated_px: np.ndarray | None, turns: exif_orientation.Turns
) -> tuple[str, ...]:
    if annotated_px is None:
        return ()
    actual = np.stack([turns.heights_px, turns.widths_px], axis=-1)
    is_known = (annotated_px > 0).all(-1) & (actual > 0).all(-1)
    differs = np.flatnonzero(is_known & (annotated_px != actual).any(-1))
    if not len(differs):
        return ()
    first = int(differs[0])
    ratios = (actual / np.maximum(annotated_px, 1))[differs]
    is_distorted = np.abs(ratios[:, 0] / ratios[:, 1] - 1) > _ASPECT_TOLERANCE
    warning = (
        f'; {int(is_distorted.sum()):,} of them also in shape, so that their boxes are probably wrong'
        if is_distorted.any()
        else ''
    )
    return (
        f'{len(differs):,} images have another size than their annotations say, and boxes are '
        f'scaled with them{warning}; the first: {paths[first]} ({actual[first][1]}x'
        f'{actual[first][0]}, annotated {annotated_px[first][1]}x{annotated_px[first][0]})',
    )


def find_class_findings(
    class_names: Sequence[str], category_ids: Sequence[int], boxes_per_class: Sequence[int]
) -> tuple[str, ...]:
    """What is noteworthy about a data set's classes: unused ones, equal names, a background."""
    findings = []
    ids_by_name: dict[str, list[int]] = {}
    for name, id_ in zip(class_names, category_ids, strict=True):
        ids_by_name.setdefault(name, []).append(id_)
    for name, ids in ids_by_name.items():
        if len(ids) > 1:
            listed = ', '.join(str(id_) for id_ in ids)
            findings.append(f'the name {name!r} belongs to {len(ids)} classes (ids {listed})')
        if name.strip().lower() in ('background', '__background__', '_background_'):
            findings.append(
                f'a class is called {name!r}; the background has label 0 by itself and needs none'
            )
    unused = [name for name, count in zip(class_names, boxes_per_class, strict=True) if not count]
    if unused and len(unused) < len(class_names):
        shown = ', '.join(repr(name) for name in unused[:8])
        more = f' and {len(unused) - 8} more' if len(unused) > 8 else ''
        findings.append(
            f'{len(unused)} of {len(class_names)} classes have no boxes: {shown}{more}; they stay, '
            'so that labels stay the same'
        )
    return tuple(findings)


def build_folder_source(
    data: FolderData, *, skip_corrupt: bool = False, cache: bool = False
) -> table_source.TableSource:
    """The source of a data set.

    Args:
        data: The data set.
        skip_corrupt: Whether to leave out images that are missing, cannot be decoded, or whose
            annotation file cannot be read, after one pass that decodes every image. If not, the
            first is an error at once.
        cache: Whether to keep the encoded images in memory.

    Raises:
        DataError: An image or an annotation file cannot be read.
    """
    if not skip_corrupt:
        _refuse_problems(data)
        source = _make_source(data)
    else:
        source = _leave_out_bad(data)
    return source.load_images() if cache else source


def _refuse_problems(data: FolderData) -> None:
    for error in data.problems.values():
        error.hint = error.hint or _SKIP_HINT.replace('images', 'files')
        raise error
    images = data.images
    if images.num_missing:
        first = next(i for i, text in images.problems.items() if text == 'the image is missing')
        where = f'give the folder of the images as {data.image_option}, or ' * bool(
            data.image_option
        )
        raise errors.DataError(
            f'{images.num_missing} of {len(images.paths)} images are missing, the first: '
            f'{images.paths[first]}',
            where=data.origin,
            hint=f'{where}set skip_corrupt=true',
        )
    for number, text in images.problems.items():
        raise errors.DataError(text, where=images.paths[number], hint=_SKIP_HINT)


def _make_source(
    data: FolderData, *, kept: np.ndarray | None = None, num_corrupt: int = 0
) -> table_source.TableSource:
    """The source of some images; None: of all."""
    numbers = np.arange(len(data.images.paths)) if kept is None else kept
    table = data.table if kept is None else data.table.select(kept)
    counts = table_source.count_per_class(table.labels, len(data.class_names))
    info = DataInfo(
        num_examples=len(table),
        class_names=data.class_names,
        category_ids=data.category_ids,
        num_boxes=len(table.labels),
        boxes_per_class=counts,
        max_label=int(table.labels.max(initial=0)),
        fingerprint=data.fingerprint,
        origin=data.origin,
        num_corrupt=num_corrupt,
        num_dropped_boxes=data.num_dropped_boxes,
        max_boxes_per_image=int(np.diff(table.splits).max(initial=0)),
        declares_classes=data.declares_classes,
        num_crowds=int(table.is_crowd.sum()),
        num_empty_images=int((np.diff(table.splits) == 0).sum()),
        findings=(
            *data.findings,
            *data.images.findings,
            *find_class_findings(data.class_names, data.category_ids, counts),
        ),
    )
    readings = data.images.readings[numbers]
    return table_source.TableSource(
        table,
        [data.images.paths[i] for i in numbers],
        info,
        readings=readings if readings.any() else None,
    )


def _leave_out_bad(data: FolderData) -> table_source.TableSource:
    paths = data.images.paths
    bad = {i: f'{error.where}: {error.message}' for i, error in data.problems.items()}
    bad |= {i: f'{paths[i]}: {text}' for i, text in data.images.problems.items()}
    rest = np.setdiff1d(np.arange(len(paths)), np.array(list(bad), np.int64))
    source = _make_source(data, kept=rest)
    stats = [os.stat(paths[i]) for i in rest]
    description = [[paths[i], s.st_size, s.st_mtime_ns] for i, s in zip(rest, stats)]
    reasons = data_cache.get_cached_reasons(
        [data.fingerprint, description],
        lambda: dict(source.find_bad_images(range(len(rest)))),
    )
    bad |= {int(rest[i]): f'{paths[rest[i]]}: {text}' for i, text in reasons.items()}
    notices.report_skipped([text for _, text in sorted(bad.items())])
    kept = np.setdiff1d(rest, np.array(list(bad), np.int64))
    return _make_source(data, kept=kept, num_corrupt=len(bad))
