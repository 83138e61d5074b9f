"""What masks hold, and which label that is; Pillow only."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import mask_files
from official_lite.vision.dataloaders.mask_files import IGNORED, LabelMap
from tests.vision.dataloaders import mask_makers

pytestmark = pytest.mark.usefixtures('own_cache')

NUMBERS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
RED, GREEN, BLACK = [255, 0, 0], [0, 255, 0], [0, 0, 0]


def _make_palette_image() -> Image.Image:
    return mask_makers.to_palette_image(NUMBERS)


def _encode(image: Image.Image, kind: str = 'PNG') -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    'image',
    [
        Image.fromarray(NUMBERS),
        _make_palette_image(),
        Image.fromarray(NUMBERS.astype(np.uint16)),
        Image.fromarray(np.stack([NUMBERS] * 3, -1)),
        Image.fromarray(np.stack([NUMBERS] * 3 + [np.full_like(NUMBERS, 9)], -1)),
        Image.merge('LA', [Image.fromarray(NUMBERS)] * 2),
    ],
    ids=['grey', 'palette', '16 bits', 'rgb', 'rgba', 'grey with alpha'],
)
def test_numbers_of_every_kind_of_image(image: Image.Image) -> None:
    np.testing.assert_array_equal(mask_files.read_mask(_encode(image)), NUMBERS)


def test_one_bit_is_0_and_1() -> None:
    image = Image.fromarray(NUMBERS > 0)
    assert image.mode == '1'
    np.testing.assert_array_equal(mask_files.read_mask(_encode(image)), NUMBERS > 0)


def test_colors_of_palette_and_of_rgb() -> None:
    codes = np.array([mask_files.pack_color(color) for color in (BLACK, RED, GREEN)])
    for image in (_make_palette_image(), _make_palette_image().convert('RGB')):
        got = mask_files.read_mask(_encode(image), has_colors=True)
        np.testing.assert_array_equal(got, codes[NUMBERS])


def test_what_is_no_mask() -> None:
    colored = _encode(_make_palette_image().convert('RGB'))
    with pytest.raises(ValueError, match='the mask has colours; mask_colors says which label'):
        mask_files.read_mask(colored)
    with pytest.raises(ValueError, match='the mask cannot be decoded'):
        mask_files.read_mask(b'no image')


def test_values_become_labels() -> None:
    label_map = LabelMap.make(values=[0, 255], ignored=[128])
    got = label_map.apply(np.array([[0, 255], [128, 255]]))
    np.testing.assert_array_equal(got, [[0, 1], [IGNORED, 1]])
    assert label_map.is_complete


def test_colors_become_labels() -> None:
    label_map = LabelMap.make(colors=[BLACK, GREEN], ignored=[mask_files.pack_color(RED)])
    values = mask_files.read_mask(_encode(_make_palette_image()), has_colors=True)
    np.testing.assert_array_equal(label_map.apply(values), np.array([0, IGNORED, 1])[NUMBERS])


def test_values_that_are_labels_stay() -> None:
    values = np.array([[0, 7], [255, 9]])
    np.testing.assert_array_equal(LabelMap().apply(values), values)
    ignoring = LabelMap.make(ignored=[9])
    assert not ignoring.is_complete
    np.testing.assert_array_equal(ignoring.apply(values), [[0, 7], [255, IGNORED]])


def _write(folder: pathlib.Path, name: str, image: Image.Image) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    image.save(path)
    return str(path)


def test_scan(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of all masks together, where each value is first, what cannot be read; once."""
    paths = [
        _write(tmp_path, 'a.png', Image.fromarray(NUMBERS)),
        str(tmp_path / 'b.png'),
        _write(tmp_path, 'c.png', _make_palette_image()),
        _write(tmp_path, 'd.png', Image.fromarray(np.full([4, 5], 9, np.uint8))),
    ]
    (tmp_path / 'b.png').write_bytes(b'nothing')
    scan = mask_files.scan_masks(paths)
    assert scan.heights_px.tolist() == [2, 0, 2, 4]
    assert scan.widths_px.tolist() == [3, 0, 3, 5]
    assert scan.is_plain.tolist() == [True, False, False, True]
    assert scan.values.tolist() == [0, 1, 2, 9]
    assert scan.counts.tolist() == [4, 4, 4, 20]
    assert scan.firsts.tolist() == [0, 0, 0, 3]
    assert list(scan.problems) == [1]
    monkeypatch.setattr(mask_files, 'scan_mask', None)
    again = mask_files.scan_masks(paths)
    assert again.problems == scan.problems
    np.testing.assert_array_equal(again.counts, scan.counts)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (
            {'values': [0, 2]},
            r'c\.png: masks have values without a label: 1, 9, in \d+\.\d+% of all pixels; '
            r'expected one of: 0, 2; add them to mask_values',
        ),
        (
            {'colors': [BLACK, RED]},
            r'c\.png: masks have values without a label: \[0, 255, 0\], in 33\.33% of all pixels; '
            r'expected one of: \[0, 0, 0\], \[255, 0, 0\]',
        ),
    ],
)
def test_values_without_a_label(tmp_path: pathlib.Path, arguments: Any, text: str) -> None:
    label_map = LabelMap.make(**arguments)
    paths = [_write(tmp_path, 'c.png', _make_palette_image())]
    if not label_map.has_colors:
        paths.append(_write(tmp_path, 'd.png', Image.fromarray(np.full([1, 1], 9, np.uint8))))
    scan = mask_files.scan_masks(paths, has_colors=label_map.has_colors)
    with pytest.raises(errors.DataError, match=text):
        mask_files.check_known_values(scan, label_map, paths)
    mask_files.check_known_values(scan, LabelMap(), paths)
