"""COCO evaluation against pycocotools' own way from files, and against figures worked by hand."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import coco as coco_api
from pycocotools import cocoeval

from official_lite import errors
from official_lite.vision.evaluation import coco_evaluator
from tests.vision.evaluation import coco_cases

KEYS = (
    *('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl'),
    *('ARmax1', 'ARmax10', 'ARmax100', 'ARs', 'ARm', 'ARl'),
)


def _pycocotools(path: str, detections: list[dict]) -> cocoeval.COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_api.COCO(path)
        result = cocoeval.COCOeval(truth, truth.loadRes(detections), 'bbox')
        result.evaluate()
        result.accumulate()
        result.summarize()
    return result


def _evaluator(**kwargs) -> coco_evaluator.COCOEvaluator:
    return coco_evaluator.COCOEvaluator(
        class_names=coco_cases.CLASS_NAMES, category_ids=coco_cases.CATEGORY_IDS, **kwargs
    )


def _run(evaluator: coco_evaluator.COCOEvaluator, batches) -> dict[str, float]:
    for truths, predictions in batches:
        evaluator.update_state(truths, predictions)
    return evaluator.result()


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('from_file', [False, True])
def test_equals_pycocotools(seed, from_file, tmp_path):
    case = coco_cases.make_case(seed)
    path = case.save_annotations(tmp_path)
    expected = _pycocotools(path, case.detections).stats
    metrics = _run(_evaluator(annotation_file=path if from_file else None), case.batches)
    assert tuple(metrics) == KEYS
    np.testing.assert_allclose(list(metrics.values()), expected, rtol=0, atol=1e-12)


def test_random_cases_are_no_easy_ones():
    """The oracle sees crowds, empty images, ties and mask areas, or it would prove little."""
    cases = [coco_cases.make_case(seed) for seed in range(12)]
    annotations = [a for case in cases for a in case.dataset['annotations']]
    assert sum(a['iscrowd'] for a in annotations) > 20
    empty = [
        image['id']
        for case in cases
        for image in case.dataset['images']
        if all(a['image_id'] != image['id'] for a in case.dataset['annotations'])
    ]
    assert len(empty) > 5
    scores = [d['score'] for d in cases[0].detections]
    assert len(set(scores)) < len(scores)


@pytest.mark.parametrize('seed', range(3))
def test_b23_category_metrics_equal_pycocotools_of_that_category(seed, tmp_path):
    case = coco_cases.make_case(seed)
    path = case.save_annotations(tmp_path)
    metrics = _run(_evaluator(per_category_metrics=True), case.batches)
    for category, name in zip(coco_cases.CATEGORY_IDS, coco_cases.CLASS_NAMES):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco_api.COCO(path)
            single = cocoeval.COCOeval(truth, truth.loadRes(case.detections), 'bbox')
            single.params.catIds = [category]
            single.evaluate()
            single.accumulate()
            single.summarize()
        keys = [
            'Precision mAP ByCategory',
            'Precision mAP ByCategory@50IoU',
            'Precision mAP ByCategory@75IoU',
            'Precision mAP ByCategory (small)',
            'Precision mAP ByCategory (medium)',
            'Precision mAP ByCategory (large)',
            'Recall AR@1 ByCategory',
            'Recall AR@10 ByCategory',
            'Recall AR@100 ByCategory',
            'Recall AR (small) ByCategory',
            'Recall AR (medium) ByCategory',
            'Recall AR (large) ByCategory',
        ]
        received = [metrics[f'{key}/{name}'] for key in keys]
        np.testing.assert_allclose(received, single.stats, rtol=0, atol=1e-12)
    assert metrics['Precision mAP ByCategory/owl'] == -1  # has no ground truth


def _one_image(boxes, detections, *, scores=None, crowds=None, labels=None, areas=None):
    """One 100x80 image; boxes and detections are yxyx in its pixels, the network sees half."""
    boxes = np.asarray(boxes, np.float64).reshape([-1, 4])
    detections = np.asarray(detections, np.float64).reshape([-1, 4])
    truths = {
        'source_id': np.asarray([5]),
        'height': np.asarray([100]),
        'width': np.asarray([80]),
        'num_detections': np.asarray([len(boxes)]),
        'boxes': boxes[None],
        'classes': np.ones([1, len(boxes)], int),
        'is_crowds': np.asarray([crowds or [0] * len(boxes)]),
    }
    if areas is not None:
        truths['areas'] = np.asarray([areas])
    predictions = {
        'source_id': np.asarray([5]),
        'image_info': np.asarray([[[100, 80], [64, 64], [0.5, 0.5], [0, 0]]]),
        'num_detections': np.asarray([len(detections)]),
        'detection_boxes': detections[None] / 2,
        'detection_classes': np.asarray([labels or [1] * len(detections)]),
        'detection_scores': np.asarray([scores or [0.5] * len(detections)]),
    }
    return truths, predictions


def test_precision_and_recall_by_hand():
    """Two objects; found with IoU 0.8 (0.9), a false one (0.8), found exactly (0.7)."""
    batch = _one_image(
        [[0, 0, 10, 10], [50, 50, 90, 70]],
        [[0, 0, 8, 10], [30, 30, 40, 40], [50, 50, 90, 70]],
        scores=[0.9, 0.8, 0.7],
    )
    metrics = _run(coco_evaluator.COCOEvaluator(), [batch])
    # Up to IoU 0.8: precision 1 for recalls 0..0.5 (51 of 101 points), then 2/3 for 50 points.
    # Above: only the last detection is right, precision 1/3 for recalls up to 0.5.
    low, high = (51 + 50 * 2 / 3) / 101, 51 / 3 / 101
    assert metrics['AP50'] == pytest.approx(low, abs=1e-12)
    assert metrics['AP'] == pytest.approx((7 * low + 3 * high) / 10, abs=1e-12)
    assert metrics['ARmax1'] == pytest.approx(0.7 * 0.5)
    assert metrics['ARmax100'] == pytest.approx((7 * 1 + 3 * 0.5) / 10)
    assert metrics['APl'] == -1


def test_detection_on_a_crowd_is_ignored():
    """A detection inside a crowd is neither right nor wrong."""
    boxes = [[0, 0, 20, 20], [40, 0, 80, 60]]
    detections = [[45, 5, 55, 15], [0, 0, 20, 20]]
    scores = [0.9, 0.8]
    crowd = _run(
        coco_evaluator.COCOEvaluator(),
        [_one_image(boxes, detections, scores=scores, crowds=[0, 1])],
    )
    plain = _run(coco_evaluator.COCOEvaluator(), [_one_image(boxes, detections, scores=scores)])
    assert crowd['AP'] == pytest.approx(1.0)
    assert plain['AP'] < 0.3


def test_area_comes_from_the_masks_area_where_given():
    batch = _one_image([[0, 0, 50, 50]], [[0, 0, 50, 50]], areas=[500.0])
    metrics = _run(coco_evaluator.COCOEvaluator(), [batch])
    assert (metrics['APs'], metrics['APm']) == (pytest.approx(1.0), -1)
    batch = _one_image([[0, 0, 50, 50]], [[0, 0, 50, 50]])
    metrics = _run(coco_evaluator.COCOEvaluator(), [batch])
    assert (metrics['APs'], metrics['APm']) == (-1, pytest.approx(1.0))


def test_padded_detections_are_not_submitted():
    truths, predictions = _one_image([[0, 0, 10, 10]], [[30, 30, 40, 40], [0, 0, 10, 10]])
    predictions['num_detections'] = np.asarray([1])
    evaluator = coco_evaluator.COCOEvaluator()
    evaluator.update_state(truths, predictions)
    assert _run(evaluator, [])['ARmax100'] == 0


@pytest.mark.parametrize('limit', [5, 10, 200])
def test_limit_of_detections_names_the_last_recall_and_counts(limit):
    """pycocotools' own summary gives AP -1 for any limit but 100."""
    boxes = [[i, 0, i + 0.9, 9] for i in range(12)]
    metrics = _run(
        coco_evaluator.COCOEvaluator(max_num_eval_detections=limit), [_one_image(boxes, boxes)]
    )
    assert metrics[f'ARmax{limit}'] == pytest.approx(min(limit, 12) / 12)
    assert metrics['AP'] > 0.3


def test_examples_that_only_fill_a_batch_do_not_count():
    case = coco_cases.make_case(3, num_images=5, batch_size=4)
    assert [int(np.sum(truths['is_valid'])) for truths, _ in case.batches] == [4, 1]
    evaluator = _evaluator()
    for truths, predictions in case.batches:
        evaluator.update_state(truths, predictions)
    assert evaluator.num_images == 5


def test_values_of_several_replicas():
    case = coco_cases.make_case(4, num_images=8, batch_size=4)
    expected = _run(_evaluator(), case.batches)
    truths, predictions = (
        {key: tuple(batch[part][key] for batch in case.batches) for key in case.batches[0][part]}
        for part in (0, 1)
    )
    assert _run(_evaluator(), [(truths, predictions)]) == expected


def test_result_resets_and_evaluate_does_not():
    case = coco_cases.make_case(5)
    evaluator = _evaluator()
    for batch in case.batches:
        evaluator.update_state(*batch)
    first = evaluator.evaluate()
    assert evaluator.result() == first
    assert evaluator.num_images == 0
    assert _run(evaluator, case.batches) == first


def test_only_evaluated_images_count(tmp_path):
    case = coco_cases.make_case(6)
    path = case.save_annotations(tmp_path)
    some = [int(i) for i in case.batches[0][0]['source_id']]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_api.COCO(path)
        expected = cocoeval.COCOeval(truth, truth.loadRes(case.detections), 'bbox')
        expected.params.imgIds = some
        expected.evaluate()
        expected.accumulate()
        expected.summarize()
    for annotation_file in (path, None):
        metrics = _run(_evaluator(annotation_file=annotation_file), case.batches[:1])
        np.testing.assert_allclose(list(metrics.values()), expected.stats, rtol=0, atol=1e-12)


def test_warns_when_no_image_id_matches(tmp_path, caplog):
    case = coco_cases.make_case(7)
    path = case.save_annotations(tmp_path)
    for truths, predictions in case.batches:
        predictions['source_id'] = truths['source_id'] = truths['source_id'] + 10_000
    evaluator = _evaluator(annotation_file=path)
    metrics = _run(evaluator, case.batches)
    assert set(metrics.values()) == {-1}
    assert 'no evaluated image is in' in caplog.text
    assert 'image ids such as' in evaluator.warnings[0]
    assert 'Leave task.annotation_file empty' in evaluator.warnings[0]
    assert '!' * 80 in caplog.text  # loud


def test_warns_when_nothing_was_detected(caplog):
    truths, predictions = _one_image([[0, 0, 10, 10]], [])
    evaluator = coco_evaluator.COCOEvaluator()
    metrics = _run(evaluator, [(truths, predictions)])
    assert (metrics['AP'], metrics['ARmax100'], metrics['APm']) == (0, 0, -1)
    assert 'no detection in 1 images: AP is 0' in caplog.text


def test_warns_when_there_is_nothing_to_find_or_no_image(caplog):
    metrics = _run(coco_evaluator.COCOEvaluator(), [_one_image([], [[0, 0, 10, 10]])])
    assert metrics['AP'] == -1
    assert 'no ground truth box in 1 images' in caplog.text
    assert _run(coco_evaluator.COCOEvaluator(), [])['AP'] == -1
    assert 'no image was evaluated' in caplog.text


def test_warns_of_categories_that_the_file_does_not_have(tmp_path, caplog):
    """Contiguous labels given to a file with sparse ids: the classic AP of almost 0."""
    case = coco_cases.make_case(8)
    path = case.save_annotations(tmp_path)
    _run(coco_evaluator.COCOEvaluator(annotation_file=path), case.batches)
    assert 'detections of categories [1, 3, 4] do not count' in caplog.text


def test_images_with_the_same_source_id_stay_apart(caplog):
    """Converters that write no source id would merge all images into one."""
    found = _one_image([[0, 0, 10, 10]], [[0, 0, 10, 10]])
    missed = _one_image([[30, 30, 60, 60]], [])
    metrics = _run(coco_evaluator.COCOEvaluator(), [found, missed])
    assert metrics['AP50'] == pytest.approx(51 / 101)
    assert '1 source ids belong to several images each' in caplog.text


def test_boxes_already_in_original_pixels():
    truths, predictions = _one_image([[0, 0, 10, 10]], [[0, 0, 10, 10]])
    predictions['detection_boxes'] = predictions['detection_boxes'] * 2
    del predictions['image_info']
    evaluator = coco_evaluator.COCOEvaluator(need_rescale_bboxes=False)
    assert _run(evaluator, [(truths, predictions)])['AP'] == pytest.approx(1.0)


def test_equal_category_names_are_told_apart(tmp_path):
    case = coco_cases.make_case(9)
    case.dataset['categories'][0]['name'] = 'car'
    path = case.save_annotations(tmp_path)
    metrics = _run(_evaluator(annotation_file=path, per_category_metrics=True), case.batches)
    assert 'Precision mAP ByCategory/car (id 2)' in metrics
    assert 'Precision mAP ByCategory/car (id 11)' in metrics
    assert len(metrics) == 12 + 4 * 12


def test_label_without_category_id():
    with pytest.raises(errors.DataError, match=r'expected labels 1 to 4.*\[0, 5\]'):
        _evaluator().to_category_ids(np.asarray([1, 5, 0]))


def test_missing_fields():
    truths, predictions = _one_image([[0, 0, 10, 10]], [])
    del predictions['image_info']
    with pytest.raises(ValueError, match='Missing the required key `image_info` in predictions'):
        coco_evaluator.COCOEvaluator().update_state(truths, predictions)
    truths, predictions = _one_image([[0, 0, 10, 10]], [])
    with pytest.raises(ValueError, match='Missing the required key `source_id` in groundtruths'):
        coco_evaluator.COCOEvaluator().update_state({}, predictions)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        ({'max_num_eval_detections': 0}, 'expected 1 or more'),
        ({'max_num_eval_detections': None}, 'expected an integer'),
        ({'class_names': ('a', 'b'), 'category_ids': (1,)}, 'expected 2 ids'),
        ({'annotation_file': '/nowhere/instances.json'}, 'cannot be read'),
    ],
)
def test_arguments_that_cannot_be(arguments, text):
    with pytest.raises(errors.UsageError, match=text):
        coco_evaluator.COCOEvaluator(**arguments)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'is not JSON'),
        ('[]', 'is not in COCO format: no images, annotations, categories'),
        ('{"images": [], "annotations": []}', 'no categories'),
    ],
)
def test_annotation_file_that_is_none(text, message, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(errors.UsageError, match=message):
        coco_evaluator.COCOEvaluator(annotation_file=str(path))


def test_annotation_without_a_box(tmp_path):
    path = tmp_path / 'a.json'
    dataset = {'images': [], 'categories': [], 'annotations': [{'id': 3, 'bbox': [1, 2]}]}
    path.write_text(json.dumps(dataset))
    with pytest.raises(errors.DataError, match=r'an annotation has no usable box.*\[1, 2\]'):
        coco_evaluator.COCOEvaluator(annotation_file=str(path))


def test_evaluation_prints_nothing(capsys):
    case = coco_cases.make_case(10)
    _run(_evaluator(), case.batches)
    assert capsys.readouterr().out == ''
