"""Data sets of classified and of segmented images: inspected, drawn and converted."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite import cli, errors
from official_lite.vision.data import convert_labels, label_inspection, label_preview
from official_lite.vision.dataloaders import (
    class_folders,
    image_pairs,
    labelled_images,
    mask_files,
    pair_source,
    scene_masks,
    segmentation_facts,
)
from tests.vision.dataloaders import class_makers, mask_makers

pytestmark = pytest.mark.usefixtures('own_cache')

IGNORE = 255


def _make_folders(root: pathlib.Path) -> labelled_images.LabelledImageSource:
    class_makers.write_folders(root, {'cat': 3, 'dog': 1, 'fox': 2})
    images = class_folders.find_images(
        str(root), '', validation_share=0.2, split_seed=0, class_names=()
    )
    return labelled_images.build_labelled_source(images)


def _make_pairs(
    root: pathlib.Path, masks: list[np.ndarray], **mapping: Any
) -> pair_source.PairSource:
    image_dir, mask_dir = mask_makers.write_pairs(root, masks)
    pairs = image_pairs.find_pairs(
        image_dir,
        mask_dir,
        image_suffix='',
        mask_suffix='',
        split='',
        validation_share=0.2,
        split_seed=0,
    )
    return pair_source.build_pair_source(
        pairs, mask_files.LabelMap.make(**mapping), segmentation_facts.Labelling()
    )


# ---- inspection ---------------------------------------------------------------------------------


def test_classes_of_images_are_counted(tmp_path: pathlib.Path) -> None:
    found = label_inspection.inspect_labels(_make_folders(tmp_path / 'images'))
    assert found.counted == 'images'
    assert [(c.label, c.name, c.count, c.num_images) for c in found.classes] == [
        (0, 'cat', 3, 3),
        (1, 'dog', 1, 1),
        (2, 'fox', 2, 2),
    ]
    assert (found.num_images, found.num_labels, found.num_ignored) == (6, 6, 0)
    assert found.images is not None
    assert found.images.kinds == {'JPEG RGB': 6}
    assert found.findings == ()
    json.dumps(found.to_dict())


def test_pixels_are_counted_as_numpy_counts_them(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    masks[1][:2, :3] = IGNORE
    found = label_inspection.inspect_labels(_make_pairs(tmp_path / 'pairs', masks))
    flat = np.concatenate([mask.ravel() for mask in masks])
    for row in found.classes:
        assert row.count == (flat == row.label).sum()
        assert row.num_images == sum((mask == row.label).any() for mask in masks)
    assert found.num_ignored == 6
    assert found.num_labels == flat.size - 6
    widths = found.distributions['image_width'].values
    assert sorted(widths) == sorted(width for _, width in mask_makers.SIZES)
    assert found.mask_kinds == {'PNG L': 4}


def test_values_out_of_range_are_found(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    masks[2][0, 0] = 7
    source = _make_pairs(tmp_path / 'pairs', masks)
    found = label_inspection.inspect_labels(source, num_classes=3)
    [wrong] = [f for f in found.findings if f.kind == 'label_values']
    assert wrong.message == 'masks have values that are no class: 7'
    assert wrong.examples[0].endswith('2.png')
    assert [
        f.kind for f in label_inspection.inspect_labels(source).findings if 'values' in f.kind
    ] == []


def test_black_and_white_masks_without_a_map_are_noticed(tmp_path: pathlib.Path) -> None:
    masks = [mask * 127 for mask in mask_makers.make_masks()]
    found = label_inspection.inspect_labels(_make_pairs(tmp_path / 'pairs', masks), ignore_label=99)
    [wrong] = [f for f in found.findings if f.kind == 'label_values']
    assert 'they look like grey levels, not like labels' in wrong.message
    assert 'mask_values=[0, 255]' in wrong.hint


def test_palettes(tmp_path: pathlib.Path) -> None:
    """Those of masks without each other's values agree; a third one does not."""
    masks = mask_makers.make_masks()
    image_dir, mask_dir = mask_makers.write_pairs(tmp_path, masks)
    for number, mask in enumerate(masks):
        mask_makers.to_palette_image(mask).save(pathlib.Path(mask_dir) / f'{number}.png')
    source = _reopen(image_dir, mask_dir)
    found = label_inspection.inspect_labels(source)
    assert found.mask_kinds == {'PNG P': 4}
    [palette] = found.palettes
    assert palette.num_masks == 4
    assert palette.colors == {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 255, 0)}
    other = mask_makers.to_palette_image(masks[0])
    other.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0])
    other.save(pathlib.Path(mask_dir) / '0.png')
    found = label_inspection.inspect_labels(_reopen(image_dir, mask_dir))
    assert len(found.palettes) == 2
    assert [f.message for f in found.findings if f.kind == 'palettes'] == [
        'masks have 2 different palettes'
    ]


def _reopen(image_dir: str, mask_dir: str) -> pair_source.PairSource:
    pairs = image_pairs.find_pairs(
        image_dir,
        mask_dir,
        image_suffix='',
        mask_suffix='',
        split='',
        validation_share=0.2,
        split_seed=0,
    )
    return pair_source.build_pair_source(
        pairs, mask_files.LabelMap.make(), segmentation_facts.Labelling()
    )


def test_uneven_classes_are_found(tmp_path: pathlib.Path) -> None:
    masks = [np.zeros([40, 40], np.uint8) for _ in range(4)]
    masks[0][:4, :4] = 1
    masks[1][0, 0] = 2
    found = label_inspection.inspect_labels(_make_pairs(tmp_path / 'pairs', masks))
    [rare] = [f for f in found.findings if f.kind == 'rare_classes']
    assert rare.examples == ('2 : 1',)
    masks[1][:4, :4] = 2
    found = label_inspection.inspect_labels(_make_pairs(tmp_path / 'more', masks))
    [uneven] = [f for f in found.findings if f.kind == 'uneven_classes']
    assert uneven.message == (
        f'the most frequent class occurs {(6400 - 32) / 16:.0f} times as often as the rarest'
    )


# ---- pictures -----------------------------------------------------------------------------------


def test_masks_are_laid_over_images() -> None:
    image = np.full([1, 40, 40, 3], 100, np.uint8)
    mask = np.zeros([1, 40, 40], np.int64)
    mask[0, :20] = 1
    mask[0, :, :10] = -1
    picture = label_preview.draw_segmented(image, mask, class_names=['ground', 'roof'])
    scale = 320 // 40
    at = picture[[scale * 10, scale * 10, scale * 30], [scale * 5, scale * 30, scale * 30]]
    np.testing.assert_array_equal(at[2], [100, 100, 100])  # label 0 as it is
    np.testing.assert_array_equal(at[0], np.round(0.35 * np.array(at[0]) / 0.35))
    assert at[0].max() <= 35  # no class: dark
    assert np.abs(at[1].astype(int) - 100).max() > 40  # the colour of class 1
    assert picture.shape[0] > 320  # the legend


def test_captions_tell_classes_and_shares() -> None:
    assert label_preview.describe_label(np.array(1), ['cat', 'dog']) == 'dog'
    assert label_preview.describe_label(np.array([1, 0, 1]), ['cat', 'dog', 'fox']) == 'cat, fox'
    assert label_preview.describe_label(np.array([0, 0]), ['cat', 'dog']) == 'none'
    assert label_preview.describe_label(np.array([0.3, 0.7]), ['cat', 'dog']) == 'dog 70%, cat 30%'
    images = np.zeros([3, 20, 30, 3], np.uint8)
    picture = label_preview.draw_classified(images, np.array([0, 1, 2]), class_names=['a', 'b'])
    assert picture.ndim == 3


# ---- conversion ---------------------------------------------------------------------------------


def _read(paths: tuple[str, ...]) -> list[Any]:
    records = tf.data.TFRecordDataset(list(paths)).as_numpy_iterator()
    return [tf.train.Example.FromString(record).features.feature for record in records]


def test_classified_images_as_records(tmp_path: pathlib.Path) -> None:
    source = _make_folders(tmp_path / 'images')
    done = convert_labels.convert_labels_to_tfrecords(
        source, str(tmp_path / 'out' / 'train'), num_shards=2, num_workers=2
    )
    assert (done.num_examples, done.num_boxes, len(done.paths)) == (6, 6, 2)
    found = _read(done.paths)
    assert [f['image/class/label'].int64_list.value[:] for f in found] == [[0]] * 3 + [[1]] + [
        [2]
    ] * 2
    for index, features in enumerate(found):
        assert features['image/encoded'].bytes_list.value[0] == source.read_image(index)
        assert (features['image/height'].int64_list.value[0]) == 24
        assert features['image/filename'].bytes_list.value[0].endswith(b'.jpeg')


def test_masks_as_records_are_read_again(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    source = _make_pairs(tmp_path / 'pairs', masks, values=[0, 2], ignored=[1])
    done = convert_labels.convert_labels_to_tfrecords(source, str(tmp_path / 'out' / 'train'))
    found = _read(done.paths)
    wanted = {0: 0, 2: 1, 1: IGNORE}
    for mask, features in zip(masks, found, strict=True):
        stored = features['image/segmentation/class/encoded'].bytes_list.value[0]
        decoded = tf.io.decode_png(stored).numpy()[..., 0]
        np.testing.assert_array_equal(decoded, np.vectorize(wanted.get)(mask))


def test_scenes_as_records(tmp_path: pathlib.Path) -> None:
    source = scene_masks.build_scene_mask_source(
        'digits', split='validation', num_scenes=3, labelling=segmentation_facts.Labelling()
    )
    done = convert_labels.convert_labels_to_tfrecords(source, str(tmp_path / 'digits'))
    stored = _read(done.paths)[0]['image/segmentation/class/encoded'].bytes_list.value[0]
    assert 1 <= tf.io.decode_png(stored).numpy().max() <= 10


def test_labels_that_do_not_fit_in_a_record_are_refused(tmp_path: pathlib.Path) -> None:
    masks = mask_makers.make_masks()
    image_dir, mask_dir = mask_makers.write_pairs(tmp_path, masks)
    Image.fromarray(masks[0].astype(np.uint16) + 300).save(pathlib.Path(mask_dir) / '0.png')
    with pytest.raises(errors.DataError, match=r'0\.png: .*8 bits.*expected labels up to 255'):
        convert_labels.convert_labels_to_tfrecords(
            _reopen(image_dir, mask_dir), str(tmp_path / 'out')
        )


# ---- command line -------------------------------------------------------------------------------


def _run(*args: str) -> int:
    return cli.main(['official-lite', 'data', *args])


def test_commands_on_a_folder_of_classes(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = class_makers.write_folders(tmp_path / 'images', {'cat': 3, 'dog': 2})
    source = f'--source=folder:{root}'
    assert _run('inspect', source) == 0
    text = capsys.readouterr().out
    assert '5 images, 5 labels' in text
    assert '60.0%' in text
    picture = tmp_path / 'preview.png'
    assert _run('preview', source, f'--output={picture}') == 0
    assert Image.open(picture).size[0] > 192
    assert _run('convert', source, f'--output={tmp_path}/out/train') == 0
    text = capsys.readouterr().out
    assert 'task.class_names=[cat,dog]' in text
    assert f'source.tfrecord.input_path={tmp_path}/out/train-*.tfrecord' in text
    assert _run('convert', source, '--format=coco', f'--output={tmp_path}/coco') == 2
    assert 'a COCO data set has boxes' in capsys.readouterr().err


def test_commands_on_pairs(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, masks = mask_makers.write_pairs(tmp_path / 'pairs', mask_makers.make_masks())
    source = f'--source=png_pairs:{images},{masks}'
    assert _run('inspect', source, '--json') == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['num_images'], found['counted']) == (4, 'pixels')
    for split in ('train', 'validation'):
        picture = tmp_path / f'{split}.png'
        args = (source, f'--split={split}', f'--output={picture}', '--max_num_images=2')
        assert _run('preview', *args) == 0
        assert Image.open(picture).size[0] > 300
    assert _run('convert', source, f'--output={tmp_path}/out/train') == 0
    assert '4 images' in capsys.readouterr().out
    assert _run('preview', source, '--anchors') == 2
    assert 'there are no boxes' in capsys.readouterr().err
    assert _run('inspect', source, f'--plots={tmp_path}/a.png') == 2
    assert 'charts are about boxes' in capsys.readouterr().err
