"""AP of masks against pycocotools and Model Garden, and the memory that it takes."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import tracemalloc
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import coco as coco_api
from pycocotools import cocoeval
from pycocotools import mask as mask_api

from official_lite import errors
from official_lite.vision.evaluation import coco_evaluator
from official_lite.vision.ops import mask_ops, run_lengths

_NAMES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'ARmax1', 'ARmax10', 'ARmax100')
_NAMES += ('ARs', 'ARm', 'ARl')
_MASK_SIZE = 14


class _Case:
    """Images of several sizes, ellipses in them, and detections that are near some.

    Attributes:
        dataset: The ground truth, in COCO's format.
        results: The detections, in COCO's format, masks pasted by `paste_instance_masks`.
        batches: The same as an evaluator gets them, the network's input half as large.
    """

    def __init__(self, seed: int, num_images: int = 6) -> None:
        self.rng = np.random.default_rng(seed)
        self.dataset: dict[str, Any] = {'images': [], 'annotations': []}
        self.dataset['categories'] = [{'id': 3, 'name': 'cup'}, {'id': 8, 'name': 'dog'}]
        self.results: list[dict[str, Any]] = []
        self.batches = [self._make_batch([2 * k + 5, 2 * k + 6]) for k in range(num_images // 2)]

    def _make_batch(self, image_ids: list[int]) -> tuple[dict[str, Any], dict[str, Any]]:
        rows = [self._make_image(image_id) for image_id in image_ids]
        return tuple(  # type: ignore[return-value]
            {name: _stack([row[part][name] for row in rows]) for name in rows[0][part]}
            for part in (0, 1)
        )

    def _make_image(self, image_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
        height, width = (int(side) for side in self.rng.integers(60, 160, 2))
        self.dataset['images'].append({'id': image_id, 'height': height, 'width': width})
        num = int(self.rng.integers(1, 7))
        masks = np.stack([self._draw(height, width) for _ in range(num)])
        labels = self.rng.integers(1, 3, num)
        crowds = (self.rng.random(num) < 0.2).astype(int)
        counts = run_lengths.encode(masks)
        boxes = np.stack([_find_box(mask) for mask in masks])  # yxyx
        for k in range(num):
            self._annotate(image_id, masks[k], counts[k], labels[k], crowds[k], boxes[k])
        truths = {
            'source_id': image_id, 'height': height, 'width': width, 'num_detections': num,
            'boxes': boxes, 'classes': labels, 'is_crowds': crowds, 'areas': masks.sum((1, 2)),
            'masks': np.array([np.frombuffer(c.ljust(400, b'\0'), np.uint8) for c in counts]),
        }  # fmt: skip
        return truths, self._detect(image_id, (height, width), boxes, labels)

    def _draw(self, height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[:height, :width]
        center = self.rng.uniform(0.2, 0.8, 2) * [height, width]
        radii = self.rng.uniform(6, 40, 2)
        return ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2 < 1

    def _annotate(
        self,
        image_id: int,
        mask: np.ndarray,
        counts: bytes,
        label: int,
        crowd: int,
        box: np.ndarray,
    ) -> None:
        y0, x0, y1, x1 = box.tolist()
        self.dataset['annotations'].append(
            {
                'id': len(self.dataset['annotations']) + 1,
                'image_id': image_id,
                'category_id': (3, 8)[label - 1],
                'bbox': [x0, y0, x1 - x0, y1 - y0],
                'area': int(mask.sum()),
                'iscrowd': int(crowd),
                'segmentation': {'size': list(mask.shape), 'counts': counts.decode()},
            }
        )

    def _detect(
        self, image_id: int, size: tuple[int, int], boxes: np.ndarray, labels: np.ndarray
    ) -> dict[str, Any]:
        rows = self.rng.integers(0, len(boxes), 9)
        found = boxes[rows] + self.rng.normal(0, 2, [9, 4])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
        found = found.astype(np.float32)
        classes = np.where(self.rng.random(9) < 0.8, labels[rows], 3 - labels[rows])
        scores = np.sort(self.rng.random(9))[::-1].round(1).astype(np.float32)
        y, x = np.mgrid[:_MASK_SIZE, :_MASK_SIZE] / (_MASK_SIZE - 1) * 2 - 1
        masks = np.clip(1.3 - (y**2 + x**2) * self.rng.uniform(0.5, 1, [9, 1, 1]), 0, 1)
        masks = masks.astype(np.float32)
        self._add_results(image_id, size, found, classes, scores, masks)
        return {
            'source_id': image_id, 'num_detections': 9, 'detection_boxes': found / 2,
            'detection_classes': classes, 'detection_scores': scores, 'detection_masks': masks,
            'image_info': np.array([size, size, [0.5, 0.5], [0, 0]], np.float32),
        }  # fmt: skip

    def _add_results(
        self,
        image_id: int,
        size: tuple[int, int],
        boxes: np.ndarray,
        classes: np.ndarray,
        scores: np.ndarray,
        masks: np.ndarray,
    ) -> None:
        xywh = np.concatenate([boxes[:, 1::-1], boxes[:, 3:1:-1] - boxes[:, 1::-1]], 1)
        xywh = xywh.astype(np.float64)
        pasted = mask_ops.paste_instance_masks(masks, xywh, *size)
        for k in range(len(boxes)):
            self.results.append(
                {
                    'image_id': image_id,
                    'category_id': int((3, 8)[classes[k] - 1]),
                    'bbox': xywh[k].tolist(),
                    'score': float(scores[k]),
                    'segmentation': mask_api.encode(np.asfortranarray(pasted[k])),
                }
            )

    def save(self, folder: pathlib.Path) -> str:
        path = folder / 'truth.json'
        path.write_text(json.dumps(self.dataset))
        return str(path)


def _find_box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float64)


def _stack(values: list[Any]) -> np.ndarray:
    """Values of a batch, padded with zeros to the longest."""
    arrays = [np.asarray(value) for value in values]
    longest = max((len(a) if a.ndim else 0) for a in arrays)
    return np.stack(
        [
            a if not a.ndim else np.pad(a, [(0, longest - len(a))] + [(0, 0)] * (a.ndim - 1))
            for a in arrays
        ]
    )


def _run(batches: list[Any], **options: Any) -> dict[str, float]:
    evaluator = coco_evaluator.COCOEvaluator(
        include_mask=True, category_ids=(3, 8), class_names=('cup', 'dog'), **options
    )
    for truths, predictions in batches:
        evaluator.update_state(truths, predictions)
    return evaluator.result()


def _run_pycocotools(path: str, results: list[dict[str, Any]], kind: str) -> cocoeval.COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_api.COCO(path)
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize('from_file', [True, False])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_masks_and_boxes_equal_pycocotools(
    seed: int, from_file: bool, tmp_path: pathlib.Path
) -> None:
    case = _Case(seed)
    path = case.save(tmp_path)
    metrics = _run(case.batches, annotation_file=path if from_file else None)
    for kind, prefix in (('bbox', ''), ('segm', 'mask_')):
        # Of dictionaries of their own: loadRes changes them.
        results = [dict(result) for result in case.results]
        if kind == 'segm':
            for result in results:
                del result['bbox']  # or their areas would be the boxes'
        expected = _run_pycocotools(path, results, kind).stats
        assert 0.1 < expected[0] < 0.95
        for name, value in zip(_NAMES, expected):
            assert metrics[prefix + name] == pytest.approx(value, abs=2e-6), prefix + name


def test_figures_of_each_category(tmp_path: pathlib.Path) -> None:
    case = _Case(3)
    metrics = _run(case.batches, per_category_metrics=True)
    path = case.save(tmp_path)
    results = [{k: v for k, v in r.items() if k != 'bbox'} for r in case.results]
    precision = _run_pycocotools(path, results, 'segm').eval['precision'][:, :, :, 0, 2]
    for index, name in enumerate(('cup', 'dog')):
        values = precision[:, :, index]
        key = f'mask Precision mAP ByCategory/{name}'
        assert metrics[key] == pytest.approx(values[values > -1].mean(), abs=1e-9)
        assert f'mask Recall AR@100 ByCategory/{name}' in metrics
        assert f'Precision mAP ByCategory/{name}' in metrics


@pytest.mark.garden
def test_figures_are_model_gardens(tmp_path: pathlib.Path) -> None:
    from official.vision.evaluation import coco_evaluator as garden

    case = _Case(4)
    # Its evaluator takes labels for ids.
    for annotation in case.dataset['annotations']:
        annotation['category_id'] = (3, 8).index(annotation['category_id']) + 1
    case.dataset['categories'] = [{'id': 1, 'name': 'cup'}, {'id': 2, 'name': 'dog'}]
    path = case.save(tmp_path)
    oracle = garden.COCOEvaluator(annotation_file=path, include_mask=True)
    for _, predictions in case.batches:
        oracle.update_state({}, tf.nest.map_structure(tf.constant, predictions))
    with contextlib.redirect_stdout(io.StringIO()):
        expected = oracle.result()
    evaluator = coco_evaluator.COCOEvaluator(annotation_file=path, include_mask=True)
    for truths, predictions in case.batches:
        evaluator.update_state(truths, predictions)
    metrics = evaluator.result()
    for name in _NAMES:
        # It tells small and large boxes apart by their masks.
        if name not in ('APs', 'APm', 'APl'):
            assert metrics[name] == pytest.approx(expected[name], abs=1e-6), name
        assert metrics[f'mask_{name}'] == pytest.approx(expected[f'mask_{name}'], abs=1e-6), name


def test_masks_are_ranked_by_their_own_scores() -> None:
    """Of two detections of an object, the one with the right box has the better class score."""
    case = _Case(1)
    (truths, predictions) = case.batches[0]
    truths, exact = dict(truths), dict(predictions)
    count = int(truths['num_detections'].min())
    assert count >= 1
    truths['num_detections'] = np.array([1, 1])
    boxes = np.asarray(truths['boxes'], np.float64)[:, :1] / 2
    exact.update(
        num_detections=np.array([2, 2]),
        detection_boxes=np.concatenate([boxes, boxes], axis=1),
        detection_classes=np.repeat(truths['classes'][:, :1], 2, axis=1),
        detection_scores=np.array([[0.9, 0.5]] * 2, np.float32),
        detection_masks=np.stack([np.zeros([2, 28, 28]), np.ones([2, 28, 28])], axis=1),
    )
    truths['is_crowds'] = np.zeros_like(truths['is_crowds'])
    plain = _run([(truths, exact)])
    scored = _run([(truths, {**exact, 'detection_mask_scores': np.array([[0.1, 0.4]] * 2)})])
    assert scored['mask_AP50'] > plain['mask_AP50'] > 0
    for name in _NAMES:
        assert scored[name] == plain[name], name


def test_masks_go_into_the_enlarged_boxes() -> None:
    case = _Case(5)
    (truths, predictions), *_ = case.batches
    exact = dict(predictions)
    exact['detection_boxes'] = truths['boxes'].astype(np.float32) / 2
    num = truths['boxes'].shape[1]
    exact['detection_classes'] = truths['classes']
    exact['num_detections'] = truths['num_detections']
    exact['detection_scores'] = np.ones([2, num], np.float32)
    exact['detection_masks'] = np.ones([2, num, _MASK_SIZE, _MASK_SIZE], np.float32)
    far = {**exact, 'detection_outer_boxes': exact['detection_boxes'] + 500}
    assert _run([(truths, exact)])['mask_AP50'] > 0.5
    metrics = _run([(truths, far)])
    assert metrics['mask_AP'] == 0
    assert metrics['AP'] > 0.9


def test_memory_is_that_of_run_lengths() -> None:
    """Images of 12 million pixels: the masks of one, dense, would take 240 MB."""
    num, size = 20, (3000, 4000)
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 2000, [1, num, 4]).astype(np.float32)
    boxes[..., 2:] = boxes[..., :2] + rng.uniform(50, 700, [1, num, 2])
    masks = rng.random([1, num, 28, 28]).astype(np.float32)
    batch = {
        'num_detections': np.array([num]), 'detection_boxes': boxes,
        'detection_classes': np.ones([1, num], int), 'detection_scores': np.ones([1, num]),
        'detection_masks': masks, 'image_info': np.array([[size, size, [1, 1], [0, 0]]], float),
    }  # fmt: skip
    truths = {
        'height': np.array([size[0]]), 'width': np.array([size[1]]),
        'num_detections': np.array([0]), 'boxes': np.zeros([1, 0, 4]),
        'classes': np.zeros([1, 0], int), 'masks': np.zeros([1, 0, 1], np.uint8),
    }  # fmt: skip
    evaluator = coco_evaluator.COCOEvaluator(include_mask=True)

    def update(image_id: int) -> None:
        own = {'source_id': np.array([image_id])}
        evaluator.update_state({**truths, **own}, {**batch, **own})

    update(0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for image_id in range(1, 6):
        update(image_id)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    num_bytes = sum(len(d['segmentation']['counts']) for d in evaluator._images[1].detections)
    assert (kept - before) / 5 < num_bytes + 1500 * num
    assert peak - before < 60e6


def test_what_is_missing(tmp_path: pathlib.Path) -> None:
    case = _Case(0, num_images=2)
    (truths, predictions), *_ = case.batches
    evaluator = coco_evaluator.COCOEvaluator(include_mask=True)
    with pytest.raises(
        ValueError, match='Missing the required key `detection_masks` in predictions'
    ):
        evaluator.update_state(
            truths, {k: v for k, v in predictions.items() if k != 'detection_masks'}
        )
    with pytest.raises(ValueError, match='Missing the required key `masks` in groundtruths'):
        evaluator.update_state({k: v for k, v in truths.items() if k != 'masks'}, predictions)
    for annotation in case.dataset['annotations']:
        del annotation['segmentation']
    with pytest.raises(errors.UsageError, match='has no masks: no annotation has a segmentation'):
        coco_evaluator.COCOEvaluator(annotation_file=case.save(tmp_path), include_mask=True)


@pytest.mark.garden
def test_predictions_as_coco_lists_are_model_gardens() -> None:
    from official.vision.evaluation import coco_utils as garden

    from official_lite.vision.evaluation import coco_utils

    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, [2, 3, 2])
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, [2, 3, 2])], -1)

    def make_predictions() -> dict[str, Any]:
        return {
            'source_id': [np.array([4, 7])],
            'detection_boxes': [boxes.copy()],
            'detection_outer_boxes': [boxes + 1],
            'detection_classes': [np.ones([2, 3], int)],
            'detection_scores': [np.full([2, 3], 0.5)],
            'detection_masks': [np.random.default_rng(1).random([2, 3, 7, 7])],
            'image_info': [np.tile([[[60, 80], [60, 80], [1, 1], [0, 0]]], [2, 1, 1])],
        }

    expected = garden.convert_predictions_to_coco_annotations(make_predictions())
    actual = coco_utils.convert_predictions_to_coco_annotations(make_predictions())
    assert len(actual) == len(expected) == 6
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours['segmentation'] == theirs['segmentation']
        np.testing.assert_allclose(ours['bbox'], theirs['bbox'])
