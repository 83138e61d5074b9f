"""Pictures of boxes: with class names, of detections with scores too, and grids of such images.

Pillow and NumPy only. Detected boxes are thick and carry a label; ground truth is a thin white line.
"""

from __future__ import annotations

import colorsys
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from official_lite.vision.ops import mask_ops

GROUND_TRUTH_COLOR = (255, 255, 255)

_MASK_OPACITY = 0.5
_GOLDEN_RATIO = 0.618034  # successive hues this far apart stay distinct for any number of classes


def get_class_color(label: int) -> tuple[int, int, int]:
    """The color of a class, the same in every picture; label 0 or more."""
    hue = (0.05 + label * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_detections(
    image: np.ndarray,
    detections: Mapping[str, Any],
    *,
    class_names: Sequence[str] = (),
    ground_truth_boxes: np.ndarray | None = None,
    min_score: float = 0.3,
    max_num_boxes: int = 20,
    scale: float = 1.0,
) -> np.ndarray:
    """Draws the detections of one image.

    Args:
        image: uint8 [height, width, 3].
        detections: `detection_boxes` [detections, 4], yxyx in pixels of `image`, `detection_scores`
            and `detection_classes` [detections], best first or not; `num_detections` optional;
            with masks `detection_masks` float [detections, rows, columns], 0 to 1, each within its
            box or, if there, `detection_outer_boxes`, are painted too.
        class_names: Names of labels 1..K; a label without one is shown as its number.
        ground_truth_boxes: float [boxes, 4], likewise yxyx, or None.
        min_score: Detections below are left out.
        max_num_boxes: Only the best are drawn.
        scale: Magnification of the picture; boxes and text are drawn after it, so that they stay
            sharp on small images.

    Returns:
        uint8 [round(scale * height), round(scale * width), 3].
    """
    size = (round(scale * image.shape[1]), round(scale * image.shape[0]))
    canvas = Image.fromarray(np.asarray(image, np.uint8)).resize(size, Image.Resampling.BICUBIC)
    best = _best_detections(detections, min_score, max_num_boxes)
    if 'detection_masks' in detections:
        canvas = _paint_detected(canvas, detections, best, scale)
    pen = ImageDraw.Draw(canvas)
    for box in np.zeros([0, 4]) if ground_truth_boxes is None else ground_truth_boxes:
        _draw_box(pen, scale * np.asarray(box), GROUND_TRUTH_COLOR, width=1)
    for row, score, label in reversed(best):
        box = np.asarray(detections['detection_boxes'][row], np.float64)
        text = f'{get_class_name(label, class_names)} {score:.2f}'
        _draw_box(pen, scale * box, get_class_color(label), width=max(2, min(size) // 200))
        _draw_text(pen, scale * box, text, get_class_color(label), size)
    return np.asarray(canvas)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str] = (),
    faint_boxes: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """Draws annotated boxes, the largest first; those with room for it carry their class name.

    Args:
        image: uint8 [height, width, 3].
        boxes: float [n, 4], yxyx in pixels of `image`.
        labels: int [n], from 1.
        class_names: Names of labels 1..K; a label without one is shown as its number.
        faint_boxes: float [m, 4], likewise: drawn below them, thin and pale, with their centres.
        masks: float [n, rows, columns], 0 to 1, each within its box: painted below the boxes.
        scale: Magnification of the picture.

    Returns:
        uint8 [round(scale * height), round(scale * width), 3].
    """
    size = (round(scale * image.shape[1]), round(scale * image.shape[0]))
    canvas = Image.fromarray(np.asarray(image, np.uint8)).resize(size, Image.Resampling.BICUBIC)
    if faint_boxes is not None:
        canvas = _draw_faint_boxes(canvas, scale * np.asarray(faint_boxes))
    boxes = scale * np.asarray(boxes, np.float64).reshape(-1, 4)
    if masks is not None:
        canvas = _paint_masks(canvas, masks, boxes, labels)
    pen = ImageDraw.Draw(canvas)
    order = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind='stable').tolist()
    for i in order:
        _draw_box(pen, boxes[i], get_class_color(int(labels[i])), width=2)
    for i in order:
        text = get_class_name(int(labels[i]), class_names)
        if _has_room(pen, boxes[i], text, size):
            _draw_text(pen, boxes[i], text, get_class_color(int(labels[i])), size)
    return np.asarray(canvas)


def draw_legend(labels: Sequence[int], class_names: Sequence[str], width: int) -> np.ndarray:
    """Draws the colors and names of classes, in as many lines as they need.

    Args:
        labels: Which classes, in this order.
        class_names: Names of labels 1..K.
        width: Width of the picture, pixels.

    Returns:
        uint8 [height, width, 3]; of height 0 without labels.
    """
    font, line = ImageFont.load_default(size=14), 24
    pen = ImageDraw.Draw(Image.new('RGB', (1, 1)))
    places, x, row = [], 8.0, 0
    for label in labels:
        text = get_class_name(label, class_names)
        length = 18 + pen.textlength(text, font=font) + 18
        if x > 8 and x + length > width:
            x, row = 8.0, row + 1
        places.append((x, row * line, label, text))
        x += length
    canvas = Image.new('RGB', (width, (row + 1) * line if places else 0), (32, 32, 32))
    pen = ImageDraw.Draw(canvas)
    for x, y, label, text in places:
        pen.rectangle((x, y + 6, x + 12, y + 18), fill=get_class_color(label))
        pen.text((x + 18, y + line / 2), text, fill=(255, 255, 255), font=font, anchor='lm')
    return np.asarray(canvas)


def _paint_detected(
    canvas: Image.Image,
    detections: Mapping[str, Any],
    best: Sequence[tuple[int, float, int]],
    scale: float,
) -> Image.Image:
    rows = [row for row, _, _ in reversed(best)]
    name = 'detection_outer_boxes' if 'detection_outer_boxes' in detections else 'detection_boxes'
    return _paint_masks(
        canvas,
        np.asarray(detections['detection_masks'])[rows],
        scale * np.asarray(detections[name], np.float64)[rows],
        np.array([label for _, _, label in reversed(best)], int),
    )


def _paint_masks(
    canvas: Image.Image, masks: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> Image.Image:
    """Paints masks in the colors of their classes; boxes [n, 4] are yxyx in pixels of the canvas."""
    pixels = np.asarray(canvas, np.float32).copy()
    for mask, box, label in zip(masks, boxes, labels, strict=True):
        y0, x0, y1, x1 = box.tolist()
        xywh = np.array([[x0, y0, x1 - x0, y1 - y0]])
        is_in = mask_ops.paste_instance_masks(mask[None], xywh, *pixels.shape[:2])[0] > 0
        color = np.array(get_class_color(int(label)), np.float32)
        pixels[is_in] += _MASK_OPACITY * (color - pixels[is_in])
    return Image.fromarray(pixels.astype(np.uint8))


def _draw_faint_boxes(canvas: Image.Image, boxes: np.ndarray) -> Image.Image:
    layer = Image.new('RGBA', canvas.size)
    pen = ImageDraw.Draw(layer)
    for ymin, xmin, ymax, xmax in boxes.tolist():
        pen.rectangle((xmin, ymin, xmax, ymax), outline=(255, 255, 255, 70))
    for ymin, xmin, ymax, xmax in boxes.tolist():
        x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(255, 230, 0, 220))
    return Image.alpha_composite(canvas.convert('RGBA'), layer).convert('RGB')


def _has_room(pen: ImageDraw.ImageDraw, box: np.ndarray, text: str, size: tuple[int, int]) -> bool:
    """Whether a name is hardly wider than its box."""
    return pen.textlength(text, font=_get_font(size)) <= 1.2 * (box[3] - box[1])


def get_class_name(label: int, class_names: Sequence[str]) -> str:
    """The name of a label 1..K, or the number where there is no name."""
    return class_names[label - 1] if 1 <= label <= len(class_names) else str(label)


def make_grid(images: Sequence[np.ndarray], num_columns: int | None = None) -> np.ndarray:
    """Joins images into one, row by row, each centered in a cell of the largest size.

    Args:
        images: uint8 [height, width, 3] each, one at least.
        num_columns: None: such that the grid is about as wide as high.

    Returns:
        uint8 [rows * (cell height + gap) - gap, columns * (cell width + gap) - gap, 3].

    Raises:
        ValueError: No image.
    """
    if not images:
        raise ValueError('A grid needs at least one image.')
    gap = 4
    height = max(image.shape[0] for image in images) + gap
    width = max(image.shape[1] for image in images) + gap
    columns = min(
        len(images), num_columns or max(1, round(math.sqrt(len(images) * height / width)))
    )
    rows = math.ceil(len(images) / columns)
    grid = np.full([rows * height - gap, columns * width - gap, 3], 32, np.uint8)
    for index, image in enumerate(images):
        top = index // columns * height + (height - gap - image.shape[0]) // 2
        left = index % columns * width + (width - gap - image.shape[1]) // 2
        grid[top : top + image.shape[0], left : left + image.shape[1]] = image
    return grid


def save_png(image: np.ndarray, path: str) -> str:
    """Writes uint8 [height, width, 3] as PNG, making the directory; returns the path."""
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    Image.fromarray(image).save(path, format='PNG')
    return path


def _best_detections(
    detections: Mapping[str, Any], min_score: float, max_num_boxes: int
) -> list[tuple[int, float, int]]:
    """Row, score and label of the detections that are drawn, best first."""
    count = int(
        np.reshape(detections.get('num_detections', len(detections['detection_boxes'])), ())
    )
    scores = np.asarray(detections['detection_scores'], np.float64)[:count]
    labels = np.asarray(detections['detection_classes'])[:count].astype(int)
    order = np.argsort(-scores, kind='stable')[:max_num_boxes]
    return [(i, float(scores[i]), int(labels[i])) for i in order.tolist() if scores[i] >= min_score]


def _draw_box(
    pen: ImageDraw.ImageDraw, box: np.ndarray, color: tuple[int, int, int], *, width: int
) -> None:
    ymin, xmin, ymax, xmax = (float(side) for side in box)
    pen.rectangle((xmin, ymin, max(xmin, xmax), max(ymin, ymax)), outline=color, width=width)


def _draw_text(
    pen: ImageDraw.ImageDraw,
    box: np.ndarray,
    text: str,
    color: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    """Text on a plate of the box's color: above the box, or inside where there is no room."""
    font = _get_font(size)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    text_width, text_height = right - left + 4, bottom - top + 4
    x = float(np.clip(box[1], 0, max(0, size[0] - text_width)))
    y = float(box[0]) - text_height
    if y < 0:
        y = float(np.clip(box[0], 0, max(0, size[1] - text_height)))
    pen.rectangle((x, y, x + text_width, y + text_height), fill=color)
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = (0, 0, 0) if luminance > 130 else (255, 255, 255)
    pen.text((x + 2 - left, y + 2 - top), text, fill=ink, font=font)


def _get_font(size: tuple[int, int]) -> Any:
    """A font for a picture of `size` (width, height)."""
    return ImageFont.load_default(size=float(np.clip(min(size) / 18, 10, 20)))
