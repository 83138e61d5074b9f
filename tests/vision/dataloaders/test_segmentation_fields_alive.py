"""Every field of segmentation's data config changes what is read or how, or is listed here."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite.core import randomness
from official_lite.vision.configs import semantic_segmentation as exp_cfg
from official_lite.vision.dataloaders import (
    input_reader_factory,
    segmentation_reader,
    segmentation_sources,
)
from official_lite.vision.dataloaders.segmentation_facts import Labelling
from tests.vision.dataloaders import mask_makers, test_data_fields_alive

OPTIONS = {**test_data_fields_alive.OPTIONS, 'cycle_length': (2, {})}

# Field -> its value, and the fields without which it means nothing.
PARSER: dict[str, tuple[Any, dict[str, Any]]] = {
    'output_size': ([24, 24], {}),
    'crop_size': ([16, 16], {}),
    'image_feature': ({'mean': [0.0, 0.0, 0.0]}, {}),
    'dtype': ('bfloat16', {'image_feature': {'mean': [0.0, 0.0, 0.0]}}),
    'aug_scale_min': (0.25, {}),
    'aug_scale_max': (4.0, {}),
    'aug_rand_hflip': (True, {}),
    'aug_rand_rot90': (True, {}),
    'color_jitter': (0.4, {}),
    'preserve_aspect_ratio': (False, {}),
    'centered_crop': (True, {}),
    'resize_eval_groundtruth': (False, {'is_training': False}),
    'groundtruth_padded_size': (
        [50, 50],
        {'is_training': False, 'resize_eval_groundtruth': False},
    ),
}
ELSEWHERE = {
    'source': 'below',
    'input_path': 'test_segmentation_reader',
    'file_type': 'test_segmentation_reader',
    'weights': 'test_segmentation_reader',
    'tfds_name': 'test_segmentation_reader',
    'additional_dense_features': 'test_segmentation_records',
    'skip_corrupt': 'test_pair_source, test_segmentation_records',
    'cache': 'test_pair_source, test_segmentation_records',
    'num_examples': 'test_segmentation_reader',
    'global_batch_size': 'test_segmentation_reader',
    'is_training': 'test_segmentation_reader',
}
WITHOUT_EFFECT = {
    'drop_remainder': 'training has no end, evaluation leaves nothing out',
    'decoder': 'image_feature says how a record is read; in Model Garden too',
    'aug_policy': 'in Model Garden too',
    'tfds_split': 'of tfds_name, which is refused',
    'tfds_data_dir': 'of tfds_name, which is refused',
    'tfds_as_supervised': 'of tfds_name, which is refused',
    'tfds_skip_decoding_feature': 'of tfds_name, which is refused',
}


def _make_config(**fields: Any) -> exp_cfg.DataConfig:
    config = exp_cfg.DataConfig(is_training=True, global_batch_size=4, aug_rand_hflip=False)
    config.override(fields)
    return config


def test_every_field_is_accounted_for() -> None:
    fields = {field.name for field in dataclasses.fields(exp_cfg.DataConfig)}
    assert sorted(fields) == sorted([*OPTIONS, *PARSER, *ELSEWHERE, *WITHOUT_EFFECT])


@pytest.mark.parametrize('name', OPTIONS)
def test_the_field_changes_how_data_are_read(name: str) -> None:
    value, base = OPTIONS[name]
    before = input_reader_factory.build_reader_options(_make_config(**base))
    after = input_reader_factory.build_reader_options(_make_config(**{**base, name: value}))
    assert before != after


def _parse(config: exp_cfg.DataConfig) -> list[Any]:
    """Examples of a few keys, as bytes."""
    parser = segmentation_reader.build_parser(
        config, input_size=[32, 32], labelling=Labelling(), largest_px=(20, 30)
    )
    mask = mask_makers.make_masks()[0].astype(np.int32)[..., None]
    record = {
        'image': tf.constant(mask_makers.make_image(mask[..., 0])),
        'mask': tf.constant(mask),
    }
    parse = parser.parse_fn(bool(config.is_training))
    keys = [randomness.make_key(n) for n in range(4)]
    examples = [parse(record, key) for key in keys] if config.is_training else [parse(record)]
    return [
        (value.dtype.name, tuple(value.shape), value.numpy().tobytes())
        for value in tf.nest.flatten(examples)
    ]


@pytest.mark.parametrize('name', PARSER)
def test_the_field_changes_examples(name: str) -> None:
    value, base = PARSER[name]
    assert _parse(_make_config(**base)) != _parse(_make_config(**{**base, name: value}))


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Pairs in two variants, an image with an orientation among them."""
    root = tmp_path_factory.mktemp('alive')
    masks = mask_makers.make_masks()
    mask_makers.write_pairs(root, masks)
    mask_makers.write_pairs(root / 'other', masks[::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (8, 8)).save(root / 'image' / 'turned.jpg', exif=exif)
    Image.new('L', (8, 8)).save(root / 'label' / 'turned.png')
    for name in ('image', 'label'):
        Image.new('L', (8, 8)).save(root / name / '0_x.png')
    return root


def _describe(config: exp_cfg.DataConfig) -> Any:
    """What is read: counts, classes and ways of decoding; or the error."""
    try:
        source = segmentation_sources.build_source(config, Labelling())
    except Exception as error:
        return str(error)
    numbers = range(source.info.num_examples)
    return source.info, [(source.describe(i), source.get_reading(i)) for i in numbers]


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('image_dir', 'other/image'),
        ('mask_dir', 'other/label'),
        ('image_suffix', '_x'),
        ('mask_suffix', '_x'),
        ('split', 'validation'),
        ('validation_share', 0.5),
        ('split_seed', 7),
        ('class_names', ['a', 'b', 'c']),
        ('mask_values', [2, 1, 0]),
        ('mask_colors', [[0, 0, 0], [1, 1, 1], [2, 2, 2]]),
        ('ignored_values', [2]),
        ('orientation', 'upright'),
    ],
)
def test_a_field_of_pairs_counts(folder: pathlib.Path, name: str, value: Any) -> None:
    base = {'image_dir': str(folder / 'image'), 'mask_dir': str(folder / 'label')}
    if name in ('validation_share', 'split_seed'):
        base |= {'split': 'train', 'validation_share': 0.4}  # type: ignore[dict-item]
    value = str(folder / value) if name.endswith('_dir') else value
    first, second = (
        _describe(_make_config(source={'type': 'png_pairs', 'png_pairs': {**base, **change}}))
        for change in ({}, {name: value})
    )
    assert first != second
    assert not isinstance(first, str), first


def test_every_field_of_pairs_is_above() -> None:
    mark = test_a_field_of_pairs_counts.pytestmark[0]
    assert {field.name for field in dataclasses.fields(exp_cfg.PngPairsSource)} == {
        name for name, _ in mark.args[1]
    }
