"""What is said when figures are 0 or -1."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite.vision.evaluation import suspicions


def find(truths: Any, detections: Any, ap50: float = 0.0, **options: Any) -> list[str]:
    """Texts for image 5, with objects and detections as (category, x, y, width, height)."""
    annotations = [{'image_id': 5, 'category_id': c, 'bbox': box} for c, *box in truths]
    found = [
        {'image_id': 5, 'category_id': c, 'bbox': box, 'score': 0.25} for c, *box in detections
    ]
    dataset = {'categories': [{'id': 1}, {'id': 3}], 'annotations': annotations}
    return suspicions.find_suspicions([5], dataset, found, {'AP50': ap50}, **options)


@pytest.mark.parametrize(
    ('truths', 'detections', 'expected'),
    [
        ([], [(1, 0, 0, 9, 9)], ['no ground truth box in 1 images: all figures are -1. Validate']),
        ([(1, 0, 0, 9, 9)], [], ['no detection in 1 images: AP is 0. The model finds nothing']),
        (
            [(1, 0, 0, 9, 9)],
            [(3, 0, 0, 9, 9)],
            [
                'AP50 is 0, though there are 1 detections: they are of the categories [3], and the obj'
            ],
        ),
        (
            [(1, 0, 0, 90, 9)],
            [(1, 0, 0.5, 0.25, 1)],
            ['AP50 is 0, though there are 1 detections: their coordinates are at most 1.00, as if'],
        ),
        (
            [(1, 0, 0, 90, 9)],
            [(1, 50, 50, 9, 9)] * 2,
            ['AP50 is 0, though there are 2 detections: none overlaps an object of its class by'],
        ),
    ],
)
def test_figures_of_0(truths: Any, detections: Any, expected: list[str]):
    texts = find(truths, detections)
    assert [text[: len(start)] for text, start in zip(texts, expected, strict=True)] == expected


def test_nothing_is_said_where_nothing_is_wrong():
    assert find([(1, 0, 0, 9, 9)], [(1, 0, 0, 9, 9)], ap50=1.0) == []


def test_categories_that_the_file_does_not_have():
    assert find([(1, 0, 0, 9, 9)], [(2, 0, 0, 9, 9)], ap50=0.5, annotation_file='val.json') == [
        'detections of categories [2] do not count: val.json has 2 categories, such as [1, 3]'
    ]
    assert find([(1, 0, 0, 9, 9)], [(2, 0, 0, 9, 9)], ap50=0.5) == []


@pytest.mark.parametrize(
    ('found', 'reason'),
    [
        ({3_000_000_000, 7_000_000_000_000}, 'Such large ids are hashes'),
        ({1, 2, 3}, 'Ids that count from 1 mean that the data has none of its own'),
        ({17, 4}, 'All figures are -1. Leave task.annotation_file empty'),
    ],
)
def test_ids_that_do_not_match(found: set[int], reason: str):
    text = suspicions.explain_unknown_ids(found, [101, 102, 103, 104], 'val.json')
    assert 'no evaluated image is in val.json' in text
    assert 'image ids such as [101, 102, 103]' in text
    assert reason in text
