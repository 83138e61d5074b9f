"""Augmentation in RetinaNet's input: config to pixels and boxes, on records and on batches."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import randomness
from official_lite.modeling import hyperparams
from official_lite.vision.configs import augmentation as augmentation_cfg
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import (
    detection_augmentation,
    input_reader,
    retinanet_input,
)
from official_lite.vision.ops import augment, augment_policies, mosaic, ssd_crop
from tests.vision.dataloaders import data_makers

SIZE = (96, 128)


def make_record() -> dict[str, tf.Tensor]:
    """White rectangles on black, not at the edge, and their boxes."""
    image = np.zeros([60, 80, 3], np.uint8)
    image[20:40, 24:56] = 255
    boxes = np.array([[20 / 60, 24 / 80, 40 / 60, 56 / 80]], np.float32)
    return {
        'image': tf.constant(image),
        'groundtruth_boxes': tf.constant(boxes),
        'groundtruth_classes': tf.constant([3], tf.int64),
        'groundtruth_is_crowd': tf.constant([False]),
    }


def build(**fields: Any) -> retinanet_input.Parser:
    config = retinanet_cfg.Parser()
    config.override(fields)
    config.validate()
    return retinanet_input.build_parser(SIZE, max_level=4, parser_config=config)


def parse_many(count: int, record: Any = None, **fields: Any) -> list[tuple[np.ndarray, Any]]:
    record = make_record() if record is None else record
    parse = tf.function(build(**fields).parse_fn(True))
    keys = [randomness.make_key(3, epoch=0, index=index) for index in range(count)]
    return [
        (image.numpy(), data_makers.to_numpy(labels))
        for image, labels in (parse(record, key) for key in keys)
    ]


_POLICIES = {
    'v0': {'aug_type': {'type': 'autoaug'}},
    'detection_v0': {
        'aug_type': {'type': 'autoaug', 'autoaug': {'augmentation_name': 'detection_v0'}}
    },
    'randaug': {'aug_type': {'type': 'randaug', 'randaug': {'exclude_ops': ['Cutout', 'Invert']}}},
    'ssd': {'aug_type': {'type': 'ssd_random_crop'}},
}


@pytest.mark.parametrize('name', ['v0', 'randaug', 'ssd'])
def test_b11_boxes_stay_around_their_objects_under_every_policy(name: str) -> None:
    """Only operations that leave the object brighter than the rest can be judged."""
    num_moved = num_judged = 0
    for image, labels in parse_many(60, **_POLICIES[name]):
        bright = image[:, :, 0].astype(float)
        if not len(labels['boxes']) or bright.min() > 60 or bright.max() < 190:
            continue
        # Mirrored copies at the edges are no objects; look around the box only.
        ymin, xmin, ymax, xmax = labels['boxes'][0]
        rows, columns = slice(int(ymin), int(ymax) + 1), slice(int(xmin), int(xmax) + 1)
        inside = bright[rows, columns]
        if inside.mean() < 100 and bright[:96].mean() > 128:
            continue  # inverted
        num_judged += 1
        # The hull of a rotated rectangle holds background, and the hull of its hull more of it.
        assert inside.mean() > 0.33 * 255, name
        centre = [(ymin + ymax) / 2, (xmin + xmax) / 2]
        num_moved += np.abs(np.array(centre) - [48, 64]).max() > 4
    assert num_judged > 20
    assert num_moved > 3


def test_an_object_that_leaves_takes_its_class_along() -> None:
    fields = {
        'aug_type': {
            'type': 'autoaug',
            'autoaug': {'augmentation_name': 'test', 'translate_const': 250},
        }
    }
    counts = {len(labels['classes']) for _, labels in parse_many(8, **fields)}
    # 'test' shifts by 100 px, the image is 80 wide.
    assert counts == {0}
    for _, labels in parse_many(3, **fields):
        assert labels['boxes'].shape == (0, 4)


@pytest.mark.parametrize('name', list(_POLICIES))
def test_the_same_key_gives_the_same_example_and_another_one_another(name: str) -> None:
    first, again = (parse_many(6, **_POLICIES[name]) for _ in range(2))
    data_makers.assert_equal_batches(first, again)
    assert len({image.tobytes() for image, _ in first}) > 1


def test_without_augmentation_nothing_is_added_to_the_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def count(**fields: Any) -> int:
        parse = tf.function(build(**fields).parse_fn(True))
        graph = parse.get_concrete_function(make_record(), tf.constant([1, 2])).graph
        definition = graph.as_graph_def()
        return len(definition.node) + sum(len(f.node_def) for f in definition.library.function)

    plain, with_policy = count(), count(**_POLICIES['randaug'])
    assert with_policy > plain + 100
    # RandAugment's operations are traced once, not once for each layer.
    many = {'aug_type': {'type': 'randaug', 'randaug': {'num_layers': 9}}}
    two = {'aug_type': {'type': 'randaug', 'randaug': {'num_layers': 2}}}
    assert count(**many) == count(**two)

    class Nothing(detection_augmentation.Augmentation):
        def change_record(self, image: Any, boxes: Any, key: Any, masks: Any = None) -> Any:
            return image, boxes, masks

        def change_resized(self, image: Any, key: Any) -> Any:
            return image

        def mark(self, labels: Any, key: Any) -> Any:
            return labels

    monkeypatch.setattr(detection_augmentation, 'Augmentation', Nothing)
    assert count() == plain


def test_erasing_and_flips_of_both_kinds() -> None:
    plain = parse_many(1)[0][0]
    erased = parse_many(20, random_erasing={'probability': 1.0})
    for image, labels in erased:
        changed = (image != plain).any(-1)
        rows, columns = np.nonzero(changed)
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / (96 * 128)
        assert 0.01 < area < 0.36
        np.testing.assert_array_equal(labels['boxes'], parse_many(1)[0][1]['boxes'])
    record = make_record()
    record['image'] = tf.constant(np.arange(60 * 80 * 3).reshape([60, 80, 3]) % 251, tf.uint8)
    kinds = {
        image.tobytes()
        for image, _ in parse_many(20, record, aug_rand_hflip=True, aug_rand_vflip=True)
    }
    assert len(kinds) == 4


# ---- mosaics in batches --------------------------------------------------------------------------


def read(num_batches: int, first_batch: int = 0, batch: int = 4, **mosaic: Any) -> list[Any]:
    source = data_makers.make_table([1, 2, 0, 3, 1, 2, 1, 1, 2])
    options = {'prob': 1.0, 'center_range': (0.3, 0.7), 'min_box_overlap': 0.1, **mosaic}
    parser = retinanet_input.Parser(
        [32, 32], 3, augmentation=detection_augmentation.Augmentation(mosaic=options, hflip=True)
    )
    reader = input_reader.InputReader(source, parser, is_training=True, global_batch_size=batch)
    dataset = reader.read(first_batch=first_batch).take(num_batches)
    return [(images.numpy(), data_makers.to_numpy(labels)) for images, labels in dataset]


def test_mosaics_are_a_function_of_the_position() -> None:
    whole = read(4)
    data_makers.assert_equal_batches(whole[2:], read(2, first_batch=2))
    assert 'mosaic_key' not in whole[0][1]
    assert set(whole[0][1]) == {'image_info', 'boxes', 'classes'}
    assert whole[0][1]['boxes'].shape[1] % 8 == 0


def test_mosaics_keep_boxes_inside_with_their_classes() -> None:
    for images, labels in read(3):
        assert images.shape == (4, 32, 32, 3)
        is_there = labels['classes'] >= 0
        boxes = labels['boxes'][is_there]
        assert len(boxes)
        assert boxes.min() >= 0
        assert boxes.max() <= 32
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (labels['boxes'][~is_there] == -1).all()


def test_probability_zero_changes_nothing() -> None:
    source = read(2, prob=0.0)
    data_makers.assert_equal_batches(source, read(2, prob=0.0, center_range=(0.5, 0.5)))
    counts = [(labels['classes'] >= 0).sum() for _, labels in source]
    mixed = [(labels['classes'] >= 0).sum() for _, labels in read(2)]
    assert counts != mixed


# ---- attributes of objects -----------------------------------------------------------------------

NUMBERS = [3, 1, 4, 2, 5, 6]


def make_record_with_attributes() -> dict[str, tf.Tensor]:
    """Rectangles side by side, the last of them a crowd; attributes follow from the class."""
    image = np.zeros([60, 90, 3], np.uint8)
    boxes = np.array([[0.1, i / 6, 0.9, (i + 0.9) / 6] for i in range(6)], np.float32)
    for number, (_, left, _, right) in zip(NUMBERS, boxes, strict=True):
        image[6:54, int(90 * left) : int(90 * right)] = 30 * number
    return {
        'image': tf.constant(image),
        'groundtruth_boxes': tf.constant(boxes),
        'groundtruth_classes': tf.constant(NUMBERS, tf.int64),
        'groundtruth_is_crowd': tf.constant([False] * 5 + [True]),
        'groundtruth_attributes': {
            'age': tf.constant([[10.0 * n] for n in NUMBERS]),
            'place': tf.constant([[n, -n] for n in NUMBERS]),
        },
    }


def assert_attributes_follow(labels: dict[str, Any]) -> None:
    classes = labels['classes']
    is_there = classes >= 0
    attributes = labels['attributes']
    assert set(attributes) == {'age', 'place'}
    np.testing.assert_array_equal(attributes['age'][..., 0][is_there], 10.0 * classes[is_there])
    np.testing.assert_array_equal(attributes['place'][..., 0][is_there], classes[is_there])
    np.testing.assert_array_equal(attributes['place'][..., 1][is_there], -classes[is_there])
    for values in attributes.values():
        assert values.shape[:-1] == classes.shape
        assert not values[~is_there].any()


@pytest.mark.parametrize(
    'fields',
    [
        {'skip_crowd_during_training': False},
        {'aug_rand_hflip': True, 'aug_rand_vflip': True},
        {'aug_scale_min': 2.0, 'aug_scale_max': 4.0},
        *_POLICIES.values(),
        {'aug_rand_hflip': True, 'aug_scale_min': 0.5, 'aug_scale_max': 3.0, **_POLICIES['ssd']},
    ],
    ids=['crowds', 'flips', 'scales', *_POLICIES, 'together'],
)
def test_attributes_follow_their_objects(fields: dict[str, Any]) -> None:
    record = make_record_with_attributes()
    counts = set()
    for image, labels in parse_many(20, record, **fields):
        assert_attributes_follow(labels)
        counts.add(len(labels['classes']))
        if not fields.keys() & {'aug_type'}:
            for (ymin, xmin, ymax, xmax), number in zip(
                labels['boxes'], labels['classes'], strict=True
            ):
                centre = image[int((ymin + ymax) / 2), int((xmin + xmax) / 2)]
                # At the edge of a narrow part there may be background.
                if xmax - xmin > 12:
                    np.testing.assert_allclose(centre, 30 * number, atol=2)
    most = 6 if fields.get('skip_crowd_during_training') is False else 5
    assert max(counts) <= most
    if fields.keys() & {'aug_scale_max'}:
        assert len(counts) > 1  # some objects were dropped


def test_attributes_follow_into_mosaics() -> None:
    parser = build(mosaic={'prob': 0.7}, aug_rand_hflip=True, aug_scale_max=2.0)
    parse = parser.parse_fn(True)
    keys = tf.stack([randomness.make_key(5, epoch=0, index=i) for i in range(24)])
    padding = {
        'image_info': 0.0,
        'boxes': -1.0,
        'classes': -1,
        'attributes': {'age': 0.0, 'place': 0},
        'mosaic_key': 0,
    }
    dataset = tf.data.Dataset.from_tensor_slices(keys)
    dataset = dataset.map(lambda key: parse(make_record_with_attributes(), key))
    dataset = dataset.padded_batch(
        8, padding_values=(tf.constant(0, tf.uint8), padding), drop_remainder=True
    )
    counts = []
    for _, labels in dataset.map(parser.process_train_batch):
        found = data_makers.to_numpy(labels)
        assert_attributes_follow(found)
        counts += (found['classes'] >= 0).sum(1).tolist()
    assert max(counts) > 5  # of several images
    assert len(counts) == 24


# ---- configs -------------------------------------------------------------------------------------


def test_names_in_configs_are_those_of_the_operations() -> None:
    assert augmentation_cfg.RANDAUGMENT_OPERATIONS == augment_policies.RANDAUGMENT_OPERATIONS
    assert list(augmentation_cfg.PolicyName.__args__) == list(augment.POLICIES)


@pytest.mark.parametrize(
    ('fields', 'match'),
    [
        (
            {'aug_type': {'type': 'autoaug', 'autoaug': {'augmentation_name': 'v1'}}},
            r"autoaug.augmentation_name: expected one of 'detection_v0', 'v0', .* received 'v1'",
        ),
        (
            {'aug_type': {'type': 'randaug', 'randaug': {'exclude_ops': ['Rot']}}},
            r"randaug.exclude_ops: expected names of operations: AutoContrast, .*; not 'Rot'",
        ),
        (
            {'aug_type': {'type': 'randaug', 'randaug': {'magnitude': -1}}},
            r'randaug.magnitude: expected 0 or more',
        ),
        (
            {
                'aug_type': {
                    'type': 'ssd_random_crop',
                    'ssd_random_crop': {'area_range': [0.0, 1.0]},
                }
            },
            r'area_range: expected the smallest and the largest, more than 0 and at most 1',
        ),
        ({'random_erasing': {'min_aspect': 0}}, r'min_aspect: expected more than 0 and at most 1'),
        ({'mosaic': {'prob': 1.5}}, r'mosaic.prob: expected 0 to 1'),
        ({'mosaic': {'center_range': [0.7, 0.3]}}, r'center_range: expected the smallest and'),
    ],
)
def test_what_cannot_be_is_refused(fields: Any, match: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=match):
        build(**fields)


@pytest.mark.parametrize(
    ('function', 'config'),
    [
        (augment.AutoAugment, augmentation_cfg.AutoAugment),
        (augment.RandAugment, augmentation_cfg.RandAugment),
        (augment.RandomErasing, augmentation_cfg.RandomErasing),
        (augment.MixupAndCutmix, augmentation_cfg.MixupAndCutmix),
        (mosaic.make_mosaics, augmentation_cfg.Mosaic),
    ],
)
def test_d18_defaults_are_those_of_the_configs(function: Any, config: type) -> None:
    parameters = inspect.signature(function).parameters
    for field in dataclasses.fields(config):
        if field.name not in ('default_params', 'restrictions'):
            default = getattr(config(), field.name) or None
            assert (parameters[field.name].default or None) == default, field.name
    case, expected = ssd_crop.CropCase(), augmentation_cfg.SSDRandomCropParam()
    assert dataclasses.asdict(case).items() <= expected.as_dict().items()


def test_mosaics_need_batches_of_four() -> None:
    config = retinanet_cfg.DataConfig(global_batch_size=2)
    config.override({'parser': {'mosaic': {}}})
    with pytest.raises(hyperparams.ConfigError, match='global_batch_size: expected 4 or more, bec'):
        config.validate()
