"""Draws what each augmentation makes of the same four scenes, boxes as the loss gets them.

    python examples/augmentation.py --picture=docs/augmentation.png

A row is one setting of `task.train_data.parser`; the first is none at all.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

import official_lite as tfm
from official_lite.vision import visualization
from official_lite.vision.dataloaders import input_reader_factory

NUM_SCENES = 4
SCENE_PX = 128
NUM_DRAWN = 3
NUM_COLOURS = 64

SETTINGS: dict[str, dict[str, Any]] = {
    'none': {},
    'aug_rand_hflip, aug_rand_vflip': {'aug_rand_hflip': True, 'aug_rand_vflip': True},
    'aug_scale_min 0.6, aug_scale_max 1.6': {'aug_scale_min': 0.6, 'aug_scale_max': 1.6},
    'autoaug, detection_v0': {
        'aug_type': {
            'type': 'autoaug',
            'autoaug': {'augmentation_name': 'detection_v0', 'translate_const': 100},
        }
    },
    'randaug, magnitude 5': {
        'aug_type': {
            'type': 'randaug',
            'randaug': {'magnitude': 5, 'translate_const': 40, 'fill_mode': 'constant'},
        }
    },
    'ssd_random_crop': {'aug_type': {'type': 'ssd_random_crop'}},
    'random_erasing': {'random_erasing': {'probability': 1.0, 'max_area': 0.15}},
    'mosaic': {'mosaic': {'prob': 1.0}},
}


def read_batch(settings: dict[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first batch of the embedded data; the same scenes for all settings."""
    task = tfm.core.exp_factory.get_exp_config('retinanet_custom').task
    data = task.train_data
    data.override(
        {
            'global_batch_size': NUM_SCENES,
            'seed': 8,
            'source': {'type': 'embedded', 'embedded': {'num_scenes': NUM_SCENES}},
            'parser': {'aug_rand_hflip': False, 'aug_scale_min': 1.0, 'aug_scale_max': 1.0},
        }
    )
    data.parser.override(settings)
    reader = input_reader_factory.build_retinanet_reader(
        data, output_size=[SCENE_PX, SCENE_PX], max_level=task.model.max_level
    )
    images, labels = next(iter(reader.read()))
    return images.numpy(), {name: value.numpy() for name, value in labels.items()}


def draw_row(name: str, settings: dict[str, Any]) -> list[np.ndarray]:
    """The setting's name and its scenes."""
    text = PIL.Image.new('RGB', (SCENE_PX, SCENE_PX), 'white')
    PIL.ImageDraw.Draw(text).text((6, SCENE_PX // 2 - 12), name.replace(', ', ',\n'), 'black')
    images, labels = read_batch(settings)
    cells = [np.asarray(text)]
    for image, boxes, classes in list(zip(images, labels['boxes'], labels['classes']))[-NUM_DRAWN:]:
        is_there = classes > 0
        cells.append(visualization.draw_boxes(image, boxes[is_there], classes[is_there]))
    return cells


def main(argv: list[str] | None = None) -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--picture', required=True, help='PNG file to write')
    picture = parser.parse_args(argv).picture
    cells = [cell for name, settings in SETTINGS.items() for cell in draw_row(name, settings)]
    grid = visualization.make_grid(cells, num_columns=1 + NUM_DRAWN)
    # A palette makes the file a quarter as large.
    PIL.Image.fromarray(grid).quantize(NUM_COLOURS, dither=PIL.Image.Dither.NONE).save(
        picture, optimize=True
    )
    print(picture)


if __name__ == '__main__':
    main()
