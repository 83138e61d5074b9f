"""A preview shows the very batches of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from official_lite.core import exp_factory, randomness, task_factory
from official_lite.vision import visualization
from official_lite.vision.data import preview

pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')


def make_config(num_scenes: int = 6) -> Any:
    config = exp_factory.get_exp_config('retinanet_custom')
    for data in (config.task.train_data, config.task.validation_data):
        data.source.embedded.num_scenes = num_scenes
        data.global_batch_size = 4
    config.task.train_data.parser.aug_scale_min = 0.5
    return config


def read_batches(config: Any, *, is_training: bool, count: int) -> list[Any]:
    task_cls = task_factory.get_task_cls(type(config.task))
    task_cls.resolve(config, task_cls.get_data_info(config.task, is_training))
    task = task_factory.get_task(config.task)
    data = config.task.train_data if is_training else config.task.validation_data
    return list(task.build_inputs(data).take(count).as_numpy_iterator())


@pytest.mark.parametrize('is_training', [True, False])
def test_pictures_are_those_of_the_batches_of_a_run(is_training: bool) -> None:
    randomness.set_run_seed(3)
    pictures = list(preview.iterate_pictures(make_config(), is_training=is_training, num_batches=2))
    config = make_config()
    batches = read_batches(config, is_training=is_training, count=2)
    for picture, (images, labels) in zip(pictures, batches, strict=True):
        num_cells = int(labels['is_valid'].sum()) if 'is_valid' in labels else len(images)
        expected = preview.draw_batch(images, labels, class_names=config.task.class_names)
        np.testing.assert_array_equal(picture, expected)
        side = 320
        assert picture.shape[1] == (644 if num_cells == 4 else side)
        assert 644 < picture.shape[0] <= 644 + 3 * 24  # the legend
        # Away from boxes a cell is the image itself, magnified.
        row, cell = 0, picture[:side, :side]
        magnified = visualization.draw_boxes(images[row], np.zeros([0, 4]), [], scale=side / 128)
        assert np.mean(np.all(cell == magnified, axis=-1)) > 0.5
        assert num_cells == (4 if picture is pictures[0] or is_training else 2)


def test_boxes_are_where_the_labels_are() -> None:
    image = np.full([1, 64, 96, 3], 100, np.uint8)
    labels = {
        'boxes': np.array([[[8, 16, 40, 80], [-1, -1, -1, -1]]], np.float32),
        'classes': np.array([[2, -1]]),
    }
    picture = preview.draw_batch(image, labels, class_names=('a', 'b'))
    scale = 320 / 96
    is_drawn = (picture[: round(64 * scale)] == visualization.get_class_color(2)).all(axis=-1)
    rows, columns = np.nonzero(is_drawn)
    assert rows.max() == pytest.approx(40 * scale, abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((16 * scale, 80 * scale), abs=2)
    legend = picture[round(64 * scale) :]
    assert (legend == visualization.get_class_color(2)).all(axis=-1).any()
    assert not (picture == visualization.get_class_color(1)).all(axis=-1).any()


def test_examples_that_only_fill_a_batch_are_left_out() -> None:
    images = np.zeros([3, 32, 32, 3], np.uint8)
    labels = {
        'boxes': np.zeros([3, 0, 4], np.float32),
        'classes': np.zeros([3, 0], np.int32),
        'is_valid': np.array([True, False, False]),
    }
    assert preview.draw_batch(images, labels).shape == (320, 320, 3)
    labels['is_valid'] = np.array([True, True, False])
    assert preview.draw_batch(images, labels, max_num_images=1).shape == (320, 320, 3)


def test_normalised_images_are_taken_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, [2, 5, 7, 3], np.uint8)
    mean, stddev = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = ((pixels / 255 - mean) / stddev).astype(np.float32)
    np.testing.assert_array_equal(preview._to_uint8(normalised), pixels)


def test_anchors_change_the_picture() -> None:
    [plain] = preview.iterate_pictures(make_config(), is_training=True)
    [drawn] = preview.iterate_pictures(make_config(), is_training=True, has_anchors=True)
    assert plain.shape == drawn.shape
    share = np.mean(np.any(plain != drawn, axis=-1))
    assert 0.01 < share < 0.8
    # Every object has an anchor, whose centre is a yellow point.
    assert (drawn[..., 0] > 200).sum() > (plain[..., 0] > 200).sum()
