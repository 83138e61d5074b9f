"""Segmented images in files: an image and its mask each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.core.segmentation_info import SegmentationInfo
from official_lite.vision.dataloaders import (
    data_cache,
    folder_source,
    image_decoding,
    mask_decoding,
    mask_files,
    notices,
    segmentation_facts,
)
from official_lite.vision.dataloaders import source as source_lib
from official_lite.vision.dataloaders.image_pairs import ImagePairs
from official_lite.vision.dataloaders.mask_files import LabelMap

__all__ = ['PairSource', 'build_pair_source']

_SKIP_HINT = 'mend or remove it, or set skip_corrupt=true to leave such images out'


@dataclasses.dataclass(frozen=True)
class _Files:
    """Pairs that were looked at.

    Attributes:
        pairs: The files.
        scan: What is in the masks.
        readings: int32 [n], how to decode each image.
        problems: Why a pair cannot be used, by its number.
        findings: What is noteworthy; one sentence each.
    """

    pairs: ImagePairs
    scan: mask_files.MaskScan
    readings: np.ndarray
    problems: dict[int, str]
    findings: tuple[str, ...]


class PairSource(source_lib.IndexedSource):
    """Images and masks.

    Args:
        pairs: The files.
        info: Counts and classes.
        readings: int32 [n], how to decode each image (see `image_decoding.decode_image`).
        label_map: Which label a value of a mask is.
        is_plain: Whether all masks are PNGs of 8 bits, grey.
        is_in_memory: Whether files are read once, and kept.
    """

    def __init__(
        self,
        pairs: ImagePairs,
        info: SegmentationInfo,
        readings: np.ndarray,
        label_map: LabelMap,
        *,
        is_plain: bool,
        is_in_memory: bool = False,
    ) -> None:
        self._pairs = pairs
        self._info = info
        self._readings = readings
        self._is_plain = is_plain
        self._label_map = label_map
        self._is_in_memory = is_in_memory
        self._contents: tuple[list[bytes], list[bytes]] | None = None
        self._tensors: source_lib.Tensors | None = None

    @property
    def info(self) -> SegmentationInfo:
        return self._info

    def make_examples(self, order: source_lib.Order) -> tf.data.Dataset:
        if self._is_in_memory and self._contents is None:
            self._contents = (_read_all(self._pairs.images), _read_all(self._pairs.masks))
        images, masks = self._contents or (self._pairs.images, self._pairs.masks)
        # Outside of any graph, so that the functions of the pipeline capture these, not copy them.
        with tf.init_scope():
            self._tensors = {
                'images': tf.constant(list(images), tf.string),
                'masks': tf.constant(list(masks), tf.string),
                'readings': tf.constant(self._readings, tf.int32),
            }
        return super().make_examples(order)

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        """One example.

        Returns:
            'image' uint8 [height, width, 3]; 'mask' int32 [height, width, 1], labels, -1 for none;
            'source_id' int64 [].
        """
        assert self._tensors is not None, 'make_examples comes first'
        tensors, index = self._tensors, example['index']
        image, mask = tensors['images'][index], tensors['masks'][index]
        if self._contents is None:
            image, mask = tf.io.read_file(image), tf.io.read_file(mask)
        return {
            'image': image_decoding.decode_image(image, tensors['readings'][index]),
            'mask': mask_decoding.decode_mask(mask, self._label_map, is_plain=self._is_plain),
            'source_id': index,
        }

    def describe(self, index: int) -> str:
        return self._pairs.images[index]

    @property
    def mask_paths(self) -> tuple[str, ...]:
        """Files of the masks."""
        return tuple(self._pairs.masks)

    def get_reading(self, index: int) -> int:
        return int(self._readings[index])

    def read_image(self, index: int) -> bytes:
        return tf.io.read_file(self._pairs.images[index]).numpy()


def _read_all(paths: Sequence[str]) -> list[bytes]:
    return [tf.io.read_file(path).numpy() for path in paths]


def build_pair_source(
    pairs: ImagePairs,
    label_map: LabelMap,
    labelling: segmentation_facts.Labelling,
    *,
    orientation: Literal['auto', 'upright', 'stored'] = 'auto',
    skip_corrupt: bool = False,
    cache: bool = False,
) -> PairSource:
    """The source of images and masks.

    Args:
        pairs: The files.
        label_map: Which label a value of a mask is.
        labelling: What the task says about labels.
        orientation: See `exif_orientation.decide_turns`; 'auto' believes the sizes of the masks.
        skip_corrupt: Whether to leave out images that cannot be decoded, or without a mask of their
            size, after one pass that decodes them all. If not, the first is an error at once.
        cache: Whether to keep the encoded files in memory.

    Raises:
        DataError: A pair cannot be used, or a mask has a value without a label.
    """
    files = _look_at(pairs, orientation, label_map)
    num_corrupt = 0
    if skip_corrupt:
        bad = {**_find_bad_images(files, label_map), **files.problems}
        notices.report_skipped([f'{pairs.images[i]}: {text}' for i, text in sorted(bad.items())])
        num_corrupt = len(bad)
        kept = np.setdiff1d(np.arange(len(pairs)), np.array(list(bad), np.int64))
        files = _look_at(pairs.select(kept), orientation, label_map)
    for number, text in sorted(files.problems.items()):
        count = f' ({len(files.problems)} such images)' if len(files.problems) > 1 else ''
        raise errors.DataError(text + count, where=files.pairs.images[number], hint=_SKIP_HINT)
    return _make_source(files, label_map, labelling, num_corrupt=num_corrupt, cache=cache)


def _look_at(
    pairs: ImagePairs, orientation: Literal['auto', 'upright', 'stored'], label_map: LabelMap
) -> _Files:
    """Reads all masks and the headers of all images."""
    problems = {i: f'its mask is missing: {pairs.masks[i]}' for i in pairs.missing}
    present = [i for i, mask in enumerate(pairs.masks) if os.path.isfile(mask)]
    scan = mask_files.scan_masks([pairs.masks[i] for i in present], has_colors=label_map.has_colors)
    problems |= {
        present[i]: f'{text}: {pairs.masks[present[i]]}' for i, text in scan.problems.items()
    }
    mask_px = np.zeros([len(pairs), 2], np.int64)
    mask_px[present] = np.stack([scan.heights_px, scan.widths_px], axis=-1)
    images = folder_source.look_at_images(pairs.images, mask_px, mode=orientation)
    problems |= images.problems
    image_px = np.stack([images.heights_px, images.widths_px], axis=-1)
    for i in np.flatnonzero((image_px != mask_px).any(-1)).tolist():
        if i not in problems:
            problems[i] = f'the image is {_show(image_px[i])}, its mask {_show(mask_px[i])}'
    return _Files(pairs, scan, images.readings, problems, images.findings)


def _show(size_px: np.ndarray) -> str:
    return f'{size_px[1]}x{size_px[0]} px'


def _find_bad_images(files: _Files, label_map: LabelMap) -> dict[int, str]:
    """Images that cannot be decoded, by their number; found once, then kept in the cache folder."""
    paths = files.pairs.images
    numbers = [i for i in range(len(paths)) if i not in files.problems]
    stats = [os.stat(paths[i]) for i in numbers]
    description = [
        [os.path.abspath(paths[i]), s.st_size, s.st_mtime_ns] for i, s in zip(numbers, stats)
    ]
    source = PairSource(
        files.pairs, segmentation_facts.NO_INFO, files.readings, label_map, is_plain=False
    )
    reasons = data_cache.get_cached_reasons(
        description, lambda: dict(source.find_bad_images(numbers))
    )
    return {int(i): text for i, text in reasons.items()}


def _make_source(
    files: _Files,
    label_map: LabelMap,
    labelling: segmentation_facts.Labelling,
    *,
    num_corrupt: int,
    cache: bool,
) -> PairSource:
    pairs, scan = files.pairs, files.scan
    if not labelling.is_matting:
        mask_files.check_known_values(scan, label_map, pairs.masks)
    info = segmentation_facts.make_info(
        segmentation_facts.Values(scan.values, scan.counts, [pairs.masks[i] for i in scan.firsts]),
        np.stack([scan.heights_px, scan.widths_px], axis=-1),
        label_map=label_map,
        labelling=labelling,
        names=pairs.names,
        origin=pairs.origin,
        num_corrupt=num_corrupt,
        findings=(*pairs.findings, *files.findings),
    )
    return PairSource(
        pairs,
        info,
        files.readings,
        label_map,
        is_plain=bool(scan.is_plain.all()),
        is_in_memory=cache,
    )
