"""Model Garden's helpers for records, against itself and by hand."""

from __future__ import annotations

import importlib
import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite.vision.data import (
    create_coco_tf_record,
    image_utils,
    tf_example_builder,
    tfrecord_lib,
)
from official_lite.vision.dataloaders import tf_example_decoder, tfrecord_source

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, [12, 20, 3], np.uint8)
IDS = RNG.integers(0, 9, [12, 20], np.uint8)


def build_everything(builder: Any) -> bytes:
    """An example with every feature that a builder of Model Garden's can add."""
    builder.add_image_matrix_feature(IMAGE, label=[3, 4])
    builder.add_image_matrix_feature(IMAGE[..., :1], 'JPEG', b'7', 'depth')
    builder.add_encoded_image_feature(IMAGE.tobytes(), 'RAW', 12, 20, 3, feature_prefix='raw')
    edges = [0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]
    builder.add_boxes_feature(*edges, labels=[1, 2])
    builder.add_boxes_feature(*edges, [1, 2], [0.9, 0.8], False, 'predicted')
    masks = np.stack([IDS > 3, IDS > 6]).astype(np.uint8)
    builder.add_instance_mask_matrices_feature(masks)
    builder.add_semantic_mask_matrix_feature(IDS, visualization_mask_matrix=IMAGE)
    builder.add_panoptic_mask_matrix_feature(IDS, IDS[..., None])
    return builder.example.SerializeToString(deterministic=True)


@pytest.mark.garden
def test_examples_are_model_gardens() -> None:
    theirs = importlib.import_module('official.vision.data.tf_example_builder')
    assert build_everything(tf_example_builder.TfExampleBuilder()) == build_everything(
        theirs.TfExampleBuilder()
    )


def test_areas_of_encoded_masks_are_counted() -> None:
    masks = [image_utils.encode_image(mask[..., None], 'PNG') for mask in (IDS > 3, IDS > 6)]
    builder = tf_example_builder.TfExampleBuilder()
    builder.add_encoded_instance_masks_feature(masks)
    areas = builder.example.features.feature['image/object/area'].float_list.value
    assert list(areas) == [np.sum(IDS > 3), np.sum(IDS > 6)]


def test_a_raw_image_needs_its_size() -> None:
    with pytest.raises(ValueError, match='height, width and num_channels fields are required'):
        tf_example_builder.TfExampleBuilder().add_encoded_image_feature(b'x', 'RAW', 3)


def test_metadata_is_read_from_the_header() -> None:
    encoded = image_utils.encode_image(IMAGE, 'jpeg')
    assert image_utils.decode_image_metadata(encoded) == (12, 20, 3, 'JPEG')
    assert image_utils.decode_image_metadata(encoded[:-10])[:2] == (12, 20)
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, 'GIF')
    with pytest.raises(ValueError, match='Image format is invalid: GIF'):
        image_utils.decode_image_metadata(buffer.getvalue())


@pytest.mark.parametrize(
    ('value', 'kind', 'field', 'expected'),
    [
        (3, None, 'int64_list', [3]),
        (np.int32(3), None, 'int64_list', [3]),
        (0.5, None, 'float_list', [0.5]),
        (b'a', None, 'bytes_list', [b'a']),
        ([1, 2], None, 'int64_list', [1, 2]),
        ([[1, 2], [3, 4]], 'float_list', 'float_list', [1, 2, 3, 4]),
        ([0.5], 'int64_list', 'int64_list', [0]),
        ([], 'float_list', 'float_list', []),
        ([], None, None, []),
    ],
)
def test_features_of_values(value: Any, kind: Any, field: Any, expected: Any) -> None:
    feature = tfrecord_lib.convert_to_feature(value, kind)
    assert feature.WhichOneof('kind') == field
    if field:
        assert list(getattr(feature, field).value) == expected


def test_values_of_other_types() -> None:
    with pytest.raises(ValueError, match='Cannot convert type'):
        tfrecord_lib.convert_to_feature('text')
    with pytest.raises(ValueError, match='Unknown value_type parameter - list'):
        tfrecord_lib.convert_to_feature(1, 'list')


def make_number(number: int) -> tuple[tf.train.Example, int]:
    feature = {'x': tfrecord_lib.convert_to_feature(number)}
    return tf.train.Example(features=tf.train.Features(feature=feature)), number % 2


def read_numbers(path: str) -> list[int]:
    examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path)]
    return [e.features.feature['x'].int64_list.value[0] for e in examples]


def test_records_go_to_the_files_in_turn(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / 'a')
    left_out = tfrecord_lib.write_tf_record_dataset(
        path, iter(range(7)), make_number, 3, multiple_processes=0, unpack_arguments=False
    )
    assert left_out == 3
    numbers = [read_numbers(f'{path}-{i:05d}-of-00003.tfrecord') for i in range(3)]
    assert numbers == [[0, 3, 6], [1, 4], [2, 5]]


@pytest.mark.slow
def test_processes_write_the_same(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / 'a')
    left_out = tfrecord_lib.write_tf_record_dataset(
        path, ((n,) for n in range(50)), make_number, 2, multiple_processes=2
    )
    assert left_out == 25
    numbers = [read_numbers(f'{path}-{i:05d}-of-00002.tfrecord') for i in range(2)]
    assert numbers == [list(range(0, 50, 2)), list(range(1, 50, 2))]


# ---- COCO ---------------------------------------------------------------------------------------

POLYGON = [[2.0, 2.0, 10.0, 2.0, 10.0, 8.0, 2.0, 8.0]]


@pytest.fixture(name='coco')
def _coco(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two images with objects, captions and panoptic masks; the second has no objects."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'masks').mkdir()
    for name in ('a.jpg', 'b.jpg'):
        Image.fromarray(IMAGE).save(tmp_path / 'images' / name)
    ids = np.zeros([12, 20, 3], np.uint8)
    ids[:, 5:, 1] = 1  # id 256
    ids[:, 15:, 0] = 7  # id 263
    Image.fromarray(ids).save(tmp_path / 'masks' / 'a.png')
    images = [
        {'id': i, 'file_name': f'{name}.jpg', 'height': 12, 'width': 20}
        for i, name in ((1, 'a'), (2, 'b'))
    ]

    def annotate(**fields: Any) -> dict[str, Any]:
        return {'image_id': 1, 'iscrowd': 0, 'segmentation': POLYGON, 'area': 48.0, **fields}

    crowd = {'size': [12, 20], 'counts': [12, 24, 204]}
    objects = [
        annotate(id=1, category_id=3, bbox=[2, 2, 8, 6]),
        annotate(id=2, category_id=90, bbox=[1, 0, 2, 12], iscrowd=1, segmentation=crowd, area=24),
        annotate(id=3, category_id=3, bbox=[2, 2, 0, 6]),
    ]
    categories = [{'id': 3, 'name': 'cat', 'isthing': 1}, {'id': 90, 'name': 'o', 'isthing': 1}]
    segments = [
        {'id': 256, 'category_id': 3, 'iscrowd': 0},
        {'id': 263, 'category_id': 95, 'iscrowd': 0},
    ]
    contents = {
        'objects': {'images': images, 'annotations': objects, 'categories': categories},
        'captions': {'images': images, 'annotations': [{'image_id': 2, 'caption': 'grün'}]},
        'panoptic': {
            'annotations': [{'image_id': 1, 'file_name': 'a.png', 'segments_info': segments}],
            'categories': [*categories, {'id': 95, 'name': 'sky', 'isthing': 0}],
        },
    }
    for name, content in contents.items():
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path


def convert(folder: pathlib.Path, *options: str) -> list[Any]:
    """Features of the records that the tool writes."""
    code = create_coco_tf_record.main(
        [
            'tool',
            f'--image_dir={folder / "images"}',
            f'--object_annotations_file={folder / "objects.json"}',
            f'--output_file_prefix={folder / "out" / "x"}',
            '--num_shards=1',
            '--num_processes=0',
            *options,
        ]
    )
    assert code == 0
    records = tf.data.TFRecordDataset(str(folder / 'out' / 'x-00000-of-00001.tfrecord'))
    return [tf.train.Example.FromString(r.numpy()).features.feature for r in records]


def test_coco_objects(coco: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = convert(coco, '--include_masks')
    assert 'done; 1 annotations' in capsys.readouterr().out
    assert first['image/object/class/label'].int64_list.value == [3, 90]
    assert first['image/object/class/text'].bytes_list.value == [b'cat', b'o']
    assert first['image/object/is_crowd'].int64_list.value == [0, 1]
    edges = [first[key].float_list.value for key in tf_example_decoder.BOX_KEYS]
    np.testing.assert_allclose(
        np.transpose(edges), [[2 / 12, 0.1, 8 / 12, 0.5], [0, 0.05, 1, 0.15]], rtol=1e-6
    )
    masks = [image_utils.decode_image(m) for m in first['image/object/mask'].bytes_list.value]
    assert masks[0][2:8, 2:10].all()
    assert masks[0].sum() == 48
    assert masks[1].sum() == 24
    assert masks[1][:, 1:3].all()
    assert 'image/object/bbox/xmin' not in second
    assert second['image/source_id'].bytes_list.value == [b'2']
    source = tfrecord_source.build_tfrecord_source(str(coco / 'out' / '*.tfrecord'))
    assert source.info.num_boxes == 2


def test_coco_captions_and_panoptic_masks(coco: pathlib.Path) -> None:
    first, second = convert(
        coco,
        f'--caption_annotations_file={coco / "captions.json"}',
        f'--panoptic_annotations_file={coco / "panoptic.json"}',
        f'--panoptic_masks_dir={coco / "masks"}',
        '--include_panoptic_masks',
    )
    assert second['image/caption'].bytes_list.value == ['grün'.encode()]
    rows = {
        name: image_utils.decode_image(first[key].bytes_list.value[0])[0, [0, 5, 15], 0].tolist()
        for name, key in (
            ('semantic', 'image/segmentation/class/encoded'),
            ('category', 'image/panoptic/category_mask'),
            ('instance', 'image/panoptic/instance_mask'),
        )
    }
    assert rows == {'semantic': [0, 1, 5], 'category': [0, 3, 95], 'instance': [0, 1, 0]}


def test_a_box_that_leaves_its_image_is_clipped_not_lost() -> None:
    annotations = [{'bbox': [15, 6, 10, 3], 'category_id': 1, 'iscrowd': 0, 'area': 30.0}]
    data, left_out = create_coco_tf_record.coco_annotations_to_lists(
        annotations, {1: 'cat'}, 12, 20, False
    )
    assert left_out == 0
    assert (data['xmin'], data['xmax'], data['ymax']) == ([0.75], [1.0], [0.75])


@pytest.mark.garden
def test_coco_records_are_model_gardens(coco: pathlib.Path) -> None:
    theirs = importlib.import_module('official.vision.data.create_coco_tf_record')
    content = json.loads((coco / 'objects.json').read_text())
    for image in content['images']:
        objects = [a for a in content['annotations'] if a['image_id'] == image['id']]
        names = {c['id']: c['name'] for c in content['categories']}
        arguments = (image, [str(coco / 'images')], None, objects, names, [{'caption': 'x'}])
        [ours, num_ours], [wanted, num_theirs] = (
            module.create_tf_example(*arguments, include_masks=True)
            for module in (create_coco_tf_record, theirs)
        )
        assert num_ours == num_theirs
        assert ours == wanted


def test_images_are_looked_for_in_all_folders(coco: pathlib.Path) -> None:
    folders = [str(coco / 'masks'), str(coco / 'images')]
    image = {'id': 1, 'file_name': 'a.jpg', 'height': 12, 'width': 20}
    example, _ = create_coco_tf_record.create_tf_example(image, folders)
    assert example.features.feature['image/filename'].bytes_list.value == [b'a.jpg']
    with pytest.raises(ValueError, match='is not unique'):
        create_coco_tf_record.create_tf_example(image, [folders[1], folders[1]])
    with pytest.raises(ValueError, match='does not exist'):
        create_coco_tf_record.create_tf_example({**image, 'file_name': 'c.jpg'}, folders)


def test_flags_that_are_needed(capsys: pytest.CaptureFixture[str], coco: pathlib.Path) -> None:
    assert create_coco_tf_record.main(['tool']) == 2
    assert capsys.readouterr().err == 'error: --image_dir: needed and not given\n'
    flags = ['--image_dir=x', '--output_file_prefix=x', '--object_annotations_file=no.json']
    assert create_coco_tf_record.main(['tool', *flags]) == 2
    assert capsys.readouterr().err == 'error: no.json: the file does not exist\n'
