"""Splits a COCO annotation file into train.json and val.json: every fifth image validates.

python tests/split_coco.py FOLDER/annotations.json OUTPUT_FOLDER
"""

from __future__ import annotations

import json
import pathlib
import sys

_EVERY = 5


def split_coco(annotation_file: str, output_folder: str) -> list[pathlib.Path]:
    """Writes both files, with the paths of images made absolute, and returns their paths."""
    source = pathlib.Path(annotation_file)
    data = json.loads(source.read_text())
    images = sorted(data['images'], key=lambda image: image['id'])
    folder = pathlib.Path(output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, is_validation in (('train', False), ('val', True)):
        chosen = [
            {**image, 'file_name': str((source.parent / image['file_name']).resolve())}
            for number, image in enumerate(images)
            if (number % _EVERY == _EVERY - 1) == is_validation
        ]
        ids = {image['id'] for image in chosen}
        annotations = [a for a in data['annotations'] if a['image_id'] in ids]
        paths.append(folder / f'{name}.json')
        paths[-1].write_text(json.dumps({**data, 'images': chosen, 'annotations': annotations}))
    return paths


if __name__ == '__main__':
    print(*split_coco(*sys.argv[1:]))
