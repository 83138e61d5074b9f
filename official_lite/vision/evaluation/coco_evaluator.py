"""COCO evaluation of detections, on the host, from batches of arrays.

Ground truth comes from an annotation file in COCO's format or is collected from the batches. Both
ways, and the check of `self_check.py`, use one mapping of labels to the dataset's category ids and
one mapping of boxes back to the original image.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from official_lite import errors
from official_lite.vision.evaluation import annotation_file as annotation_files
from official_lite.vision.evaluation import (
    box_mapping,
    coco_metrics,
    mask_evaluation,
    suspicions,
)

_logger = logging.getLogger(__name__)

# Around a warning, so that it is seen among the lines of progress.
_RULE = '!' * 80

_PREDICTION_FIELDS = (
    'source_id',
    'num_detections',
    'detection_boxes',
    'detection_classes',
    'detection_scores',
)
_MASK_FIELDS = ('detection_masks', 'detection_outer_boxes', 'detection_mask_scores')
_GROUND_TRUTH_FIELDS = ('source_id', 'height', 'width', 'num_detections', 'boxes', 'classes')


@dataclasses.dataclass
class _Image:
    """One evaluated image: its detections, and its ground truth where the batches bring it."""

    source_id: int
    detections: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    height: int = 0
    width: int = 0


class COCOEvaluator:
    """Collects detections and computes the twelve COCO figures for boxes, and for masks.

    Use: `update_state` with every batch, then `result`, which also clears the state. What looks
    wrong (no image id known to the annotation file, no detection at all, ...) is logged as a
    warning and kept in `warnings` until the next result.
    """

    name = 'coco_metric'

    def __init__(
        self,
        annotation_file: str | None = None,
        include_mask: bool = False,
        need_rescale_bboxes: bool = True,
        per_category_metrics: bool = False,
        max_num_eval_detections: int = 100,
        class_names: Sequence[str] = (),
        category_ids: Sequence[int] = (),
    ) -> None:
        """Reads the annotation file, if there is one.

        Args:
            annotation_file: COCO JSON with the ground truth. None or empty: the ground truth is
                what `update_state` gets.
            include_mask: Whether masks are evaluated besides boxes.
            need_rescale_bboxes: Whether detected boxes are in pixels of the network's input and
                `image_info` maps them back. Otherwise they are in pixels of the original image.
            per_category_metrics: Whether `result` has the figures of every category too.
            max_num_eval_detections: Best detections per image and category that count.
            class_names: Names of labels 1..K. Used for the categories' names when there is no
                annotation file.
            category_ids: The dataset's category ids of labels 1..K. Empty: a label is an id.

        Raises:
            UsageError: An unreadable annotation file, or arguments that fit nothing.
        """
        _check_arguments(max_num_eval_detections, class_names, category_ids)
        self._include_mask = include_mask
        self._annotation_file = annotation_file or None
        self._dataset = (
            annotation_files.load_annotation_file(annotation_file) if annotation_file else None
        )
        self._sizes = (
            mask_evaluation.read_sizes(self._dataset, annotation_file or '')
            if self._dataset and include_mask
            else {}
        )
        self._need_rescale_bboxes = need_rescale_bboxes
        self._per_category_metrics = per_category_metrics
        self.max_num_eval_detections = max_num_eval_detections
        self._class_names = tuple(class_names)
        self._category_ids = np.asarray(category_ids, np.int64)
        self.warnings: list[str] = []
        self.reset_states()

    def reset_states(self) -> None:
        """Forgets all images."""
        self._images: list[_Image] = []

    @property
    def num_images(self) -> int:
        """Number of images seen since the last reset."""
        return len(self._images)

    def update_state(
        self, groundtruths: Mapping[str, Any] | None, predictions: Mapping[str, Any]
    ) -> None:
        """Adds a batch. Values are tensors or arrays, or tuples of those, one for each replica.

        Args:
            groundtruths: Not needed with an annotation file. `source_id`, `height`, `width`,
                `num_detections` int [batch]; `boxes` float [batch, boxes, 4], yxyx in pixels of the
                original image; `classes` int [batch, boxes]; optionally `is_crowds` and `areas`
                [batch, boxes] and `is_valid` bool [batch], False for an example that only fills the
                batch. With masks `masks`: uint8 [batch, boxes, length], run lengths padded with
                zeros (see `dataloaders.instance_masks`). Rows from `num_detections` on are padding.
            predictions: `source_id`, `num_detections` int [batch]; `detection_boxes` float [batch,
                detections, 4], yxyx; `detection_classes` int and `detection_scores` float [batch,
                detections]; `image_info` float [batch, 4, 2] if boxes are rescaled or there are
                masks; with masks `detection_masks` float [batch, detections, height, width], each
                within its box or, where there are any, `detection_outer_boxes`; optionally
                `detection_mask_scores` [batch, detections], by which masks are ranked, and
                `is_valid`. Rows from `num_detections` on are padding.

        Masks are pasted here, image by image, and kept as run lengths.

        Raises:
            ValueError: A missing field.
            DataError: A label without category id, or a batch whose parts differ in length.
        """
        has_info = self._need_rescale_bboxes or self._include_mask
        needed = _PREDICTION_FIELDS + ('image_info',) * has_info
        needed += ('detection_masks',) * self._include_mask
        _require_fields(predictions, needed, 'predictions')
        if self._dataset is None:
            needed = _GROUND_TRUTH_FIELDS + ('masks',) * self._include_mask
            _require_fields(groundtruths or {}, needed, 'groundtruths')
        per_replica_truths = list(_per_replica(groundtruths or {}))
        for number, batch in enumerate(_per_replica(predictions)):
            truths = per_replica_truths[number] if per_replica_truths else {}
            self._add_batch(truths, batch)

    def result(self) -> dict[str, float]:
        """Evaluates all images added, and resets.

        Returns:
            AP, AP50, AP75, APs, APm, APl, ARmax1, ARmax10, ARmax<max_num_eval_detections>, ARs,
            ARm, ARl, each -1 where no ground truth defines it, and with masks the same with `mask_` in
            front; with `per_category_metrics` also 'Precision mAP ByCategory/<name>' and its eleven
            siblings, those of masks with 'mask ' in front.
        """
        metrics = self.evaluate()
        self.reset_states()
        return metrics

    def evaluate(self) -> dict[str, float]:
        """As `result`, but keeps the state."""
        self.warnings = []
        images = self._identified_images()
        dataset = self._dataset or self._collected_dataset(images)
        detections = [
            {'image_id': image_id, **detection}
            for image_id, image in images.items()
            for detection in image.detections
        ]
        tables = coco_metrics.compute_coco_metrics(
            dataset,
            detections,
            list(images),
            max_num_detections=self.max_num_eval_detections,
        )
        metrics = tables.metrics()
        self._warn_of_suspicious(images, dataset, detections, metrics)
        if self._per_category_metrics:
            metrics.update(tables.category_metrics(_category_names(dataset)))
        if self._include_mask:
            metrics.update(self._evaluate_masks(dataset, detections, list(images)))
        return metrics

    def _evaluate_masks(
        self,
        dataset: Mapping[str, Any],
        detections: Sequence[Mapping[str, Any]],
        image_ids: Sequence[int],
    ) -> dict[str, float]:
        tables = coco_metrics.compute_coco_metrics(
            dataset,
            [{**found, 'score': found.get('mask_score', found['score'])} for found in detections],
            image_ids,
            iou_type='segm',
            max_num_detections=self.max_num_eval_detections,
        )
        metrics = tables.metrics('mask_')
        if self._per_category_metrics:
            metrics.update(tables.category_metrics(_category_names(dataset), 'mask '))
        return metrics

    def to_category_ids(self, labels: np.ndarray) -> np.ndarray:
        """Maps labels 1..K, int [...], to the dataset's category ids, int64 [...].

        Raises:
            DataError: A label that has no id.
        """
        labels = np.asarray(labels).astype(np.int64)
        if not self._category_ids.size:
            return labels
        wrong = (labels < 1) | (labels > self._category_ids.size)
        if np.any(wrong):
            raise errors.DataError(
                'a label has no category id',
                where='category_ids',
                expected=f'labels 1 to {self._category_ids.size}',
                received=str(sorted(set(labels[wrong].tolist()))[:10]),
            )
        return self._category_ids[labels - 1]

    def _add_batch(self, truths: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        source_ids = _to_integers(batch['source_id'])
        boxes = self._to_pixels(batch, 'detection_boxes')
        mask_boxes = boxes
        if self._include_mask and 'detection_outer_boxes' in batch:
            mask_boxes = self._to_pixels(batch, 'detection_outer_boxes')
        is_valid = batch.get('is_valid', truths.get('is_valid', np.ones(len(source_ids), bool)))
        for row in np.flatnonzero(np.reshape(is_valid, [-1])):
            image = _Image(int(source_ids[row]), self._detections_of(batch, boxes, row), [])
            if self._include_mask:
                self._add_masks(image, batch, mask_boxes, row)
            if self._dataset is None:
                image.annotations = self._annotations_of(truths, row)
                image.height = int(np.reshape(truths['height'], [-1])[row])
                image.width = int(np.reshape(truths['width'], [-1])[row])
                if self._include_mask:
                    size = mask_evaluation.get_decoded_size(batch, row)
                    counts = truths['masks'][row, : len(image.annotations)]
                    mask_evaluation.add_run_lengths(image.annotations, counts, size)
            self._images.append(image)

    def _to_pixels(self, batch: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """Boxes of a batch in pixels of the original images, float64 [batch, boxes, 4], yxyx."""
        boxes = np.asarray(batch[name], np.float64)
        if not self._need_rescale_bboxes:
            return boxes
        return box_mapping.to_original_pixels(boxes, batch['image_info'])

    def _detections_of(
        self, batch: Mapping[str, np.ndarray], boxes: np.ndarray, row: int
    ) -> list[dict[str, Any]]:
        count = int(np.reshape(batch['num_detections'], [-1])[row])
        categories = self.to_category_ids(batch['detection_classes'][row, :count])
        scores = np.asarray(batch['detection_scores'][row, :count], np.float64)
        return [
            {'category_id': category, 'bbox': box, 'score': score}
            for category, box, score in zip(
                categories.tolist(),
                box_mapping.to_xywh(boxes[row, :count]).tolist(),
                scores.tolist(),
            )
        ]

    def _add_masks(
        self, image: _Image, batch: Mapping[str, np.ndarray], boxes: np.ndarray, row: int
    ) -> None:
        """Pastes the masks of an image's detections."""
        size = self._sizes.get(image.source_id)
        if size is None:
            size = mask_evaluation.get_decoded_size(batch, row)
        count = len(image.detections)
        mask_evaluation.add_segmentations(
            image.detections,
            batch['detection_masks'][row, :count],
            box_mapping.to_xywh(boxes[row, :count]),
            size,
        )
        if 'detection_mask_scores' in batch:
            scores = np.asarray(batch['detection_mask_scores'][row, :count], np.float64)
            for detection, score in zip(image.detections, scores.tolist(), strict=True):
                detection['mask_score'] = score

    def _annotations_of(self, truths: Mapping[str, np.ndarray], row: int) -> list[dict[str, Any]]:
        count = int(np.reshape(truths['num_detections'], [-1])[row])
        boxes = box_mapping.to_xywh(truths['boxes'][row, :count])
        categories = self.to_category_ids(truths['classes'][row, :count])
        areas = truths['areas'][row, :count] if 'areas' in truths else boxes[:, 2] * boxes[:, 3]
        crowds = truths['is_crowds'][row, :count] if 'is_crowds' in truths else np.zeros(count)
        return [
            {'category_id': category, 'bbox': box, 'area': area, 'iscrowd': int(crowd)}
            for category, box, area, crowd in zip(
                categories.tolist(),
                boxes.tolist(),
                np.asarray(areas, np.float64).tolist(),
                np.asarray(crowds, np.int64).tolist(),
            )
        ]

    def _identified_images(self) -> dict[int, _Image]:
        """Image id -> image, in the order of ids, which decides ties between images."""
        images = sorted(self._images, key=lambda image: image.source_id)
        counts = collections.Counter(image.source_id for image in images)
        repeated = [source_id for source_id, count in counts.items() if count > 1]
        if self._dataset is None:
            if repeated:
                self._warn(
                    f'{len(repeated)} source ids belong to several images each (for example '
                    f'{repeated[0]}: {counts[repeated[0]]} images); each image counts on its own'
                )
            return dict(enumerate(images, start=1))
        return self._images_of_annotation_file(images, repeated)

    def _images_of_annotation_file(
        self, images: Sequence[_Image], repeated: Sequence[int]
    ) -> dict[int, _Image]:
        assert self._dataset is not None
        known = [image['id'] for image in self._dataset['images']]
        found = {image.source_id: image for image in reversed(images)}  # the first one wins
        matched = {source_id: found[source_id] for source_id in sorted(set(found) & set(known))}
        if found and not matched:
            path = self._annotation_file or ''
            self._warn(suspicions.explain_unknown_ids(found, known, path))
        elif len(matched) < len(found):
            self._warn(
                f'{len(found) - len(matched)} of {len(found)} evaluated images are not in '
                f'{self._annotation_file} (for example {min(set(found) - set(matched))}) and do '
                f'not count'
            )
        if len(set(known) - set(matched)) and matched:
            _logger.info(
                '%d of %d images of %s evaluated', len(matched), len(known), self._annotation_file
            )
        if repeated:
            self._warn(
                f'{len(repeated)} source ids came with several images each (for example '
                f'{repeated[0]}); only the first image of each counts'
            )
        return matched

    def _collected_dataset(self, images: Mapping[int, _Image]) -> dict[str, Any]:
        annotations = [
            {'image_id': image_id, **annotation}
            for image_id, image in images.items()
            for annotation in image.annotations
        ]
        for number, annotation in enumerate(annotations, start=1):
            annotation['id'] = number
        category_ids = self._category_ids.tolist() or sorted(
            {annotation['category_id'] for annotation in annotations}
            | set(range(1, len(self._class_names) + 1))
        )
        names = dict(
            zip(
                self._category_ids.tolist() or range(1, len(self._class_names) + 1),
                self._class_names,
            )
        )
        return {
            'images': [
                {'id': image_id, 'height': image.height, 'width': image.width}
                for image_id, image in images.items()
            ],
            'categories': [
                {'id': category, **({'name': names[category]} if category in names else {})}
                for category in category_ids
            ],
            'annotations': annotations,
        }

    def _warn_of_suspicious(
        self,
        images: Mapping[int, _Image],
        dataset: Mapping[str, Any],
        detections: Sequence[Mapping[str, Any]],
        metrics: Mapping[str, float],
    ) -> None:
        if not images:
            if not self._images:
                self._warn('no image was evaluated: all figures are -1')
            return
        for text in suspicions.find_suspicions(
            images, dataset, detections, metrics, annotation_file=self._annotation_file or ''
        ):
            self._warn(text)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        _logger.warning('%s\nCOCO EVALUATION: %s.\n%s', _RULE, text, _RULE)


def _check_arguments(
    max_num_eval_detections: Any, class_names: Sequence[str], category_ids: Sequence[int]
) -> None:
    if isinstance(max_num_eval_detections, bool) or not isinstance(max_num_eval_detections, int):
        raise errors.UsageError(
            where='max_num_eval_detections',
            expected='an integer',
            received=repr(max_num_eval_detections),
        )
    if max_num_eval_detections < 1:
        raise errors.UsageError(
            where='max_num_eval_detections',
            expected='1 or more',
            received=str(max_num_eval_detections),
        )
    if class_names and category_ids and len(class_names) != len(category_ids):
        raise errors.UsageError(
            'class_names and category_ids belong together',
            where='category_ids',
            expected=f'{len(class_names)} ids, one for each name',
            received=str(len(category_ids)),
        )


def make_evaluator_inputs(
    labels: Mapping[str, Any], detections: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Joins an evaluation batch's labels and the detections on it for `update_state`.

    Args:
        labels: `groundtruths`, `image_info` [batch, 4, 2] and optionally `is_valid` [batch].
        detections: `detection_boxes`, yxyx in pixels of the network's input, `detection_classes`,
            `detection_scores` and `num_detections`, and, if there, `detection_masks`,
            `detection_outer_boxes` and `detection_mask_scores`; other keys are left out.

    Returns:
        `(groundtruths, predictions)`, tensors or arrays as they came.
    """
    truths = dict(labels['groundtruths'])
    if 'is_valid' in labels:
        truths['is_valid'] = labels['is_valid']
    predictions = {
        'source_id': truths['source_id'],
        'image_info': labels['image_info'],
        **{key: detections[key] for key in _PREDICTION_FIELDS if key != 'source_id'},
        **{key: detections[key] for key in _MASK_FIELDS if key in detections},
    }
    return truths, predictions


def _category_names(dataset: Mapping[str, Any]) -> dict[int, str]:
    return {c['id']: c['name'] for c in dataset['categories'] if 'name' in c}


def _require_fields(batch: Mapping[str, Any], fields: Sequence[str], where: str) -> None:
    missing = [field for field in fields if field not in batch]
    if missing:
        raise ValueError(
            f'Missing the required key `{missing[0]}` in {where}! Expected {", ".join(fields)}; '
            f'received {", ".join(sorted(batch)) or "nothing"}.'
        )


def _per_replica(batch: Mapping[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    """Splits a batch whose values are tuples, one tensor for each replica."""
    num_replicas = {len(v) for v in batch.values() if isinstance(v, (tuple, list))}
    if len(num_replicas) > 1:
        raise errors.DataError(
            'a batch has values of different numbers of replicas',
            expected='one number for all keys',
            received=str(sorted(num_replicas)),
        )
    for replica in range(num_replicas.pop() if num_replicas else min(len(batch), 1)):
        yield {
            key: np.asarray(value[replica] if isinstance(value, (tuple, list)) else value)
            for key, value in batch.items()
        }


def _to_integers(source_ids: np.ndarray) -> np.ndarray:
    flat = np.reshape(source_ids, [-1])
    try:
        return np.asarray([int(source_id) for source_id in flat.tolist()], np.int64)
    except ValueError as error:
        raise errors.DataError(
            'image ids must be numbers',
            where='source_id',
            expected='integers, or strings of digits',
            received=repr(flat.tolist()[:3]),
        ) from error
