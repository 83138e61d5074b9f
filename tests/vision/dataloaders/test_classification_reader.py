"""Batches of classified images: order, padding, mixing, augmentation, repetition, resuming."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.dataloaders import (
    class_folders,
    classification_reader,
    labelled_images,
    repeated_source,
)
from official_lite.vision.dataloaders import source as source_lib
from tests.vision.dataloaders import class_makers

COUNTS = {'red': 6, 'green': 3, 'blue': 2}
SIZE = [16, 20]


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(class_makers.write_folders(tmp_path_factory.mktemp('images'), COUNTS))


def make_config(root: str, *, is_training: bool = True, **fields: Any) -> exp_cfg.DataConfig:
    config = exp_cfg.DataConfig(is_training=is_training, global_batch_size=4)
    config.override({'source': {'type': 'folder', 'folder': {'root': root}}, **fields})
    return config


def read(config: exp_cfg.DataConfig, first_batch: int = 0, **options: Any) -> tf.data.Dataset:
    reader = classification_reader.build_classification_reader(
        config, **{'output_size': SIZE, 'num_classes': 3, **options}
    )
    return reader.read(first_batch=first_batch)


def take(config: exp_cfg.DataConfig, count: int, **options: Any) -> list[tuple[Any, Any]]:
    return [(i.numpy(), v.numpy()) for i, v in read(config, **options).take(count)]


def test_training_batches(root: str):
    images, labels = take(make_config(root), 1)[0]
    assert images.shape == (4, *SIZE, 3)
    assert images.dtype == np.uint8
    assert labels.shape == (4,)
    assert labels.dtype == np.int32


def test_labels_belong_to_images(root: str):
    """Each class has a colour of its own, and classes are sorted by name: blue, green, red."""
    strongest = {0: 2, 1: 1, 2: 0}
    for images, labels in take(make_config(root), 5):
        for image, label in zip(images, labels, strict=True):
            assert image.mean((0, 1)).argmax() == strongest[int(label)]


def test_an_epoch_has_every_image_once_and_a_resumed_run_goes_on(root: str):
    config = make_config(root, global_batch_size=1)
    batches = take(config, 22)
    for epoch in (batches[:11], batches[11:]):
        assert sorted(int(labels[0]) for _, labels in epoch) == [0, 0, 1, 1, 1] + [2] * 6
    resumed = take(config, 3, first_batch=9)
    for (image, label), (other, same) in zip(batches[9:12], resumed, strict=True):
        np.testing.assert_array_equal(image, other)
        assert label == same


def test_evaluation_has_every_image_once_and_masks_padding(root: str):
    config = make_config(root, is_training=False)
    batches = [(i.numpy(), {k: v.numpy() for k, v in d.items()}) for i, d in read(config)]
    assert [labels['is_valid'].tolist() for _, labels in batches] == [
        [True] * 4,
        [True] * 4,
        [True, True, True, False],
    ]
    labels = np.concatenate([labels['label'] for _, labels in batches])
    assert labels[:11].tolist() == [0, 0, 1, 1, 1] + [2] * 6
    assert len(batches[-1][0]) == 4


MIXING = {'mixup_alpha': 0.8, 'cutmix_alpha': 1.0, 'label_smoothing': 0.3}


def test_mixed_batches_have_soft_labels_and_depend_on_the_position_only(root: str):
    config = make_config(root, mixup_and_cutmix=MIXING)
    batches = take(config, 4)
    for _, labels in batches:
        assert labels.shape == (4, 3)
        assert labels.dtype == np.float32
        np.testing.assert_allclose(labels.sum(-1), 1.0, rtol=1e-5)
        assert labels.min() >= 0.1 - 1e-6
    assert any((labels.max(-1) < 0.79).any() for _, labels in batches)
    resumed = take(config, 1, first_batch=3)[0]
    np.testing.assert_array_equal(batches[3][0], resumed[0])
    np.testing.assert_array_equal(batches[3][1], resumed[1])
    evaluation = make_config(root, is_training=False, mixup_and_cutmix=MIXING)
    assert next(iter(read(evaluation)))[1]['label'].shape == [4]


def test_several_labels_become_zeros_and_ones(tmp_path: pathlib.Path):
    rows = ['image,labels', '0.jpg,cat dog', '1.jpg,', '2.jpg,owl']
    table = class_makers.write_table(tmp_path / 't.csv', rows, num_images=3)
    config = exp_cfg.DataConfig(is_training=False, global_batch_size=3, is_multilabel=True)
    config.override(
        {'source': {'type': 'csv', 'csv': {'file': str(table), 'label_separator': ' '}}}
    )
    [(_, labels)] = list(read(config))
    assert labels['label'].numpy().tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


AUGMENTATIONS: list[dict[str, Any]] = [
    {'aug_type': {'type': 'randaug', 'randaug': {'num_layers': 3}}},
    {'aug_type': {'type': 'autoaug', 'autoaug': {'augmentation_name': 'vit'}}},
    {'three_augment': True},
    {'random_erasing': {'probability': 1.0}},
    {'color_jitter': 0.4},
    {'tf_resize_method': 'nearest'},
    {'crop_area_range': [0.1, 0.2]},
    {'aug_crop': False},
    {'aug_rand_hflip': False},
]


@pytest.mark.parametrize('fields', AUGMENTATIONS, ids=str)
def test_d3_a_field_changes_training_images(root: str, fields: dict[str, Any]):
    plain = take(make_config(root), 3)
    changed = take(make_config(root, **fields), 3)
    assert [labels.tolist() for _, labels in plain] == [labels.tolist() for _, labels in changed]
    assert any((a != b).any() for (a, _), (b, _) in zip(plain, changed, strict=True))
    again = take(make_config(root, **fields), 3)
    assert all((a == b).all() for (a, _), (b, _) in zip(changed, again, strict=True))


@pytest.mark.parametrize('fields', AUGMENTATIONS[:5], ids=str)
def test_evaluation_images_are_not_augmented(root: str, fields: dict[str, Any]):
    plain = next(iter(read(make_config(root, is_training=False))))[0]
    same = next(iter(read(make_config(root, is_training=False, **fields))))[0]
    np.testing.assert_array_equal(plain, same)


@pytest.mark.parametrize(
    'fields',
    [{'center_crop_fraction': 0.5}, {'center_crop_fraction': None}, {'tf_resize_method': 'area'}],
    ids=str,
)
def test_d3_a_field_changes_evaluation_images(root: str, fields: dict[str, Any]):
    plain = next(iter(read(make_config(root, is_training=False))))[0]
    changed = next(iter(read(make_config(root, is_training=False, **fields))))[0]
    assert (plain.numpy() != changed.numpy()).any()


def test_no_fraction_is_the_whole_square(root: str):
    none, one = (
        next(iter(read(make_config(root, is_training=False, center_crop_fraction=value))))[0]
        for value in (None, 1.0)
    )
    np.testing.assert_array_equal(none, one)


@pytest.mark.parametrize('decode_jpeg_only', [True, False])
def test_images_of_any_kind(tmp_path: pathlib.Path, decode_jpeg_only: bool):
    """In a folder a PNG is decoded whatever `decode_jpeg_only` says; the same image, the same pixels."""
    for kind in ('PNG', 'TIFF'):
        class_makers.write_folders(tmp_path / kind, {'a': 2}, kind=kind)
    first, second = (
        next(
            iter(
                read(
                    make_config(
                        str(tmp_path / kind),
                        is_training=False,
                        global_batch_size=2,
                        decode_jpeg_only=decode_jpeg_only,
                    )
                )
            )
        )[0]
        for kind in ('PNG', 'TIFF')
    )
    np.testing.assert_array_equal(first, second)
    assert first.numpy().any()


def test_repeated_augmentation(root: str):
    """Each image twice in a row, with other crops; an epoch of images lasts two of examples."""
    config = make_config(root, global_batch_size=2, repeated_augment=2)
    batches = take(config, 11)
    assert all(labels[0] == labels[1] for _, labels in batches)
    assert sorted(int(labels[0]) for _, labels in batches) == [0, 0, 1, 1, 1] + [2] * 6
    assert any((images[0] != images[1]).any() for images, _ in batches)
    resumed = take(config, 1, first_batch=7)[0]
    np.testing.assert_array_equal(batches[7][0], resumed[0])
    odd = make_config(root, global_batch_size=3, repeated_augment=2)
    np.testing.assert_array_equal(take(odd, 4)[3][0], take(odd, 1, first_batch=3)[0][0])


def test_repeated_examples_are_shared_by_workers(root: str):
    images = class_folders.find_images(root)
    source = repeated_source.RepeatedSource(labelled_images.build_labelled_source(images), 3)

    def indices(worker: int, first: int, count: int) -> list[tuple[int, int]]:
        order = source_lib.Order(11, True, first_position=first, worker=worker, num_workers=2)
        examples = source.make_examples(order).take(count).as_numpy_iterator()
        return [(int(e['index']), int(e['epoch'])) for e in examples]

    both = [indices(worker, 0, 9) for worker in (0, 1)]
    for found in both:
        assert [i for i, _ in found] == [i for i, _ in found[::3] for _ in range(3)]
        assert [e for _, e in found] == [0, 1, 2] * 3
    assert not {i for i, _ in both[0]} & {i for i, _ in both[1]}
    assert indices(1, 8, 3) == both[1][4:7]


def test_what_does_not_fit_is_refused(root: str):
    with pytest.raises(errors.DataError, match=r'label 2 is out of range; expected labels 0 to 1'):
        read(make_config(root), num_classes=2)
    with pytest.raises(errors.UsageError, match=r'data.num_examples: expected at most the 11'):
        read(make_config(root, num_examples=12))


def test_only_the_first_examples(root: str):
    batches = list(read(make_config(root, is_training=False, num_examples=3)))
    assert [labels['is_valid'].numpy().tolist() for _, labels in batches] == [
        [True, True, True, False]
    ]
