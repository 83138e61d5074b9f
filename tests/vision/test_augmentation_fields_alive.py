"""Every field of augmentation's configs changes what comes out for fixed keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import randomness
from official_lite.vision.configs import common
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import detection_augmentation

# Where a field stands, and what else must be set for it to mean something.
_CONFIGS: dict[str, tuple[type, dict[str, Any]]] = {
    'aug_type.randaug': (common.RandAugment, {}),
    'aug_type.autoaug': (common.AutoAugment, {'augmentation_name': 'test'}),
    'aug_type.ssd_random_crop': (common.SSDRandomCrop, {}),
    'aug_rand_jpeg': (common.RandJpegQuality, {}),
    'random_erasing': (common.RandomErasing, {'probability': 1.0, 'max_count': 2}),
    'mosaic': (common.Mosaic, {}),
}
_VALUES: dict[str, Any] = {
    'exclude_ops': ['Invert', 'Rotate'],
    'magnitude': 3.0,
    'magnitude_std': 2.0,
    'prob_to_apply': 0.1,
    'augmentation_name': 'detection_v0',
    'cutout_const': 9.0,
    'translate_const': 30.0,
    'num_layers': 4,
    'fill_mode': 'reflect',
    'min_quality': 90,
    'max_quality': 30,
    'probability': 0.1,
    'min_area': 0.3,
    'max_area': 0.1,
    'min_aspect': 0.9,
    'max_aspect': 0.5,
    'min_count': 2,
    'max_count': 4,
    'trials': 1,
    'prob': 1.0,
    'center_range': (0.1, 0.2),
    'min_box_overlap': 0.99,
    'aspect_ratio_range': (0.5, 0.6),
    'area_range': (0.1, 0.2),
    'ssd_random_crop_params': [common.SSDRandomCropParam(prob_to_apply=0.1)],
}
_CONTEXT: dict[str, dict[str, Any]] = {
    # 'test' has no Cutout.
    'aug_type.autoaug.cutout_const': {'augmentation_name': 'vit'},
    # Large rectangles, of which the first try often does not fit in.
    'random_erasing.trials': {'min_area': 0.5, 'max_area': 0.9},
}


def _fields() -> Iterator[tuple[str, str]]:
    for place, (config, _) in _CONFIGS.items():
        for field in dataclasses.fields(config):
            if field.name not in ('default_params', 'restrictions'):
                yield place, field.name


def _run(place: str, settings: dict[str, Any]) -> list[np.ndarray]:
    """Images and boxes for 24 keys."""
    config = retinanet_cfg.Parser()
    name, _, branch = place.partition('.')
    config.override({name: {'type': branch, branch: settings} if branch else settings})
    config.validate()
    augmentation = detection_augmentation.build_augmentation(config)
    image = tf.constant(np.random.default_rng(0).integers(9, 240, [40, 48, 3]), tf.uint8)
    boxes = tf.constant([[0.1, 0.1, 0.5, 0.4], [0.3, 0.5, 0.9, 0.9]])

    @tf.function
    def change(key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        changed, moved, _ = augmentation.change_record(image, boxes, key)
        return augmentation.change_resized(changed, key), moved

    keys = [randomness.make_key(5, index=index) for index in range(24)]
    if name != 'mosaic':
        return [np.asarray(x) for key in keys for x in change(key)]
    images = tf.stack([tf.roll(image, 7 * i, 0) for i in range(24)])
    labels = {
        'boxes': tf.tile(boxes[None] * 40.0, [24, 1, 1]),
        'classes': tf.tile([[1, 2]], [24, 1]),
        'image_info': tf.tile([[[40.0, 48], [40, 48], [1, 1], [0, 0]]], [24, 1, 1]),
        'mosaic_key': tf.stack(keys),
    }
    padding = {'boxes': -1, 'classes': -1}
    return [
        np.asarray(x) for x in tf.nest.flatten(augmentation.change_batch(images, labels, padding))
    ]


_DONE: dict[str, list[np.ndarray]] = {}


def _run_once(place: str, settings: dict[str, Any]) -> list[np.ndarray]:
    key = f'{place} {settings}'
    if key not in _DONE:
        _DONE[key] = _run(place, settings)
    return _DONE[key]


@pytest.mark.parametrize(('place', 'name'), list(_fields()))
def test_d3_a_field_changes_training_data(place: str, name: str) -> None:
    settings = {**_CONFIGS[place][1], **_CONTEXT.get(f'{place}.{name}', {})}
    before = _run_once(place, settings)
    after = _run(place, {**settings, name: _VALUES[name]})
    equal = [
        a.shape == b.shape and np.array_equal(a, b) for a, b in zip(before, after, strict=True)
    ]
    assert not all(equal)


@pytest.mark.parametrize('name', ['min_object_covered', 'min_box_overlap', 'prob_to_apply'])
def test_d3_a_field_of_a_crop_changes_training_data(name: str) -> None:
    def run(**fields: float) -> list[np.ndarray]:
        case = {'min_object_covered': 0.1, 'min_box_overlap': 0.3, 'prob_to_apply': 1.0, **fields}
        return _run_once('aug_type.ssd_random_crop', {'ssd_random_crop_params': [case]})

    before, after = run(), run(**{name: 0.95 if name != 'prob_to_apply' else 0.2})
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(before, after, strict=True))
