"""Where the images, labels and class names of a YOLO data set are.

Two conventions are read: a `data.yaml` as Ultralytics writes it, and plain folders (`images/train` with
`labels/train`, `train/images` with `train/labels`, or images and labels side by side).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from official_lite import errors
from official_lite.vision.dataloaders import class_names, image_finder

__all__ = ['YoloLayout', 'find_layout', 'get_label_paths']

_YAML_NAMES = ('data.yaml', 'data.yml', 'dataset.yaml', 'dataset.yml')
_NAMES_FILES = ('classes.txt', 'obj.names', 'classes.names', 'names.txt', 'labels/classes.txt')
# What the same split is called in different places.
_SYNONYMS = (('val', 'valid', 'validation'), ('train', 'training'), ('test', 'testing'))


@dataclasses.dataclass(frozen=True)
class YoloLayout:
    """One split of a data set.

    Attributes:
        image_paths: Its images.
        class_names: Of the classes 0..K-1; () if they are nowhere.
        has_keypoints: Whether lines of labels go on with keypoints after the box.
        names_from: The file that has the names.
    """

    image_paths: tuple[str, ...]
    class_names: tuple[str, ...]
    has_keypoints: bool
    names_from: str


def find_layout(root: str, split: str = '') -> YoloLayout:
    """Finds one split.

    Args:
        root: A `data.yaml`, or the folder that has one, or a folder of images and labels.
        split: 'train', 'val', 'test', or the name of a folder or list. '' means the whole folder.

    Raises:
        UsageError: The folder, the split or a path in `data.yaml` does not exist.
        DataError: The YAML is not what it should be.
    """
    path = Path(root)
    if not path.exists():
        raise errors.UsageError(f'{root!r} does not exist', where='root')
    yaml_path = path if path.is_file() else _find_yaml(path)
    if yaml_path is not None:
        return _read_yaml(yaml_path, split)
    names_path = next((path / n for n in _NAMES_FILES if (path / n).is_file()), None)
    images = _find_folder(path, split)
    return YoloLayout(
        image_paths=tuple(images),
        class_names=class_names.read_names_file(names_path) if names_path else (),
        has_keypoints=False,
        names_from=str(names_path or ''),
    )


def _find_yaml(folder: Path) -> Path | None:
    return next((folder / name for name in _YAML_NAMES if (folder / name).is_file()), None)


def _get_synonyms(split: str) -> tuple[str, ...]:
    group = next((names for names in _SYNONYMS if split in names), ())
    return (split, *(name for name in group if name != split))


# ---- data.yaml ----------------------------------------------------------------------------------


def _read_yaml(path: Path, split: str) -> YoloLayout:
    content = _load_yaml(path)
    names = _parse_names(content, path)
    known = [key for key in ('train', 'val', 'test') if content.get(key)]
    keys = [name for name in _get_synonyms(split) if content.get(name)] if split else []
    if not keys:
        what = f'there is no split {split!r} in {path}' if split else 'no split is chosen'
        raise errors.UsageError(what, where='split', expected=f'one of {", ".join(known)}')
    base = Path(str(content.get('path') or ''))
    base = base if base.is_absolute() else _resolve_base(path.parent, base)
    value = content[keys[0]]
    entries = value if isinstance(value, list) else [value]
    images = [image for entry in entries for image in _list_entry(base, str(entry), path, keys[0])]
    return YoloLayout(
        image_paths=tuple(dict.fromkeys(images)),
        class_names=names,
        has_keypoints='kpt_shape' in content,
        names_from=str(path),
    )


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.MarkedYAMLError as error:
        line = f':{error.problem_mark.line + 1}' if error.problem_mark else ''
        raise errors.DataError(
            f'not a YAML file ({error.problem})', where=f'{path}{line}'
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise errors.DataError(f'not a YAML file ({error})', where=str(path)) from error
    if not isinstance(content, dict):
        raise errors.DataError('not a data set', where=str(path), expected='keys train, val, names')
    return content


def _parse_names(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    names, count = content.get('names'), content.get('nc')
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise errors.DataError(
                'the names do not number the classes',
                where=f'{path}, names',
                expected=f'keys 0 to {len(names) - 1}',
                received=', '.join(str(key) for key in list(names)[:10]),
            )
        names = [names[key] for key in range(len(names))]
    if names is None and isinstance(count, int):
        names = [f'class_{number}' for number in range(count)]
    if not isinstance(names, list) or not names:
        raise errors.DataError('no class names', where=str(path), expected='names: [cat, dog]')
    if isinstance(count, int) and count != len(names):
        raise errors.DataError(
            f'nc is {count}, but there are {len(names)} names', where=str(path), expected='as many'
        )
    return tuple(str(name) for name in names)


def _resolve_base(folder: Path, base: Path) -> Path:
    """`path` is relative to the file; some tools mean their own folder and name this one again."""
    return folder / base if (folder / base).is_dir() else folder


def _list_entry(base: Path, entry: str, path: Path, key: str) -> list[str]:
    """The images of a folder, or of a list of images."""
    target = _find_existing(base, entry)
    if target is None:
        raise errors.UsageError(
            f'{entry!r} does not exist',
            where=f'{path}, {key}',
            expected=f'a folder or a list of images, relative to {base}',
        )
    if target.is_dir():
        return image_finder.list_images(target)
    if target.suffix.lower() == '.txt':
        return _read_list(target, base)
    return [str(target)]


def _find_existing(base: Path, entry: str) -> Path | None:
    # Roboflow writes ../train/images for what is train/images.
    tries = [base / entry, base / entry.removeprefix('../'), Path(entry)]
    return next((path for path in tries if path.exists()), None)


def _read_list(path: Path, base: Path) -> list[str]:
    """The images that a text file lists, relative to it or to the data set's folder."""
    lines = class_names.read_names_file(path)
    images = []
    for line in lines:
        if line:
            tries = [path.parent / line, base / line]
            images.append(str(next((p for p in tries if p.is_file()), tries[0])))
    return images


# ---- plain folders ------------------------------------------------------------------------------


def _find_folder(root: Path, split: str) -> list[str]:
    tries = [root / 'images', root]
    if split:
        names = _get_synonyms(split)
        tries = [root / 'images' / name for name in names]
        tries += [root / name / 'images' for name in names]
        tries += [root / name for name in names]
        lists = [root / f'{name}.txt' for name in names]
        found = next((path for path in lists if path.is_file()), None)
        if found is not None and not any(path.is_dir() for path in tries):
            return _read_list(found, root)
    folder = next((path for path in tries if path.is_dir()), None)
    if folder is None:
        raise errors.UsageError(
            f'there is no split {split!r} in {str(root)!r}',
            where='split',
            expected=f'one of the folders {", ".join(_list_splits(root)) or "(there are none)"}',
        )
    images = image_finder.list_images(folder)
    if not images:
        raise errors.UsageError(
            f'no images in {str(folder)!r}',
            where='root',
            expected='a data.yaml, or folders images and labels',
        )
    return images


def _list_splits(root: Path) -> list[str]:
    below = root / 'images' if (root / 'images').is_dir() else root
    return sorted(path.name for path in below.iterdir() if path.is_dir())


def get_label_paths(image_paths: Sequence[str]) -> list[str]:
    """Where the labels of images are: in `labels` in place of the last `images`, or beside them.

    Returns:
        A path for each image; it need not exist.
    """
    return [_get_label_path(path) for path in image_paths]


def _get_label_path(image_path: str) -> str:
    stem = os.path.splitext(image_path)[0]
    parts = stem.split(os.sep)
    beside = f'{stem}.txt'
    if 'images' not in parts[:-1]:
        return beside
    last = len(parts) - 2 - parts[-2::-1].index('images')
    expected = os.sep.join([*parts[:last], 'labels', *parts[last + 1 :]]) + '.txt'
    return expected if os.path.isfile(expected) or not os.path.isfile(beside) else beside
