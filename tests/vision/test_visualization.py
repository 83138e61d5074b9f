"""Pictures of detections: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from official_lite.vision import visualization


def _grey(height: int, width: int) -> np.ndarray:
    return np.full([height, width, 3], 100, np.uint8)


def _detections(boxes, scores, labels) -> dict:
    return {
        'detection_boxes': np.asarray(boxes, np.float32),
        'detection_scores': np.asarray(scores),
        'detection_classes': np.asarray(labels),
    }


def _where(picture: np.ndarray, color) -> np.ndarray:
    return np.all(picture == np.asarray(color, np.uint8), axis=-1)


def test_box_is_drawn_along_its_sides_in_the_color_of_its_class():
    picture = visualization.draw_detections(
        _grey(100, 140), _detections([[40, 20, 90, 120]], [0.9], [3])
    )
    colored = _where(picture, visualization.get_class_color(3))
    assert picture.shape == (100, 140, 3)
    assert colored[90, 20:121].all()  # lower side
    assert colored[40:91, 20].all()  # left side
    assert not colored[50:88, 30:110].any()  # inside
    assert not colored[95:].any()


def test_padded_and_weak_detections_are_left_out():
    detections = _detections([[10, 10, 50, 50]] * 3, [0.29, 0.9, 0.9], [1, 2, 3])
    detections['num_detections'] = np.asarray(2)
    picture = visualization.draw_detections(_grey(64, 64), detections)
    assert [_where(picture, visualization.get_class_color(label)).any() for label in (1, 2, 3)] == [
        False,
        True,
        False,
    ]


def test_only_the_best_are_drawn():
    detections = _detections([[10, 10, 50, 50], [20, 20, 60, 60]], [0.5, 0.9], [1, 2])
    picture = visualization.draw_detections(_grey(64, 64), detections, max_num_boxes=1)
    assert not _where(picture, visualization.get_class_color(1)).any()


def test_ground_truth_is_a_thin_white_line():
    picture = visualization.draw_detections(
        _grey(64, 64), _detections(np.zeros([0, 4]), [], []), ground_truth_boxes=[[10, 20, 50, 60]]
    )
    assert _where(picture, (255, 255, 255)).sum() == 2 * 41 + 2 * 39


def test_scale_magnifies_picture_and_boxes():
    picture = visualization.draw_detections(
        _grey(32, 48), _detections([[12, 5, 30, 40]], [0.9], [1]), scale=3
    )
    assert picture.shape == (96, 144, 3)
    assert _where(picture, visualization.get_class_color(1))[90, 15:121].all()


@pytest.mark.parametrize('box', [[-20, -30, 200, 300], [5, 60, 5, 60], [60, 5, 50, 2]])
def test_boxes_outside_or_without_area_do_no_harm(box):
    picture = visualization.draw_detections(_grey(64, 64), _detections([box], [1.0], [1]))
    assert picture.shape == (64, 64, 3)


def test_names_and_colors():
    assert visualization.get_class_name(2, ('cup', 'dog')) == 'dog'
    assert visualization.get_class_name(3, ('cup', 'dog')) == '3'
    assert visualization.get_class_name(0, ('cup', 'dog')) == '0'
    assert len({visualization.get_class_color(label) for label in range(1, 91)}) == 90


def test_grid_centers_images_in_cells():
    black, white = np.zeros([10, 20, 3], np.uint8), np.full([6, 8, 3], 255, np.uint8)
    grid = visualization.make_grid([black, white, black], num_columns=2)
    assert grid.shape == (2 * 14 - 4, 2 * 24 - 4, 3)
    assert (grid[2:8, 24 + 6 : 24 + 14] == 255).all()
    assert (grid == 255).sum() == 6 * 8 * 3
    assert (grid[14:, :20] == 0).all()


def test_grid_of_nothing():
    with pytest.raises(ValueError, match='at least one image'):
        visualization.make_grid([])


def test_png(tmp_path):
    path = visualization.save_png(_grey(5, 7), str(tmp_path / 'new' / 'a.png'))
    assert np.array_equal(np.asarray(Image.open(path)), _grey(5, 7))


def test_annotated_boxes_are_drawn_over_faint_ones() -> None:
    image = np.zeros([100, 100, 3], np.uint8)
    box = np.array([[20.0, 10.0, 60.0, 90.0]])
    picture = visualization.draw_boxes(
        image, box, np.array([3]), class_names=('a', 'b', 'c'), faint_boxes=box
    )
    assert tuple(picture[60, 50]) == visualization.get_class_color(3)  # not the pale line
    assert tuple(picture[40, 50]) == pytest.approx((220, 198, 0), abs=3)  # the centre, not opaque
    assert (picture[19, 10:20] == visualization.get_class_color(3)).any()  # the name's plate


def test_a_name_stands_only_where_it_has_room() -> None:
    image = np.zeros([100, 100, 3], np.uint8)
    for width, has_name in ((90, True), (6, False)):
        box = np.array([[50.0, 5.0, 80.0, 5.0 + width]])
        picture = visualization.draw_boxes(image, box, np.array([1]), class_names=('elephant',))
        assert picture[:49].any() == has_name


def test_a_legend_takes_as_many_lines_as_it_needs() -> None:
    names = [f'a long name {i}' for i in range(9)]
    legend = visualization.draw_legend(range(1, 10), names, 300)
    assert legend.shape[1] == 300
    assert legend.shape[0] % 24 == 0
    assert legend.shape[0] >= 4 * 24
    for label in range(1, 10):
        assert (legend == visualization.get_class_color(label)).all(axis=-1).sum() >= 12 * 12
    assert visualization.draw_legend([], names, 300).shape == (0, 300, 3)
