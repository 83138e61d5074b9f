"""Random detection problems, in COCO's format and as the batches that an evaluator gets."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np

CATEGORY_IDS = (2, 7, 11, 90)
CLASS_NAMES = ('cup', 'dog', 'car', 'owl')


@dataclasses.dataclass
class Case:
    """Ground truth, detections (both COCO dicts) and the batches that say the same."""

    dataset: dict
    detections: list[dict]
    batches: list[tuple[dict, dict]]

    def save_annotations(self, directory: pathlib.Path) -> str:
        path = directory / 'annotations.json'
        path.write_text(json.dumps(self.dataset))
        return str(path)


def make_case(seed: int, num_images: int = 9, batch_size: int = 4) -> Case:
    """Images of many shapes with crowds, ties, mask areas, empty images and false detections."""
    rng = np.random.default_rng(seed)
    source_ids = rng.permutation(np.arange(1, 200))[:num_images]
    images = [_make_image(rng, int(source_id)) for source_id in source_ids]
    dataset = {
        'images': [
            {'id': i['id'], 'height': i['height'], 'width': i['width'], 'file_name': f'{i["id"]}'}
            for i in images
        ],
        'categories': [{'id': i, 'name': n} for i, n in zip(CATEGORY_IDS, CLASS_NAMES)],
        'annotations': [a for image in images for a in image['annotations']],
    }
    for number, annotation in enumerate(dataset['annotations'], start=1):
        annotation['id'] = number
    batches = [
        to_batch(images[start : start + batch_size], batch_size, rng)
        for start in range(0, num_images, batch_size)
    ]
    return Case(dataset, [d for image in images for d in image['detections']], batches)


def _make_image(rng: np.random.Generator, image_id: int) -> dict:
    height, width = (int(size) for size in rng.integers(60, 400, 2))
    annotations, detections = [], []
    for _ in range(0 if rng.random() < 0.2 else rng.integers(1, 12)):
        w, h = rng.uniform(4, 0.6 * width), rng.uniform(4, 0.6 * height)
        box = [rng.uniform(0, width - w), rng.uniform(0, height - h), w, h]
        category = int(rng.choice(CATEGORY_IDS[:3]))  # the last one has no ground truth
        annotations.append(
            {
                'image_id': image_id,
                'category_id': category,
                'bbox': box,
                'area': w * h * rng.uniform(0.4, 1),
                'iscrowd': int(rng.random() < 0.15),
            }
        )
        for _ in range(rng.integers(0, 4)):
            detections.append(_make_detection(rng, image_id, box, category))
    for _ in range(rng.integers(0, 4)):
        box = [*rng.uniform(0, 30, 2), *rng.uniform(5, 100, 2)]
        detections.append(_make_detection(rng, image_id, box, int(rng.choice(CATEGORY_IDS))))
    return {
        'id': image_id,
        'height': height,
        'width': width,
        'annotations': annotations,
        'detections': detections,
    }


def _make_detection(rng: np.random.Generator, image_id: int, box: list, category: int) -> dict:
    shift = rng.normal(0, 0.05, 4) * np.asarray([box[2], box[3], box[2], box[3]])
    return {
        'image_id': image_id,
        'category_id': category,
        'bbox': [float(v) for v in np.asarray(box) + shift],
        'score': float(np.round(rng.random(), 1)),  # ties
    }


def to_batch(images: list[dict], batch_size: int, rng: np.random.Generator) -> tuple[dict, dict]:
    """A batch of `batch_size`, filled up with repetitions that are not valid."""
    valid = len(images)
    images = images + [images[-1]] * (batch_size - valid)
    scale = rng.uniform(0.3, 2.5, [batch_size, 2])
    offset = rng.uniform(0, 20, [batch_size, 2])
    image_info = np.stack(
        [
            np.asarray([[i['height'], i['width']] for i in images], np.float64),
            np.full([batch_size, 2], 512.0),
            scale,
            offset,
        ],
        axis=1,
    )
    is_valid = np.arange(batch_size) < valid
    common = {'source_id': np.asarray([i['id'] for i in images], np.int64)}
    truths = {
        **common,
        'is_valid': is_valid,
        'height': np.asarray([i['height'] for i in images]),
        'width': np.asarray([i['width'] for i in images]),
        'num_detections': np.asarray([len(i['annotations']) for i in images]),
        'boxes': _padded([[_yxyx(a) for a in i['annotations']] for i in images], (4,)),
        'classes': _padded([[_label(a) for a in i['annotations']] for i in images]).astype(int),
        'areas': _padded([[a['area'] for a in i['annotations']] for i in images]),
        'is_crowds': _padded([[a['iscrowd'] for a in i['annotations']] for i in images]),
    }
    boxes = _padded([[_yxyx(d) for d in i['detections']] for i in images], (4,))
    boxes = boxes * np.tile(scale, 2)[:, None] - np.tile(offset, 2)[:, None]
    predictions = {
        **common,
        'image_info': image_info,
        'num_detections': np.asarray([len(i['detections']) for i in images]),
        'detection_boxes': boxes,
        'detection_classes': _padded([[_label(d) for d in i['detections']] for i in images]),
        'detection_scores': _padded([[d['score'] for d in i['detections']] for i in images]),
    }
    return truths, predictions


def _yxyx(annotation: dict) -> list[float]:
    x, y, w, h = annotation['bbox']
    return [y, x, y + h, x + w]


def _label(annotation: dict) -> int:
    return CATEGORY_IDS.index(annotation['category_id']) + 1


def _padded(rows: list[list], shape: tuple[int, ...] = ()) -> np.ndarray:
    width = max((len(row) for row in rows), default=0) + 3
    result = np.full([len(rows), width, *shape], -1.0)
    for index, row in enumerate(rows):
        result[index, : len(row)] = np.reshape(row, [len(row), *shape])
    return result
