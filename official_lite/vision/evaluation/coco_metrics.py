"""COCO detection metrics from plain annotation dicts, computed by pycocotools.

`compute_coco_metrics` runs COCOeval and keeps its two result tables; every figure is a mean over a
slice of one of them. COCOeval's own summary is not used: it prints, its headline AP is -1 for any
limit of detections other than 100, and it knows nothing of single categories.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import coco as coco_api
from pycocotools import cocoeval
from pycocotools import mask as mask_api

NOT_DEFINED = -1.0  # pycocotools' value of a figure that no ground truth supports

_AREAS = ('all', 'small', 'medium', 'large')  # COCO: split at 32^2 and 96^2 px


@dataclasses.dataclass(frozen=True)
class CocoTables:
    """The tables of one evaluation.

    Attributes:
        precision: float64 [10 IoU thresholds .5:.05:.95, 101 recalls, categories, 4 area ranges, 3
            limits]; -1 where a category has no ground truth.
        recall: float64 [10, categories, 4, 3], likewise.
        category_ids: Ids of the categories, in the order of the tables.
        limits: The three limits of detections per image and category, ascending.
    """

    precision: np.ndarray
    recall: np.ndarray
    category_ids: tuple[int, ...]
    limits: tuple[int, int, int]

    def metrics(self, prefix: str = '') -> dict[str, float]:
        """The twelve figures of pycocotools, by Model Garden's names with `prefix` in front."""
        figures = {
            'AP': self._ap(),
            'AP50': self._ap(threshold=0),
            'AP75': self._ap(threshold=5),
            'APs': self._ap(area='small'),
            'APm': self._ap(area='medium'),
            'APl': self._ap(area='large'),
            'ARmax1': self._ar(limit=0),
            'ARmax10': self._ar(limit=1),
            f'ARmax{self.limits[2]}': self._ar(),
            'ARs': self._ar(area='small'),
            'ARm': self._ar(area='medium'),
            'ARl': self._ar(area='large'),
        }
        return {prefix + name: value for name, value in figures.items()}

    def category_metrics(
        self, names: Mapping[int, str] | None = None, prefix: str = ''
    ) -> dict[str, float]:
        """The same figures for every single category, by Model Garden's names.

        Args:
            names: Display name of each category id; an id without one stands for itself. A name
                that two ids share is followed by the id.
            prefix: What stands in front of each figure's name.

        Returns:
            `{'Precision mAP ByCategory/<name>': ...}` and eleven more for each category.
        """
        display = _distinct_names(self.category_ids, names or {})
        result = {}
        for index, name in enumerate(display):
            figures = {
                'Precision mAP ByCategory': self._ap(category=index),
                'Precision mAP ByCategory@50IoU': self._ap(category=index, threshold=0),
                'Precision mAP ByCategory@75IoU': self._ap(category=index, threshold=5),
                'Precision mAP ByCategory (small)': self._ap(category=index, area='small'),
                'Precision mAP ByCategory (medium)': self._ap(category=index, area='medium'),
                'Precision mAP ByCategory (large)': self._ap(category=index, area='large'),
                'Recall AR@1 ByCategory': self._ar(category=index, limit=0),
                'Recall AR@10 ByCategory': self._ar(category=index, limit=1),
                f'Recall AR@{self.limits[2]} ByCategory': self._ar(category=index),
                'Recall AR (small) ByCategory': self._ar(category=index, area='small'),
                'Recall AR (medium) ByCategory': self._ar(category=index, area='medium'),
                'Recall AR (large) ByCategory': self._ar(category=index, area='large'),
            }
            result.update({f'{prefix}{figure}/{name}': value for figure, value in figures.items()})
        return result

    def _ap(
        self, *, threshold: int | None = None, category: int | None = None, area: str = 'all'
    ) -> float:
        table = self.precision[:, :, :, _AREAS.index(area), 2]  # [thresholds, recalls, categories]
        return _mean_of_defined(table[_at(threshold), :, _at(category)])

    def _ar(self, *, category: int | None = None, area: str = 'all', limit: int = 2) -> float:
        table = self.recall[:, :, _AREAS.index(area), limit]  # [thresholds, categories]
        return _mean_of_defined(table[:, _at(category)])


def compute_coco_metrics(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    image_ids: Sequence[int],
    *,
    iou_type: str = 'bbox',
    max_num_detections: int = 100,
) -> CocoTables:
    """Evaluates detections against ground truth in COCO's format.

    Args:
        ground_truth: A dict with `images`, `categories` and `annotations` (each with `id`,
            `image_id`, `category_id`, `bbox` [x, y, w, h] in pixels, `area`, `iscrowd`).
        detections: Dicts with `image_id`, `category_id`, `bbox` and `score`; may be empty. Ties in
            the score are ranked in this order within an image, and by image id across images.
        image_ids: Ids of the evaluated images; images without detections belong to them.
        iou_type: 'bbox', or 'segm' with `segmentation` in both lists.
        max_num_detections: Best detections per image and category that count.

    Returns:
        The tables, from which `metrics()` and `category_metrics()` follow.
    """
    limits = (min(1, max_num_detections), min(10, max_num_detections), max_num_detections)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports every step with print()
        evaluation = cocoeval.COCOeval(
            _to_index(ground_truth),
            _to_index(_with_ids(ground_truth, detections, iou_type)),
            iou_type,
        )
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    return CocoTables(
        precision=evaluation.eval['precision'],
        recall=evaluation.eval['recall'],
        category_ids=tuple(int(category) for category in evaluation.params.catIds),
        limits=limits,
    )


def _to_index(dataset: Mapping[str, Any]) -> coco_api.COCO:
    index = coco_api.COCO()
    index.dataset = dict(dataset)
    index.createIndex()
    return index


def _with_ids(
    ground_truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], iou_type: str
) -> dict[str, Any]:
    """What COCO.loadRes makes of detections, for an empty list too (where that one fails)."""
    areas = _compute_areas(detections, iou_type)
    annotations = [
        {
            **detection,
            'id': number,
            'area': area,
            'iscrowd': 0,
        }
        for number, (detection, area) in enumerate(zip(detections, areas, strict=True), start=1)
    ]
    return {
        'images': ground_truth['images'],
        'categories': ground_truth['categories'],
        'annotations': annotations,
    }


def _compute_areas(detections: Sequence[Mapping[str, Any]], iou_type: str) -> list[float]:
    """Square pixels of boxes, or of masks: they decide which detections count as small or large."""
    if iou_type == 'bbox':
        return [detection['bbox'][2] * detection['bbox'][3] for detection in detections]
    # One by one: of more than 255 at a time pycocotools makes an OverflowError.
    return [float(mask_api.area(detection['segmentation'])) for detection in detections]


def _at(index: int | None) -> slice:
    return slice(None) if index is None else slice(index, index + 1)


def _mean_of_defined(values: np.ndarray) -> float:
    defined = values[values > NOT_DEFINED]
    return float(np.mean(defined)) if defined.size else NOT_DEFINED


def _distinct_names(category_ids: Sequence[int], names: Mapping[int, str]) -> list[str]:
    plain = [str(names.get(category, category)) for category in category_ids]
    return [
        f'{name} (id {category})' if plain.count(name) > 1 else name
        for category, name in zip(category_ids, plain)
    ]
