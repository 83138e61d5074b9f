"""An inspection as a picture: bar charts and maps, drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from official_lite.vision.data.inspection import Inspection

__all__ = ['draw_histogram', 'draw_inspection']

_PANEL_WIDTH, _PANEL_HEIGHT = 620, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 44
_INK, _FAINT, _BAR, _PAPER = (40, 40, 40), (222, 222, 222), (66, 120, 180), (255, 255, 255)
_MARK = (200, 70, 40)
_NUM_BINS = 40
_MAX_NUM_CLASSES = 14
_NUM_CELLS = 48  # of the map of centres, in each direction
_FONT_PX, _TITLE_PX = 13, 15


def draw_inspection(inspection: Inspection) -> np.ndarray:
    """Draws classes, boxes per image, box sizes, aspect ratios, image sizes and box centres.

    Returns:
        uint8 [height, width, 3], two panels beside each other in three rows.
    """
    found = inspection.distributions
    anchors = inspection.anchors.settings if inspection.anchors else None
    sides = (
        [
            anchors.anchor_size * 2 ** (level + scale / anchors.num_scales)
            for level in range(anchors.min_level, anchors.max_level + 1)
            for scale in range(anchors.num_scales)
        ]
        if anchors
        else []
    )
    height, width = inspection.input_size
    longer = np.maximum(found['image_width'].values, found['image_height'].values)
    panels = [
        draw_classes([(c.name, c.num_boxes) for c in inspection.classes]),
        draw_histogram(found['boxes_per_image'].values, 'boxes per image', unit='images'),
        draw_histogram(
            found['box_size'].values,
            f'box size on a network input of {height}x{width}, px (red: sizes of anchors)',
            unit='boxes',
            is_log=True,
            marks=sides,
        ),
        draw_histogram(
            found['aspect_ratio'].values,
            'box width / height (red: aspect ratios of anchors)',
            unit='boxes',
            is_log=True,
            marks=anchors.aspect_ratios if anchors else (),
        ),
        draw_histogram(longer, 'longer side of the images, px', unit='images'),
        draw_centres(inspection.centres),
    ]
    rows = [np.concatenate(panels[i : i + 2], axis=1) for i in range(0, len(panels), 2)]
    return np.concatenate(rows)


class _Panel:
    """A white panel with a title, axes and a mapping from values to pixels."""

    def __init__(self, title: str) -> None:
        self.canvas = Image.new('RGB', (_PANEL_WIDTH, _PANEL_HEIGHT), _PAPER)
        self.pen = ImageDraw.Draw(self.canvas)
        self.font = ImageFont.load_default(size=_FONT_PX)
        self.pen.text((_LEFT, 10), title, fill=_INK, font=ImageFont.load_default(size=_TITLE_PX))
        self.left, self.top = _LEFT, _TOP
        self.right, self.bottom = _PANEL_WIDTH - _RIGHT, _PANEL_HEIGHT - _BOTTOM

    def draw_y_axis(self, maximum: float, unit: str) -> None:
        """Lines and numbers from 0 to a maximum."""
        for value in make_ticks(0, maximum):
            y = self.get_y(value, maximum)
            self.pen.line((self.left, y, self.right, y), fill=_FAINT)
            self._write(_format(value), self.left - 6, y, anchor='rm')
        self._write(unit, 6, 12, anchor='la')
        self.pen.line((self.left, self.bottom, self.right, self.bottom), fill=_INK)

    def draw_x_tick(self, text: str, x: float) -> None:
        """A tick below the axis with its text."""
        self.pen.line((x, self.bottom, x, self.bottom + 4), fill=_INK)
        self._write(text, x, self.bottom + 8, anchor='ma')

    def get_y(self, value: float, maximum: float) -> float:
        """Pixel of a value."""
        return self.bottom - (self.bottom - self.top) * value / max(maximum, 1e-9)

    def _write(self, text: str, x: float, y: float, anchor: str) -> None:
        self.pen.text((x, y), text, fill=_INK, font=self.font, anchor=anchor)

    def write_centered(self, text: str) -> None:
        """Text in place of a chart."""
        self._write(text, (self.left + self.right) / 2, (self.top + self.bottom) / 2, 'mm')

    def to_array(self) -> np.ndarray:
        """uint8 [height, width, 3]."""
        return np.asarray(self.canvas)


def draw_histogram(
    values: np.ndarray,
    title: str,
    *,
    unit: str,
    is_log: bool = False,
    marks: Sequence[float] = (),
) -> np.ndarray:
    """Draws how often values occur.

    Args:
        values: float [n].
        title: What they are.
        unit: What is counted.
        is_log: Whether the axis of values is logarithmic; values that are not positive are left out.
        marks: Values marked by red lines.

    Returns:
        uint8 [height, width, 3].
    """
    panel = _Panel(title)
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values) & ((values > 0) | (not is_log))]
    if not len(values):
        panel.write_centered('there are none')
        return panel.to_array()
    transformed = np.log2(values) if is_log else values
    edges = _choose_edges(transformed, is_integer=not is_log and not (values % 1).any())
    low, high = float(edges[0]), float(edges[-1])
    counts, _ = np.histogram(transformed, bins=edges)
    panel.draw_y_axis(counts.max(), unit)

    def get_x(value: float) -> float:
        return panel.left + (panel.right - panel.left) * (value - low) / (high - low)

    for count, start, stop in zip(counts, edges, edges[1:]):
        box = (get_x(start) + 1, panel.get_y(count, counts.max()), get_x(stop) - 1, panel.bottom)
        if count:
            panel.pen.rectangle(box, fill=_BAR)
    ticks = _make_log_ticks(low, high) if is_log else make_ticks(low, high)
    for tick in ticks:
        value = math.log2(tick) if is_log else tick
        if low <= value <= high:
            panel.draw_x_tick(_format(tick), get_x(value))
    for mark in marks:
        value = math.log2(mark) if is_log else mark
        if low <= value <= high:
            panel.pen.line((get_x(value), panel.top, get_x(value), panel.bottom), fill=_MARK)
    return panel.to_array()


def _choose_edges(values: np.ndarray, *, is_integer: bool) -> np.ndarray:
    """Edges of equal bins around values; bins of integers are as many integers wide each."""
    low, high = float(values.min()), float(values.max())
    if is_integer:
        low, high = (low, high) if high - low >= 8 else (low - 4, high + 4)
        width = math.ceil((high - low + 1) / _NUM_BINS)
        num_bins = math.ceil((high - low + 1) / width)
        return low - 0.5 + width * np.arange(num_bins + 1)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _NUM_BINS + 1)


def _make_log_ticks(low: float, high: float) -> list[float]:
    """Powers of two, at most about ten of them; halves between them where there are few."""
    span = high - low
    if span <= 3:
        return [2.0 ** (k / 2) for k in range(math.ceil(2 * low), math.floor(2 * high) + 1)]
    step = max(1, math.ceil(span / 10))
    return [2.0**k for k in range(math.ceil(low), math.floor(high) + 1, step)]


def make_ticks(low: float, high: float, num_ticks: int = 6) -> list[float]:
    """Round numbers from low to high, about so many."""
    span = max(high - low, 1e-9)
    magnitude = 10.0 ** math.floor(math.log10(span / num_ticks))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude * num_ticks >= span)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _format(value: float) -> str:
    if value >= 10_000 and value % 1000 == 0:
        return f'{value / 1000:g}k'
    return f'{value:.3g}' if value < 1000 else f'{value:.0f}'


def draw_classes(counts: Sequence[tuple[str, int]]) -> np.ndarray:
    """Draws how many boxes each class has, the most frequent first; the rest is one bar.

    Args:
        counts: (name, number of boxes) of each class.
    """
    panel = _Panel(f'boxes per class ({len(counts)} classes)')
    rows = sorted(counts, key=lambda row: -row[1])
    if len(rows) > _MAX_NUM_CLASSES:
        rest = rows[_MAX_NUM_CLASSES - 1 :]
        rows = [
            *rows[: _MAX_NUM_CLASSES - 1],
            (f'{len(rest)} others', sum(count for _, count in rest)),
        ]
    if not rows:
        panel.write_centered('there are none')
        return panel.to_array()
    maximum = max(1, *(count for _, count in rows))
    name_width, number_width = 150, 56
    row_height = min(34.0, (_PANEL_HEIGHT - _TOP - 12) / len(rows))
    for number, (name, count) in enumerate(rows):
        middle = _TOP + (number + 0.5) * row_height
        start = name_width + 12
        stop = start + (_PANEL_WIDTH - start - number_width) * count / maximum
        half = 0.35 * row_height
        label = _shorten(panel, name, name_width)
        panel.pen.text((name_width + 4, middle), label, _INK, panel.font, anchor='rm')
        panel.pen.rectangle((start, middle - half, max(stop, start + 1), middle + half), _BAR)
        panel.pen.text((stop + 6, middle), str(count), _INK, panel.font, anchor='lm')
    return panel.to_array()


def _shorten(panel: _Panel, text: str, width: int) -> str:
    while len(text) > 4 and panel.pen.textlength(text, font=panel.font) > width - 8:
        text = text[:-2] + '…' if not text.endswith('…') else text[:-3] + '…'
    return text


def draw_centres(centres: np.ndarray) -> np.ndarray:
    """Draws where in the images boxes have their centres; dark is many.

    Args:
        centres: float [n, 2], (y, x) as shares of the image.
    """
    panel = _Panel('centres of boxes in their image (dark: many)')
    if not len(centres):
        panel.write_centered('there are none')
        return panel.to_array()
    counts, _, _ = np.histogram2d(
        centres[:, 0], centres[:, 1], bins=_NUM_CELLS, range=((0, 1), (0, 1))
    )
    share = np.sqrt(counts / max(1.0, counts.max()))[..., None]
    colors = np.array(_PAPER) * (1 - share) + np.array(_BAR) * 0.6 * share
    side = panel.bottom - panel.top
    tile = Image.fromarray(colors.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    left = (_PANEL_WIDTH - side) // 2
    panel.canvas.paste(tile, (left, panel.top))
    panel.pen.rectangle((left, panel.top, left + side, panel.bottom), outline=_INK)
    return panel.to_array()
