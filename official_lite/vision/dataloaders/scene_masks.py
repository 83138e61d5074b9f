"""The embedded scenes of digits as segmented images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from official_lite.core.segmentation_info import SegmentationInfo
from official_lite.vision.dataloaders import (
    embedded_scenes,
    image_decoding,
    mask_files,
    segmentation_facts,
)
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['CLASS_NAMES', 'SceneMaskSource', 'build_scene_mask_source']

CLASS_NAMES = ('background', *embedded_scenes.DIGIT_NAMES)


class SceneMaskSource(source_lib.IndexedSource):
    """Scenes and the visible pixels of their digits: label 0 is the background, k + 1 the digit k.

    Args:
        scenes: The scenes.
        name: What to call them in messages.
        labelling: What the task says about labels.
    """

    def __init__(
        self,
        scenes: embedded_scenes.Scenes,
        name: str,
        labelling: segmentation_facts.Labelling,
    ) -> None:
        self._scenes = scenes
        self._name = name
        self._info = _make_info(scenes, name, labelling)
        self._tensors: source_lib.Tensors | None = None

    @property
    def info(self) -> SegmentationInfo:
        return self._info

    def make_examples(self, order: source_lib.Order) -> tf.data.Dataset:
        with tf.init_scope():  # see PairSource
            self._tensors = {
                'images': tf.constant(list(self._scenes.images), tf.string),
                'maps': tf.constant(list(self._scenes.instance_maps), tf.string),
                'labels': tf.constant(self._scenes.labels, tf.int32),
                'splits': tf.constant(self._scenes.splits, tf.int64),
            }
        return super().make_examples(order)

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        """As `PairSource.decode`."""
        assert self._tensors is not None, 'make_examples comes first'
        tensors, index = self._tensors, example['index']
        own = tensors['labels'][tensors['splits'][index] : tensors['splits'][index + 1]]
        numbers = tf.cast(tf.io.decode_png(tensors['maps'][index], channels=1), tf.int32)
        return {
            'image': image_decoding.decode_image(tensors['images'][index]),
            'mask': tf.gather(tf.concat([[0], own], axis=0), numbers),
            'source_id': index + 1,
        }

    def describe(self, index: int) -> str:
        return f'{self._name} scene {index}'

    def read_image(self, index: int) -> bytes:
        return self._scenes.images[index]


def build_scene_mask_source(
    name: str,
    *,
    split: str,
    num_scenes: int | None,
    labelling: segmentation_facts.Labelling,
) -> SceneMaskSource:
    """Scenes of handwritten digits on photographs, 128x128, with 11 classes.

    Args:
        name: 'digits'.
        split: 'train' or 'validation'.
        num_scenes: Number of scenes. None means 8,000 to train, 200 to validate.
        labelling: What the task says about labels.

    Raises:
        UsageError: Unknown split, or scikit-learn is not installed.
    """
    scenes = embedded_scenes.load_scenes(split, num_scenes)
    return SceneMaskSource(scenes, f'embedded:{name} {split}', labelling)


def _make_info(
    scenes: embedded_scenes.Scenes, name: str, labelling: segmentation_facts.Labelling
) -> SegmentationInfo:
    side = embedded_scenes.SCENE_SIZE_PX
    counts = np.bincount(scenes.labels, weights=scenes.areas, minlength=len(CLASS_NAMES))
    counts[0] = len(scenes) * side**2 - counts.sum()
    return segmentation_facts.make_info(
        segmentation_facts.Values(
            np.arange(len(CLASS_NAMES)), counts.astype(np.int64), [name] * len(CLASS_NAMES)
        ),
        np.full([len(scenes), 2], side, np.int64),
        label_map=mask_files.LabelMap(),
        labelling=segmentation_facts.Labelling(
            class_names=CLASS_NAMES, ignore_label=labelling.ignore_label
        ),
        names=[f'v{embedded_scenes.VERSION} {name}'],
        origin=name,
    )
