"""Does evaluation work on this data? Ground truth evaluated as predictions must give AP 1.

An AP of 0 after a long training has many silent causes outside the model: labels that are not the
annotation file's category ids, image ids that do not match, boxes scaled the wrong way. This check
finds them in a minute and without a model: it takes the boxes and labels of real evaluation batches
(pixels of the network's input, labels 1..K, padded) and sends them through all that detections go
through.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from official_lite.core import data_errors, task_factory
from official_lite.vision.evaluation import coco_evaluator

_TOLERANCE = 1e-9  # pycocotools' precision of a perfect detector is 1 - 2^-52


@dataclasses.dataclass(frozen=True)
class SelfCheck:
    """What the check found.

    Attributes:
        metrics: The twelve COCO figures of ground truth evaluated as predictions.
        num_images: Evaluated images.
        num_boxes: Ground truth boxes of these images, as the evaluator was given them.
        num_submitted: Boxes of these images that reached the batches, so were submitted.
        findings: What looks wrong, one sentence each.
    """

    metrics: dict[str, float]
    num_images: int
    num_boxes: int
    num_submitted: int
    findings: tuple[str, ...]

    @property
    def is_ok(self) -> bool:
        """Whether AP is 1."""
        return self.metrics['AP'] >= 1 - _TOLERANCE

    def __str__(self) -> str:
        figures = ', '.join(f'{key} {value:.4f}' for key, value in self.metrics.items())
        lines = [
            f'Ground truth evaluated as predictions: {self.num_images} images, {self.num_boxes} '
            f'boxes.',
            figures,
            'AP is 1: evaluation of this data is right.'
            if self.is_ok
            else f'AP is {self.metrics["AP"]:.4f} and should be 1: figures on this data are not '
            f'what they seem.',
            *(f'- {finding}' for finding in self.findings),
        ]
        return '\n'.join(lines)


@data_errors.clear_errors()
def check_evaluation(params: Any, max_num_batches: int | None = None) -> SelfCheck:
    """Evaluates an experiment's validation data against itself.

    Args:
        params: An `ExperimentConfig` whose task evaluates boxes; it is not changed.
        max_num_batches: Only so many batches; None means all.

    Returns:
        The result; `str` of it is the report.

    Raises:
        OfficialLiteError: Whatever is wrong with the config or the data.
    """
    params = copy.deepcopy(params) if not params.is_locked else params.replace()
    task_cls = task_factory.get_task_cls(type(params.task))
    task_cls.resolve(params, task_cls.get_data_info(params.task, is_training=False))
    task = task_factory.get_task(params.task)
    dataset = task.build_inputs(params.task.validation_data)
    batches = dataset.take(-1 if max_num_batches is None else max_num_batches)
    labels = (labels for _, labels in batches.as_numpy_iterator())
    return check_labels(labels, task.build_evaluator())


def check_labels(
    batches: Iterable[Mapping[str, Any]], evaluator: coco_evaluator.COCOEvaluator
) -> SelfCheck:
    """The check itself, on the labels of evaluation batches (NumPy arrays).

    Args:
        batches: Each with `boxes` [batch, boxes, 4], `classes` [batch, boxes] (padding -1), or
            `gt_boxes`, `gt_classes` and `gt_masks`, and `image_info`, `groundtruths` and
            optionally `is_valid`.
        evaluator: As the task makes it.
    """
    counts = _Counts()
    for labels in batches:
        counts.add(labels)
        detections = to_detections(labels)
        evaluator.update_state(*coco_evaluator.make_evaluator_inputs(labels, detections))
    metrics = evaluator.result()
    findings = [*counts.findings(evaluator.max_num_eval_detections), *evaluator.warnings]
    return SelfCheck(
        metrics=metrics,
        num_images=counts.num_images,
        num_boxes=counts.num_boxes,
        num_submitted=counts.num_submitted,
        findings=tuple(findings),
    )


def to_detections(labels: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Turns the padded boxes of a batch into detections of score 1, in the form of a model's.

    Args:
        labels: `boxes` float [batch, boxes, 4] and `classes` int [batch, boxes]; rows of class -1
            are padding, wherever they are. Or `gt_boxes` and `gt_classes`, and with masks `gt_masks`
            within `gt_outer_boxes`.
    """
    classes = np.asarray(labels[_find(labels, 'classes')])
    is_box = classes > 0
    order = np.argsort(~is_box, axis=1, kind='stable')  # boxes first, padding last
    boxes = np.asarray(labels[_find(labels, 'boxes')])
    masks = {}
    if 'gt_masks' in labels:
        masks = {
            'detection_masks': np.take_along_axis(
                np.asarray(labels['gt_masks']), order[..., None, None], axis=1
            ),
            'detection_outer_boxes': np.take_along_axis(
                np.asarray(labels['gt_outer_boxes']), order[..., None], axis=1
            ),
        }
    return {
        **masks,
        'detection_boxes': np.take_along_axis(boxes, order[..., None], axis=1),
        'detection_classes': np.take_along_axis(classes, order, axis=1),
        'detection_scores': np.take_along_axis(is_box, order, axis=1).astype(np.float32),
        'num_detections': np.sum(is_box, axis=1),
    }


def _find(labels: Mapping[str, Any], name: str) -> str:
    return name if name in labels else f'gt_{name}'


@dataclasses.dataclass
class _Counts:
    """What the batches hold, to say why AP is not 1."""

    num_images: int = 0
    num_boxes: int = 0
    num_submitted: int = 0
    num_without_area: int = 0
    most_of_a_class: int = 0
    images_with_lost_boxes: list[int] = dataclasses.field(default_factory=list)

    def add(self, labels: Mapping[str, Any]) -> None:
        truths = labels['groundtruths']
        num_true = np.reshape(truths['num_detections'], [-1]).astype(int)
        num_submitted = np.sum(np.asarray(labels[_find(labels, 'classes')]) > 0, axis=1)
        if 'gt_classes' in labels:  # in which crowds may be left out
            num_true = num_true - np.sum(np.asarray(truths['is_crowds']) > 0, axis=1)
        for row in np.flatnonzero(labels.get('is_valid', np.ones(len(num_true), bool))):
            self.num_images += 1
            self.num_boxes += int(num_true[row])
            self.num_submitted += int(num_submitted[row])
            classes = np.asarray(truths['classes'])[row, : num_true[row]].astype(int)
            self.most_of_a_class = max(self.most_of_a_class, *np.bincount(classes), 0)
            boxes = np.asarray(truths['boxes'])[row, : num_true[row]]
            self.num_without_area += int(np.sum(np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)))
            if num_submitted[row] < num_true[row]:
                self.images_with_lost_boxes.append(int(np.reshape(truths['source_id'], [-1])[row]))

    def findings(self, max_num_eval_detections: int) -> list[str]:
        result = []
        if self.images_with_lost_boxes:
            result.append(
                f'preprocessing loses {self.num_boxes - self.num_submitted} of {self.num_boxes} '
                f'boxes, in {len(self.images_with_lost_boxes)} images (for example image '
                f'{self.images_with_lost_boxes[0]}); nothing can find them'
            )
        if self.num_without_area:
            result.append(
                f'{self.num_without_area} boxes have no area; no detection matches such a box'
            )
        if self.most_of_a_class > max_num_eval_detections:
            result.append(
                f'an image has {self.most_of_a_class} boxes of one class, and at most '
                f'{max_num_eval_detections} detections of a class count '
                f'(task.max_num_eval_detections)'
            )
        return result
