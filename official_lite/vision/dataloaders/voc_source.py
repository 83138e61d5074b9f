"""Examples from a Pascal VOC folder: Annotations, JPEGImages and, if there are any, ImageSets."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from official_lite import errors
from official_lite.vision.dataloaders import (
    box_cleaning,
    class_names,
    exif_orientation,
    folder_source,
    image_finder,
    table_source,
    voc_annotations,
    voc_masks,
)

__all__ = ['Difficult', 'build_voc_source', 'forget']

Difficult = Literal['ignore', 'use', 'drop']

_ANNOTATION_FOLDERS = ('Annotations', 'annotations')
_IMAGE_FOLDERS = ('JPEGImages', 'images', 'Images')
_MASK_LIST_FOLDERS = ('ImageSets/Segmentation',)
_LIST_FOLDERS = ('ImageSets/Main', 'ImageSets')
_DIFFICULT_FATES = {
    'ignore': 'are ignored in training and evaluation, as crowds are',
    'use': 'are used as any other',
    'drop': 'are left out',
}


def build_voc_source(
    root: str,
    split: str = '',
    *,
    names: Sequence[str] = (),
    difficult: Difficult = 'ignore',
    is_one_based: bool = True,
    orientation: exif_orientation.Orientation = 'auto',
    include_mask: bool = False,
    skip_corrupt: bool = False,
    cache: bool = False,
) -> table_source.TableSource:
    """The images of a Pascal VOC folder, those without objects included.

    Classes are all names that occur in the folder, in whatever split, sorted: labels 1 to K.

    Args:
        root: Has `Annotations` and `JPEGImages`, or a folder below it does; or XML files and images
            side by side.
        split: Name of a list in `ImageSets/Main`, or of a folder below `root`. '' means all files.
        names: Class names in the order of labels, or the path of a file with one in each line. ()
            means those that occur.
        difficult: What becomes of objects marked as difficult.
        is_one_based: Whether coordinates count pixels from 1 and include the last one, as VOC's own
            do. A box whose two edges coincide has no area all the same.
        orientation: See `exif_orientation.decide_turns`.
        include_mask: Whether masks are read from `SegmentationObject`; images without one are left
            out, and splits are those of `ImageSets/Segmentation`, if it is there.
        skip_corrupt: Whether to leave out what cannot be read, after one pass that decodes every
            image.
        cache: Whether to keep the encoded images in memory.

    Raises:
        UsageError: A folder or a split does not exist.
        DataError: A file cannot be used.
    """
    listed = class_names.read_class_names(names)
    options = (listed, difficult, is_one_based, orientation, include_mask)
    data = _load(root, split, *options)
    if folder_source.is_stale(data.images):
        forget()
        data = _load(root, split, *options)
    return folder_source.build_folder_source(data, skip_corrupt=skip_corrupt, cache=cache)


def forget() -> None:
    """Drops what was read in this process, so that files are read again."""
    _load.cache_clear()


@dataclasses.dataclass(frozen=True)
class _Folder:
    """Where things are."""

    annotations: Path
    images: Path
    lists: Path | None
    object_masks: Path | None


@functools.lru_cache(maxsize=4)
def _load(
    root: str,
    split: str,
    names: tuple[str, ...],
    difficult: Difficult,
    is_one_based: bool,
    mode: exif_orientation.Orientation,
    include_mask: bool,
) -> folder_source.FolderData:
    folder = _find_folder(root, include_mask=include_mask)
    stems = _list_stems(folder.annotations)
    files = voc_annotations.load_voc_files([str(folder.annotations / f'{s}.xml') for s in stems])
    chosen, findings = _choose(folder, split, stems)
    if include_mask:
        chosen, findings = _keep_segmented(folder, stems, chosen, findings)
    selected = _select(files, chosen)
    listed = names or files.names
    raw = _make_raw(selected, listed, difficult, is_one_based)
    finder = image_finder.ImageFinder(folder.images)
    paths = [
        _find_image(finder, folder.images, stems[i], files.file_names[i]) for i in chosen.tolist()
    ]
    images = folder_source.look_at_images(paths, selected.sizes_px, mode=mode)
    sizes = np.where(
        (selected.sizes_px > 0).all(-1, keepdims=True),
        selected.sizes_px,
        np.stack([images.heights_px, images.widths_px], axis=-1),
    )
    sizes = np.maximum(sizes, 1)
    cleaned = box_cleaning.clean_boxes(
        raw,
        heights_px=sizes[:, 0],
        widths_px=sizes[:, 1],
        source_ids=np.array(class_names.make_source_ids(stems), np.int64)[chosen],
        describe=lambda i: _describe(selected, raw, i),
    )
    table, mask_findings = cleaned.table, tuple[str, ...]()
    if include_mask:
        rows = raw.rows[cleaned.kept]
        table, mask_findings = _add_masks(folder, selected, rows, table, [stems[i] for i in chosen])
    return folder_source.FolderData(
        table=table,
        images=images,
        class_names=tuple(listed),
        category_ids=tuple(range(1, len(listed) + 1)),
        fingerprint=_compute_fingerprint([stems[i] for i in chosen], listed, cleaned.table),
        origin=f'{root} ({split})' if split else root,
        findings=(
            *findings,
            *_count_difficult(selected, difficult),
            *cleaned.findings,
            *mask_findings,
            *(_find_lonely_images(folder.images, len(stems)) if not split else ()),
        ),
        num_dropped_boxes=len(raw.labels) - cleaned.num_boxes,
        problems=selected.problems,
    )


# ---- files and folders --------------------------------------------------------------------------


def _find_folder(root: str, *, include_mask: bool) -> _Folder:
    path = Path(root)
    if not path.is_dir():
        raise errors.UsageError(f'the folder {root!r} does not exist', where='root')
    path = _descend(path)
    annotations = _pick(path, _ANNOTATION_FOLDERS) or path
    return _Folder(
        annotations=annotations,
        images=_pick(path, _IMAGE_FOLDERS) or path,
        lists=_pick(path, (*_MASK_LIST_FOLDERS * include_mask, *_LIST_FOLDERS)),
        object_masks=_pick(path, (voc_masks.OBJECT_FOLDER,)),
    )


def _descend(path: Path) -> Path:
    """The folder that has the annotations: this one, or the only one below, as in VOCdevkit."""
    if _pick(path, _ANNOTATION_FOLDERS):
        return path
    below = [
        folder
        for pattern in ('*', '*/*')
        for folder in sorted(path.glob(pattern))
        if folder.is_dir() and _pick(folder, _ANNOTATION_FOLDERS)
    ]
    if len(below) > 1:
        listed = ', '.join(str(folder) for folder in below[:5])
        raise errors.UsageError(
            f'there are several data sets below {str(path)!r}', where='root', expected=listed
        )
    return below[0] if below else path


def _pick(path: Path, names: Sequence[str]) -> Path | None:
    return next((path / name for name in names if (path / name).is_dir()), None)


def _list_stems(folder: Path) -> list[str]:
    """Paths of the XML files without suffix, relative to the folder, sorted."""
    stems = []
    for place, names in image_finder.walk(folder):
        relative = os.path.relpath(place, folder)
        stems += [
            os.path.normpath(os.path.join(relative, name[:-4]))
            for name in names
            if name.lower().endswith('.xml') and not name.startswith('.')
        ]
    if not stems:
        raise errors.UsageError(
            f'no annotations in {str(folder)!r}',
            where='root',
            expected='a folder with Annotations/*.xml and JPEGImages, or with XML files and images',
        )
    return sorted(stems)


def _choose(
    folder: _Folder, split: str, stems: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """int64, numbers of the files of a split, and what is noteworthy about it."""
    splits = _list_splits(folder, stems)
    if not split:
        given = f' ({", ".join(splits[:6])})' if splits else ''
        note = f'no split is chosen{given}: all {len(stems):,} annotation files are read'
        return np.arange(len(stems)), (note,) if splits else ()
    if folder.lists is not None and (folder.lists / f'{split}.txt').is_file():
        return _read_list(folder.lists / f'{split}.txt', stems)
    below = [i for i, stem in enumerate(stems) if stem.startswith(split + os.sep)]
    if below:
        return np.array(below, np.int64), ()
    raise errors.UsageError(
        f'there is no split {split!r}',
        where='split',
        expected=f'one of {", ".join(splits[:12])}' if splits else "'', because there are no lists",
    )


def _keep_segmented(
    folder: _Folder, stems: Sequence[str], chosen: np.ndarray, findings: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Those of the chosen files whose images have masks."""
    kept = voc_masks.find_segmented(folder.object_masks, [stems[i] for i in chosen])
    if len(kept) == len(chosen):
        return chosen, findings
    note = f'{len(chosen) - len(kept):,} of {len(chosen):,} images have no masks and are left out'
    return chosen[kept], (*findings, note)


def _add_masks(
    folder: _Folder,
    selected: _Selected,
    rows: np.ndarray,
    table: table_source.AnnotationTable,
    stems: Sequence[str],
) -> tuple[table_source.AnnotationTable, tuple[str, ...]]:
    """The table with masks, and what was found; `rows` are its objects among the selected ones."""
    assert folder.object_masks is not None
    masks, is_empty, findings = voc_masks.read_masks(
        [str(folder.object_masks / f'{stem}.png') for stem in stems],
        selected.image_numbers[rows],
        selected.object_numbers[rows],
        table.boxes,
        np.stack([table.heights_px, table.widths_px], axis=-1),
    )
    return (
        dataclasses.replace(table, masks=masks, is_crowd=table.is_crowd | is_empty),
        findings,
    )


def _list_splits(folder: _Folder, stems: Sequence[str]) -> list[str]:
    """Names of lists, those of single classes (`cat_train`) last; or of folders."""
    if folder.lists is not None:
        names = sorted(path.stem for path in folder.lists.glob('*.txt'))
        return sorted(names, key=lambda name: '_' in name)
    return sorted({stem.split(os.sep)[0] for stem in stems if os.sep in stem})


def _read_list(path: Path, stems: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = {stem: number for number, stem in enumerate(stems)}
    chosen: dict[int, None] = {}
    num_repeated = 0
    for line_number, line in enumerate(_read_text(path).splitlines(), start=1):
        fields = line.split()
        # The list of one class has a second column: -1 says that it is not in the image.
        if not fields or (len(fields) == 2 and fields[1] == '-1'):
            continue
        stem = os.path.normpath(_strip_suffix(fields[0]))
        if stem not in numbers:
            raise errors.DataError(
                f'there is no annotation file {stem}.xml', where=f'{path}:{line_number}'
            )
        num_repeated += numbers[stem] in chosen
        chosen[numbers[stem]] = None
    if not chosen:
        raise errors.DataError('the list names no image', where=str(path))
    findings = (
        (f'{num_repeated:,} lines of {path} name an image again; each counts once',)
        if num_repeated
        else ()
    )
    return np.array(list(chosen), np.int64), findings


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise errors.DataError(f'the list cannot be read ({error})', where=str(path)) from error


def _strip_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in (*image_finder.IMAGE_SUFFIXES, '.xml') else name


def _find_image(finder: image_finder.ImageFinder, folder: Path, stem: str, file_name: str) -> str:
    """The image of an annotation file: of its name, or else of the name that stands in it."""
    # Quickly, where both agree, as they should.
    beside = os.path.join(folder, os.path.dirname(stem), os.path.basename(file_name))
    if os.path.splitext(os.path.basename(file_name))[0] == os.path.basename(stem) and (
        os.path.isfile(beside)
    ):
        return beside
    return finder.find_stem(stem) or finder.find(os.path.basename(file_name) or f'{stem}.jpg')


def _find_lonely_images(folder: Path, num_files: int) -> tuple[str, ...]:
    num_images = len(image_finder.list_images(folder))
    if num_images <= num_files:
        return ()
    return (
        f'{num_images - num_files:,} of {num_images:,} images in {folder} have no annotation file and '
        'are left out',
    )


# ---- objects ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Selected:
    """The files of a split, in its order."""

    paths: tuple[str, ...]
    names: tuple[str, ...]
    sizes_px: np.ndarray
    image_numbers: np.ndarray
    object_numbers: np.ndarray  # int64 [n], within the file
    classes: np.ndarray
    boxes: np.ndarray
    is_difficult: np.ndarray
    problems: dict[int, errors.DataError]


def _select(files: voc_annotations.VocFiles, chosen: np.ndarray) -> _Selected:
    counts = np.diff(files.splits)[chosen]
    image_numbers = np.repeat(np.arange(len(chosen)), counts)
    first_rows = np.concatenate([[0], np.cumsum(counts)])[:-1]
    object_numbers = np.arange(len(image_numbers)) - np.repeat(first_rows, counts)
    rows = np.repeat(files.splits[chosen], counts) + object_numbers
    return _Selected(
        paths=tuple(files.paths[i] for i in chosen),
        names=files.names,
        sizes_px=files.sizes_px[chosen],
        image_numbers=image_numbers,
        object_numbers=object_numbers,
        classes=files.classes[rows],
        boxes=files.boxes[rows],
        is_difficult=files.is_difficult[rows],
        problems={
            k: files.problems[i] for k, i in enumerate(chosen.tolist()) if i in files.problems
        },
    )


@dataclasses.dataclass(frozen=True)
class _RawObjects(box_cleaning.RawBoxes):
    rows: np.ndarray  # int64 [n], of `_Selected`


def _make_raw(
    selected: _Selected, names: Sequence[str], difficult: Difficult, is_one_based: bool
) -> _RawObjects:
    rows = np.arange(len(selected.classes))
    if difficult == 'drop':
        rows = rows[~selected.is_difficult]
    boxes = selected.boxes[rows].copy()
    if is_one_based:
        boxes[:, :2] -= boxes[:, 2:] > boxes[:, :2]
    is_ignored = selected.is_difficult[rows] & (difficult == 'ignore')
    return _RawObjects(
        image_numbers=selected.image_numbers[rows],
        boxes_px=boxes,
        labels=_get_labels(selected, names)[rows],
        is_crowd=is_ignored,
        areas=np.full([len(rows)], np.nan),
        rows=rows,
    )


def _get_labels(selected: _Selected, names: Sequence[str]) -> np.ndarray:
    labels = {name: label for label, name in enumerate(names, start=1)}
    look_up = np.array([labels.get(name, 0) for name in selected.names], np.int64)
    found = look_up[selected.classes] if len(look_up) else np.zeros([0], np.int64)
    wrong = np.flatnonzero(found == 0)
    if len(wrong):
        first = int(wrong[0])
        raise errors.DataError(
            f'class {selected.names[selected.classes[first]]!r} is not in class_names',
            where=_name_object(selected, first),
            expected=f'one of {", ".join(names[:10])}',
            hint='add it to class_names, or leave class_names out to take them from the data',
        )
    return found


def _name_object(selected: _Selected, row: int) -> str:
    path = selected.paths[int(selected.image_numbers[row])]
    return f'{path}, object {int(selected.object_numbers[row]) + 1}'


def _describe(selected: _Selected, raw: _RawObjects, number: int) -> str:
    row = int(raw.rows[number])
    name = selected.names[selected.classes[row]]
    return f'{_name_object(selected, row)} ({name!r})'


def _count_difficult(selected: _Selected, difficult: Difficult) -> tuple[str, ...]:
    count = int(selected.is_difficult.sum())
    if not count:
        return ()
    return (f'{count:,} objects are marked as difficult and {_DIFFICULT_FATES[difficult]}',)


def _compute_fingerprint(
    stems: Sequence[str], names: Sequence[str], table: table_source.AnnotationTable
) -> str:
    digest = hashlib.sha256('\n'.join([*stems, '', *names]).encode())
    for array in (table.splits, table.labels, table.boxes, table.is_crowd):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
