"""Writes COCO annotation files for a Pascal VOC folder: `python tests/voc_to_coco.py FOLDER OUTPUT`."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any
from xml.etree import ElementTree


def convert_voc_to_coco(
    folder: pathlib.Path, split: str, output: pathlib.Path, file_prefix: str = ''
) -> pathlib.Path:
    """Writes the COCO annotation file of one split.

    Boxes are taken as they are: VOC's are inclusive and count from 1, so that x - 1 .. x is the
    first pixel. Categories get the ids 1, 2, ... in alphabetical order.

    Args:
        folder: Has `Annotations` and `ImageSets/Main`.
        split: 'train', 'val' or 'test'.
        output: The JSON file to write.
        file_prefix: Put before every image's file name.

    Returns:
        `output`.
    """
    stems = (folder / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()
    names = sorted(
        {
            element.text or ''
            for path in (folder / 'Annotations').glob('*.xml')
            for element in ElementTree.parse(path).iterfind('object/name')
        }
    )
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, stem in enumerate(stems, start=1):
        tree = ElementTree.parse(folder / 'Annotations' / f'{stem}.xml')
        width, height = (int(tree.findtext(f'size/{side}') or 0) for side in ('width', 'height'))
        file_name = f'{file_prefix}{stem}.jpg'
        images.append({'id': number, 'file_name': file_name, 'width': width, 'height': height})
        for element in tree.iterfind('object'):
            x0, y0, x1, y1 = (
                float(element.findtext(f'bndbox/{edge}') or 0)
                for edge in ('xmin', 'ymin', 'xmax', 'ymax')
            )
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': number,
                    'category_id': names.index(element.findtext('name') or '') + 1,
                    'bbox': [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1],
                    'area': (x1 - x0 + 1) * (y1 - y0 + 1),
                    'iscrowd': 0,
                }
            )
    categories = [{'id': i, 'name': name} for i, name in enumerate(names, start=1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    output.write_text(json.dumps(content))
    return output


def main(folder: str, output: str) -> None:
    """Writes train.json, val.json and test.json into `output`, with the images' absolute paths."""
    voc, target = pathlib.Path(folder).absolute(), pathlib.Path(output)
    target.mkdir(parents=True, exist_ok=True)
    for split in ('train', 'val', 'test'):
        convert_voc_to_coco(voc, split, target / f'{split}.json', f'{voc / "JPEGImages"}/')


if __name__ == '__main__':
    main(*sys.argv[1:])
