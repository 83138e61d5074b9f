"""Writes examples as a COCO annotation file and a folder of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from official_lite import errors
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import tfrecord_writer

__all__ = ['CocoWriter', 'encode_mask']

# Coordinates are shortened to so many decimals where that does not change the normalised box.
_NUM_DECIMALS = 3


class CocoWriter:
    """Writes `FOLDER/images/` image by image, and at the end `FOLDER/annotations.json`.

    Args:
        folder: Where to; made if it does not exist.
        info: Has the classes.
    """

    def __init__(self, folder: str | Path, info: DataInfo) -> None:
        self._folder = Path(folder)
        (self._folder / 'images').mkdir(parents=True, exist_ok=True)
        self._info = info
        self._images: dict[int, dict[str, Any]] = {}
        self._annotations: list[dict[str, Any]] = []

    @property
    def num_images(self) -> int:
        """Number of images so far."""
        return len(self._images)

    def add(self, example: tfrecord_writer.DetectionExample) -> None:
        """Writes an image, named by its id, and keeps its annotations.

        Raises:
            DataError: Another image has the same id.
        """
        if example.source_id in self._images:
            raise errors.DataError(
                f'two images have the id {example.source_id}, and COCO needs one for each',
                where=self._info.origin,
                hint='TFRecords are numbered anew with decoder.simple_decoder.regenerate_source_id',
            )
        suffix = 'png' if example.image_bytes.startswith(b'\x89PNG') else 'jpg'
        name = f'{example.source_id:012d}.{suffix}'
        (self._folder / 'images' / name).write_bytes(example.image_bytes)
        self._images[example.source_id] = {
            'id': example.source_id,
            'file_name': name,
            'height': example.height_px,
            'width': example.width_px,
        }
        for row in range(len(example.labels)):
            annotation = _make_annotation(example, self._info.category_ids, row)
            self._annotations.append({**annotation, 'id': len(self._annotations) + 1})

    def finish(self) -> Path:
        """Writes the annotation file and returns its path."""
        categories = [
            {'id': id_, 'name': name}
            for id_, name in zip(self._info.category_ids, self._info.class_names, strict=True)
        ]
        path = self._folder / 'annotations.json'
        content = {
            'images': list(self._images.values()),
            'annotations': self._annotations,
            'categories': categories,
        }
        path.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')
        return path


def _make_annotation(
    example: tfrecord_writer.DetectionExample, category_ids: tuple[int, ...], row: int
) -> dict[str, Any]:
    y0, x0, y1, x1 = (float(side) for side in example.boxes[row])
    left, right = (_to_px(side, example.width_px) for side in (x0, x1))
    top, bottom = (_to_px(side, example.height_px) for side in (y0, y1))
    width, height = round(right - left, 9), round(bottom - top, 9)
    annotation = {
        'image_id': example.source_id,
        'category_id': category_ids[int(example.labels[row]) - 1],
        'bbox': [left, top, width, height],
        'area': width * height if example.areas is None else float(example.areas[row]),
        'iscrowd': 0 if example.is_crowd is None else int(example.is_crowd[row]),
    }
    if example.masks is not None:
        annotation['segmentation'] = encode_mask(example.masks[row])
    return annotation


def _to_px(share: float, length: int) -> float:
    """A float32 share of a length in pixels, such that dividing it again gives the same float32."""
    exact = share * length
    short = round(exact, _NUM_DECIMALS)
    return short if np.float32(short / length) == np.float32(share) else exact


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """COCO's uncompressed run lengths of a mask: down the columns, the first run of zeros."""
    flat = np.concatenate([[0], mask.astype(np.uint8).T.reshape(-1)])
    changes = np.flatnonzero(np.diff(flat))
    ends = np.concatenate([changes, [mask.size]])
    counts = np.diff(np.concatenate([[0], ends]))
    return {'size': list(mask.shape), 'counts': counts.tolist()}
