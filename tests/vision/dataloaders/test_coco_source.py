"""COCO annotation files as they are found: gaps, crowds, empty images, boxes without area."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import data_errors, data_info
from official_lite.vision.dataloaders import (
    coco_annotations,
    coco_source,
    embedded_scenes,
    embedded_source,
    tfrecord_source,
    tfrecord_writer,
)
from tests import voc_to_coco
from tests.vision.dataloaders import data_makers

CATEGORIES = [{'id': 7, 'name': 'dog'}, {'id': 3, 'name': 'cat'}, {'id': 90, 'name': 'dog'}]


def write(
    folder: pathlib.Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    /,
    **extra: Any,
) -> str:
    """Writes the annotation file and the images it names, 20 x 40."""
    for number, image in enumerate(images):
        path = folder / image.get('path', image['file_name'])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data_makers.make_image(20, 40, number))
        image.pop('path', None)
    numbered = [{'id': i, **annotation} for i, annotation in enumerate(annotations)]
    data = {'images': images, 'annotations': numbered, 'categories': CATEGORIES, **extra}
    path = folder / 'annotations.json'
    path.write_text(json.dumps(data))
    return str(path)


def make_image_entry(id_: int, **fields: Any) -> dict[str, Any]:
    return {'id': id_, 'file_name': f'{id_}.png', 'height': 20, 'width': 40, **fields}


def make_annotation(
    image_id: int, bbox: list[float] | None, category_id: int = 3, **fields: Any
) -> Any:
    return {'image_id': image_id, 'category_id': category_id, 'bbox': bbox, **fields}


def test_category_ids_with_gaps_become_contiguous_labels(tmp_path: pathlib.Path):
    path = write(
        tmp_path,
        [make_image_entry(5), make_image_entry(4), make_image_entry(9)],
        [
            make_annotation(5, [4, 5, 8, 10], 90, area=33.5),
            make_annotation(9, [0, 0, 40, 20], 3, iscrowd=1),
            make_annotation(5, [0.5, 1.5, 2.25, 3], 7),
        ],
    )
    source = coco_source.build_coco_source(path)
    info = source.info
    assert info.category_ids == (3, 7, 90)
    assert info.class_names == ('cat', 'dog', 'dog')  # names need not differ
    assert (info.num_examples, info.num_boxes, info.max_label) == (3, 3, 3)
    assert info.boxes_per_class == (1, 1, 1)
    assert info.declares_classes
    records = data_makers.read_records(source)
    assert list(records) == [5, 4, 9]
    np.testing.assert_array_equal(records[5]['groundtruth_classes'], [3, 2])
    np.testing.assert_allclose(
        records[5]['groundtruth_boxes'] * [20, 40, 20, 40],
        [[5, 4, 15, 12], [1.5, 0.5, 4.5, 2.75]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(records[5]['groundtruth_area'], [33.5, 6.75])
    assert records[4]['groundtruth_boxes'].shape == (0, 4)  # an image without objects stays
    np.testing.assert_array_equal(records[9]['groundtruth_is_crowd'], [True])
    assert records[9]['image'].shape == (20, 40, 3)


def test_boxes_are_clipped_and_those_without_area_counted(tmp_path: pathlib.Path):
    boxes = [[-5, -5, 10, 10], [30, 10, 100, 100], [3, 3, 0, 5], [3, 3, 5, -1], [50, 0, 5, 5]]
    path = write(tmp_path, [make_image_entry(1)], [make_annotation(1, box) for box in boxes])
    source = coco_source.build_coco_source(path)
    assert (source.info.num_boxes, source.info.num_dropped_boxes) == (2, 3)
    found = data_makers.read_records(source)[1]['groundtruth_boxes'] * [20, 40, 20, 40]
    np.testing.assert_allclose(found, [[0, 0, 5, 5], [10, 30, 20, 40]], rtol=1e-6)


def test_boxes_from_polygons_and_sizes_from_images(tmp_path: pathlib.Path):
    polygons = [[2, 3, 8, 3, 8, 11], [1, 9, 2, 9, 2, 10]]
    image = {'id': 1, 'file_name': '1.png'}
    path = write(tmp_path, [image], [make_annotation(1, None, segmentation=polygons)])
    record = data_makers.read_records(coco_source.build_coco_source(path))[1]
    assert (record['height'], record['width']) == (20, 40)
    found = record['groundtruth_boxes'] * [20, 40, 20, 40]
    np.testing.assert_allclose(found, [[3, 1, 11, 8]], rtol=1e-6)
    kept = coco_annotations.load_coco_annotations(
        path, get_size=lambda name: (20, 40), has_segmentations=True
    )
    assert kept.segmentations == (polygons,)
    with pytest.raises(errors.DataError, match=r'images\[0\]: no height and width'):
        coco_annotations.load_coco_annotations(path)


def test_images_in_folders_below(tmp_path: pathlib.Path):
    images = [
        make_image_entry(1, file_name='a/b/1.png'),  # as the file says
        make_image_entry(2, path='deep/er/2.png'),  # somewhere below
    ]
    path = write(tmp_path, images, [])
    source = coco_source.build_coco_source(path, str(tmp_path))
    assert source.describe(0) == str(tmp_path / 'a/b/1.png')
    assert source.describe(1) == str(tmp_path / 'deep/er/2.png')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / '2.png').write_bytes(b'')
    coco_source.forget()
    with pytest.raises(errors.DataError, match=r'2.png: there are 2 files of this name below'):
        coco_source.build_coco_source(path, str(tmp_path))


def test_missing_and_unreadable_images_are_named_or_skipped(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    path = write(
        tmp_path,
        [make_image_entry(i) for i in range(1, 5)],
        [make_annotation(i, [i, i, 2, 2]) for i in range(1, 5)],
    )
    (tmp_path / '3.png').write_bytes(b'\x89PNG\r\n\x1a\n nothing')
    with pytest.raises(errors.DataError, match=r'3.png: the image is damaged: it ends within its'):
        coco_source.build_coco_source(path)
    whole = data_makers.make_image(20, 40)
    (tmp_path / '3.png').write_bytes(whole[:60])  # its header is whole
    coco_source.forget()
    source = coco_source.build_coco_source(path)
    data_errors.remember_source(source)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        data_makers.read_records(source)
    error = data_errors.translate_data_error(caught.value)
    assert str(error).startswith(f'{tmp_path / "3.png"}: the image cannot be decoded')
    (tmp_path / '2.png').unlink()
    with pytest.raises(errors.DataError, match=r'1 of 4 images are missing, the first: .*2.png'):
        coco_source.build_coco_source(path)
    skipped = coco_source.build_coco_source(path, skip_corrupt=True)
    assert (skipped.info.num_examples, skipped.info.num_corrupt, skipped.info.num_boxes) == (
        2,
        2,
        2,
    )
    records = data_makers.read_records(skipped)
    assert list(records) == [1, 4]
    np.testing.assert_allclose(records[4]['groundtruth_boxes'] * [20, 40, 20, 40], [[4, 4, 6, 6]])
    assert '2.png: the image is missing' in capsys.readouterr().err


def test_images_in_memory_are_the_same(tmp_path: pathlib.Path):
    path = write(tmp_path, [make_image_entry(1), make_image_entry(2)], [])
    source = coco_source.build_coco_source(path, cache=True)
    (tmp_path / '1.png').unlink()
    assert list(data_makers.read_records(source)) == [1, 2]
    assert source.describe(0).endswith('1.png')


@pytest.mark.parametrize(
    ('annotations', 'extra', 'message'),
    [
        (
            [make_annotation(8, [1, 1, 2, 2])],
            {},
            r'annotations\[0\]: there is no image with the id 8',
        ),
        (
            [make_annotation(1, [1, 1, 2, 2], 5)],
            {},
            'no category with the id 5; expected one of 3, 7, 90',
        ),
        ([make_annotation(1, [1, 1, 2])], {}, r'id 0: no usable bbox; .*received \[1, 1, 2\]'),
        ([make_annotation(1, None)], {}, r'no usable bbox; expected \[x, y, width, height\]'),
        ([], {'categories': {'1': 'cat'}}, "it has no list 'categories'"),
        ([], {'categories': [{'id': 1, 'name': 'a'}] * 2}, 'the category id 1 occurs twice'),
        (
            [],
            {'categories': [{'id': '1', 'name': 'a'}]},
            r'categories\[0\]: no id; expected an integer',
        ),
        ([], {'images': [make_image_entry(1)] * 2}, r'images\[1\]: the image id 1 occurs twice'),
        (
            [],
            {'images': [{'id': 1, 'height': 3, 'width': 3}]},
            r'images\[0\] \(id 1\): no file_name',
        ),
        ([], {'images': [make_image_entry(1, height=-3)]}, 'no usable size'),
    ],
)
def test_entries_that_make_no_sense_are_named(
    tmp_path: pathlib.Path, annotations: Any, extra: Any, message: str
):
    path = write(tmp_path, [make_image_entry(1)], annotations, **extra)
    with pytest.raises(errors.DataError, match=message):
        coco_source.build_coco_source(path)


def test_files_that_are_not_there_or_not_json(tmp_path: pathlib.Path):
    with pytest.raises(
        errors.UsageError, match=r"annotation_file: the file '.*x.json' does not exist"
    ):
        coco_source.build_coco_source(str(tmp_path / 'x.json'))
    with pytest.raises(errors.UsageError, match='is a folder; expected a COCO JSON file'):
        coco_source.build_coco_source(str(tmp_path))
    (tmp_path / 'x.json').write_text('{\n"images": [,]}')
    with pytest.raises(errors.DataError, match=r'x.json:2: not a JSON file'):
        coco_source.build_coco_source(str(tmp_path / 'x.json'))
    (tmp_path / 'x.json').write_bytes(data_makers.make_image(4, 4))
    with pytest.raises(errors.DataError, match='not a JSON file'):
        coco_source.build_coco_source(str(tmp_path / 'x.json'))
    (tmp_path / 'x.json').write_text('[1, 2]')
    with pytest.raises(errors.DataError, match='not a COCO annotation file'):
        coco_source.build_coco_source(str(tmp_path / 'x.json'))
    with pytest.raises(errors.UsageError, match=r"image_dir: the folder '/nowhere' does not exist"):
        coco_source.build_coco_source(str(tmp_path / 'x.json'), '/nowhere')


def test_checks_of_the_data(tmp_path: pathlib.Path):
    source = coco_source.build_coco_source(write(tmp_path, [make_image_entry(1)], []))
    with pytest.raises(errors.DataError, match=r'annotations.json: no boxes at all in 1 examples'):
        data_info.check_has_boxes(source.info)
    coco_source.forget()
    path = write(tmp_path, [], [])
    with pytest.raises(errors.DataError, match='the data set is empty: it has no examples'):
        data_info.check_not_empty(coco_source.build_coco_source(path).info)
    table = data_makers.make_table([3])
    data_info.check_classes(table.info, 4)
    with pytest.raises(
        errors.DataError,
        match=r"label 3 \('thing_3'\) is out of range; expected labels 1 to 2, because num_classes is 3",
    ):
        data_info.check_classes(table.info, 3)


def test_all_sources_give_the_same_records(tmp_path: pathlib.Path):
    """The same scenes as they are, as TFRecords, and as a COCO file with pycocotools as a witness."""
    from pycocotools import coco as coco_api

    scenes = embedded_scenes.load_scenes('validation', 12)
    embedded = embedded_source.build_embedded_source(split='validation', num_scenes=12)
    path = data_makers.write_coco(embedded, tmp_path / 'coco', get_masks=scenes.get_masks)
    coco = coco_source.build_coco_source(str(path), str(tmp_path / 'coco' / 'images'))
    files = tfrecord_writer.write_tfrecords(
        tfrecord_writer.make_examples(embedded), tmp_path / 'part', num_shards=2
    )
    tfrecord = tfrecord_source.build_tfrecord_source(files)
    expected = data_makers.read_records(embedded)
    for other in (coco, tfrecord):
        found = data_makers.read_records(other)
        assert found.keys() == expected.keys()
        for id_, record in expected.items():
            for name, value in record.items():
                np.testing.assert_allclose(found[id_][name], value, rtol=1e-6, atol=1e-7)
    assert coco.info.class_names == tfrecord.info.class_names == embedded.info.class_names
    witness = coco_api.COCO(str(path))
    for index in range(12):
        annotations = witness.imgToAnns[index + 1]
        masks = np.array([witness.annToMask(annotation) for annotation in annotations])
        np.testing.assert_array_equal(masks, scenes.get_masks(index))


def test_blood_cells(data_dir: pathlib.Path, tmp_path: pathlib.Path):
    """Real data: 205 images of 640x480, converted from Pascal VOC."""
    path = voc_to_coco.convert_voc_to_coco(data_dir / 'bccd', 'train', tmp_path / 'train.json')
    source = coco_source.build_coco_source(str(path), str(data_dir / 'bccd' / 'JPEGImages'))
    assert source.info.class_names == ('Platelets', 'RBC', 'WBC')
    assert source.info.num_examples == 205
    record = data_makers.read_records(source)[1]
    assert record['image'].shape == (480, 640, 3)
    assert record['groundtruth_boxes'].min() >= 0
    assert record['groundtruth_boxes'].max() <= 1


def test_facades(data_dir: pathlib.Path):
    """Real data: a category id that is never used, a name that occurs twice."""
    [path] = (data_dir / 'facades').rglob('_annotations.coco.json')
    source = coco_source.build_coco_source(str(path))
    info = source.info
    assert (info.num_examples, info.num_boxes + info.num_dropped_boxes) == (83, 2842)
    assert info.category_ids[0] == 0
    assert info.boxes_per_class[0] == 0
    assert info.class_names.count('facade') == 2
