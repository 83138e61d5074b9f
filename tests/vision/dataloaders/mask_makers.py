"""Small sets of segmented images for tests."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

SIZES = [(20, 30), (24, 24), (30, 20), (16, 40)]


def make_masks(num_classes: int = 3, seed: int = 0) -> list[np.ndarray]:
    """uint8 masks of different sizes: rectangles of classes on class 0."""
    rng = np.random.default_rng(seed)
    masks = []
    for number, (height, width) in enumerate(SIZES):
        mask = np.zeros([height, width], np.uint8)
        y, x = (int(v) for v in rng.integers(1, 6, 2))
        mask[y : y + 9, x : x + 9] = 1 + number % (num_classes - 1)
        masks.append(mask)
    return masks


def make_image(mask: np.ndarray) -> np.ndarray:
    """An image from which the mask can be read: class k is 40 k + 20 in all channels."""
    return np.repeat((40 * mask.astype(np.int32) + 20).astype(np.uint8)[..., None], 3, axis=-1)


def write_pairs(
    folder: pathlib.Path,
    masks: list[np.ndarray],
    *,
    values: list[int] | None = None,
    mask_suffix: str = '',
) -> tuple[str, str]:
    """Writes `image/N.png` and `label/N.png`; with `values` masks hold these in place of labels."""
    for name in ('image', 'label'):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(masks):
        Image.fromarray(make_image(mask)).save(folder / 'image' / f'{number}.png')
        stored = mask if values is None else np.array(values, np.uint8)[mask]
        Image.fromarray(stored).save(folder / 'label' / f'{number}{mask_suffix}.png')
    return str(folder / 'image'), str(folder / 'label')


def to_palette_image(mask: np.ndarray) -> Image.Image:
    """The mask as an image of black, red and green."""
    image = Image.new('P', mask.shape[::-1])
    image.putdata(mask.ravel().tolist())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    return image
