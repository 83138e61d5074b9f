"""What is in a data set: counts, sizes, what looks wrong, and how well anchors fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from official_lite.core.data_info import DataInfo
from official_lite.vision.data import anchor_fit, findings, image_check, records
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders import table_source
from official_lite.vision.ops import run_lengths

__all__ = ['ClassCount', 'Distribution', 'Inspection', 'inspect_source']

_QUANTILES = {'min': 0.0, 'p5': 0.05, 'median': 0.5, 'p95': 0.95, 'max': 1.0}


@dataclasses.dataclass(frozen=True)
class ClassCount:
    """One class.

    Attributes:
        label: From 1, as models count.
        category_id: The data set's own id.
        name: Its name.
        num_boxes: Boxes, crowds included.
        num_crowds: Of them, those that stand for several objects.
        num_images: Images with at least one box.
        median_size_px: Median of the square root of a box's area, on the network's input.
    """

    label: int
    category_id: int
    name: str
    num_boxes: int
    num_crowds: int
    num_images: int
    median_size_px: float


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Values of one quantity.

    Attributes:
        name: What it is, with the unit.
        values: float [n].
    """

    name: str
    values: np.ndarray

    def summarize(self) -> dict[str, float]:
        """Smallest, 5th percentile, median, 95th percentile and largest; {} if there are none."""
        if not len(self.values):
            return {}
        return {k: float(np.quantile(self.values, q)) for k, q in _QUANTILES.items()}


@dataclasses.dataclass(frozen=True)
class Inspection:
    """All that was found.

    Attributes:
        origin: Where the data is.
        num_images, num_boxes, num_crowds, num_empty_images: Counts.
        num_classes: As models count, with the background.
        input_size: (height, width) of the network's input that is meant by `input`.
        classes: By label.
        distributions: By a short name.
        findings: What looks wrong.
        images: What the headers of images say; None if they were not looked at.
        anchors: How the experiment's anchors fit; None if there are no boxes.
        suggestion: Anchors that fit better; None if there are none.
        centres: float [boxes, 2], (y, x) of boxes' centres as shares of their image.
    """

    origin: str
    num_images: int
    num_boxes: int
    num_crowds: int
    num_empty_images: int
    num_classes: int
    input_size: tuple[int, int]
    classes: tuple[ClassCount, ...]
    distributions: dict[str, Distribution]
    findings: tuple[findings.Finding, ...]
    images: image_check.ImageCheck | None
    anchors: anchor_fit.AnchorFit | None
    suggestion: anchor_fit.AnchorFit | None
    centres: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it, without the single values."""
        plain = ('origin', 'num_images', 'num_boxes', 'num_crowds', 'num_empty_images')
        return {
            **{name: getattr(self, name) for name in plain},
            'num_classes': self.num_classes,
            'input_size': list(self.input_size),
            'classes': [dataclasses.asdict(c) for c in self.classes],
            'distributions': {
                key: {'name': d.name, **d.summarize()} for key, d in self.distributions.items()
            },
            'image_kinds': self.images.kinds if self.images else {},
            'findings': [f.to_dict() for f in self.findings],
            'anchors': self.anchors.to_dict() if self.anchors else None,
            'suggested_anchors': self.suggestion.to_dict() if self.suggestion else None,
        }


def inspect_source(
    source: source_lib.Source,
    anchors: anchor_fit.AnchorSettings,
    *,
    keep_aspect_ratio: bool = True,
    max_num_checked_images: int | None = 1000,
) -> Inspection:
    """Reads all annotations of a source, and the headers of some images.

    Args:
        source: The examples.
        anchors: Anchors of the experiment, and its input size.
        keep_aspect_ratio: Whether images are resized alike in height and width.
        max_num_checked_images: Images whose headers are read. None means all, 0 none.

    Raises:
        DataError: An example cannot be read.
    """
    table, info = records.load_table(source), source.info
    scales = _compute_scales(table, anchors.input_size, keep_aspect_ratio)
    images = np.repeat(np.arange(len(table)), np.diff(table.splits))  # [boxes]
    image_sizes = np.stack([table.heights_px, table.widths_px], axis=-1)
    # Pixels of the network's input, [boxes, 4].
    boxes_px = table.boxes * np.tile((image_sizes * scales)[images], 2)
    has_area = (boxes_px[:, 2:] > boxes_px[:, :2]).all(axis=1)
    learned_px = boxes_px[~table.is_crowd & has_area].astype(np.float64)
    checked = (
        None
        if max_num_checked_images == 0
        else image_check.check_images(source, image_sizes, max_num_checked_images)
    )
    found = findings.find_problems(table, info, scales, source.describe)
    return Inspection(
        origin=info.origin,
        num_images=len(table),
        num_boxes=len(table.labels),
        num_crowds=int(table.is_crowd.sum()),
        num_empty_images=int((np.diff(table.splits) == 0).sum()),
        num_classes=info.num_classes,
        input_size=anchors.input_size,
        classes=_count_classes(table, info, images, boxes_px),
        distributions=_measure(table, images, image_sizes, boxes_px[has_area]),
        findings=(*(checked.findings if checked else ()), *found),
        images=checked,
        anchors=anchor_fit.fit_anchors(learned_px, anchors) if len(learned_px) else None,
        suggestion=anchor_fit.suggest_anchors(learned_px, anchors) if len(learned_px) else None,
        centres=(table.boxes[:, :2] + table.boxes[:, 2:]) / 2,
    )


def _compute_scales(
    table: table_source.AnnotationTable, input_size: tuple[int, int], keep_aspect_ratio: bool
) -> np.ndarray:
    """float64 [images, 2]: factors on height and width."""
    sizes = np.stack([table.heights_px, table.widths_px], axis=-1)
    scales = np.asarray(input_size, np.float64) / np.maximum(sizes, 1)
    return np.repeat(scales.min(axis=1, keepdims=True), 2, axis=1) if keep_aspect_ratio else scales


def _count_classes(
    table: table_source.AnnotationTable, info: DataInfo, images: np.ndarray, boxes_px: np.ndarray
) -> tuple[ClassCount, ...]:
    sizes = _compute_box_sizes(boxes_px)
    rows = []
    for label, (name, id_) in enumerate(zip(info.class_names, info.category_ids), start=1):
        mine = table.labels == label
        rows.append(
            ClassCount(
                label=label,
                category_id=id_,
                name=name,
                num_boxes=int(mine.sum()),
                num_crowds=int(table.is_crowd[mine].sum()),
                num_images=len(np.unique(images[mine])),
                median_size_px=float(np.median(sizes[mine])) if mine.any() else 0.0,
            )
        )
    return tuple(rows)


def _compute_box_sizes(boxes_px: np.ndarray) -> np.ndarray:
    return np.sqrt(np.prod(np.maximum(boxes_px[:, 2:] - boxes_px[:, :2], 0), axis=1))


def _measure(
    table: table_source.AnnotationTable,
    images: np.ndarray,
    image_sizes: np.ndarray,
    boxes_px: np.ndarray,
) -> dict[str, Distribution]:
    """Distributions; `boxes_px` on the network's input, those with an area only."""
    sides_px = (table.boxes[:, 2:] - table.boxes[:, :2]) * image_sizes[images]
    sides_px = sides_px[(sides_px > 0).all(axis=1)]
    shares = np.sqrt(np.prod(table.boxes[:, 2:] - table.boxes[:, :2], axis=1).clip(0))
    found = {
        'image_width': Distribution('image width, px', table.widths_px),
        'image_height': Distribution('image height, px', table.heights_px),
        'boxes_per_image': Distribution('boxes per image', np.diff(table.splits)),
        'box_width': Distribution('box width, px of image', sides_px[:, 1]),
        'box_height': Distribution('box height, px of image', sides_px[:, 0]),
        'box_share': Distribution('box size, share of image', shares),
        'box_size': Distribution('box size, px of input', _compute_box_sizes(boxes_px)),
        'aspect_ratio': Distribution('box width / height', sides_px[:, 1] / sides_px[:, 0]),
    }
    if table.masks is not None:
        found['mask_share'] = Distribution('mask, share of its box', _measure_masks(table, images))
    return {k: Distribution(d.name, np.asarray(d.values, np.float64)) for k, d in found.items()}


def _measure_masks(table: table_source.AnnotationTable, images: np.ndarray) -> np.ndarray:
    """float64 [boxes], pixels of masks by those of their boxes."""
    assert table.masks is not None
    sizes = np.stack([table.heights_px, table.widths_px], axis=-1)[images]  # [boxes, 2]
    areas = [
        float(run_lengths.compute_areas([counts], *size)[0])
        for counts, size in zip(table.masks.tolist(), sizes.tolist(), strict=True)
    ]
    boxes = np.prod((table.boxes[:, 2:] - table.boxes[:, :2]) * sizes, axis=1)
    return np.asarray(areas, np.float64) / np.maximum(boxes, 1.0)
