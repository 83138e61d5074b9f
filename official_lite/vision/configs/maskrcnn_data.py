"""Faster, Mask and Cascade R-CNN: configs of their data. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs import checks, common

__all__ = ['DataConfig', 'Parser']


@dataclasses.dataclass
class Parser(hyperparams.Config):
    """How an example becomes an input of the network.

    Attributes:
        num_channels: Channels of an image.
        match_threshold: Not used: proposals are matched as `model.roi_sampler` says.
        unmatched_threshold: Not used, as above.
        aug_rand_hflip: Whether half of the images are mirrored in training.
        aug_rand_vflip: Whether half of the images are turned upside down in training.
        aug_scale_min: Smallest random scale in training; 1 just fits the image in.
        aug_scale_max: Largest random scale in training.
        aug_type: Further augmentation in training; boxes and masks move along. None means none.
        skip_crowd_during_training: Whether objects marked as crowds are left out of training.
        max_num_instances: Most objects of an image where shapes must be fixed.
        rpn_match_threshold: An anchor that overlaps a box by this IoU or more is an object.
        rpn_unmatched_threshold: An anchor whose IoU is below this is background.
        rpn_batch_size_per_im: Anchors of each image that the proposal network learns from.
        rpn_fg_fraction: Most of them that may be objects, as a share.
        mask_crop_size: Height and width, in px, to which a mask is resized within its box.
        pad: Whether images are padded to multiples of the coarsest level's stride.
        keep_aspect_ratio: Whether images keep their aspect ratio when resized.
        aug_rand_jpeg: Ours. Random JPEG compression in training. None means none.
        random_erasing: Ours. Random erasing of training images. None means none.
        copy_paste: Ours. Objects of other images pasted into training images. None means none.
    """

    num_channels: int = 3
    match_threshold: float = 0.5
    unmatched_threshold: float = 0.5
    aug_rand_hflip: bool = False
    aug_rand_vflip: bool = False
    aug_scale_min: float = 1.0
    aug_scale_max: float = 1.0
    aug_type: Optional[common.Augmentation] = None
    skip_crowd_during_training: bool = True
    max_num_instances: int = 100
    rpn_match_threshold: float = 0.7
    rpn_unmatched_threshold: float = 0.3
    rpn_batch_size_per_im: int = 256
    rpn_fg_fraction: float = 0.5
    mask_crop_size: int = 112
    pad: bool = True
    keep_aspect_ratio: bool = True
    # Ours.
    aug_rand_jpeg: Optional[common.RandJpegQuality] = None
    random_erasing: Optional[common.RandomErasing] = None
    copy_paste: Optional[common.CopyPaste] = None

    def _check(self, report: hyperparams.Report) -> None:
        names = ('num_channels', 'max_num_instances', 'rpn_batch_size_per_im')
        checks.check_least(self, report, 1, *names)
        checks.check_least(self, report, 2, 'mask_crop_size')
        checks.check_share(
            self, report, 'rpn_match_threshold', 'rpn_unmatched_threshold', 'rpn_fg_fraction'
        )
        if self.rpn_unmatched_threshold > self.rpn_match_threshold:
            limit = self.rpn_match_threshold
            report('rpn_unmatched_threshold', expected=f'at most rpn_match_threshold ({limit:g})')
        checks.check_scales(self, report)


@dataclasses.dataclass
class DataConfig(cfg.DataConfig):
    """Examples for detection with masks.

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
        include_mask: Ours. Whether masks are read. None means: if the model has masks.
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
    include_mask: Optional[bool] = None

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        checks.check_one_source(self, report)
        if self.parser.copy_paste is not None and self.global_batch_size == 1:
            report('global_batch_size', expected='2 or more, because parser.copy_paste is set')
