"""A picture of what a classifier makes of validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from official_lite.vision import visualization

__all__ = ['draw_caption', 'make_picture']

_CELL_PX = 192  # the longer side of an image in the grid, at least
_CAPTION_PX = 24
_RIGHT, _WRONG = (20, 110, 40), (170, 30, 30)
_MAX_NUM_BATCHES = 200


def make_picture(
    batches: Iterable[tuple[Any, Mapping[str, Any]]],
    classify: Callable[[Any], Any],
    *,
    class_names: Sequence[str] = (),
    num_classes: int,
    max_num_images: int = 20,
) -> np.ndarray | None:
    """Draws images of all classes, each above its likeliest class: green if that is right.

    Args:
        batches: `(images, labels)` of evaluation: uint8 [batch, height, width, 3], and 'label' int
            [batch] or zeros and ones [batch, num_classes], and optionally 'is_valid'.
        classify: Gives probabilities [batch, num_classes] of a batch of images.
        class_names: Names of labels 0..K-1; a label without one is shown as its number.
        num_classes: Number of classes, which share the places.
        max_num_images: Most images.

    Returns:
        A grid, uint8 [height, width, 3], or None when there is no image.
    """
    most = max(1, max_num_images // num_classes)
    counts: dict[int, int] = {}
    cells: list[np.ndarray] = []
    for number, (images, labels) in enumerate(batches):
        if number == _MAX_NUM_BATCHES or len(cells) == max_num_images:
            break
        truth, scores = np.asarray(labels['label']), np.asarray(classify(images))
        pixels = np.asarray(images)
        for row in np.flatnonzero(labels.get('is_valid', np.ones(len(pixels), bool))):
            group = int(truth[row].argmax()) if truth.ndim == 2 else int(truth[row])
            if counts.get(group, 0) < most and len(cells) < max_num_images:
                counts[group] = counts.get(group, 0) + 1
                cells.append(_draw(pixels[row], truth[row], scores[row], class_names))
    return visualization.make_grid(cells) if cells else None


def _draw(
    image: np.ndarray, truth: np.ndarray, scores: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    best = int(scores.argmax())
    is_right = bool(truth[best]) if truth.ndim else best == int(truth)
    text = f'{_name(best, class_names)} {100 * float(scores[best]):.0f}%'
    if not is_right:
        there = np.flatnonzero(truth) if truth.ndim else [int(truth)]
        names = ', '.join(_name(int(label), class_names) for label in there) or 'none'
        text += f', is {names}'
    return draw_caption(image, text, _RIGHT if is_right else _WRONG)


def draw_caption(image: np.ndarray, text: str, color: tuple[int, int, int]) -> np.ndarray:
    """An image, enlarged where it is small, above a line of text in white on `color`.

    Args:
        image: uint8 [height, width, 3].
        text: The line; what does not fit is cut off.
        color: Red, green and blue, 0 to 255.

    Returns:
        uint8 [new height + 24, new width, 3].
    """
    scale = max(1.0, _CELL_PX / max(image.shape[:2]))
    width, height = round(scale * image.shape[1]), round(scale * image.shape[0])
    canvas = Image.new('RGB', (width, height + _CAPTION_PX), color)
    enlarged = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    canvas.paste(enlarged, (0, 0))
    pen = ImageDraw.Draw(canvas)
    place = (6, height + _CAPTION_PX // 2)
    pen.text(place, text, fill=(255, 255, 255), font=ImageFont.load_default(14), anchor='lm')
    return np.asarray(canvas)


def _name(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if label < len(class_names) else str(label)
