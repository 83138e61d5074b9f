"""Writes small Pascal VOC and YOLO folders for tests."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tests.vision.dataloaders import data_makers

HEIGHT, WIDTH = 20, 40


def make_object(name: str, *edges: float | str, **extra: Any) -> str:
    """One <object>."""
    tags = zip(('xmin', 'ymin', 'xmax', 'ymax'), edges, strict=True)
    box = ''.join(f'<{tag}>{value}</{tag}>' for tag, value in tags)
    more = ''.join(f'<{tag}>{value}</{tag}>' for tag, value in extra.items())
    return f'\n  <object>\n    <name>{name}</name>{more}<bndbox>{box}</bndbox>\n  </object>'


def write_voc(
    folder: pathlib.Path,
    files: Mapping[str, Sequence[str]],
    *,
    splits: Mapping[str, str] | None = None,
    size: tuple[int, int] | None = (HEIGHT, WIDTH),
    annotations: str = 'Annotations',
    images: str = 'JPEGImages',
    suffix: str = 'png',
) -> pathlib.Path:
    """Writes a folder.

    Args:
        folder: Where to.
        files: Objects by the name of the image without suffix.
        splits: Text of the lists by name.
        size: (height, width) that the files tell; None: they do not.
        annotations, images: Names of the folders.
        suffix: Of the images.
    """
    told = f'<size><width>{size[1]}</width><height>{size[0]}</height></size>' if size else ''
    for number, (stem, objects) in enumerate(files.items()):
        path = folder / annotations / f'{stem}.xml'
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f'{pathlib.Path(stem).name}.{suffix}'
        head = f'<annotation>\n  <filename>{name}</filename>{told}'
        path.write_text(f'{head}{"".join(objects)}\n</annotation>')
        image = folder / images / f'{stem}.{suffix}'
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(data_makers.make_image(HEIGHT, WIDTH, number))
    for name, text in (splits or {}).items():
        path = folder / 'ImageSets' / 'Main' / f'{name}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def write_yolo(
    folder: pathlib.Path,
    files: Mapping[str, str | None],
    *,
    images: str = 'images',
    labels: str = 'labels',
    **texts: str,
) -> pathlib.Path:
    """Writes a folder.

    Args:
        folder: Where to.
        files: Labels by the name of the image without suffix; None writes no label file.
        images, labels: Names of the folders.
        texts: Further files, by name with `_` for `.`.
    """
    for number, (stem, text) in enumerate(files.items()):
        image = folder / images / f'{stem}.png'
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(data_makers.make_image(HEIGHT, WIDTH, number))
        if text is not None:
            path = folder / labels / f'{stem}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name, text in texts.items():
        (folder / name.replace('_', '.')).write_text(text)
    return folder
