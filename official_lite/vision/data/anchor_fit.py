"""How well anchors cover the boxes of a data set, and which anchors would cover them better.

An object is learned from the anchors that overlap it enough (IoU 0.5 in RetinaNet). One that no
anchor reaches is learned from its single best anchor only (arXiv:1708.02002, section 4).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from official_lite import errors

__all__ = [
    'AnchorFit',
    'AnchorSettings',
    'build_anchor_settings',
    'compute_best_iou',
    'fit_anchors',
    'suggest_anchors',
]

# Boxes looked at when anchors are compared; the share is then exact to about one point.
_MAX_NUM_COMPARED = 4000
_SIZES = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_MIN_GAIN = 0.01
_CHUNK = 8192


@dataclasses.dataclass(frozen=True)
class AnchorSettings:
    """Anchors and the images they lie on; see `ops.anchor.Anchor`.

    Attributes:
        min_level, max_level: Levels of the pyramid.
        num_scales: Sizes per octave.
        aspect_ratios: Widths by heights.
        anchor_size: Side of the smallest square anchor, in strides.
        input_size: (height, width) that images are resized into, keeping their shape, pixels.
        match_threshold: IoU from which an anchor is positive.
    """

    min_level: int
    max_level: int
    num_scales: int
    aspect_ratios: tuple[float, ...]
    anchor_size: float
    input_size: tuple[int, int]
    match_threshold: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


@dataclasses.dataclass(frozen=True)
class AnchorFit:
    """How anchors cover boxes.

    Attributes:
        settings: The anchors.
        share: Share of boxes whose best anchor is positive.
        share_by_size: The same for small (below 32^2 square px on the network's input), medium (below
            96^2) and large boxes: (share, number of boxes).
        median_iou: Median of the boxes' best IoU.
    """

    settings: AnchorSettings
    share: float
    share_by_size: dict[str, tuple[float, int]]
    median_iou: float

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {**dataclasses.asdict(self), 'settings': self.settings.to_dict()}


def fit_anchors(boxes_px: np.ndarray, settings: AnchorSettings) -> AnchorFit:
    """Measures anchors on boxes.

    Args:
        boxes_px: float [n, 4], yxyx in pixels of the network's input, n at least 1.
        settings: The anchors.
    """
    best = compute_best_iou(boxes_px, settings)
    is_positive = best >= settings.match_threshold
    areas = np.prod(boxes_px[:, 2:] - boxes_px[:, :2], axis=1)
    bounds = {'small': (0, 32**2), 'medium': (32**2, 96**2), 'large': (96**2, np.inf)}
    by_size = {}
    for name, (low, high) in bounds.items():
        inside = (areas >= low) & (areas < high)
        share = float(is_positive[inside].mean()) if inside.any() else 0.0
        by_size[name] = (share, int(inside.sum()))
    return AnchorFit(settings, float(is_positive.mean()), by_size, float(np.median(best)))


def compute_best_iou(boxes_px: np.ndarray, settings: AnchorSettings) -> np.ndarray:
    """IoU of each box with its best anchor.

    Of anchors of one shape the best one is at the place nearest to the box's centre, so only that
    one is looked at for each shape and level.

    Args:
        boxes_px: float [n, 4], yxyx in pixels of the network's input.
        settings: The anchors.

    Returns:
        float64 [n].
    """
    boxes_px = np.asarray(boxes_px, np.float64)
    parts = [
        _compute_best_of_chunk(boxes_px[i : i + _CHUNK], settings)
        for i in range(0, len(boxes_px), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros([0])


def _compute_best_of_chunk(boxes: np.ndarray, settings: AnchorSettings) -> np.ndarray:
    stride = 2**settings.max_level
    padded = [-(-length // stride) * stride for length in settings.input_size]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    best = np.zeros(len(boxes))
    scales = 2.0 ** (np.arange(settings.num_scales) / settings.num_scales)
    ratios = np.asarray(settings.aspect_ratios, np.float64)
    for level in range(settings.min_level, settings.max_level + 1):
        cell = 2.0**level
        last = np.asarray(padded) // cell - 1
        places = (np.clip(np.floor(centres / cell), 0, last) + 0.5) * cell  # [n, 2]
        sides = settings.anchor_size * cell * scales
        heights = (sides[:, None] * ratios**-0.5).reshape(-1)  # [anchors]
        widths = (sides[:, None] * ratios**0.5).reshape(-1)
        overlap_y = _overlap(boxes[:, 0], boxes[:, 2], places[:, 0], heights)
        overlap_x = _overlap(boxes[:, 1], boxes[:, 3], places[:, 1], widths)
        common = overlap_y * overlap_x  # [n, anchors]
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        iou = common / (areas[:, None] + heights * widths - common)
        best = np.maximum(best, iou.max(axis=1))
    return best


def _overlap(low: np.ndarray, high: np.ndarray, centre: np.ndarray, sides: np.ndarray) -> Any:
    """Common length of [low, high] and each side around the centre, [n, sides]."""
    start = np.maximum(low[:, None], centre[:, None] - sides / 2)
    stop = np.minimum(high[:, None], centre[:, None] + sides / 2)
    return np.maximum(stop - start, 0.0)


def suggest_anchors(boxes_px: np.ndarray, settings: AnchorSettings) -> AnchorFit | None:
    """Anchors that cover the boxes better, with as many at each place; None if there are none.

    Tries sizes and sets of aspect ratios; the ratios are quantiles of those of the boxes.

    Args:
        boxes_px: float [n, 4], yxyx in pixels of the network's input, n at least 1.
        settings: The anchors to beat by at least one point.
    """
    step = -(-len(boxes_px) // _MAX_NUM_COMPARED)
    sample = np.asarray(boxes_px, np.float64)[::step]
    best, best_rank = settings, _rank(sample, settings)
    start = best_rank[0]
    for ratios, size in itertools.product(_make_ratio_sets(sample, settings), _SIZES):
        candidate = dataclasses.replace(settings, aspect_ratios=ratios, anchor_size=size)
        rank = _rank(sample, candidate)
        if rank > best_rank:
            best, best_rank = candidate, rank
    if best_rank[0] < start + _MIN_GAIN:
        return None
    return fit_anchors(boxes_px, best)


def _rank(boxes: np.ndarray, settings: AnchorSettings) -> tuple[float, float]:
    best = compute_best_iou(boxes, settings)
    return float(np.mean(best >= settings.match_threshold)), float(best.mean())


def _make_ratio_sets(boxes: np.ndarray, settings: AnchorSettings) -> Sequence[tuple[float, ...]]:
    """The ratios there are, and quantiles of those of the boxes."""
    num_ratios = len(settings.aspect_ratios)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    ratios = np.log(sides[:, 1] / sides[:, 0])
    sets = [settings.aspect_ratios]
    for margin in (0.5 / num_ratios, 0.05, 0.15):
        shares = np.linspace(margin, 1 - margin, num_ratios) if num_ratios > 1 else [0.5]
        quantiles = np.exp(np.quantile(ratios, shares))
        rounded = tuple(float(f'{value:.2g}') for value in quantiles)
        if len(set(rounded)) == num_ratios:
            sets.append(rounded)
    return sets


def build_anchor_settings(task_config: Any, *, is_training: bool = True) -> AnchorSettings:
    """The anchors of a `configs.retinanet.RetinaNetTask` or `configs.maskrcnn.MaskRCNNTask`.

    Raises:
        UsageError: The task has no anchors, or no input size is set.
    """
    model = task_config.model
    if not hasattr(model, 'anchor') or len(model.input_size) < 2:
        raise errors.UsageError(
            where='task.model', expected='anchors and an input_size', received=repr(model)[:80]
        )
    data = task_config.train_data if is_training else task_config.validation_data
    return AnchorSettings(
        min_level=model.min_level,
        max_level=model.max_level,
        num_scales=model.anchor.num_scales,
        aspect_ratios=tuple(float(ratio) for ratio in model.anchor.aspect_ratios),
        anchor_size=float(model.anchor.anchor_size),
        input_size=(int(model.input_size[0]), int(model.input_size[1])),
        match_threshold=float(
            getattr(data.parser, 'rpn_match_threshold', data.parser.match_threshold)
        ),
    )
