"""Pictures of a classifier's answers: which images, their captions, and what is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from official_lite.vision.tasks import classification_pictures as pictures

GREEN, RED = (20, 110, 40), (170, 30, 30)
CELL = (192 + 24 + 4, 192 + 4)


def make_batch(labels: Any, **others: Any) -> tuple[np.ndarray, dict[str, Any]]:
    labels = np.asarray(labels)
    images = np.full([len(labels), 16, 16, 3], 90, np.uint8)
    return images, {'label': labels, **others}


def answer(*classes: int) -> Any:
    """A classifier that is nine tenths sure of these classes, one after the other."""
    return lambda images: 0.9 * np.eye(3)[list(classes)[: len(images)]]


def count_cells(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Cells whose caption has the colour."""
    captions = picture[193 :: CELL[0], 1 :: CELL[1]]
    return int((captions == colour).all(-1).sum())


def test_right_is_green_and_wrong_is_red():
    picture = pictures.make_picture([make_batch([0, 1, 2])], answer(0, 1, 1), num_classes=3)
    assert picture is not None
    assert count_cells(picture, GREEN) == 2
    assert count_cells(picture, RED) == 1
    assert (picture[:192, :192] == 90).all()


def test_classes_share_the_places():
    batches = [make_batch([0] * 8), make_batch([1] * 8), make_batch([2] * 8)]
    picture = pictures.make_picture(batches, answer(*[0] * 8), num_classes=3, max_num_images=6)
    assert picture is not None
    assert count_cells(picture, GREEN) == 2
    assert count_cells(picture, RED) == 4


def test_what_fills_a_batch_is_left_out_and_nothing_gives_no_picture():
    batch = make_batch([0, 1], is_valid=np.array([True, False]))
    picture = pictures.make_picture([batch], answer(0, 1), num_classes=3)
    assert picture is not None
    assert picture.shape == (192 + 24, 192, 3)
    empty = make_batch([0], is_valid=np.array([False]))
    assert pictures.make_picture([empty], answer(0), num_classes=3) is None


def test_of_several_classes_any_is_right():
    batch = make_batch([[1, 0, 1], [0, 0, 0]])
    picture = pictures.make_picture([batch], answer(2, 0), num_classes=3)
    assert picture is not None
    assert count_cells(picture, GREEN) == 1
    assert count_cells(picture, RED) == 1


def test_captions_have_ink_and_large_images_keep_their_size():
    found = pictures.draw_caption(np.zeros([300, 400, 3], np.uint8), 'cat 97%', GREEN)
    assert found.shape == (324, 400, 3)
    assert (found[300:] == 255).any()
