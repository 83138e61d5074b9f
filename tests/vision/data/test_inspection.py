"""Counts, distributions and findings, on a data set made by hand."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image
from rich import console as rich_console

from official_lite.core.data_info import DataInfo
from official_lite.vision.data import anchor_fit, inspection, plots, report
from official_lite.vision.dataloaders import table_source
from tests.vision.dataloaders import data_makers

SETTINGS = anchor_fit.AnchorSettings(3, 5, 3, (0.5, 1.0, 2.0), 4.0, (50, 100))

# (image, label, is crowd, box yxyx in shares) of images of 100 x 200 px (height x width).
BOXES = (
    (0, 1, False, (0.1, 0.1, 0.5, 0.3)),
    (0, 1, False, (0.1, 0.1, 0.5, 0.3)),  # a copy
    (0, 2, False, (0.1, 0.1, 0.5, 0.3)),  # no copy: another class
    (0, 1, True, (0.0, 0.0, 1.0, 0.97)),  # huge
    (2, 1, False, (0.2, 0.2, 0.2, 0.4)),  # without area
    (2, 2, False, (0.5, 0.5, 0.51, 0.9)),  # 1 px high, 80 px wide: tiny and long
    (2, 2, False, (0.5, 0.9, 0.9, 1.2)),  # outside
)


def make_source() -> table_source.TableSource:
    counts = [4, 0, 3]
    boxes = np.array([box for *_, box in BOXES], np.float32)
    labels = np.array([label for _, label, *_ in BOXES], np.int64)
    table = table_source.AnnotationTable(
        splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        labels=labels,
        is_crowd=np.array([crowd for _, _, crowd, _ in BOXES]),
        areas=np.ones([len(BOXES)], np.float32),
        heights_px=np.array([100, 100, 100]),
        widths_px=np.array([200, 200, 200]),
        source_ids=np.array([5, 6, 5]),
    )
    info = DataInfo(
        num_examples=3,
        class_names=('Cat', 'dog', 'cat ', 'owl'),
        category_ids=(1, 2, 4, 8),
        num_boxes=7,
        boxes_per_class=(4, 3, 0, 0),
        max_label=2,
        fingerprint='0',
        origin='by hand',
    )
    images = [data_makers.make_image(100, 200, i) for i in range(3)]
    images[2] = data_makers.make_image(90, 200, 2, 'JPEG')
    names = ['image 0', 'image 1', 'image 2']
    return table_source.TableSource(table, images, info, names=names, is_in_memory=True)


@pytest.fixture(scope='module', name='found')
def _found() -> inspection.Inspection:
    return inspection.inspect_source(make_source(), SETTINGS)


def test_counts(found: inspection.Inspection) -> None:
    assert (found.num_images, found.num_boxes, found.num_crowds) == (3, 7, 1)
    assert (found.num_empty_images, found.num_classes) == (1, 5)
    cat, dog, *others = found.classes
    assert (cat.label, cat.category_id, cat.num_boxes, cat.num_crowds, cat.num_images) == (
        *(1, 1, 4, 1),
        2,
    )
    assert (dog.num_boxes, dog.num_images) == (3, 2)
    assert [c.num_boxes for c in others] == [0, 0]
    # On an input of 50 x 100 px images have half their size. Boxes of the class dog have 20 * 20,
    # 0.5 * 40 and 20 * 30 square px there.
    assert dog.median_size_px == pytest.approx(20.0)


def test_distributions(found: inspection.Inspection) -> None:
    summaries = {name: d.summarize() for name, d in found.distributions.items()}
    assert summaries['boxes_per_image'] == pytest.approx(
        {'min': 0, 'p5': 0.3, 'median': 3, 'p95': 3.9, 'max': 4}
    )
    assert summaries['box_width']['max'] == pytest.approx(0.97 * 200)
    assert summaries['box_height']['min'] == pytest.approx(1, rel=1e-5)
    assert summaries['aspect_ratio']['max'] == pytest.approx(80, rel=1e-5)
    assert summaries['box_share']['max'] == pytest.approx(np.sqrt(0.97))
    assert len(found.distributions['box_size'].values) == 6  # without the one that has no area


def test_findings(found: inspection.Inspection) -> None:
    counts = {f.kind: f.count for f in found.findings}
    assert counts == {
        'other_size': 1,
        'degenerate': 1,
        'outside': 1,
        'tiny': 1,
        'huge': 1,
        'extreme_ratio': 1,
        'duplicate': 1,
        'empty': 1,
        'repeated_id': 1,
        'unused_class': 2,
        'repeated_name': 1,
    }
    by_kind = {f.kind: f for f in found.findings}
    assert by_kind['outside'].message == 'boxes that leave their image: 1 (14.3%)'
    assert by_kind['outside'].examples == ('image 2: dog at x 180.0..240.0, y 50.0..90.0 px',)
    assert by_kind['empty'].examples == ('image 1',)
    assert by_kind['repeated_id'].examples == ('image 2',)
    assert by_kind['unused_class'].examples == ('cat  (label 3, id 4)', 'owl (label 4, id 8)')
    assert by_kind['repeated_name'].examples == ('cat',)
    assert by_kind['other_size'].examples == (
        'image 2: 200x90, annotated as 200x100 (width x height)',
    )


def test_boxes_marked_twice_are_found_among_many() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.9, [700, 2])
    boxes = np.concatenate([corners, corners + 0.05], axis=1).astype(np.float32)
    boxes[[400, 699]] = boxes[[3, 650]] + np.float32(0.001)  # IoU 0.92
    source = data_makers.make_table([700, 2], num_labels=1)
    table = dataclasses.replace(source.table, boxes=np.concatenate([boxes, boxes[:1], boxes[:1]]))
    images = [source.read_image(i) for i in range(2)]
    source = table_source.TableSource(table, images, source.info, is_in_memory=True)
    found = inspection.inspect_source(source, SETTINGS, max_num_checked_images=0)
    [finding] = [f for f in found.findings if f.kind == 'duplicate']
    # The same pairs by comparing each with each.
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2]).astype(np.float64)
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    iou = common / (2 * 0.05**2 - common)
    assert finding.count == (np.tril(iou, -1) >= 0.9).any(axis=1).sum() + 1
    assert finding.count >= 3


def test_what_reading_has_brought_up_comes_first() -> None:
    source = make_source()
    info = dataclasses.replace(source.info, findings=('12 boxes were clipped to their image',))
    images = [source.read_image(i) for i in range(3)]
    source = table_source.TableSource(source.table, images, info, is_in_memory=True)
    found = inspection.inspect_source(source, SETTINGS, max_num_checked_images=0)
    assert found.findings[0].message == '12 boxes were clipped to their image'
    assert found.images is None


def test_kinds_of_images_and_those_that_cannot_be_read() -> None:
    source = make_source()
    buffer = io.BytesIO()
    Image.new('CMYK', (200, 100)).save(buffer, 'JPEG')
    images = [buffer.getvalue(), b'no image', source.read_image(2)]
    source = table_source.TableSource(source.table, images, source.info, is_in_memory=True)
    found = inspection.inspect_source(source, SETTINGS, max_num_checked_images=None)
    assert found.images is not None
    assert found.images.kinds == {'JPEG CMYK': 1, 'JPEG RGB': 1}
    [finding] = [f for f in found.findings if f.kind == 'unreadable']
    assert finding.count == 1


def test_a_turned_image_is_told() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new('RGB', (100, 200)).save(buffer, 'JPEG', exif=exif)
    source = make_source()
    images = [buffer.getvalue(), source.read_image(1), source.read_image(1)]
    source = table_source.TableSource(source.table, images, source.info, is_in_memory=True)
    found = inspection.inspect_source(source, SETTINGS)
    kinds = {f.kind: f.count for f in found.findings}
    assert kinds['turned'] == 1
    assert 'other_size' not in kinds  # upright it has the annotated size


def test_boxes_without_area_and_crowds_are_not_compared_with_anchors(
    found: inspection.Inspection,
) -> None:
    assert found.anchors is not None
    assert sum(count for _, count in found.anchors.share_by_size.values()) == 5


def test_json_has_no_arrays(found: inspection.Inspection) -> None:
    tree = json.loads(json.dumps(found.to_dict()))
    assert tree['origin'] == 'by hand'
    assert tree['distributions']['box_width']['median'] == pytest.approx(50)
    assert tree['anchors']['settings']['aspect_ratios'] == [0.5, 1.0, 2.0]
    assert {f['kind'] for f in tree['findings']} >= {'tiny', 'huge'}


def test_report(found: inspection.Inspection) -> None:
    console = rich_console.Console(file=io.StringIO(), width=120, record=True)
    report.print_inspection(found, console)
    text = console.export_text()
    assert '3 images, 7 boxes, 1 of them crowds, 1 images without objects' in text
    assert 'boxes that leave their image: 1 (14.3%)' in text
    assert 'image 2: dog at x 180.0..240.0, y 50.0..90.0 px' in text
    if found.suggestion:
        assert report.format_anchor_override(found.suggestion.settings) in text


def test_override_is_one_for_the_command_line() -> None:
    settings = dataclasses.replace(SETTINGS, anchor_size=2.5, aspect_ratios=(0.33, 1.0))
    assert report.format_anchor_override(settings) == (
        'task.model.anchor.anchor_size=2.5,task.model.anchor.aspect_ratios=[0.33,1]'
    )


def test_a_data_set_without_boxes() -> None:
    source = data_makers.make_table([0, 0])
    found = inspection.inspect_source(source, SETTINGS)
    assert found.anchors is None
    assert found.suggestion is None
    assert found.to_dict()['distributions']['box_size'] == {'name': 'box size, px of input'}
    console = rich_console.Console(file=io.StringIO(), record=True)
    report.print_inspection(found, console)
    assert 'there are no boxes' in console.export_text()
    assert plots.draw_inspection(found).shape[2] == 3


# ---- plots --------------------------------------------------------------------------------------


def test_plots_are_six_panels(found: inspection.Inspection) -> None:
    picture = plots.draw_inspection(found)
    assert picture.dtype == np.uint8
    assert picture.shape == (3 * 380, 2 * 620, 3)


def test_bars_are_as_high_as_what_they_count() -> None:
    picture = plots.draw_histogram(np.array([1, 1, 1, 1, 2, 2, 9]), 'x', unit='y')
    is_bar = (picture == np.array([66, 120, 180])).all(axis=-1)
    heights = is_bar.sum(axis=0)
    # Nine bins; the axis goes from 40 to 336 px, so that 4 of 4 is 296 px high.
    sides = [heights[64 + round((k + 0.5) * 532 / 9)] for k in range(9)]
    assert sides == pytest.approx([296, 148, 0, 0, 0, 0, 0, 0, 74], abs=2)


def test_round_ticks() -> None:
    assert plots.make_ticks(0, 8) == [0, 2, 4, 6, 8]
    assert plots.make_ticks(0, 83) == [0, 20, 40, 60, 80]
    assert plots.make_ticks(0.3, 0.55) == pytest.approx([0.3, 0.35, 0.4, 0.45, 0.5, 0.55])
