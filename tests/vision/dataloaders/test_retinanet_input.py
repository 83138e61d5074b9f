"""The parser of RetinaNet, and what configs say about data."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import randomness
from official_lite.vision.configs import common
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.dataloaders import (
    detection_augmentation,
    input_reader_factory,
    retinanet_input,
    sources,
    tfrecord_writer,
)
from tests.vision.dataloaders import data_makers

MEAN_COLOUR = (124, 116, 104)
FLIPS = detection_augmentation.Augmentation(hflip=True)


def make_record(height: int = 30, width: int = 50, **fields: Any) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(1)
    record = {
        'image': rng.integers(0, 256, [height, width, 3], np.uint8),
        'source_id': np.int64(17),
        'height': np.int64(height),
        'width': np.int64(width),
        'groundtruth_boxes': np.array(
            [[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1], [0.3, 0.3, 0.3, 0.9]], np.float32
        ),
        'groundtruth_classes': np.array([2, 1, 3], np.int64),
        'groundtruth_is_crowd': np.array([False, True, False]),
        'groundtruth_area': np.array([5.0, 6.0, 0.0], np.float32),
    }
    return {name: tf.constant(value) for name, value in (record | fields).items()}


def parse(
    is_training: bool, record: Any = None, key: Any = None, **options: Any
) -> tuple[Any, Any]:
    parser = retinanet_input.Parser([40, 56], 4, **options)
    record = make_record() if record is None else record
    arguments = (record, key) if is_training else (record,)
    image, labels = parser.parse_fn(is_training)(*arguments)
    return image.numpy(), data_makers.to_numpy(labels)


def test_images_are_resized_rounded_and_padded_with_the_mean_colour():
    image, labels = parse(True)
    assert image.shape == (48, 64, 3)  # multiples of 16
    assert image.dtype == np.uint8
    # 56 / 50 = 1.12 is less than 40 / 30.
    np.testing.assert_allclose(
        labels['image_info'], [[30, 50], [40, 56], [34 / 30, 56 / 50], [0, 0]], rtol=1e-6
    )
    expected = tf.image.resize(make_record()['image'], [34, 56]).numpy()
    np.testing.assert_array_equal(image[:34, :56], np.floor(expected + 0.5))
    assert (image[34:] == MEAN_COLOUR).all()
    assert (image[:, 56:] == MEAN_COLOUR).all()


def test_training_labels_leave_out_crowds_and_empty_boxes():
    _, labels = parse(True)
    scale = np.array([34 / 30, 56 / 50] * 2)
    expected = np.array([[0.1 * 30, 0.2 * 50, 0.5 * 30, 0.6 * 50]]) * scale
    np.testing.assert_allclose(labels['boxes'], expected, rtol=1e-6)
    np.testing.assert_array_equal(labels['classes'], [2])
    assert labels['classes'].dtype == np.int32
    _, with_crowds = parse(True, skip_crowd_during_training=False)
    np.testing.assert_array_equal(with_crowds['classes'], [2, 1])


def test_evaluation_labels_lose_nothing():
    image, labels = parse(False, max_num_instances=5, aug_scale_max=2.0, augmentation=FLIPS)
    np.testing.assert_array_equal(image, parse(True)[0])  # no augmentation
    np.testing.assert_array_equal(labels['classes'], [2, 1])
    truth = labels['groundtruths']
    assert (truth['source_id'], truth['height'], truth['width']) == (17, 30, 50)
    assert truth['num_detections'] == 3
    np.testing.assert_allclose(
        truth['boxes'],
        [[3, 10, 15, 30], [0, 0, 30, 50], [9, 15, 9, 45], [-1] * 4, [-1] * 4],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(truth['classes'], [2, 1, 3, -1, -1])
    np.testing.assert_array_equal(truth['areas'], [5, 6, 0, -1, -1])
    np.testing.assert_array_equal(truth['is_crowds'], [0, 1, 0, 0, 0])


def test_flips_and_scales_follow_the_key():
    flipped = unflipped = 0
    for index in range(20):
        key = randomness.make_key(0, epoch=0, index=index)
        image, labels = parse(True, key=key, augmentation=FLIPS)
        if np.array_equal(image, parse(True)[0]):
            unflipped += 1
            continue
        flipped += 1
        np.testing.assert_allclose(labels['boxes'][0, [1, 3]], [20 * 1.12, 40 * 1.12], rtol=1e-5)
    assert min(flipped, unflipped) >= 4
    one = parse(True, key=key, aug_scale_min=0.5, aug_scale_max=2.0)
    same = parse(True, key=key, aug_scale_min=0.5, aug_scale_max=2.0)
    other = parse(True, key=randomness.fold_in(key, 1), aug_scale_min=0.5, aug_scale_max=2.0)
    data_makers.assert_equal_batches([one], [same])
    assert one[1]['image_info'][2, 0] != other[1]['image_info'][2, 0]


def test_objects_stay_where_their_pixels_are():
    """A bright rectangle is looked for in the network's input, under every augmentation."""
    image = np.zeros([60, 90, 3], np.uint8)
    image[12:36, 18:63] = 255
    record = make_record(
        image=image,
        groundtruth_boxes=np.array([[0.2, 0.2, 0.6, 0.7]], np.float32),
        groundtruth_classes=np.array([1]),
        groundtruth_is_crowd=np.array([False]),
    )
    for index in range(30):
        key = randomness.make_key(5, epoch=1, index=index)
        pixels, labels = parse(
            True, record, key, augmentation=FLIPS, aug_scale_min=0.6, aug_scale_max=1.8
        )
        if not len(labels['boxes']):
            continue
        ys, xs = np.nonzero(pixels.min(-1) > 127)
        found = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
        np.testing.assert_allclose(labels['boxes'][0], found, atol=1.01)


@pytest.mark.parametrize('keep_aspect_ratio', [True, False])
def test_aspect_ratio(keep_aspect_ratio: bool):
    _, labels = parse(True, keep_aspect_ratio=keep_aspect_ratio)
    expected = [34 / 30, 1.12] if keep_aspect_ratio else [40 / 30, 1.12]
    np.testing.assert_allclose(labels['image_info'][2], expected, rtol=1e-6)


@pytest.mark.garden
@pytest.mark.parametrize('size', [(30, 50), (50, 30), (90, 61), (7, 100)])
@pytest.mark.parametrize('keep_aspect_ratio', [True, False])
def test_evaluation_data_equal_model_gardens(size: tuple[int, int], keep_aspect_ratio: bool):
    from official.vision.dataloaders import retinanet_input as garden

    record = make_record(*size)
    reference = garden.Parser(
        output_size=[40, 56],
        min_level=3,
        max_level=4,
        num_scales=1,
        aspect_ratios=[1.0],
        anchor_size=4.0,
        max_num_instances=6,
        dtype='float32',
        keep_aspect_ratio=keep_aspect_ratio,
    )
    theirs_image, theirs = reference._parse_eval_data(record)
    image, labels = parse(False, record, max_num_instances=6, keep_aspect_ratio=keep_aspect_ratio)
    np.testing.assert_array_equal(labels['image_info'], theirs['image_info'])
    for name, value in theirs['groundtruths'].items():
        np.testing.assert_array_equal(labels['groundtruths'][name], np.squeeze(value), err_msg=name)
    # Ours are rounded to grey levels, and normalised later: at most half a grey level off.
    deviation = np.array([0.229, 0.224, 0.225])
    ours = (image / 255.0 - [0.485, 0.456, 0.406]) / deviation
    limit = 0.51 / 255 / deviation.min()
    np.testing.assert_allclose(ours, theirs_image, atol=limit)


# ---- configs ------------------------------------------------------------------------------------


def make_data_config(**fields: Any) -> retinanet_cfg.DataConfig:
    config = retinanet_cfg.DataConfig(is_training=True, global_batch_size=4)
    config.override(fields)
    return config


def build_reader(config: Any, **options: Any) -> Any:
    return input_reader_factory.build_retinanet_reader(
        config, output_size=[32, 32], max_level=3, where='task.train_data', **options
    )


def test_each_kind_of_source_is_built(tmp_path: pathlib.Path):
    table = data_makers.make_table([1, 2, 0, 1])
    annotations = data_makers.write_coco(table, tmp_path / 'coco')
    [records] = tfrecord_writer.write_tfrecords(
        tfrecord_writer.make_examples(table), tmp_path / 'part'
    )
    configs = {
        'coco': {
            'source': {
                'type': 'coco',
                'coco': {
                    'annotation_file': str(annotations),
                    'image_dir': str(tmp_path / 'coco' / 'images'),
                },
            }
        },
        'tfrecord': {'source': {'type': 'tfrecord', 'tfrecord': {'input_path': records}}},
        'input_path': {'input_path': records},
        'list': {'input_path': [records]},
    }
    batches = {}
    for name, fields in configs.items():
        config = make_data_config(is_training=False, **fields)
        info = sources.get_data_info(config)
        assert (info.num_examples, info.num_boxes) == (4, 4)
        [batches[name]] = build_reader(config, num_classes=4).read()
    first = data_makers.to_numpy(batches.pop('coco'))
    for batch in batches.values():
        found = data_makers.to_numpy(batch)
        np.testing.assert_array_equal(found[0], first[0])
        np.testing.assert_allclose(found[1]['boxes'], first[1]['boxes'], rtol=1e-5, atol=1e-5)
    embedded = make_data_config(
        source={'type': 'embedded', 'embedded': {'split': 'validation', 'num_scenes': 5}}
    )
    assert sources.get_data_info(embedded).origin == 'embedded:digits'


EMBEDDED = {'source': {'type': 'embedded', 'embedded': {'num_scenes': 6}}}


def test_fields_of_the_data_config_reach_the_reader():
    config = make_data_config(
        **EMBEDDED,
        shuffle_buffer_size=5,
        cycle_length=3,
        block_length=2,
        sharding=False,
        deterministic=False,
        prefetch_buffer_size=2,
        ram_budget=3,
        autotune_algorithm='HILL_CLIMB',
    )
    options = input_reader_factory.build_reader_options(config, seed=9, num_threads=2)
    assert dataclasses.asdict(options) == {
        'seed': 9,
        'shuffle_buffer_size': 5,
        'cycle_length': 3,
        'block_length': 2,
        'sharding': False,
        'deterministic': False,
        'prefetch_buffer_size': 2,
        'ram_budget_gb': 3,
        'autotune_algorithm': 'HILL_CLIMB',
        'num_threads': 2,
        'max_num_instances': None,
        'data_service': None,
    }
    config.seed = 4
    assert input_reader_factory.build_reader_options(config, seed=9).seed == 4
    config.seed = None
    randomness.set_run_seed(6)
    try:
        assert input_reader_factory.build_reader_options(config).seed == 6
    finally:
        randomness.set_run_seed(0)
    static = build_reader(config, has_static_shapes=True).read().element_spec
    assert static[1]['boxes'].shape == [4, 100, 4]


def test_num_examples_bounds_an_epoch():
    config = make_data_config(**EMBEDDED, is_training=False, num_examples=5)
    assert build_reader(config).num_batches == 2
    config.num_examples = 7
    with pytest.raises(
        errors.UsageError, match=r'task.train_data.num_examples: expected at most the 6 examples'
    ):
        build_reader(config)


def test_evaluation_data_have_room_for_every_box():
    config = make_data_config(**EMBEDDED, is_training=False, parser={'max_num_instances': 2})
    _, labels = build_reader(config).read().element_spec
    assert 2 < labels['groundtruths']['boxes'].shape[1] <= 6


def test_labels_out_of_range_are_a_data_error():
    with pytest.raises(errors.DataError, match='out of range; expected labels 1 to 3'):
        build_reader(make_data_config(**EMBEDDED), num_classes=4)


def test_data_without_boxes_are_refused_for_training_only(tmp_path: pathlib.Path):
    path = data_makers.write_coco(data_makers.make_table([0, 0]), tmp_path)
    coco = {'annotation_file': str(path), 'image_dir': str(tmp_path / 'images')}
    fields = {'source': {'type': 'coco', 'coco': coco}}
    with pytest.raises(errors.DataError, match='no boxes at all in 2 examples'):
        build_reader(make_data_config(**fields))
    assert build_reader(make_data_config(is_training=False, **fields)).num_batches == 1


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({}, r'data: no data; expected source.type'),
        (
            {'input_path': '/nowhere/*.tfrecord'},
            r"^data.input_path: no file matches the pattern '/nowhere/\*.tfrecord'",
        ),
        (
            {'source': {'type': 'coco', 'coco': {'annotation_file': '/nowhere.json'}}},
            r"^data.source.coco.annotation_file: the file '/nowhere.json' does not exist",
        ),
        (
            {**EMBEDDED, 'decoder': {'simple_decoder': {'attribute_names': ['age']}}},
            r'attribute_names: only TFRecords have attributes of objects; expected an empty list with',
        ),
    ],
)
def test_what_cannot_be_read_is_refused(fields: Any, message: str):
    with pytest.raises(errors.UsageError, match=message):
        sources.get_data_info(make_data_config(**fields))


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (
            {'num_channels': 1},
            r'parser.num_channels: expected 3 \(grey images become RGB\); received 1',
        ),
        ({'aug_policy': 'v0'}, 'parser.aug_policy: expected null'),
        (
            {'pad': False},
            r'multiples of 2\^max_level = 16; received false with the input size \[40, 64\]',
        ),
    ],
)
def test_parser_fields_that_cannot_be_are_refused(fields: Any, message: str):
    config = retinanet_cfg.Parser(**fields)
    with pytest.raises(errors.UsageError, match=message):
        retinanet_input.build_parser([40, 64], max_level=4, parser_config=config)


def test_parser_fields_reach_the_parser():
    config = retinanet_cfg.Parser(
        aug_rand_hflip=True,
        aug_rand_jpeg=common.RandJpegQuality(min_quality=30, max_quality=60, prob_to_apply=0.2),
        aug_scale_min=0.7,
        aug_scale_max=1.4,
        skip_crowd_during_training=False,
        max_num_instances=33,
        pad=False,
        keep_aspect_ratio=False,
    )
    parser = retinanet_input.build_parser([64, 64, 3], max_level=5, parser_config=config)
    expected = retinanet_input.Parser(
        [64, 64],
        5,
        augmentation=detection_augmentation.Augmentation(hflip=True, jpeg=(30, 60, 0.2)),
        aug_scale_min=0.7,
        aug_scale_max=1.4,
        skip_crowd_during_training=False,
        max_num_instances=33,
        pad=False,
        keep_aspect_ratio=False,
    )
    assert vars(parser) == vars(expected)
