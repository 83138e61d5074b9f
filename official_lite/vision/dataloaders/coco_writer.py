"""Writes examples as a COCO annotation file and a folder of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from official_lite.vision.dataloaders import table_source

__all__ = ['encode_mask', 'write_coco']


def write_coco(
    source: table_source.TableSource,
    folder: str | Path,
    *,
    get_masks: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """Writes `FOLDER/annotations.json` and `FOLDER/images/`.

    Args:
        source: The examples.
        folder: Where to; made if it does not exist.
        get_masks: Returns bool [n, height, width], the masks of an example by its number. None
            means that no masks are written.

    Returns:
        The path of the annotation file.
    """
    folder = Path(folder)
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    table, info = source.table, source.info
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in range(len(table)):
        content = source.read_image(i)
        suffix = 'png' if content.startswith(b'\x89PNG') else 'jpg'
        name = f'{int(table.source_ids[i]):012d}.{suffix}'
        (folder / 'images' / name).write_bytes(content)
        images.append(
            {
                'id': int(table.source_ids[i]),
                'file_name': name,
                'height': int(table.heights_px[i]),
                'width': int(table.widths_px[i]),
            }
        )
        masks = get_masks(i) if get_masks else None
        for k, row in enumerate(range(int(table.splits[i]), int(table.splits[i + 1]))):
            annotation = _make_annotation(table, info.category_ids, i, row)
            annotation['id'] = len(annotations) + 1
            if masks is not None:
                annotation['segmentation'] = encode_mask(masks[k])
            annotations.append(annotation)
    categories = [
        {'id': id_, 'name': name}
        for id_, name in zip(info.category_ids, info.class_names, strict=True)
    ]
    path = folder / 'annotations.json'
    path.write_text(
        json.dumps({'images': images, 'annotations': annotations, 'categories': categories})
    )
    return path


def _make_annotation(
    table: table_source.AnnotationTable, category_ids: tuple[int, ...], image: int, row: int
) -> dict[str, Any]:
    height, width = float(table.heights_px[image]), float(table.widths_px[image])
    y0, x0, y1, x1 = (float(v) for v in table.boxes[row])
    return {
        'image_id': int(table.source_ids[image]),
        'category_id': category_ids[int(table.labels[row]) - 1],
        'bbox': [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height],
        'area': float(table.areas[row]),
        'iscrowd': int(table.is_crowd[row]),
    }


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths of a mask: down the columns, the first run of zeros."""
    flat = np.concatenate([[0], mask.astype(np.uint8).T.reshape(-1)])
    changes = np.flatnonzero(np.diff(flat))
    ends = np.concatenate([changes, [mask.size]])
    counts = np.diff(np.concatenate([[0], ends]))
    return {'size': list(mask.shape), 'counts': counts.tolist()}
