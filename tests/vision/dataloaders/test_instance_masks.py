"""Masks of every source, and labels of Mask R-CNN made of them."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as mask_api

from official_lite import errors
from official_lite.vision.configs import maskrcnn as configs
from official_lite.vision.dataloaders import (
    coco_source,
    coco_writer,
    embedded_scenes,
    embedded_source,
    input_reader_factory,
    instance_masks,
    maskrcnn_input,
    sources,
    tfrecord_writer,
    voc_source,
)
from official_lite.vision.ops import augment, image_augment, run_lengths
from tests.vision.dataloaders import data_makers, folder_makers

_HEIGHT, _WIDTH = 20, 32
_SQUARE = [[4.0, 2.0, 12.0, 2.0, 12.0, 8.0, 4.0, 8.0]]  # x 4 to 12, y 2 to 8


def _write_coco(folder: pathlib.Path, annotations: list[dict[str, Any]]) -> str:
    (folder / 'a.png').write_bytes(data_makers.make_image(_HEIGHT, _WIDTH))
    content = {
        'images': [{'id': 7, 'file_name': 'a.png', 'height': _HEIGHT, 'width': _WIDTH}],
        'categories': [{'id': 1, 'name': 'cat'}],
        'annotations': [{'id': i, 'image_id': 7, **a} for i, a in enumerate(annotations)],
    }
    path = folder / 'a.json'
    path.write_text(json.dumps(content))
    return str(path)


def _crowd_runs() -> dict[str, Any]:
    mask = np.zeros([_HEIGHT, _WIDTH], bool)
    mask[10:15, 3:30:2] = True
    return coco_writer.encode_mask(mask)


def test_polygons_and_run_lengths_of_a_coco_file(tmp_path: pathlib.Path) -> None:
    path = _write_coco(
        tmp_path,
        [
            {'category_id': 1, 'bbox': [4, 2, 8, 6], 'segmentation': _SQUARE},
            {'category_id': 1, 'bbox': [3, 10, 27, 5], 'segmentation': _crowd_runs(), 'iscrowd': 1},
            {'category_id': 1, 'bbox': [20, 2, 4, 4]},
        ],
    )
    source = coco_source.build_coco_source(path, include_mask=True)
    record = data_makers.read_records(source)[7]
    masks = record['groundtruth_instance_masks']
    assert (masks.dtype, masks.shape) == (np.uint8, (3, _HEIGHT, _WIDTH))
    expected = np.zeros_like(masks)
    (polygon,) = mask_api.frPyObjects(_SQUARE, _HEIGHT, _WIDTH)
    expected[0] = mask_api.decode(polygon)
    expected[1, 10:15, 3:30:2] = 1
    expected[2, 2:6, 20:24] = 1  # no segmentation: its box, ignored
    np.testing.assert_array_equal(masks, expected)
    np.testing.assert_array_equal(record['groundtruth_is_crowd'], [False, True, True])
    assert any('1 objects have no mask' in text for text in source.info.findings)
    plain = data_makers.read_records(coco_source.build_coco_source(path))[7]
    assert 'groundtruth_instance_masks' not in plain
    np.testing.assert_array_equal(plain['groundtruth_is_crowd'], [False, True, False])


def test_segmentations_that_cannot_be_used(tmp_path: pathlib.Path) -> None:
    box = {'category_id': 1, 'bbox': [4, 2, 8, 6]}
    path = _write_coco(tmp_path, [{**box, 'segmentation': [[1, 2, 3, 4]]}])
    with pytest.raises(errors.DataError, match='a segmentation cannot be used: a polygon needs'):
        coco_source.build_coco_source(path, include_mask=True)
    coco_source.forget()
    path = _write_coco(tmp_path, [box])
    with pytest.raises(errors.DataError, match='no annotation has a segmentation'):
        coco_source.build_coco_source(path, include_mask=True)


def test_objects_of_pascal_voc(tmp_path: pathlib.Path) -> None:
    files = {
        'a': [
            folder_makers.make_object('cat', 3, 2, 10, 9),
            folder_makers.make_object('dog', 21, 11, 30, 20),
        ],
        'b': [folder_makers.make_object('cat', 1, 1, 5, 5)],
    }
    folder_makers.write_voc(tmp_path, files)
    picture = np.zeros([folder_makers.HEIGHT, folder_makers.WIDTH], np.uint8)
    picture[1:9, 2:10], picture[10:20, 20:30] = 1, 2
    picture[1, 2:10] = 255  # the outline belongs to none
    (tmp_path / 'SegmentationObject').mkdir()
    palette = Image.fromarray(picture, 'P')
    palette.putpalette(list(range(256)) * 3)
    palette.save(tmp_path / 'SegmentationObject' / 'a.png')
    source = voc_source.build_voc_source(str(tmp_path), include_mask=True)
    (record,) = data_makers.read_records(source).values()
    expected = np.stack([picture == 1, picture == 2])
    np.testing.assert_array_equal(record['groundtruth_instance_masks'], expected)
    assert any('1 of 2 images have no masks' in text for text in source.info.findings)
    assert len(data_makers.read_records(voc_source.build_voc_source(str(tmp_path)))) == 2


def test_pascal_voc_without_masks(tmp_path: pathlib.Path) -> None:
    folder_makers.write_voc(tmp_path, {'a': [folder_makers.make_object('cat', 3, 2, 10, 9)]})
    with pytest.raises(errors.DataError, match=r'no SegmentationObject/\*.png'):
        voc_source.build_voc_source(str(tmp_path), include_mask=True)


def test_masks_of_embedded_scenes() -> None:
    source = embedded_source.build_embedded_source(
        'digits', split='validation', num_scenes=4, include_mask=True
    )
    scenes = embedded_scenes.load_scenes('validation', 4)
    for number, record in data_makers.read_records(source).items():
        masks = scenes.get_masks(number - 1)
        np.testing.assert_array_equal(record['groundtruth_instance_masks'], masks)
        np.testing.assert_array_equal(record['groundtruth_area'], masks.sum((1, 2)))


def test_masks_of_tfrecords(tmp_path: pathlib.Path) -> None:
    masks = np.random.default_rng(0).random([2, _HEIGHT, _WIDTH]) > 0.5
    example = tfrecord_writer.DetectionExample(
        image_bytes=data_makers.make_image(_HEIGHT, _WIDTH),
        source_id=3,
        height_px=_HEIGHT,
        width_px=_WIDTH,
        boxes=np.array([[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6]], np.float32),
        labels=np.array([1, 2]),
        masks=masks,
    )
    (path,) = tfrecord_writer.write_tfrecords([example], tmp_path / 'x')
    config = configs.DataConfig(input_path=path, include_mask=True)
    record = data_makers.read_records(sources.build_source(config))[3]
    np.testing.assert_array_equal(record['groundtruth_instance_masks'], masks)


def test_sources_without_masks_are_refused() -> None:
    config = configs.DataConfig(include_mask=True)
    config.override({'source': {'type': 'yolo', 'yolo': {'root': 'x'}}})
    with pytest.raises(errors.UsageError, match='this kind of source has no masks'):
        sources.build_source(config)


def test_padded_run_lengths() -> None:
    counts = tf.constant([b'abc', b'', b'abcdefg'])
    padded = instance_masks.to_padded(counts)
    assert padded.shape == (3, 7)
    assert instance_masks.from_padded(padded.numpy()) == [b'abc', b'', b'abcdefg']
    assert instance_masks.to_padded(tf.zeros([0], tf.string)).shape == (0, 1)


def _make_record(seed: int = 0, num: int = 3, height: int = 40, width: int = 56) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 0.5, [num, 2])
    boxes = np.concatenate([corners, corners + rng.uniform(0.2, 0.5, [num, 2])], -1)
    return {
        'image': tf.constant(rng.integers(0, 256, [height, width, 3]), tf.uint8),
        'source_id': tf.constant(5, tf.int64),
        'height': tf.constant(height, tf.int64),
        'width': tf.constant(width, tf.int64),
        'groundtruth_boxes': tf.constant(boxes, tf.float32),
        'groundtruth_classes': tf.constant(rng.integers(1, 4, [num]), tf.int64),
        'groundtruth_is_crowd': tf.constant(np.arange(num) == 1),
        'groundtruth_area': tf.ones([num]),
        'groundtruth_instance_masks': tf.constant(
            rng.random([num, height, width]) > 0.5, tf.float32
        ),
    }


def _make_parser(size: tuple[int, int], outer: float, **fields: Any) -> maskrcnn_input.Parser:
    config = configs.Parser(mask_crop_size=14, max_num_instances=6, **fields)
    return maskrcnn_input.build_parser(
        size, max_level=4, parser_config=config, include_mask=True, outer_boxes_scale=outer
    )


@pytest.mark.garden
@pytest.mark.parametrize('outer', [1.0, 1.3])
def test_labels_are_model_gardens(outer: float) -> None:
    from official.vision.dataloaders import maskrcnn_input as garden

    record = _make_record()
    size = [48, 64]
    oracle = garden.Parser(
        size, 2, 4, 1, [0.5, 1.0, 2.0], 8.0,
        include_mask=True, outer_boxes_scale=outer, mask_crop_size=14, max_num_instances=6,
    )  # fmt: skip
    _, expected = oracle._parse_train_data(record)
    _, actual = _make_parser((48, 64), outer)._parse_train_data(record)
    for name in ('gt_boxes', 'gt_classes', 'gt_outer_boxes', 'gt_masks'):
        found = actual[name].numpy()
        assert len(found) == 2  # the crowd is out
        np.testing.assert_allclose(found, expected[name][:2], rtol=1e-5, atol=1e-4)
        assert (expected[name][2:].numpy() == -1).all()
    np.testing.assert_allclose(actual['image_info'], expected['image_info'])


def test_flips_move_masks() -> None:
    record = _make_record()
    parser = _make_parser((48, 64), 1.0, aug_rand_hflip=True, aug_rand_vflip=True)
    plain = _make_parser((48, 64), 1.0)._parse_train_data(record)[1]
    seen = set()
    for seed in range(12):
        labels = parser._parse_train_data(record, tf.constant([seed, 1]))[1]
        for flipped in (0, 1, 2, 3):
            masks = plain['gt_masks'].numpy()
            masks = masks[:, ::-1] if flipped & 1 else masks
            masks = masks[:, :, ::-1] if flipped & 2 else masks
            if np.abs(labels['gt_masks'] - masks).max() < 1e-3:
                seen.add(flipped)
                break
        else:
            pytest.fail('masks are no flipped masks')
    assert len(seen) == 4


@pytest.mark.parametrize('operation', ['Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY'])
def test_policies_move_masks_with_the_image(operation: str) -> None:
    # The image shows the mask: after any operation it still does.
    mask = np.zeros([2, 40, 60], np.uint8)
    mask[0, 10:30, 5:25] = mask[1, 12:20, 30:50] = 1
    image = tf.constant(np.repeat(255 * mask.sum(0)[..., None], 3, -1), tf.uint8)
    boxes = tf.constant([[0.25, 5 / 60, 0.75, 25 / 60], [0.3, 0.5, 0.5, 50 / 60]])
    policy = augment.AutoAugment(policies=[[(operation, 1.0, 6)]], translate_const=20)
    for seed in range(3):
        key = tf.constant([seed, 3])
        changed, moved, masks = policy.distort_with_masks(image, boxes, tf.constant(mask), key)
        np.testing.assert_array_equal(changed[..., 0] == 255, tf.reduce_sum(masks, 0) > 0)
        expected = policy.distort_with_boxes(image, boxes, key)
        np.testing.assert_array_equal(changed, expected[0])
        np.testing.assert_array_equal(moved, expected[1])


def test_operations_on_colours_leave_masks_alone() -> None:
    mask = tf.constant(np.random.default_rng(0).integers(0, 2, [2, 20, 30]), tf.uint8)
    policy = augment.AutoAugment(policies=[[('Invert', 1.0, 6), ('Cutout', 1.0, 3)]])
    image = tf.zeros([20, 30, 3], tf.uint8)
    _, _, masks = policy.distort_with_masks(image, tf.zeros([2, 4]), mask, tf.constant([1, 2]))
    np.testing.assert_array_equal(masks, mask)
    none = policy.distort_with_masks(image, tf.zeros([0, 4]), mask[:0], tf.constant([1, 2]))[2]
    assert none.shape == (0, 20, 30)


@pytest.mark.parametrize(
    'policy', [augment.SSDRandomCrop(), augment.RandAugment(num_layers=2, magnitude=6)]
)
def test_other_policies_move_masks(policy: image_augment.ImageAugment) -> None:
    mask = np.zeros([1, 40, 60], np.uint8)
    mask[0, 10:30, 15:45] = 1
    image = np.repeat(128 + 100 * mask[0][..., None], 3, -1).astype(np.uint8)
    boxes = tf.constant([[0.25, 0.25, 0.75, 0.75]])
    for seed in range(8):
        changed, moved, masks = policy.distort_with_masks(
            tf.constant(image), boxes, tf.constant(mask), tf.constant([seed, 0])
        )
        assert changed.shape[:2] == masks.shape[1:]
        box = (moved[0].numpy() * np.tile(masks.shape[1:], 2)).round().astype(int)
        outside = masks[0].numpy().copy()
        outside[max(box[0] - 2, 0) : box[2] + 2, max(box[1] - 2, 0) : box[3] + 2] = 0
        assert outside.sum() == 0 or moved[0].numpy().sum() == 0


def test_evaluation_has_whole_masks_and_a_loss() -> None:
    record = _make_record()
    _, labels = _make_parser((48, 64), 1.0)._parse_eval_data(record)
    truths = labels['groundtruths']
    assert int(truths['num_detections']) == 3
    counts = instance_masks.from_padded(truths['masks'].numpy()[:3])
    masks = run_lengths.decode(counts, 40, 56)
    np.testing.assert_array_equal(masks, record['groundtruth_instance_masks'])
    train = _make_parser((48, 64), 1.0)._parse_train_data(record)[1]
    for name in ('gt_boxes', 'gt_classes', 'gt_masks'):
        np.testing.assert_allclose(labels[name], train[name])


def test_batches_of_embedded_scenes() -> None:
    config = configs.DataConfig(
        is_training=True, global_batch_size=3, include_mask=True,
        parser=configs.Parser(mask_crop_size=14, aug_rand_hflip=True, copy_paste={'prob': 1.0}),
    )  # fmt: skip
    config.override({'source': {'type': 'embedded', 'embedded': {'num_scenes': 6}}})
    reader = input_reader_factory.build_maskrcnn_reader(
        config, output_size=[128, 128], max_level=5, include_mask=True
    )
    images, labels = next(iter(reader.read()))
    num = labels['gt_boxes'].shape[1]
    assert images.shape == (3, 128, 128, 3)
    assert num % 8 == 0
    assert labels['gt_masks'].shape == (3, num, 14, 14)
    assert labels['sampling_key'].shape == (3, 2)
    again = next(iter(reader.read()))[1]
    np.testing.assert_array_equal(again['gt_masks'], labels['gt_masks'])
