"""What COCO, VOC and YOLO folders have in common, on all three."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from official_lite import errors
from official_lite.core import data_errors, data_info
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import folder_source, input_reader_factory, sources
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import data_makers, folder_makers, test_image_headers

NUM_IMAGES = 5
# Image i has a box from (2, 2) to (10 + i, 12), in pixels (x, y).
BOXES = [(2, 2, 10 + i, 12) for i in range(NUM_IMAGES)]
CLASS_NAMES = ('cat', 'dog')


def make_coco(folder: pathlib.Path) -> str:
    make_images(folder / 'images')
    images = [
        {'id': i + 1, 'file_name': f'{i}.png', 'height': 20, 'width': 40} for i in range(NUM_IMAGES)
    ]
    annotations = [
        {'id': i, 'image_id': i + 1, 'category_id': 1 + i % 2, 'bbox': [x0, y0, x1 - x0, y1 - y0]}
        for i, (x0, y0, x1, y1) in enumerate(BOXES)
    ]
    categories = [{'id': i, 'name': name} for i, name in enumerate(CLASS_NAMES, start=1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (folder / 'a.json').write_text(json.dumps(content))
    return f'coco.annotation_file={folder}/a.json,coco.image_dir={folder}/images'


def make_voc(folder: pathlib.Path) -> str:
    files = {
        str(i): [folder_makers.make_object(CLASS_NAMES[i % 2], x0 + 1, y0 + 1, x1, y1)]
        for i, (x0, y0, x1, y1) in enumerate(BOXES)
    }
    folder_makers.write_voc(folder, files, images='images')
    return f'voc.root={folder}'


def make_yolo(folder: pathlib.Path) -> str:
    files = {
        str(i): f'{i % 2} {(x0 + x1) / 80} {(y0 + y1) / 40} {(x1 - x0) / 40} {(y1 - y0) / 20}\n'
        for i, (x0, y0, x1, y1) in enumerate(BOXES)
    }
    folder_makers.write_yolo(folder, files, classes_txt='cat\ndog\n')
    return f'yolo.root={folder}'


def make_images(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    for i in range(NUM_IMAGES):
        path = folder / f'{i}.png'
        path.write_bytes(data_makers.make_image(folder_makers.HEIGHT, folder_makers.WIDTH, i))


MAKERS: dict[str, Callable[[pathlib.Path], str]] = {
    'coco': make_coco,
    'voc': make_voc,
    'yolo': make_yolo,
}


class Folder:
    """A data set in one of the formats."""

    def __init__(self, kind: str, path: pathlib.Path) -> None:
        self.path = path
        self._fields = MAKERS[kind](path)
        self._kind = kind

    def make_config(self, **fields: Any) -> retinanet_cfg.DataConfig:
        config = retinanet_cfg.DataConfig(**fields)
        config.override({'source': {'type': self._kind}})
        for item in self._fields.split(','):
            name, value = item.split('=')
            branch, field = name.split('.')
            config.override({'source': {branch: {field: value}}})
        return config

    def build(self, **fields: Any) -> source_lib.Source:
        sources.forget()
        return sources.build_source(self.make_config(**fields))

    def image(self, number: int) -> pathlib.Path:
        return self.path / 'images' / f'{number}.png'


@pytest.fixture(params=MAKERS)
def folder(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Folder:
    return Folder(request.param, tmp_path / 'set')


def test_all_formats_give_the_same_records(folder: Folder):
    source = folder.build()
    info = source.info
    assert info.class_names == CLASS_NAMES
    assert (info.num_examples, info.boxes_per_class, info.findings) == (5, (3, 2), ())
    assert info.declares_classes
    records = [
        data_makers.read_records(source)[id_] for id_ in sorted(data_makers.read_records(source))
    ]
    for number, (record, (x0, y0, x1, y1)) in enumerate(zip(records, BOXES, strict=True)):
        np.testing.assert_allclose(
            record['groundtruth_boxes'] * [20, 40, 20, 40], [[y0, x0, y1, x1]], rtol=1e-6
        )
        np.testing.assert_array_equal(record['groundtruth_classes'], [1 + number % 2])
        np.testing.assert_array_equal(record['groundtruth_is_crowd'], [False])
        np.testing.assert_allclose(record['groundtruth_area'], [(x1 - x0) * (y1 - y0)], rtol=1e-6)
        np.testing.assert_array_equal(
            record['image'], np.asarray(Image.open(folder.image(number)).convert('RGB'))
        )


@pytest.mark.parametrize('cache', [False, True])
def test_an_epoch_is_a_permutation_shared_by_workers(folder: Folder, cache: bool):
    source = folder.build(cache=cache)
    alone = data_makers.read_order(source, source_lib.Order(num_examples=5, is_training=True), 10)
    assert sorted(alone) == [(epoch, index) for epoch in range(2) for index in range(5)]
    shared = [
        data_makers.read_order(
            source,
            source_lib.Order(num_examples=5, is_training=True, worker=worker, num_workers=2),
            5,
        )
        for worker in range(2)
    ]
    assert [pair for both in zip(*shared, strict=True) for pair in both] == alone
    order = source_lib.Order(num_examples=5, is_training=True, first_position=7)
    assert data_makers.read_order(source, order, 3) == alone[7:]  # a free seek


def test_missing_and_damaged_images(folder: Folder, capsys: pytest.CaptureFixture[str]):
    folder.image(1).write_bytes(folder.image(1).read_bytes()[:60])  # the header is whole
    source = folder.build()
    error = source.find_error()
    assert error is not None
    assert str(error).startswith(f'{folder.image(1)}: the image cannot be decoded (60 bytes')
    folder.image(2).write_bytes(b'')
    with pytest.raises(
        errors.DataError, match=r'2\.png: the image is empty .*; mend or remove it, or'
    ):
        folder.build()
    skipped = folder.build(skip_corrupt=True).info
    assert (skipped.num_examples, skipped.num_corrupt, skipped.num_boxes) == (3, 2, 3)
    told = capsys.readouterr().err
    assert 'skipped 2 that cannot be read' in told
    assert '1.png: the image cannot be decoded' in told
    assert '2.png: the image is empty' in told
    data_info.check_not_empty(skipped)


def test_all_images_missing_leaves_nothing(folder: Folder):
    for i in range(NUM_IMAGES):
        folder.image(i).write_bytes(b'none')
    info = folder.build(skip_corrupt=True).info
    assert (info.num_examples, info.num_corrupt) == (0, 5)
    with pytest.raises(errors.DataError, match='no examples; 5 could not be read'):
        data_info.check_not_empty(info)


@pytest.mark.parametrize('name', ['cmyk jpeg', 'tiff', 'palette bmp', 'png of 16 bits', 'gif'])
def test_images_that_are_not_plain(folder: Folder, name: str):
    content, kind, _ = test_image_headers.IMAGES[name]
    buffer = io.BytesIO(content)
    # The annotations say 40 x 20, so all are cut to that.
    image = Image.open(buffer)
    options = {'format': image.format} if 'jpeg' not in name else {'format': 'JPEG', 'quality': 95}
    image.crop((0, 0, 40, 20)).save(folder.image(3), **options)
    source = folder.build()
    assert source.info.findings[0].startswith(
        f'images that are not plain RGB, decoded as RGB: 1 {kind}'
    )
    records = data_makers.read_records(source)
    pixels = records[sorted(records)[3]]['image'].astype(int)
    expected = test_image_headers.to_rgb(folder.image(3).read_bytes())
    assert np.abs(pixels - expected).mean() <= 3


def make_turned(path: pathlib.Path, orientation: int = 6) -> np.ndarray:
    """Stores an image of 20 x 40 sideways; returns it upright."""
    upright = np.asarray(Image.open(io.BytesIO(data_makers.make_image(20, 40, 9))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    return upright


def test_images_stored_sideways_are_turned_as_the_annotations_say(folder: Folder):
    upright = make_turned(folder.image(0))
    source = folder.build()
    assert source.info.findings[0].startswith('images with an EXIF orientation: 1 turned upright')
    records = data_makers.read_records(source)
    first = records[min(records)]
    np.testing.assert_array_equal(first['image'], upright)
    np.testing.assert_allclose(
        first['groundtruth_boxes'] * [20, 40, 20, 40], [[2, 2, 12, 10]], rtol=1e-6
    )
    assert list(source.find_bad_images(range(5))) == []
    cached = data_makers.read_records(folder.build(cache=True))
    np.testing.assert_array_equal(cached[min(cached)]['image'], upright)


def test_special_images_reach_the_batches(folder: Folder):
    make_turned(folder.image(0))
    Image.open(folder.image(1)).save(folder.image(1), format='TIFF')
    config = folder.make_config(global_batch_size=5, is_training=True)
    sources.forget()
    reader = input_reader_factory.build_retinanet_reader(config, output_size=[64, 64], max_level=3)
    images, labels = next(iter(reader.read()))
    assert images.shape == (5, 64, 64, 3)
    assert int((labels['classes'] > 0).numpy().sum()) == 5


def test_data_without_boxes_is_refused(tmp_path: pathlib.Path):
    folder_makers.write_voc(tmp_path, {'a': [], 'b': []})
    config = retinanet_cfg.DataConfig(global_batch_size=1, is_training=True)
    config.override({'source': {'type': 'voc', 'voc': {'root': str(tmp_path)}}})
    with pytest.raises(errors.DataError, match=r'no boxes at all in 2 examples'):
        input_reader_factory.build_retinanet_reader(config, output_size=[64, 64], max_level=3)


def test_an_error_of_the_pipeline_names_the_image(folder: Folder):
    source = folder.build()
    data_errors.remember_source(source)
    folder.image(4).write_bytes(b'overwritten after it was looked at')
    with pytest.raises(Exception, match='image') as caught:
        data_makers.read_records(source)
    error = data_errors.translate_data_error(caught.value)
    assert str(error).startswith(f'{folder.image(4)}: the image cannot be decoded')


def test_findings_of_classes():
    find = folder_source.find_class_findings
    assert find(('a', 'b'), (1, 2), (3, 4)) == ()
    assert find(('a', 'b', 'a'), (0, 2, 5), (0, 4, 1)) == (
        "the name 'a' belongs to 2 classes (ids 0, 5)",
        "1 of 3 classes have no boxes: 'a'; they stay, so that labels stay the same",
    )
    assert find(('a',), (1,), (0,)) == ()  # none at all is said elsewhere
    many = tuple(f'c{i}' for i in range(12))
    text = find(many, range(12), (1,) + (0,) * 11)[0]
    assert text.startswith("11 of 12 classes have no boxes: 'c1', 'c2'")
    assert "'c8' and 3 more; they stay" in text


def test_real_facades(data_dir: pathlib.Path):
    config = retinanet_cfg.DataConfig()
    path = data_dir / 'facades' / '_annotations.coco.json'
    config.override({'source': {'type': 'coco', 'coco': {'annotation_file': str(path)}}})
    info = sources.build_source(config).info
    assert (info.num_examples, info.num_boxes) == (83, 2842)
    assert info.findings == (
        "the name 'facade' belongs to 2 classes (ids 0, 3)",
        "1 of 11 classes have no boxes: 'facade'; they stay, so that labels stay the same",
    )
