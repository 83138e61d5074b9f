"""Converts COCO's annotation files into TFRecords: boxes, masks, captions, panoptic masks.

Model Garden's tool with its flags:

    python -m official_lite.vision.data.create_coco_tf_record --image_dir=DIR \
      --object_annotations_file=instances_train2017.json --output_file_prefix=records/train

Labels in the records are COCO's category ids, as there. Unlike there, a box that leaves its image is
clipped, not left out. For boxes alone, `official-lite data convert` numbers classes without gaps and
keeps their names.
"""

from __future__ import annotations

import collections
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from pycocotools import mask as coco_mask

from official_lite import errors
from official_lite.vision.data import tfrecord_lib

__all__ = [
    'bbox_annotations_to_feature_dict',
    'coco_annotations_to_lists',
    'coco_segmentation_to_mask_png',
    'create_tf_example',
    'encode_caption_annotations',
    'generate_annotations',
    'generate_coco_panoptics_masks',
    'main',
]

Json = Mapping[str, Any]

# Of the semantic mask: 0 is nothing, 1 any thing, and stuff follows (COCO's stuff ids are above 91).
_VOID, _THING, _STUFF_OFFSET = 0, 1, 90
_FORMATS = {b'\xff\xd8': 'jpg', b'\x89P': 'png'}


def coco_segmentation_to_mask_png(
    segmentation: Any, height: int, width: int, is_crowd: bool
) -> bytes:
    """One object's polygons or run lengths as a PNG of 0 and 1."""
    del is_crowd  # the segmentation tells by its form
    encoded = segmentation
    if isinstance(segmentation, list):
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation.get('counts'), list):
        encoded = coco_mask.frPyObjects(segmentation, height, width)
    return tfrecord_lib.encode_mask_as_png(coco_mask.decode(encoded))


def generate_coco_panoptics_masks(
    segments_info: Sequence[Json],
    mask_path: str,
    include_panoptic_masks: bool,
    is_category_thing: Mapping[int, bool],
    skip_crowd: bool = False,
) -> dict[str, bytes]:
    """Masks of panoptic segmentation, as PNGs.

    Args:
        segments_info: Segments: `id`, `category_id`, `iscrowd`.
        mask_path: Image whose colors are ids of segments: red + 256 green + 65536 blue.
        include_panoptic_masks: Whether to make masks of categories and of instances too.
        is_category_thing: Whether a category is things, rather than stuff.
        skip_crowd: Whether to leave crowds out.

    Returns:
        'semantic_segmentation_mask', and if asked for 'category_mask' and 'instance_mask'.
    """
    red, green, blue = np.moveaxis(tfrecord_lib.read_image(mask_path).astype(np.int64), -1, 0)
    ids = red + 256 * green + 65536 * blue  # [height, width]
    semantic, category, instance = (np.full(ids.shape, _VOID, np.uint8) for _ in range(3))
    for number, segment in enumerate(segments_info, start=1):
        if skip_crowd and segment['iscrowd']:
            continue
        is_inside = ids == segment['id']
        is_thing = is_category_thing[segment['category_id']]
        semantic[is_inside] = _THING if is_thing else segment['category_id'] - _STUFF_OFFSET
        category[is_inside] = segment['category_id']
        instance[is_inside] = number % 256 if is_thing else _VOID
    masks = {'semantic_segmentation_mask': semantic}
    if include_panoptic_masks:
        masks |= {'category_mask': category, 'instance_mask': instance}
    return {name: tfrecord_lib.encode_mask_as_png(mask) for name, mask in masks.items()}


def coco_annotations_to_lists(
    bbox_annotations: Sequence[Json],
    id_to_name_map: Mapping[int, str],
    image_height: int,
    image_width: int,
    include_masks: bool,
) -> tuple[dict[str, list[Any]], int]:
    """Annotations of an image as lists, and how many were left out because they have no area."""
    names = ('xmin', 'xmax', 'ymin', 'ymax', 'is_crowd', 'category_id', 'category_names', 'area')
    data: dict[str, list[Any]] = {name: [] for name in names}
    if include_masks:
        data['encoded_mask_png'] = []
    num_left_out = 0
    for annotation in bbox_annotations:
        x, y, width, height = (float(value) for value in annotation['bbox'])
        left, right = max(x, 0.0), min(x + width, image_width)
        top, bottom = max(y, 0.0), min(y + height, image_height)
        if width <= 0 or height <= 0 or right <= left or bottom <= top:
            num_left_out += 1
            continue
        category_id = int(annotation['category_id'])
        is_crowd = int(annotation.get('iscrowd', 0))
        values = {
            'xmin': left / image_width,
            'xmax': right / image_width,
            'ymin': top / image_height,
            'ymax': bottom / image_height,
            'is_crowd': is_crowd,
            'category_id': category_id,
            'category_names': id_to_name_map[category_id].encode(),
            'area': float(annotation.get('area', (right - left) * (bottom - top))),
        }
        if include_masks:
            values['encoded_mask_png'] = coco_segmentation_to_mask_png(
                annotation['segmentation'], image_height, image_width, bool(is_crowd)
            )
        for name, value in values.items():
            data[name].append(value)
    return data, num_left_out


def bbox_annotations_to_feature_dict(
    bbox_annotations: Sequence[Json],
    image_height: int,
    image_width: int,
    id_to_name_map: Mapping[int, str],
    include_masks: bool,
) -> tuple[dict[str, tf.train.Feature], int]:
    """Features of the objects of an image, and how many were left out; {} without objects."""
    data, num_left_out = coco_annotations_to_lists(
        bbox_annotations, id_to_name_map, image_height, image_width, include_masks
    )
    if not data['category_id']:
        return {}, num_left_out
    keys = {
        'xmin': ('bbox/xmin', 'float_list'),
        'xmax': ('bbox/xmax', 'float_list'),
        'ymin': ('bbox/ymin', 'float_list'),
        'ymax': ('bbox/ymax', 'float_list'),
        'category_names': ('class/text', 'bytes_list'),
        'category_id': ('class/label', 'int64_list'),
        'is_crowd': ('is_crowd', 'int64_list'),
        'area': ('area', 'float_list'),
        'encoded_mask_png': ('mask', 'bytes_list'),
    }
    features = {
        f'image/object/{key}': tfrecord_lib.convert_to_feature(data[name], kind)
        for name, (key, kind) in keys.items()
        if name in data
    }
    return features, num_left_out


def encode_caption_annotations(caption_annotations: Iterable[Json]) -> list[bytes]:
    """The captions of an image."""
    return [annotation['caption'].encode() for annotation in caption_annotations]


def create_tf_example(
    image: Json,
    image_dirs: Sequence[str],
    panoptic_masks_dir: str | None = None,
    bbox_annotations: Sequence[Json] | None = None,
    id_to_name_map: Mapping[int, str] | None = None,
    caption_annotations: Sequence[Json] | None = None,
    panoptic_annotation: Json | None = None,
    is_category_thing: Mapping[int, bool] | None = None,
    include_panoptic_masks: bool = False,
    include_masks: bool = False,
    panoptic_skip_crowd: bool = False,
) -> tuple[tf.train.Example, int]:
    """The example of one image, and how many of its objects were left out.

    Args:
        image: `id`, `file_name`, `height`, `width`.
        image_dirs: Folders, in one of which the image is.
        panoptic_masks_dir: Folder of panoptic masks.
        bbox_annotations: COCO's annotations of its objects.
        id_to_name_map: Names of categories.
        caption_annotations: Its captions.
        panoptic_annotation: `file_name` of its panoptic mask, and `segments_info`.
        is_category_thing, include_panoptic_masks, panoptic_skip_crowd: See
            `generate_coco_panoptics_masks`.
        include_masks: Whether to write the objects' masks.

    Raises:
        ValueError: The image is in none of the folders, or in several.
    """
    with tf.io.gfile.GFile(_find_image(image['file_name'], image_dirs), 'rb') as file:
        encoded = file.read()
    features = tfrecord_lib.image_info_to_feature_dict(
        image['height'],
        image['width'],
        image['file_name'],
        image['id'],
        encoded,
        _FORMATS.get(encoded[:2], 'other'),
    )
    num_left_out = 0
    if bbox_annotations:
        of_objects, num_left_out = bbox_annotations_to_feature_dict(
            bbox_annotations, image['height'], image['width'], id_to_name_map or {}, include_masks
        )
        features |= of_objects
    if caption_annotations:
        captions = encode_caption_annotations(caption_annotations)
        features['image/caption'] = tfrecord_lib.convert_to_feature(captions)
    if panoptic_annotation:
        masks = generate_coco_panoptics_masks(
            panoptic_annotation['segments_info'],
            os.path.join(panoptic_masks_dir or '', panoptic_annotation['file_name']),
            include_panoptic_masks,
            is_category_thing or {},
            panoptic_skip_crowd,
        )
        for name, mask in masks.items():
            features[_PANOPTIC_KEYS[name]] = tfrecord_lib.convert_to_feature(mask)
    return tf.train.Example(features=tf.train.Features(feature=features)), num_left_out


_PANOPTIC_KEYS = {
    'semantic_segmentation_mask': 'image/segmentation/class/encoded',
    'category_mask': 'image/panoptic/category_mask',
    'instance_mask': 'image/panoptic/instance_mask',
}


def _find_image(file_name: str, image_dirs: Sequence[str]) -> str:
    paths = [os.path.join(folder, file_name) for folder in image_dirs]
    found = paths if len(paths) == 1 else [path for path in paths if tf.io.gfile.exists(path)]
    if len(found) != 1:
        problem = 'is not unique' if found else 'does not exist'
        raise ValueError(f'{file_name} {problem} across image directories')
    return found[0]


def generate_annotations(
    images: Iterable[Json],
    image_dirs: Sequence[str],
    panoptic_masks_dir: str | None = None,
    img_to_obj_annotation: Mapping[int, Any] | None = None,
    img_to_caption_annotation: Mapping[int, Any] | None = None,
    img_to_panoptic_annotation: Mapping[int, Any] | None = None,
    is_category_thing: Mapping[int, bool] | None = None,
    id_to_name_map: Mapping[int, str] | None = None,
    include_panoptic_masks: bool = False,
    include_masks: bool = False,
    panoptic_skip_crowd: bool = False,
) -> Iterator[tuple[Any, ...]]:
    """Yields the arguments of `create_tf_example` for each image; see there."""
    for image in images:
        yield (
            image,
            image_dirs,
            panoptic_masks_dir,
            (img_to_obj_annotation or {}).get(image['id']),
            id_to_name_map,
            (img_to_caption_annotation or {}).get(image['id']),
            (img_to_panoptic_annotation or {}).get(image['id']),
            is_category_thing,
            include_panoptic_masks,
            include_masks,
            panoptic_skip_crowd,
        )


# ---- command line -------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Converts what the flags name and returns the exit code."""
    values = flags.FlagValues()
    _define_flags(values)
    try:
        values(list(sys.argv if argv is None else argv))
        num_left_out = _convert(values)
    except (flags.Error, errors.UsageError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'done; {num_left_out} annotations without area in their image were left out')
    return 0


def _define_flags(values: flags.FlagValues) -> None:
    def define(kind: Callable[..., Any], name: str, default: Any, text: str) -> None:
        kind(name, default, text, flag_values=values)

    define(flags.DEFINE_multi_string, 'image_dir', None, 'Folders of images.')
    for name, text in (
        ('image_info_file', 'JSON file that lists the images; else that of the objects.'),
        ('object_annotations_file', 'JSON file with boxes and masks of objects.'),
        ('caption_annotations_file', 'JSON file with captions.'),
        ('panoptic_annotations_file', 'JSON file with panoptic segments.'),
        ('panoptic_masks_dir', 'Folder of panoptic masks.'),
    ):
        define(flags.DEFINE_string, name, '', text)
    define(flags.DEFINE_string, 'output_file_prefix', '', 'Folder and beginning of names.')
    define(flags.DEFINE_boolean, 'include_masks', False, "Write objects' masks.")
    define(flags.DEFINE_boolean, 'include_panoptic_masks', False, 'Write ids of instances too.')
    define(flags.DEFINE_boolean, 'panoptic_skip_crowd', False, 'Leave panoptic crowds out.')
    define(flags.DEFINE_integer, 'num_shards', 32, 'Number of files.')
    define(
        flags.DEFINE_integer, 'num_processes', None, 'Processes; 0: this one. All cores if none.'
    )


def _convert(values: flags.FlagValues) -> int:
    info_file = (
        values.image_info_file or values.object_annotations_file or values.caption_annotations_file
    )
    for name, value in (
        ('image_dir', values.image_dir),
        ('object_annotations_file', info_file),
        ('output_file_prefix', values.output_file_prefix),
    ):
        if not value:
            raise errors.UsageError('needed and not given', where=f'--{name}')
    objects = _load(values.object_annotations_file)
    panoptic = _load(values.panoptic_annotations_file)
    tfrecord_lib.check_and_make_dir(os.path.dirname(values.output_file_prefix) or '.')
    annotations = generate_annotations(
        _load(info_file)['images'],
        values.image_dir,
        values.panoptic_masks_dir,
        _group(objects),
        _group(_load(values.caption_annotations_file)),
        {a['image_id']: a for a in panoptic.get('annotations', [])},
        {c['id']: c['isthing'] == 1 for c in panoptic.get('categories', [])},
        {c['id']: c['name'] for c in objects.get('categories', [])},
        values.include_panoptic_masks,
        values.include_masks,
        values.panoptic_skip_crowd,
    )
    return tfrecord_lib.write_tf_record_dataset(
        values.output_file_prefix,
        annotations,
        create_tf_example,
        values.num_shards,
        multiple_processes=values.num_processes,
    )


def _load(path: str) -> dict[str, Any]:
    if not path:
        return {}
    if not tf.io.gfile.exists(path):
        raise errors.UsageError('the file does not exist', where=path)
    with tf.io.gfile.GFile(path) as file:
        content: dict[str, Any] = json.loads(file.read())
    return content


def _group(content: Json) -> dict[int, list[Json]]:
    groups: dict[int, list[Json]] = collections.defaultdict(list)
    for annotation in content.get('annotations', []):
        groups[annotation['image_id']].append(annotation)
    return groups


if __name__ == '__main__':
    sys.exit(main())
