"""Masks of objects in conversion, inspection and pictures."""

from __future__ import annotations

import pathlib

import numpy as np

from official_lite.core import exp_factory
from official_lite.vision import visualization
from official_lite.vision.configs import maskrcnn as configs
from official_lite.vision.data import anchor_fit, convert, inspection, preview
from official_lite.vision.dataloaders import coco_source, embedded_source, sources, table_source
from tests.vision.dataloaders import data_makers


def _make_source() -> table_source.TableSource:
    return embedded_source.build_embedded_source(
        'digits', split='validation', num_scenes=4, include_mask=True
    )


def test_masks_come_through_both_conversions(tmp_path: pathlib.Path) -> None:
    expected = data_makers.read_records(_make_source())
    convert.convert_to_tfrecords(_make_source(), str(tmp_path / 'records' / 'x'))
    config = configs.DataConfig(input_path=f'{tmp_path}/records/x*.tfrecord', include_mask=True)
    records = sources.build_source(config)
    convert.convert_to_coco(records, str(tmp_path / 'coco'))
    coco = coco_source.build_coco_source(
        str(tmp_path / 'coco' / 'annotations.json'), str(tmp_path / 'coco' / 'images'), include_mask=True
    )  # fmt: skip
    for found in (data_makers.read_records(records), data_makers.read_records(coco)):
        assert set(found) == set(expected)
        for number, record in expected.items():
            np.testing.assert_array_equal(
                found[number]['groundtruth_instance_masks'], record['groundtruth_instance_masks']
            )


def test_the_share_of_masks_in_their_boxes() -> None:
    task = exp_factory.get_exp_config('maskrcnn_custom').task
    found = inspection.inspect_source(
        _make_source(), anchor_fit.build_anchor_settings(task, is_training=True)
    )
    summary = found.distributions['mask_share'].summarize()
    assert 0.2 < summary['median'] < 0.9
    assert summary['max'] <= 1


def test_a_preview_paints_masks() -> None:
    config = exp_factory.get_exp_config('maskrcnn_custom')
    config.task.train_data.source.embedded.num_scenes = 4
    config.task.train_data.global_batch_size = 2
    (picture,) = preview.iterate_pictures(config, is_training=True, has_anchors=True)
    assert picture.ndim == 3
    without = {
        'images': np.zeros([1, 64, 64, 3], np.uint8),
        'labels': {'boxes': np.array([[[8.0, 8, 40, 40]]]), 'classes': np.array([[2]])},
    }
    masks = np.ones([1, 1, 7, 7], np.float32)
    painted = preview.draw_batch(without['images'], {**without['labels'], 'masks': masks})
    plain = preview.draw_batch(without['images'], without['labels'])
    changed = (painted != plain).any(-1)
    assert 0.15 < changed.mean() < 0.35  # a quarter of the picture, which has a legend below


def test_detections_are_painted_where_their_masks_are() -> None:
    mask = np.zeros([1, 8, 8], np.float32)
    mask[0, :, :4] = 1
    detections = {
        'detection_boxes': np.array([[10.0, 10, 50, 50]]),
        'detection_scores': np.array([0.9]),
        'detection_classes': np.array([1]),
        'detection_masks': mask,
    }
    picture = visualization.draw_detections(np.zeros([60, 60, 3], np.uint8), detections)
    assert picture[35, 15].max() > 60
    assert picture[35, 45].max() == 0
