"""Scenes of digits: what they promise, read off the pixels."""

from __future__ import annotations

import builtins
import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import (
    embedded_scenes,
    embedded_source,
)
from tests.vision.dataloaders import data_makers


@pytest.fixture(scope='module')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> embedded_scenes.Scenes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path_factory.getbasetemp() / 'cache'))
        return embedded_scenes.load_scenes('train', 120)


def test_scenes_have_one_to_six_digits_of_all_classes(scenes: embedded_scenes.Scenes):
    counts = np.diff(scenes.splits)
    assert len(scenes) == 120
    assert set(counts.tolist()) == {1, 2, 3, 4, 5, 6}
    assert set(scenes.labels.tolist()) == set(range(1, 11))
    image = np.asarray(Image.open(io.BytesIO(scenes.images[0])))
    assert image.shape == (128, 128, 3)
    assert image.dtype == np.uint8


def test_boxes_are_tight_around_the_masks(scenes: embedded_scenes.Scenes):
    for i in range(len(scenes)):
        masks = scenes.get_masks(i)
        rows = slice(scenes.splits[i], scenes.splits[i + 1])
        for mask, box, area in zip(
            masks, scenes.boxes_yxyx_px[rows], scenes.areas[rows], strict=True
        ):
            ys, xs = np.nonzero(mask)
            assert box.tolist() == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
            assert area == mask.sum()
        assert masks.sum(0).max() <= 1  # a pixel belongs to one digit


def test_digits_overlap_little_and_have_the_sizes_they_should(scenes: embedded_scenes.Scenes):
    worst = 0.0
    for i in range(len(scenes)):
        boxes = scenes.boxes_yxyx_px[scenes.splits[i] : scenes.splits[i + 1]]
        for a in range(len(boxes)):
            for b in range(a):
                worst = max(worst, embedded_scenes._compute_overlap(boxes[a], boxes[b]))
    assert 0 < worst < 0.2  # 0.15 of the boxes before one hid a part of the other
    heights = scenes.boxes_yxyx_px[:, 2] - scenes.boxes_yxyx_px[:, 0]
    widths = scenes.boxes_yxyx_px[:, 3] - scenes.boxes_yxyx_px[:, 1]
    assert heights.max() <= 56
    assert np.median(heights) == pytest.approx(30, abs=4)  # sqrt(16 * 56) = 29.9
    assert np.median(widths / heights) == pytest.approx(0.7, abs=0.07)


def test_digits_stand_out_from_what_is_around_them(scenes: embedded_scenes.Scenes):
    differences = []
    for i in range(len(scenes)):
        image = np.asarray(Image.open(io.BytesIO(scenes.images[i])), float)
        masks = scenes.get_masks(i)
        for mask, box in zip(
            masks, scenes.boxes_yxyx_px[scenes.splits[i] : scenes.splits[i + 1]], strict=True
        ):
            part = np.zeros([128, 128], bool)
            part[box[0] : box[2], box[1] : box[3]] = True
            around = part & ~masks.any(0)
            if around.sum() > 10:
                differences.append(np.abs(image[mask].mean(0) - image[around].mean(0)).mean())
    assert np.median(differences) > 40


def test_scenes_do_not_depend_on_how_many_there_are(scenes: embedded_scenes.Scenes):
    few = embedded_scenes.load_scenes('train', 7)
    assert few.images == scenes.images[:7]
    assert few.instance_maps == scenes.instance_maps[:7]
    np.testing.assert_array_equal(few.labels, scenes.labels[: scenes.splits[7]])


def test_children_compose_the_same_scenes(scenes: embedded_scenes.Scenes):
    made = embedded_scenes._compose_in_child('train', 3, 6)
    assert [scene.image for scene in made] == list(scenes.images[3:6])


def test_splits_share_no_digit_and_no_scene(scenes: embedded_scenes.Scenes):
    train = embedded_scenes._load_material('train').digits
    validation = embedded_scenes._load_material('validation').digits
    assert (len(train), len(validation)) == (1400, 397)
    drawn = {digit.tobytes() for digit in train}
    # The set itself has no two equal digits, so neither do the splits.
    assert len(drawn) == 1400
    assert not drawn & {digit.tobytes() for digit in validation}
    assert embedded_scenes.load_scenes('validation', 7).images[0] != scenes.images[0]


def test_the_cache_is_used_and_a_damaged_one_is_named(cache_dir: Any):
    embedded_scenes.load_scenes('train', 9)
    path = cache_dir / f'digits-v{embedded_scenes.VERSION}-train-9.npz'
    start = time.perf_counter()
    embedded_scenes.load_scenes('train', 9)
    assert time.perf_counter() - start < 0.5
    left = [path for path in cache_dir.glob('.digits*') if path.suffix != '.lock']
    assert not left  # no temporary file stays
    path.write_bytes(path.read_bytes()[:1000])
    embedded_scenes.forget()
    with pytest.raises(errors.DataError, match=r'digits-v.*-train-9.npz.*delete the file'):
        embedded_scenes.load_scenes('train', 9)
    path.unlink()


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    real_import = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith('sklearn'):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(errors.UsageError, match=r"pip install 'official-lite\[demo\]'"):
        embedded_scenes.load_scenes('train', 11)


def test_unknown_names_are_usage_errors():
    with pytest.raises(errors.UsageError, match="unknown split 'test'; expected one of: train"):
        embedded_scenes.load_scenes('test')
    with pytest.raises(errors.UsageError, match="no embedded data set 'letters'"):
        embedded_source.build_embedded_source('letters')


def test_records_are_the_scenes(scenes: embedded_scenes.Scenes):
    source = embedded_source.build_embedded_source('digits', num_scenes=120)
    assert source.info.class_names[2] == 'two'
    assert source.info.num_classes == 11
    assert sum(source.info.boxes_per_class) == source.info.num_boxes == len(scenes.labels)
    record = data_makers.read_records(source)[5]  # scenes are numbered from 1
    rows = slice(scenes.splits[4], scenes.splits[5])
    np.testing.assert_array_equal(
        record['groundtruth_boxes'] * 128, scenes.boxes_yxyx_px[rows].astype(np.float32)
    )
    np.testing.assert_array_equal(record['groundtruth_classes'], scenes.labels[rows])
    np.testing.assert_array_equal(record['groundtruth_area'], scenes.areas[rows])
    assert record['image'].shape == (128, 128, 3)
    assert not record['groundtruth_is_crowd'].any()
