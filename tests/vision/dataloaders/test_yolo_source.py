"""Images with YOLO's text labels."""

from __future__ import annotations

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import yolo_labels, yolo_layout, yolo_source
from tests.vision.dataloaders import data_makers, folder_makers

NAMES = 'names: [cat, dog]\n'
# Of an image of 20 x 40: (y, x) 5..15, 4..14.
CAT = '0 0.225 0.5 0.25 0.5\n'
DOG = '1 0.5 0.5 1 1\n'
CAT_PX, DOG_PX = [5, 4, 15, 14], [0, 0, 20, 40]


@pytest.fixture(autouse=True)
def forget() -> None:
    """Files are read again in every test."""
    yolo_source.forget()


def to_pixels(record: dict[str, np.ndarray]) -> np.ndarray:
    return record['groundtruth_boxes'] * [20, 40, 20, 40]


def test_data_yaml(tmp_path: pathlib.Path):
    folder = folder_makers.write_yolo(
        tmp_path,
        {'train/7': CAT + DOG, 'train/9': '', 'train/10': None, 'val/3': DOG},
        data_yaml=f'path: .\ntrain: images/train\nval: images/val\n{NAMES}nc: 2\n',
    )
    source = yolo_source.build_yolo_source(str(folder / 'data.yaml'), 'train')
    info = source.info
    assert (info.num_examples, info.num_boxes, info.num_empty_images) == (3, 2, 2)
    assert (info.class_names, info.category_ids) == (('cat', 'dog'), (0, 1))
    assert info.declares_classes
    assert info.findings == (
        '1 of 3 images have no label file: they count as images without objects',
    )
    records = data_makers.read_records(source)
    assert sorted(records) == [7, 9, 10]
    np.testing.assert_allclose(to_pixels(records[7]), [CAT_PX, DOG_PX], rtol=1e-6)
    np.testing.assert_array_equal(records[7]['groundtruth_classes'], [1, 2])
    np.testing.assert_allclose(records[7]['groundtruth_area'], [100, 800], rtol=1e-6)
    assert (records[7]['height'], records[7]['width']) == (20, 40)
    val = yolo_source.build_yolo_source(str(folder), 'val')  # the folder will do
    assert list(data_makers.read_records(val)) == [3]
    assert yolo_source.build_yolo_source(str(folder), 'valid').info.num_examples == 1


@pytest.mark.parametrize(
    ('paths', 'split'),
    [
        ({'images': 'images/train', 'labels': 'labels/train'}, 'train'),
        ({'images': 'train/images', 'labels': 'train/labels'}, 'train'),
        ({'images': 'train', 'labels': 'train'}, 'train'),
        ({'images': 'images', 'labels': 'labels'}, ''),
        ({'images': '.', 'labels': '.'}, ''),
        ({'images': 'images', 'labels': 'images'}, ''),
        ({'images': 'valid/images', 'labels': 'valid/labels'}, 'val'),
    ],
)
def test_plain_folders(paths: dict[str, str], split: str, tmp_path: pathlib.Path):
    folder = folder_makers.write_yolo(
        tmp_path, {'a': CAT, 'b': DOG}, classes_txt='cat\ndog\n', **paths
    )
    info = yolo_source.build_yolo_source(str(folder), split).info
    assert (info.class_names, info.boxes_per_class) == (('cat', 'dog'), (1, 1))
    assert info.declares_classes
    assert info.findings == ()


@pytest.mark.parametrize(
    'content',
    [
        f'train: [images/x, images/y]\n{NAMES}',
        f'train: list.txt\n{NAMES}',
        f'path: {{root}}\ntrain: images\n{NAMES}',
        f'train: ../images\n{NAMES}',  # Roboflow's, which means images
        'train: images\nnames:\n  0: cat\n  1: dog\n',
        'train: images\nnc: 2\n',
    ],
)
def test_forms_of_data_yaml(content: str, tmp_path: pathlib.Path):
    folder = folder_makers.write_yolo(
        tmp_path / 'set',
        {'x/a': CAT, 'y/b': DOG},
        data_yaml=content.replace('{root}', str(tmp_path / 'set')),
        list_txt='images/x/a.png\n./images/y/b.png\n',
    )
    info = yolo_source.build_yolo_source(str(folder), 'train').info
    assert info.num_examples == info.num_boxes == 2
    assert info.class_names in (('cat', 'dog'), ('class_0', 'class_1'))


def test_names_of_classes(tmp_path: pathlib.Path):
    folder = str(folder_makers.write_yolo(tmp_path, {'a': '2 0.5 0.5 0.5 0.5\n'}))
    info = yolo_source.build_yolo_source(folder).info
    assert info.class_names == ('class_0', 'class_1', 'class_2')
    assert not info.declares_classes  # there may be others
    named = yolo_source.build_yolo_source(folder, names=['a', 'b', 'c', 'd']).info
    assert (named.class_names, named.declares_classes) == (('a', 'b', 'c', 'd'), True)
    with pytest.raises(
        errors.DataError,
        match=r'labels/a\.txt:1: there is no class 2; expected 0 to 1, because class_names has 2 nam',
    ):
        yolo_source.build_yolo_source(folder, names=['a', 'b'])


def test_polygons_and_keypoints(tmp_path: pathlib.Path):
    polygon = '1 0.1 0.2 0.6 0.3 0.4 0.9\n'
    corners = '0 0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4\n'
    folder = folder_makers.write_yolo(tmp_path, {'a': polygon + CAT + corners})
    source = yolo_source.build_yolo_source(str(folder))
    np.testing.assert_allclose(
        data_makers.read_records(source)[1]['groundtruth_boxes'],
        [[0.2, 0.1, 0.9, 0.6], [0.25, 0.1, 0.75, 0.35], [0.1, 0.1, 0.4, 0.5]],
        rtol=1e-6,
    )
    assert source.info.findings == ('2 objects are polygons; the boxes around them are used',)
    keypoints = folder_makers.write_yolo(
        tmp_path / 'pose',
        {'a': '0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 1\n'},
        data_yaml='train: images\nkpt_shape: [2, 3]\nnames: [person]\n',
    )
    source = yolo_source.build_yolo_source(str(keypoints), 'train')
    np.testing.assert_allclose(
        data_makers.read_records(source)[1]['groundtruth_boxes'], [[0.3, 0.4, 0.7, 0.6]], rtol=1e-6
    )


def test_images_with_an_orientation_are_turned_upright(tmp_path: pathlib.Path):
    folder = folder_makers.write_yolo(tmp_path, {'a': CAT})
    path = folder / 'images' / 'a.png'
    image = Image.open(io.BytesIO(data_makers.make_image(20, 40)))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    source = yolo_source.build_yolo_source(str(folder))
    record = data_makers.read_records(source)[1]
    assert record['image'].shape == (40, 20, 3)
    assert (record['height'], record['width']) == (40, 20)
    np.testing.assert_array_equal(record['image'], np.rot90(np.asarray(image), -1))
    assert source.info.findings == ('images with an EXIF orientation: 1 turned upright',)
    stored = yolo_source.build_yolo_source(str(folder), orientation='stored')
    assert data_makers.read_records(stored)[1]['image'].shape == (20, 40, 3)


def test_suspicious_labels_are_reported(tmp_path: pathlib.Path):
    text = CAT + CAT + '1 0.5 0.5 0 0.5\n' + '1 0.9 0.5 0.4 0.2\n'
    folder = folder_makers.write_yolo(tmp_path, {'a': text, 'b': DOG})
    (folder / 'labels' / 'lonely.txt').write_text(DOG)
    info = yolo_source.build_yolo_source(str(folder)).info
    path = folder / 'labels' / 'a.txt'
    assert (info.num_boxes, info.num_dropped_boxes) == (4, 1)
    assert info.findings == (
        f'1 label files have no image, the first: {folder / "labels" / "lonely.txt"}',
        f'1 box has no area and is left out: {path}:3',
        f'1 box leaves its image by 4 px and is cut at the edge: {path}:4',
        f'1 box is there twice, with the same class, and counted each time: {path}:2',
    )


# ---- what cannot be used ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('0 0.5 0.5 0.1', r'4 numbers are too few; expected class x_centre y_centre width height'),
        ('0 0.5 0.5 0.1 0.1 0.9', r'6 numbers are neither a box nor a polygon'),
        ('cat 0.5 0.5 0.1 0.1', r'not numbers; .*; received cat 0.5 0.5 0.1 0.1'),
        ('0 0.5 nan 0.1 0.1', r'not numbers'),
        ('0,0.5,0.5,0.1,0.1', r'not numbers'),
        ('-1 0.5 0.5 0.1 0.1', r'the class -1 is no number from 0 on'),
        ('0.5 0.5 0.5 0.1 0.1', r'the class 0.5 is no number from 0 on'),
        (
            '0 50 50 10 10',
            r'the coordinate 50 is not a share of the image, 0 to 1 \(pixels or perc',
        ),
        ('0 320 240 64 48', r'the coordinate 320 is not a share of the image'),
        ('0 0.5 0.5 0.5 9 0.1 0.1', r'the coordinate 9 is not a share'),
    ],
)
def test_lines_that_cannot_be_used(line: str, message: str, tmp_path: pathlib.Path):
    folder = folder_makers.write_yolo(tmp_path, {'a': f'{CAT}\n{line}\n', 'b': DOG})
    for _ in range(2):  # from the cache, too
        with pytest.raises(errors.DataError, match=rf'labels/a\.txt:3: {message}'):
            yolo_source.build_yolo_source(str(folder))
    skipped = yolo_source.build_yolo_source(str(folder), skip_corrupt=True)
    assert (skipped.info.num_examples, skipped.info.num_corrupt) == (1, 1)


def test_a_class_that_has_no_name(tmp_path: pathlib.Path):
    folder = folder_makers.write_yolo(
        tmp_path, {'a': CAT + '2 0.5 0.5 1 1\n'}, data_yaml=f'train: images\n{NAMES}'
    )
    with pytest.raises(
        errors.DataError,
        match=r'a\.txt:2: there is no class 2; expected 0 to 1, because .*data\.yaml has 2 names',
    ):
        yolo_source.build_yolo_source(str(folder), 'train')


@pytest.mark.parametrize(
    ('content', 'kind', 'message'),
    [
        ('train: [', errors.DataError, r'data\.yaml:2: not a YAML file'),
        ('- 1', errors.DataError, r'data\.yaml: not a data set; expected keys train, val, names'),
        ('train: images', errors.DataError, r'data\.yaml: no class names; expected names: \[cat,'),
        (
            f'train: images\nnc: 3\n{NAMES}',
            errors.DataError,
            r'data\.yaml: nc is 3, but there are 2 names',
        ),
        (
            'train: images\nnames: {1: cat, 2: dog}',
            errors.DataError,
            r'names: the names do not number the classes; expected keys 0 to 1; received 1, 2',
        ),
        (
            f'train: pictures\n{NAMES}',
            errors.UsageError,
            r"data\.yaml, train: 'pictures' does not exist; expected a folder or a list of images",
        ),
        (
            f'val: images\n{NAMES}',
            errors.UsageError,
            r"^split: there is no split 'train' in .*data\.yaml; expected one of val$",
        ),
    ],
)
def test_data_yaml_that_cannot_be_used(
    content: str, kind: type[Exception], message: str, tmp_path: pathlib.Path
):
    folder = folder_makers.write_yolo(tmp_path, {'a': CAT}, data_yaml=content + '\n')
    with pytest.raises(kind, match=message):
        yolo_source.build_yolo_source(str(folder), 'train')


def test_folders_that_are_not_there(tmp_path: pathlib.Path):
    with pytest.raises(errors.UsageError, match=r"^root: '.*/no' does not exist$"):
        yolo_source.build_yolo_source(str(tmp_path / 'no'))
    with pytest.raises(errors.UsageError, match=r"^root: no images in '"):
        yolo_source.build_yolo_source(str(tmp_path))
    folder = str(folder_makers.write_yolo(tmp_path, {'train/a': CAT}))
    with pytest.raises(
        errors.UsageError, match=r"^split: there is no split 'test' in .*; expected one of the fol"
    ):
        yolo_source.build_yolo_source(folder, 'test')
    yaml = folder_makers.write_yolo(tmp_path / 'b', {'a': CAT}, data_yaml=f'train: images\n{NAMES}')
    with pytest.raises(
        errors.UsageError, match=r'^split: no split is chosen; expected one of train'
    ):
        yolo_source.build_yolo_source(str(yaml))
    without = folder_makers.write_yolo(tmp_path / 'c', {'a': None})
    with pytest.raises(
        errors.DataError,
        match=r'none of the 1 images has a label file; expected .*labels/a\.txt for the image ',
    ):
        yolo_source.build_yolo_source(str(without))


def test_files_are_read_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    folder = folder_makers.write_yolo(tmp_path, {'a': CAT})
    first = yolo_source.build_yolo_source(str(folder)).info
    yolo_source.forget()

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError('read again')

    monkeypatch.setattr(yolo_labels, 'parse_yolo', refuse)
    assert yolo_source.build_yolo_source(str(folder)).info == first


def test_only_the_last_images_folder_is_replaced():
    paths = yolo_layout.get_label_paths(['/images/set/images/x/a.b.png', '/set/a.png'])
    assert paths == ['/images/set/labels/x/a.b.txt', '/set/a.txt']
