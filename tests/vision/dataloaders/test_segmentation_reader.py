"""From a data config of segmentation to batches."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.vision.configs import semantic_segmentation as exp_cfg
from official_lite.vision.dataloaders import segmentation_reader
from official_lite.vision.dataloaders.segmentation_facts import Labelling
from tests.vision.dataloaders import mask_makers, test_segmentation_records


def _read(config: exp_cfg.DataConfig, num_classes: int = 3) -> tf.data.Dataset:
    return segmentation_reader.build_segmentation_reader(
        config, input_size=[32, 32], num_classes=num_classes, labelling=Labelling(), where='data'
    ).read()


def _make_config(**fields: Any) -> exp_cfg.DataConfig:
    config = exp_cfg.DataConfig(is_training=False, global_batch_size=3)
    config.override(fields)
    return config


@pytest.fixture
def pairs(tmp_path: pathlib.Path) -> dict[str, Any]:
    folders = mask_makers.write_pairs(tmp_path, mask_makers.make_masks())
    return {'type': 'png_pairs', 'png_pairs': {'image_dir': folders[0], 'mask_dir': folders[1]}}


def test_evaluation_reads_every_image_once(pairs: dict[str, Any]) -> None:
    batches = list(_read(_make_config(source=pairs)))
    assert [batch[1]['is_valid'].numpy().tolist() for batch in batches] == [
        [True, True, True],
        [True, False, False],
    ]
    assert batches[0][0].shape == (3, 32, 32, 3)
    assert batches[0][0].dtype == tf.uint8
    assert len(list(_read(_make_config(source=pairs, num_examples=2)))) == 1


def test_original_sizes_are_padded_to_the_largest(pairs: dict[str, Any]) -> None:
    """30 px high, 40 px wide: more than the config says."""
    config = _make_config(
        source=pairs, resize_eval_groundtruth=False, groundtruth_padded_size=[10, 60]
    )
    _, labels = next(iter(_read(config)))
    assert labels['masks'].shape == (3, 30, 60, 1)
    for row, (height, width) in enumerate(mask_makers.SIZES[:3]):
        assert int(tf.math.count_nonzero(labels['valid_masks'][row])) == height * width


def test_training_repeats_and_is_the_same_again(pairs: dict[str, Any]) -> None:
    config = _make_config(
        source=pairs, is_training=True, aug_scale_min=0.5, aug_scale_max=2.0, seed=3
    )
    first, second = (list(_read(config).take(4)) for _ in range(2))
    assert len(first) == 4
    for (images, labels), (images_2, labels_2) in zip(first, second, strict=True):
        np.testing.assert_array_equal(images, images_2)
        np.testing.assert_array_equal(labels['masks'], labels_2['masks'])


@pytest.mark.parametrize('compression', ['', 'GZIP'])
def test_model_gardens_input_path(tmp_path: pathlib.Path, compression: str) -> None:
    examples = [test_segmentation_records.make_example(mask) for mask in mask_makers.make_masks()]
    with tf.io.TFRecordWriter(str(tmp_path / 'a.tfrecord'), compression) as writer:
        for example in examples:
            writer.write(example)
    config = _make_config(
        input_path=f'{tmp_path}/a*',
        file_type='tfrecord_compressed' if compression else 'tfrecord',
    )
    images, labels = next(iter(_read(config)))
    assert images.shape == (3, 32, 32, 3)
    assert set(np.unique(labels['masks'])) == {0, 1, 2, 255}
    as_source = _make_config(
        source={
            'type': 'tfrecord',
            'tfrecord': {'input_path': config.input_path, 'file_type': config.file_type},
        }
    )
    np.testing.assert_array_equal(next(iter(_read(as_source)))[0], images)


@pytest.mark.parametrize(
    ('fields', 'text'),
    [
        ({}, r'data: no data; expected source\.type \(png_pairs, tfrecord or embedded\)'),
        ({'tfds_name': 'x'}, r'data\.tfds_name: segmented images of TensorFlow Datasets'),
        (
            {'input_path': {'a': 'x', 'b': 'y'}},
            r'data\.input_path: there are no mixtures of segmented images yet; expected a path',
        ),
        (
            {'input_path': 'x', 'weights': {'a': 1}},
            r'data\.weights: there are no mixtures of segmented images yet; expected not set',
        ),
        (
            {'source': {'type': 'png_pairs'}},
            r"data\.source\.png_pairs\.image_dir: expected a folder; received ''",
        ),
    ],
)
def test_what_is_not_there(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.UsageError, match=text):
        _read(_make_config(**fields))


def test_too_many_examples(pairs: dict[str, Any]) -> None:
    with pytest.raises(errors.UsageError, match=r'num_examples: expected at most the 4 examples'):
        _read(_make_config(source=pairs, num_examples=5))


def test_labels_out_of_range(pairs: dict[str, Any]) -> None:
    with pytest.raises(errors.DataError, match='masks have values that are no class: 2'):
        _read(_make_config(source=pairs), num_classes=2)
