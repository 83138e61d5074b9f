"""RetinaNet (arXiv:1708.02002): configs of its data. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs import checks, common

__all__ = ['DataConfig', 'DataDecoder', 'Parser', 'TfExampleDecoder', 'TfExampleDecoderLabelMap']


@dataclasses.dataclass
class TfExampleDecoder(common.TfExampleDecoder):
    """How a TFRecord becomes an example; Model Garden's second name for it."""


@dataclasses.dataclass
class TfExampleDecoderLabelMap(common.TfExampleDecoderLabelMap):
    """How a TFRecord with class names becomes an example; Model Garden's second name for it."""


@dataclasses.dataclass
class DataDecoder(common.DataDecoder):
    """Which decoder of TFRecords; Model Garden's second name for it."""


@dataclasses.dataclass
class Parser(hyperparams.Config):
    """How an example becomes an input of the network.

    Attributes:
        num_channels: Channels of an image.
        match_threshold: An anchor that overlaps a box by this IoU or more is an object.
        unmatched_threshold: An anchor whose IoU is below this is background.
        aug_rand_hflip: Whether half of the images are mirrored in training.
        aug_rand_jpeg: Random JPEG compression in training. None means none.
        aug_scale_min: Smallest random scale in training; 1 just fits the image in.
        aug_scale_max: Largest random scale in training.
        skip_crowd_during_training: Whether boxes marked as crowds are left out of training.
        max_num_instances: Most boxes of an image where shapes must be fixed.
        aug_type: Further augmentation in training. None means none.
        pad: Whether images are padded to the network's input size.
        keep_aspect_ratio: Whether images keep their aspect ratio when resized.
        aug_policy: Not used; older name of `aug_type`.
        aug_rand_vflip: Ours. Whether half of the images are turned upside down in training.
        random_erasing: Ours. Random erasing of training images. None means none.
        mosaic: Ours. Mosaics of four training images. None means none.
    """

    num_channels: int = 3
    match_threshold: float = 0.5
    unmatched_threshold: float = 0.5
    aug_rand_hflip: bool = False
    aug_rand_jpeg: Optional[common.RandJpegQuality] = None
    aug_scale_min: float = 1.0
    aug_scale_max: float = 1.0
    skip_crowd_during_training: bool = True
    max_num_instances: int = 100
    aug_type: Optional[common.Augmentation] = None
    pad: bool = True
    keep_aspect_ratio: bool = True
    aug_policy: Optional[str] = None
    # Ours.
    aug_rand_vflip: bool = False
    random_erasing: Optional[common.RandomErasing] = None
    mosaic: Optional[common.Mosaic] = None

    def _check(self, report: hyperparams.Report) -> None:
        checks.check_least(self, report, 1, 'num_channels', 'max_num_instances')
        checks.check_share(self, report, 'match_threshold', 'unmatched_threshold')
        if self.unmatched_threshold > self.match_threshold:
            limit = self.match_threshold
            report('unmatched_threshold', expected=f'at most match_threshold ({limit:g})')
        checks.check_scales(self, report)


@dataclasses.dataclass
class DataConfig(cfg.DataConfig):
    """Examples for detection.

    Attributes:
        input_path: TFRecord files: a path or pattern, several joined by commas, a list of those, or
            a mapping of names to those for a mixture. '' means none; not together with `source`.
        weights: Share of each name in a mixture. None means equal shares.
        global_batch_size: Examples of one step over all replicas. 0 means not set.
        is_training: Whether examples are repeated, shuffled and augmented.
        dtype: Number format of images that are normalised on the host. Ours leave the host as
            uint8, so this counts only for a parser of your own.
        decoder: How a TFRecord becomes an example.
        parser: How an example becomes an input of the network.
        shuffle_buffer_size: Examples in the buffer from which a shuffled stream is drawn.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip; of `input_path`.
        source: Ours. Where examples come from. Its type null means `input_path` or `tfds_name`.
    """

    input_path: Union[Sequence[str], str, hyperparams.Config] = ''
    weights: Optional[hyperparams.Config] = None
    global_batch_size: int = 0
    is_training: Optional[bool] = False
    dtype: common.Dtype = 'bfloat16'
    decoder: common.DataDecoder = dataclasses.field(default_factory=common.DataDecoder)
    parser: Parser = dataclasses.field(default_factory=Parser)
    shuffle_buffer_size: int = 10000
    file_type: common.FileType = 'tfrecord'
    # Ours.
    source: common.DataSource = dataclasses.field(default_factory=common.DataSource)

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        checks.check_one_source(self, report)
        if self.parser.mosaic is not None and 0 < self.global_batch_size < 4:
            report('global_batch_size', expected='4 or more, because parser.mosaic is set')
