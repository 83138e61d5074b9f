"""Folders of classes: which images and labels, splits, and what is refused."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import class_folders, folder_source, labelled_images
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import class_makers

COUNTS = {'2': 5, '10': 10, '1': 2}


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = class_makers.write_folders(tmp_path_factory.mktemp('classes'), COUNTS)
    (folder / 'empty').mkdir()
    (folder / '.hidden').mkdir()
    (folder / 'notes.txt').write_text('not an image')
    return folder


def count(images: labelled_images.LabelledImages) -> list[int]:
    return np.bincount(np.concatenate(images.labels), minlength=3).tolist()


def test_all_images_and_numbers_by_their_value(root: pathlib.Path):
    images = class_folders.find_images(str(root))
    assert images.class_names == ('1', '2', '10')
    assert count(images) == [2, 5, 10]
    assert images.paths[0] == str(root / '1' / '00.jpeg')
    assert images.names[0] == '1/00.jpeg'


def test_names_are_sorted_and_numbers_only_where_all_are():
    assert labelled_images.sort_names(['b', 'a', '10', '9', 'a']) == ['10', '9', 'a', 'b']
    assert labelled_images.sort_names(['10', '9', '010']) == ['9', '010', '10']


def test_a_split_by_share_holds_out_the_same_share_of_each_class(root: pathlib.Path):
    train = class_folders.find_images(str(root), 'train')
    validation = class_folders.find_images(str(root), 'validation')
    assert count(train) == [1, 4, 8]
    assert count(validation) == [1, 1, 2]
    assert not set(train.paths) & set(validation.paths)
    assert train.class_names == validation.class_names
    assert validation.origin == f'{root}:validation'


def test_the_seed_and_the_names_decide_the_split_and_not_the_place(
    root: pathlib.Path, tmp_path: pathlib.Path
):
    moved = shutil.copytree(root, tmp_path / 'moved')
    names = [
        class_folders.find_images(str(folder), 'validation', split_seed=seed).names
        for folder, seed in ((root, 0), (moved, 0), (root, 1))
    ]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(('share', 'expected'), [(0.0, 0), (1.0, 7), (0.5, 4), (0.01, 1)])
def test_shares(share: float, expected: int):
    chosen = labelled_images.choose_validation([str(n) for n in range(7)], [0] * 7, share, 3)
    assert chosen.sum() == expected


def test_adding_an_image_changes_the_split_of_one_image_at_most():
    names = [str(n) for n in range(50)]
    before = labelled_images.choose_validation(names, [0] * 50, 0.2, 0)
    after = labelled_images.choose_validation([*names, 'new'], [0] * 51, 0.2, 0)
    assert (before != after[:50]).sum() <= 1


@pytest.mark.parametrize('name', ['validation', 'val', 'valid'])
def test_folders_of_splits_come_first(tmp_path: pathlib.Path, name: str):
    class_makers.write_folders(tmp_path / 'train', {'a': 3, 'b': 2})
    class_makers.write_folders(tmp_path / name, {'a': 1, 'b': 1})
    train = class_folders.find_images(str(tmp_path), 'train')
    validation = class_folders.find_images(str(tmp_path), 'validation')
    assert (len(train), len(validation)) == (5, 2)
    assert train.class_names == ('a', 'b')


def test_classes_can_be_chosen_and_the_rest_is_told(root: pathlib.Path):
    images = class_folders.find_images(str(root), class_names=['10', '1'])
    assert images.class_names == ('10', '1')
    assert count(images)[:2] == [10, 2]
    assert images.findings == ("folders of images that are not in class_names are left out: '2'",)


def test_a_class_without_images_stays(root: pathlib.Path):
    images = class_folders.find_images(str(root), class_names=['1', '2', '10', 'empty'])
    info = labelled_images.make_info(images)
    assert info.num_classes == 4
    assert info.boxes_per_class == (2, 5, 10, 0)
    assert info.findings == ("1 of 4 classes have no images: 'empty'",)


@pytest.mark.parametrize(
    ('split', 'names', 'message'),
    [
        ('test', (), r"split: expected a folder below .*: '1', '10', '2', 'empty'; or 'train'"),
        ('', ('x',), r"class_names: .* has none of the folders 'x'; expected folders of it: '1'"),
    ],
)
def test_what_is_not_there_is_refused(root: pathlib.Path, split: str, names: tuple, message: str):
    with pytest.raises(errors.UsageError, match=message):
        class_folders.find_images(str(root), split, class_names=names)


def test_wrong_folders_are_refused(tmp_path: pathlib.Path):
    with pytest.raises(errors.UsageError, match=r"root: the folder '/nowhere' does not exist"):
        class_folders.find_images('/nowhere')
    (tmp_path / 'a.jpg').write_bytes(class_makers.make_image(0))
    with pytest.raises(errors.UsageError, match=r'has 1 images but no folder of images'):
        class_folders.find_images(str(tmp_path))
    class_makers.write_folders(tmp_path / 'train', {'a': 1})
    with pytest.raises(errors.UsageError, match=r"split: .* has folders of splits \('train'\)"):
        class_folders.find_images(str(tmp_path))
    with pytest.raises(errors.UsageError, match=r"has a folder 'train', but none for this split"):
        class_folders.find_images(str(tmp_path), 'validation')
    with pytest.raises(errors.UsageError, match=r'root: .* is a file'):
        class_folders.find_images(str(tmp_path / 'a.jpg'))


def read(source: labelled_images.LabelledImageSource) -> list[dict]:
    order = source_lib.Order(
        num_examples=source.info.num_examples,
        is_training=False,
        num_positions=source.info.num_examples,
    )
    return [
        {name: value.numpy() for name, value in record.items()}
        for record in source.make_examples(order).map(source.decode)
    ]


@pytest.mark.parametrize('cache', [False, True])
def test_a_source_reads_bytes_and_labels(root: pathlib.Path, cache: bool):
    images = class_folders.find_images(str(root))
    records = read(labelled_images.build_labelled_source(images, cache=cache))
    assert [record['image/class/label'].tolist() for record in records] == [
        labels.tolist() for labels in images.labels
    ]
    assert records[3]['image/encoded'] == pathlib.Path(images.paths[3]).read_bytes()
    assert [record['source_id'] for record in records] == list(range(17))
    assert all(record['image/reading'] == 0 for record in records)


def test_bad_images_are_errors_or_left_out(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture):
    class_makers.write_folders(tmp_path, {'a': 3, 'b': 2})
    (tmp_path / 'a' / '01.jpeg').write_bytes(b'no image')
    broken = tmp_path / 'b' / '00.jpeg'
    broken.write_bytes(broken.read_bytes()[:300])
    images = class_folders.find_images(str(tmp_path))
    with pytest.raises(errors.DataError, match=r'a/01.jpeg: .*skip_corrupt=true'):
        labelled_images.build_labelled_source(images)
    source = labelled_images.build_labelled_source(images, skip_corrupt=True)
    assert source.info.num_examples == 3
    assert source.info.num_corrupt == 2
    assert source.info.boxes_per_class == (2, 1)
    assert 'skipped 2 that cannot be read' in capsys.readouterr().err
    assert '2 images cannot be read and are left out' in source.info.describe()


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(
    root: pathlib.Path, tmp_path: pathlib.Path
):
    moved = shutil.copytree(root, tmp_path / 'moved')
    first, second = (
        labelled_images.make_info(class_folders.find_images(str(folder)))
        for folder in (root, moved)
    )
    assert first.fingerprint == second.fingerprint
    (moved / '1' / '00.jpeg').rename(moved / '2' / 'new.jpeg')
    third = labelled_images.make_info(class_folders.find_images(str(moved)))
    assert third.fingerprint != first.fingerprint


def test_turned_and_strange_images_are_told_to_the_decoder(tmp_path: pathlib.Path):
    from PIL import Image

    class_makers.write_folders(tmp_path, {'a': 1})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (8, 4)).save(tmp_path / 'a' / 'turned.jpg', exif=exif)
    Image.new('RGB', (8, 4)).save(tmp_path / 'a' / 'other.tiff')
    images = class_folders.find_images(str(tmp_path))
    source = labelled_images.build_labelled_source(images)
    readings = {pathlib.Path(p).name: source.get_reading(i) for i, p in enumerate(images.paths)}
    assert readings['turned.jpg'] == 6
    assert readings['other.tiff'] > 6
    assert readings['00.jpeg'] == 0
    stored = labelled_images.build_labelled_source(images, orientation='stored')
    assert stored.get_reading(images.paths.index(str(tmp_path / 'a' / 'turned.jpg'))) == 0


def test_headers_are_read_once_for_each_set_of_files(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    class_makers.write_folders(tmp_path, {'a': 2, 'b': 2})
    calls = []
    look = folder_source.look_at_images
    monkeypatch.setattr(
        folder_source, 'look_at_images', lambda *a, **k: calls.append(a) or look(*a, **k)
    )
    for _ in range(2):
        images = class_folders.find_images(str(tmp_path))
        labelled_images.build_labelled_source(images)
    assert len(calls) == 1
    (tmp_path / 'b' / '01.jpeg').unlink()
    assert labelled_images.build_labelled_source(
        class_folders.find_images(str(tmp_path))
    ).info.boxes_per_class == (2, 1)
    with pytest.raises(errors.DataError, match='1 of 4 images are missing'):
        labelled_images.build_labelled_source(images)
    labelled_images.forget()
    labelled_images.build_labelled_source(class_folders.find_images(str(tmp_path)))
    assert len(calls) == 4


def test_an_image_without_labels_is_read(tmp_path: pathlib.Path):
    class_makers.write_folders(tmp_path, {'a': 2})
    images = class_folders.find_images(str(tmp_path))
    bare = labelled_images.LabelledImages(
        images.paths, (np.array([1, 0]), np.zeros([0], np.int64)), ('x', 'y'), 'here', images.names
    )
    records = read(labelled_images.build_labelled_source(bare))
    assert [record['image/class/label'].tolist() for record in records] == [[1, 0], []]
    assert isinstance(tf.constant(records[0]['image/encoded']), tf.Tensor)
