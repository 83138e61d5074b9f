"""A tiny detection problem: a COCO JSON with sparse ids and images of many shapes, and a model."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from official_lite.core import exp_factory

CATEGORIES = {3: 'red', 17: 'green', 90: 'blue'}
COLORS = {3: (230, 30, 30), 17: (30, 200, 40), 90: (40, 60, 240)}
SIZES = ((60, 100), (97, 41), (50, 50), (33, 120), (64, 80))  # height, width


def make_dataset(directory: pathlib.Path, seed: int = 0, crowds: bool = True) -> str:
    """Writes five images with colored rectangles (the third has none); returns the JSON's path."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number, (height, width) in enumerate(SIZES):
        image_id = 1000 - 7 * number
        pixels = rng.integers(90, 130, [height, width, 3]).astype(np.uint8)
        for category in [] if number == 2 else rng.choice(list(CATEGORIES), 3):
            w, h = int(rng.integers(12, width // 2)), int(rng.integers(12, height // 2))
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            pixels[y : y + h, x : x + w] = COLORS[int(category)]
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': int(category),
                    'bbox': [x, y, w, h],
                    'area': w * h,
                    'iscrowd': int(crowds and number == 1 and len(annotations) % 3 == 0),
                }
            )
        name = f'{image_id}.png'
        Image.fromarray(pixels).save(directory / name)
        images.append({'id': image_id, 'file_name': name, 'height': height, 'width': width})
    path = directory / 'annotations.json'
    categories = [{'id': i, 'name': name} for i, name in CATEGORIES.items()]
    path.write_text(
        json.dumps({'images': images, 'annotations': annotations, 'categories': categories})
    )
    return str(path)


def make_params(annotation_file: str | None, **overrides: Any) -> Any:
    """An experiment on such a JSON (None: on a few embedded scenes), not resolved.

    Args:
        annotation_file: The JSON, for training and validation.
        **overrides: Fields by dotted path, with `__` for the dots.
    """
    params = exp_factory.get_exp_config('retinanet_custom')
    params.override(
        {
            'runtime': {'mixed_precision_dtype': 'float32', 'distribution_strategy': 'one_device'},
            'task': {
                'model': {
                    'input_size': [64, 96, 3],
                    'head': {'num_convs': 1, 'num_filters': 16},
                    'decoder': {'fpn': {'num_filters': 16}},
                    'backbone': {'resnet': {'depth_multiplier': 0.25}},
                    'detection_generator': {'pre_nms_top_k': 100, 'max_num_detections': 20},
                },
                'train_data': {'global_batch_size': 2},
                'validation_data': {'global_batch_size': 2},
            },
            'trainer': {
                'train_steps': 10,
                'steps_per_loop': 5,
                'summary_interval': 5,
                'checkpoint_interval': 10,
                'validation_interval': 10,
            },
        }
    )
    for data in (params.task.train_data, params.task.validation_data):
        if annotation_file is None:
            data.source.embedded.num_scenes = 7
        else:
            data.override(
                {'source': {'type': 'coco', 'coco': {'annotation_file': annotation_file}}}
            )
    for path, value in overrides.items():
        node = params
        *parents, name = path.split('__')
        for parent in parents:
            node = getattr(node, parent)
        setattr(node, name, value)
    return params
