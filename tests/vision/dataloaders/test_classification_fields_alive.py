"""Every field of classification's data config changes what is read or how, or is listed here."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.dataloaders import classification_sources, input_reader_factory
from tests.vision.dataloaders import class_makers, test_data_fields_alive

OPTIONS = {**test_data_fields_alive.OPTIONS, 'cycle_length': (2, {})}

ELSEWHERE = {
    'input_path': 'test_classification_records',
    'weights': 'test_classification_records',
    'source': 'below',
    'file_type': 'below',
    'image_field_key': 'below',
    'label_field_key': 'below',
    'is_multilabel': 'below',
    'skip_corrupt': 'test_class_folders, test_classification_records',
    'cache': 'test_class_folders, test_classification_records',
    'num_examples': 'test_classification_reader',
    'is_training': 'test_classification_reader',
    'global_batch_size': 'test_classification_reader',
    'tfds_name': 'test_classification_records',
    'tfds_split': 'test_classification_records',
    'tfds_data_dir': 'test_classification_records',
    'tfds_skip_decoding_feature': 'test_tfds_source',
    'tfds_as_supervised': 'refused',
    'aug_rand_hflip': 'test_classification_reader',
    'aug_crop': 'test_classification_reader',
    'crop_area_range': 'test_classification_reader',
    'aug_type': 'test_classification_reader',
    'three_augment': 'test_classification_reader',
    'color_jitter': 'test_classification_reader',
    'random_erasing': 'test_classification_reader',
    'mixup_and_cutmix': 'test_classification_reader',
    'center_crop_fraction': 'test_classification_reader',
    'tf_resize_method': 'test_classification_reader',
    'repeated_augment': 'test_classification_reader',
    'decode_jpeg_only': 'test_classification_input',
}
WITHOUT_EFFECT = {
    'drop_remainder': 'training has no end, evaluation leaves nothing out',
    'dtype': 'images leave the host as uint8',
    'decoder': 'the field keys say what a record holds; in Model Garden too',
    'aug_policy': 'in Model Garden too',
    'randaug_magnitude': 'in Model Garden too',
}


def make_config(**fields: Any) -> exp_cfg.DataConfig:
    config = exp_cfg.DataConfig(is_training=True, global_batch_size=4)
    config.override(fields)
    return config


def test_every_field_is_accounted_for():
    fields = {field.name for field in dataclasses.fields(exp_cfg.DataConfig)}
    listed = [*OPTIONS, *ELSEWHERE, *WITHOUT_EFFECT]
    assert sorted(fields) == sorted(listed)


@pytest.mark.parametrize('name', OPTIONS)
def test_the_field_changes_how_data_are_read(name: str):
    value, base = OPTIONS[name]
    before = input_reader_factory.build_reader_options(make_config(**base))
    after = input_reader_factory.build_reader_options(make_config(**{**base, name: value}))
    assert before != after


def describe(config: exp_cfg.DataConfig) -> Any:
    """What is read: counts, classes, labels and ways of decoding; or the error."""
    try:
        source = classification_sources.build_source(config)
    except Exception as error:
        return str(error)
    readings = [source.get_reading(i) for i in range(source.info.num_examples)]
    return source.info, readings, source.describe(0), source.read_image(0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Folders of classes with an image that its EXIF orientation turns, and a table of them."""
    from PIL import Image

    root = class_makers.write_folders(tmp_path_factory.mktemp('alive'), {'a': 4, 'b': 4})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (8, 4)).save(root / 'a' / 'turned.jpg', exif=exif)
    rows = [
        'file,kind,other,part,second',
        *(f'a/0{n}.jpeg,a b,c,x,b/0{n}.jpeg' for n in range(4)),
        *(f'b/0{n}.jpeg,b,d,y,a/0{n}.jpeg' for n in range(4)),
        'a/turned.jpg,a,d,y,a/turned.jpg',
    ]
    class_makers.write_table(root / 'table.csv', rows)
    class_makers.write_table(root / 'other.csv', rows[:3])
    class_makers.write_folders(root / 'copy' / 'a', {'.': 4})
    class_makers.write_folders(root / 'copy' / 'b', {'.': 4})
    return root


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('root', 'copy'),
        ('split', 'validation'),
        ('validation_share', 0.5),
        ('split_seed', 7),
        ('class_names', ['b', 'a']),
        ('orientation', 'stored'),
    ],
)
def test_d3_a_field_of_folders_counts(folder: pathlib.Path, name: str, value: Any):
    base = {'root': str(folder), 'split': 'train', 'class_names': ['a', 'b']}
    value = str(folder / value) if name == 'root' else value
    first, second = (
        describe(make_config(source={'type': 'folder', 'folder': {**base, **change}}))
        for change in ({}, {name: value})
    )
    assert first != second
    assert not isinstance(first, str), first


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('file', 'other.csv'),
        ('image_dir', 'copy'),
        ('image_column', 'second'),
        ('label_column', 'other'),
        ('label_separator', 'a'),
        ('split_column', ''),
        ('split', 'y'),
        ('validation_share', 0.5),
        ('split_seed', 7),
        ('class_names', ['b', 'a', 'c', 'd']),
        ('orientation', 'stored'),
    ],
)
def test_d3_a_field_of_tables_counts(folder: pathlib.Path, name: str, value: Any):
    base: dict[str, Any] = {'file': str(folder / 'table.csv'), 'label_separator': ' '}
    if name in ('split_column', 'split'):
        base |= {'split_column': 'part', 'split': 'x'}
    elif name in ('validation_share', 'split_seed'):
        base |= {'split': 'train'}
    value = str(folder / value) if name in ('file', 'image_dir') else value
    first, second = (
        describe(make_config(is_multilabel=True, source={'type': 'csv', 'csv': {**base, **change}}))
        for change in ({}, {name: value})
    )
    assert first != second
    assert not isinstance(first, str), first


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('file_type', 'tfrecord_compressed'),
        ('image_field_key', 'other'),
        ('label_field_key', 'other'),
        ('is_multilabel', True),
    ],
)
def test_d3_a_field_of_records_counts(tmp_path: pathlib.Path, name: str, value: Any):
    labels = [1, 2] if name == 'is_multilabel' else [1]
    record = class_makers.make_record(class_makers.make_image(0), labels)
    path = class_makers.write_records(tmp_path / 'a', [record])
    first, second = (
        describe(make_config(input_path=path, **change)) for change in ({}, {name: value})
    )
    assert first != second
