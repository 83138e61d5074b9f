"""Images and masks in folders: which belong together, what they become, what is refused."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite import errors
from official_lite.vision.dataloaders import image_pairs, mask_files, pair_source
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.mask_files import LabelMap
from official_lite.vision.dataloaders.segmentation_facts import Labelling
from tests.vision.dataloaders import mask_makers


def _build(
    folders: tuple[str, str], label_map: LabelMap | None = None, **options: Any
) -> pair_source.PairSource:
    labelling = options.pop('labelling', Labelling())
    return pair_source.build_pair_source(
        image_pairs.find_pairs(*folders), label_map or LabelMap(), labelling, **options
    )


def _read(source: source_lib.Source) -> list[dict[str, np.ndarray]]:
    order = source_lib.Order(source.info.num_examples, is_training=False)
    examples = source.make_examples(order).map(source.decode)
    return list(examples.as_numpy_iterator())


@pytest.mark.parametrize('cache', [False, True])
@pytest.mark.parametrize(
    'kind', ['labels', 'black and white', 'palette', 'mixed', 'colors', 'ignored']
)
def test_masks_of_every_kind(tmp_path: pathlib.Path, kind: str, cache: bool) -> None:
    """What is read is what was written, whatever the masks hold."""
    masks = mask_makers.make_masks(num_classes=2 if kind == 'black and white' else 3)
    values = [0, 255] if kind == 'black and white' else None
    folders = mask_makers.write_pairs(tmp_path, masks, values=values)
    label_map = LabelMap.make(values=values or ())
    expected = [mask.astype(np.int32) for mask in masks]
    if kind in ('palette', 'mixed', 'colors'):
        for number, mask in list(enumerate(masks))[: 2 if kind == 'mixed' else None]:
            image = mask_makers.to_palette_image(mask)
            if kind == 'colors':
                image = image.convert('RGB')
            image.save(pathlib.Path(folders[1]) / f'{number}.png')
    if kind == 'colors':
        label_map = LabelMap.make(colors=[[0, 0, 0], [255, 0, 0], [0, 255, 0]])
    if kind == 'ignored':
        label_map = LabelMap.make(ignored=[2])
        expected = [np.where(mask == 2, -1, mask) for mask in expected]
    source = _build(folders, label_map, cache=cache)
    records = _read(source)
    assert len(records) == len(masks)
    for record, mask, original in zip(records, expected, masks, strict=True):
        np.testing.assert_array_equal(record['mask'][..., 0], mask)
        np.testing.assert_array_equal(record['image'], mask_makers.make_image(original))
    assert source.info.num_boxes == sum((mask >= 0).sum() for mask in expected)


def test_facts(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    masks[0][0, :5] = 255
    info = _build(mask_makers.write_pairs(tmp_path, masks)).info
    counts = sum(np.bincount(mask.ravel(), minlength=256) for mask in masks)
    assert info.num_examples == 4
    assert info.boxes_per_class == tuple(counts[:3])
    assert info.num_ignored_pixels == 5
    assert info.labels == (0, 1, 2)
    assert info.max_label == 2
    assert not info.declares_classes
    assert info.class_names == ()
    assert (info.max_height_px, info.max_width_px) == (30, 40)
    assert info.label_examples[2].endswith('1.png')


def test_facts_of_named_values(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks(num_classes=2)
    folders = mask_makers.write_pairs(tmp_path, masks, values=[0, 255])
    label_map = LabelMap.make(values=[0, 255, 7])
    named = _build(folders, label_map, labelling=Labelling(('out', 'in', 'none'))).info
    assert named.declares_classes
    assert named.class_names == ('out', 'in', 'none')
    assert named.findings[-1] == "1 of 3 classes have no pixels: 'none'"
    assert _build(folders, label_map).info.class_names == ('class_0', 'class_1', 'class_2')


def test_opacities(tmp_path: pathlib.Path) -> None:
    masks = [np.array([[0, 100], [200, 255]], np.uint8)]
    folders = mask_makers.write_pairs(tmp_path, masks)
    source = _build(folders, labelling=Labelling(is_matting=True))
    assert source.info.class_names == ('background', 'foreground')
    assert source.info.boxes_per_class == (2, 2)
    np.testing.assert_array_equal(_read(source)[0]['mask'][..., 0], masks[0])


def test_a_missing_mask_is_an_error_or_left_out(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = mask_makers.write_pairs(tmp_path, mask_makers.make_masks())
    (tmp_path / 'label' / '1.png').unlink()
    (tmp_path / 'label' / '2.png').write_bytes(b'nothing')
    with pytest.raises(
        errors.DataError,
        match=r'1\.png: its mask is missing: .*1\.png \(2 such images\); mend or remove it, or set '
        r'skip_corrupt=true to leave such images out',
    ):
        _build(folders)
    source = _build(folders, skip_corrupt=True)
    assert source.info.num_examples == 2
    assert source.info.num_corrupt == 2
    assert len(_read(source)) == 2
    assert 'skipped 2 that cannot be read' in capsys.readouterr().err


def test_another_size_is_an_error(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    folders = mask_makers.write_pairs(tmp_path, masks)
    Image.fromarray(masks[2][:-1]).save(tmp_path / 'label' / '2.png')
    with pytest.raises(
        errors.DataError, match=r'2\.png: the image is 20x30 px, its mask 20x29 px; mend'
    ):
        _build(folders)


def test_an_unreadable_image_is_left_out(tmp_path: pathlib.Path) -> None:
    folders = mask_makers.write_pairs(tmp_path, mask_makers.make_masks())
    whole = (tmp_path / 'image' / '3.png').read_bytes()
    (tmp_path / 'image' / '3.png').write_bytes(whole[: len(whole) // 2])
    source = _build(folders, skip_corrupt=True)
    assert source.info.num_examples == 3


def test_values_without_a_label_are_refused(tmp_path: pathlib.Path) -> None:
    folders = mask_makers.write_pairs(tmp_path, mask_makers.make_masks())
    with pytest.raises(errors.DataError, match='masks have values without a label: 1, 2'):
        _build(folders, LabelMap.make(values=[0, 255]))


def test_an_image_that_is_turned_by_its_tag(tmp_path: pathlib.Path) -> None:
    """EXIF says: turn by 90 degrees. The mask was drawn on the turned image."""
    mask = np.zeros([20, 30], np.uint8)
    mask[:5, :8] = 1
    folders = mask_makers.write_pairs(tmp_path, [mask])
    upright = Image.fromarray(mask_makers.make_image(mask))
    tags = Image.Exif()
    tags[0x0112] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / 'image' / '0.jpg', exif=tags, quality=95, subsampling=0)
    (tmp_path / 'image' / '0.png').unlink()
    record = _read(_build(folders))[0]
    assert record['image'].shape == (20, 30, 3)
    np.testing.assert_allclose(record['image'][..., 0], np.asarray(upright)[..., 0], atol=12)


# ---- which belong together ----------------------------------------------------------------------


def test_suffixes_and_folders_below(tmp_path: pathlib.Path) -> None:
    for place in ('images/city', 'masks/city'):
        (tmp_path / place).mkdir(parents=True)
    pixel = Image.fromarray(np.zeros([2, 2], np.uint8))
    pixel.save(tmp_path / 'images/city/a_left.png')
    pixel.save(tmp_path / 'masks/city/a_ids.png')
    pixel.save(tmp_path / 'masks/city/a_colors.png')
    pixel.save(tmp_path / 'masks/city/b_ids.png')
    pairs = image_pairs.find_pairs(
        str(tmp_path / 'images'),
        str(tmp_path / 'masks'),
        image_suffix='_left',
        mask_suffix='_ids',
    )
    assert pairs.names == ('city/a',)
    assert pairs.masks[0].endswith('a_ids.png')
    assert pairs.findings[0].startswith('1 masks have no image, the first: ')


def test_images_and_masks_in_one_folder(tmp_path: pathlib.Path) -> None:
    for name in ('a.png', 'a_mask.png', 'b.jpg', 'b_mask.png'):
        Image.fromarray(np.zeros([2, 2], np.uint8)).save(tmp_path / name)
    pairs = image_pairs.find_pairs(str(tmp_path), str(tmp_path), mask_suffix='_mask')
    assert pairs.names == ('a', 'b')
    assert [pathlib.Path(path).name for path in pairs.masks] == ['a_mask.png', 'b_mask.png']
    with pytest.raises(errors.UsageError, match='mask_suffix: images and masks are in one folder'):
        image_pairs.find_pairs(str(tmp_path), str(tmp_path))


def test_split_holds_out_a_share(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks() * 5
    folders = mask_makers.write_pairs(tmp_path, masks)
    parts = {
        split: set(image_pairs.find_pairs(*folders, split=split, validation_share=0.25).names)
        for split in ('train', 'validation')
    }
    assert len(parts['validation']) == 5
    assert len(parts['train']) == 15
    assert not parts['train'] & parts['validation']
    other = image_pairs.find_pairs(
        *folders, split='validation', validation_share=0.25, split_seed=1
    )
    assert set(other.names) != parts['validation']


def test_what_is_no_pair(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UsageError, match=r"image_dir: expected a folder; received ''"):
        image_pairs.find_pairs('', '')
    folders = mask_makers.write_pairs(tmp_path, mask_makers.make_masks(), mask_suffix='_m')
    with pytest.raises(
        errors.DataError,
        match=r'no image has a mask of the same name \(4 files such as 0\.png and 4 files such as '
        r'0_m\.png\); image_suffix and mask_suffix say',
    ):
        image_pairs.find_pairs(*folders)
    Image.fromarray(np.zeros([2, 2], np.uint8)).save(tmp_path / 'image' / '0.jpg')
    with pytest.raises(errors.DataError, match="two files have the name '0'"):
        image_pairs.find_pairs(*folders, mask_suffix='_m')


@pytest.mark.parametrize('split', ['train', 'validation'])
def test_membrane(data_dir: pathlib.Path, split: str) -> None:
    """Real masks in black and white."""
    folder = data_dir / 'membrane'
    pairs = image_pairs.find_pairs(str(folder / 'image'), str(folder / 'label'), split=split)
    source = pair_source.build_pair_source(
        pairs, mask_files.LabelMap.make(values=[0, 255]), Labelling()
    )
    assert source.info.num_examples == {'train': 24, 'validation': 6}[split]
    record = _read(source)[0]
    assert record['image'].shape == (512, 512, 3)
    assert set(np.unique(record['mask'])) == {0, 1}
    assert record['mask'].dtype == tf.int32
