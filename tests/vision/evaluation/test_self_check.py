"""Ground truth evaluated as predictions, on labels made here; real batches: see tests of the task."""

from __future__ import annotations

import numpy as np
import pytest

from official_lite.vision.evaluation import coco_evaluator, self_check
from tests.vision.evaluation import coco_cases


def _evaluator(**kwargs) -> coco_evaluator.COCOEvaluator:
    return coco_evaluator.COCOEvaluator(
        **{
            'class_names': coco_cases.CLASS_NAMES,
            'category_ids': coco_cases.CATEGORY_IDS,
            **kwargs,
        }
    )


def _labels(case: coco_cases.Case) -> list[dict]:
    """The labels of evaluation batches: boxes in network pixels, padded, shuffled with padding."""
    batches = []
    for truths, predictions in case.batches:
        info = predictions['image_info']
        boxes = truths['boxes'] * np.tile(info[:, 2], 2)[:, None]
        boxes = boxes - np.tile(info[:, 3], 2)[:, None]
        is_box = np.arange(boxes.shape[1]) < truths['num_detections'][:, None]
        batches.append(
            {
                'image_info': info,
                'boxes': np.where(is_box[..., None], boxes, -1).astype(np.float32),
                'classes': truths['classes'],
                'is_valid': truths['is_valid'],
                'groundtruths': {k: v for k, v in truths.items() if k != 'is_valid'},
            }
        )
    return batches


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('from_file', [False, True])
def test_ap_is_one(seed, from_file, tmp_path):
    case = coco_cases.make_case(seed, num_images=9, batch_size=4)
    path = case.save_annotations(tmp_path) if from_file else None
    result = self_check.check_labels(_labels(case), _evaluator(annotation_file=path))
    assert result.metrics['AP'] == pytest.approx(1, abs=1e-12)
    assert result.metrics['ARmax100'] == 1
    assert result.is_ok
    assert result.findings == ()
    assert result.num_images == 9
    assert result.num_boxes == result.num_submitted == len(case.dataset['annotations'])
    assert 'AP is 1: evaluation of this data is right.' in str(result)


def test_wrong_category_ids_are_found(tmp_path):
    """Labels 1..4 taken for ids that the annotation file does not have."""
    case = coco_cases.make_case(0)
    evaluator = coco_evaluator.COCOEvaluator(annotation_file=case.save_annotations(tmp_path))
    result = self_check.check_labels(_labels(case), evaluator)
    assert result.metrics['AP'] < 0.5
    assert not result.is_ok
    assert 'and should be 1' in str(result)
    assert any('detections of categories [1, 3] do not count' in f for f in result.findings)


def test_wrong_scale_is_found():
    labels = _labels(coco_cases.make_case(1))
    for batch in labels:
        batch['image_info'][:, 2] = batch['image_info'][:, 2, ::-1]
    assert self_check.check_labels(labels, _evaluator()).metrics['AP'] < 0.5


def test_lost_boxes_are_found():
    labels = _labels(coco_cases.make_case(2))
    row = int(np.argmax(labels[0]['groundtruths']['num_detections']))
    labels[0]['classes'] = labels[0]['classes'].copy()
    labels[0]['classes'][row, 0] = -1
    result = self_check.check_labels(labels, _evaluator())
    source_id = labels[0]['groundtruths']['source_id'][row]
    assert not result.is_ok
    assert any(
        f'loses 1 of {result.num_boxes} boxes, in 1 images (for example image {source_id})' in f
        for f in result.findings
    )


def test_more_boxes_than_detections_count():
    labels = _labels(coco_cases.make_case(3))
    result = self_check.check_labels(labels, _evaluator(max_num_eval_detections=2))
    assert not result.is_ok
    assert any('at most 2 detections of a class count' in f for f in result.findings)


def test_box_without_area_is_found():
    labels = _labels(coco_cases.make_case(4))
    truths = labels[0]['groundtruths']
    row = int(np.argmax(truths['num_detections']))
    truths['boxes'] = truths['boxes'].copy()
    truths['boxes'][row, 0, 2:] = truths['boxes'][row, 0, :2]
    result = self_check.check_labels(labels, _evaluator())
    assert any('1 boxes have no area' in finding for finding in result.findings)


def test_boxes_come_before_padding_wherever_they_are():
    labels = {
        'boxes': np.asarray([[[-1] * 4, [1, 2, 3, 4], [-1] * 4, [5, 6, 7, 8]]], np.float32),
        'classes': np.asarray([[-1, 2, -1, 1]]),
    }
    detections = self_check.to_detections(labels)
    assert detections['num_detections'].tolist() == [2]
    assert detections['detection_classes'].tolist() == [[2, 1, -1, -1]]
    assert detections['detection_boxes'][0, 1].tolist() == [5, 6, 7, 8]
    assert detections['detection_scores'].tolist() == [[1, 1, 0, 0]]
