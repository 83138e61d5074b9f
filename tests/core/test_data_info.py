"""What is said of a data set before training, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from official_lite import errors
from official_lite.core import data_info

INFO = data_info.DataInfo(
    num_examples=1205,
    class_names=('cat', 'dog', 'emu'),
    category_ids=(1, 2, 7),
    num_boxes=4000,
    boxes_per_class=(3990, 10, 0),
    max_label=2,
    fingerprint='0',
    origin='train.json',
    num_corrupt=2,
    max_boxes_per_image=37,
    num_crowds=12,
    num_empty_images=5,
    findings=('2 boxes have no area and are left out', 'the name is odd'),
)


def test_everything_is_told():
    assert INFO.describe('training data').splitlines() == [
        'training data: train.json',
        '  1,205 images (5 without objects), 4,000 boxes (12 crowds), at most 37 in an image',
        '  3 classes (label, name, boxes): 1 cat 3,990; 2 dog 10; 3 emu 0',
        '  ! 2 images or records cannot be read and are left out',
        '  ! 2 boxes have no area and are left out',
        '  ! the name is odd',
    ]


def test_what_is_not_there_is_not_told():
    plain = dataclasses.replace(INFO, num_corrupt=0, num_crowds=0, num_empty_images=0, findings=())
    assert plain.describe().splitlines() == [
        'data: train.json',
        '  1,205 images, 4,000 boxes, at most 37 in an image',
        '  3 classes (label, name, boxes): 1 cat 3,990; 2 dog 10; 3 emu 0',
    ]


def test_many_classes_are_cut_and_wrapped():
    names = tuple(f'a class {i}' for i in range(100))
    many = dataclasses.replace(
        INFO, class_names=names, category_ids=tuple(range(100)), boxes_per_class=(1,) * 100
    )
    lines = many.describe().splitlines()
    assert max(len(line) for line in lines) <= 100
    text = ' '.join(line.strip() for line in lines)
    assert '40 a class 39 1; and 60 more' in text
    assert '41 a class' not in text


def test_it_survives_json():
    assert data_info.DataInfo.from_dict(INFO.to_dict()) == INFO


@pytest.mark.parametrize(
    ('check', 'info', 'message'),
    [
        (
            data_info.check_not_empty,
            dataclasses.replace(INFO, num_examples=0),
            'train.json: the data set is empty: it has no examples; 2 could not be read',
        ),
        (
            data_info.check_has_boxes,
            dataclasses.replace(INFO, num_boxes=0, num_dropped_boxes=3),
            r'no boxes at all in 1205 examples \(3 without area were dropped\); expected at least one',
        ),
        (
            lambda info: data_info.check_classes(info, 2),
            INFO,
            r"train.json: label 2 \('dog'\) is out of range; expected labels 1 to 1",
        ),
    ],
)
def test_what_cannot_work_is_refused(check, info, message):
    with pytest.raises(errors.DataError, match=message):
        check(info)
    plain = dataclasses.replace(INFO, max_label=1)
    check(plain)
