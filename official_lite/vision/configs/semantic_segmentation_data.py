"""Semantic segmentation: configs of its data. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs import common
from official_lite.vision.configs.checks import check_one_source, check_scales, check_share
from official_lite.vision.configs.data_sources import EmbeddedSource, Orientation, TfrecordSource

__all__ = ['DataConfig', 'DenseFeatureConfig', 'PngPairsSource', 'SegmentationSource']


@dataclasses.dataclass
class DenseFeatureConfig(hyperparams.Config):
    """An encoded image in a TFRecord, of 8 bits per channel, and how it is normalised.

    Attributes:
        feature_name: Its feature in the records.
        num_channels: Number of its channels: 1, 3 or 4.
        mean: Means of the channels, 0 to 255. The default is ImageNet's.
        stddev: Standard deviations of the channels, 0 to 255.
    """

    feature_name: str = 'image/encoded'
    num_channels: int = 3
    mean: list[float] = dataclasses.field(
        default_factory=lambda: [0.485 * 255, 0.456 * 255, 0.406 * 255]
    )
    stddev: list[float] = dataclasses.field(
        default_factory=lambda: [0.229 * 255, 0.224 * 255, 0.225 * 255]
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_channels not in (1, 3, 4):
            report('num_channels', expected='1, 3 or 4')
        for name in ('mean', 'stddev'):
            if len(getattr(self, name)) != self.num_channels:
                report(name, expected=f'{self.num_channels} numbers, as num_channels')
        if any(value <= 0 for value in self.stddev):
            report('stddev', expected='numbers above 0')


@dataclasses.dataclass
class PngPairsSource(hyperparams.Config):
    """A folder of images and one of their masks, which have the same names.

    What a pixel of a mask holds is a label as it stands, unless `mask_values` or `mask_colors` say
    which label it is. Of a PNG with a palette it is the number of the colour.

    Attributes:
        image_dir: Folder of the images, those below included. '' in validation data means that of
            the training data.
        mask_dir: Folder of the masks: PNG, best of 8 bits. '' likewise.
        image_suffix: What image names end in, before the file type, besides the name that they share
            with the mask's: such as '_leftImg8bit'.
        mask_suffix: What mask names end in, such as '_mask'.
        split: 'train' and 'validation' divide the images by `validation_share`. '' means all.
        validation_share: Share of the images that is held out.
        split_seed: Which images those are.
        class_names: Names of the labels 0, 1, ... in this order. Empty means that they have none.
        mask_values: The value in the masks of label 0, of label 1, ...: [0, 255] for masks in black
            and white. Empty means that values are labels.
        mask_colors: The same for masks in colours: [red, green, blue] of each label, 0 to 255.
        ignored_values: Further values, which are of no class; of masks in colours 65536 times red
            plus 256 times green plus blue. Where values are labels, the `ignore_label` of the losses
            is of no class anyway.
        orientation: See `CocoSource`; 'auto' believes the sizes of the masks.
    """

    image_dir: str = ''
    mask_dir: str = ''
    image_suffix: str = ''
    mask_suffix: str = ''
    split: str = ''
    validation_share: float = 0.2
    split_seed: int = 0
    class_names: list[str] = dataclasses.field(default_factory=list)
    mask_values: list[int] = dataclasses.field(default_factory=list)
    mask_colors: list[list[int]] = dataclasses.field(default_factory=list)
    ignored_values: list[int] = dataclasses.field(default_factory=list)
    orientation: Orientation = 'auto'

    def _check(self, report: hyperparams.Report) -> None:
        check_share(self, report, 'validation_share')
        if self.split not in ('', 'train', 'validation'):
            report('split', expected="'train', 'validation' or ''")
        if self.mask_values and self.mask_colors:
            report('mask_colors', expected='not set, because mask_values is')
        if any(len(c) != 3 or not all(0 <= v <= 255 for v in c) for c in self.mask_colors):
            report('mask_colors', expected='[red, green, blue] of each label, 0 to 255')
        for name in ('class_names', 'mask_values', 'mask_colors'):
            values = getattr(self, name)
            repeated = [value for i, value in enumerate(values) if value in values[:i]]
            if repeated:
                report(name, expected=f'different ones, not {repeated[0]!r} twice')
        number = len(self.mask_values) or len(self.mask_colors)
        if self.class_names and number and len(self.class_names) != number:
            report('class_names', expected=f'{number} names, one for each value of the masks')
        both = set(self.ignored_values) & set(self.mask_values)
        if both:
            report('ignored_values', expected=f'values without a label, but {min(both)} has one')


@dataclasses.dataclass
class SegmentationSource(hyperparams.OneOfConfig):
    """Which kind of source, and its settings.

    Attributes:
        type: Name of the branch that counts. None means Model Garden's `input_path`.
        png_pairs: A folder of images and one of masks.
        embedded: Scenes that come with the package.
        tfrecord: TFRecord files.
    """

    type: Optional[str] = None
    png_pairs: PngPairsSource = dataclasses.field(default_factory=PngPairsSource)
    embedded: EmbeddedSource = dataclasses.field(default_factory=EmbeddedSource)
    tfrecord: TfrecordSource = dataclasses.field(default_factory=TfrecordSource)

    def _check(self, report: hyperparams.Report) -> None:
        if self.type == 'tfrecord' and not self.tfrecord.input_path:
            report('tfrecord.input_path', expected='a file or pattern')


@dataclasses.dataclass
class DataConfig(cfg.DataConfig):
    """Examples for semantic segmentation.

    Attributes:
        image_feature: The image in a TFRecord, and how images are normalised.
        output_size: Height and width, px, that images are resized into. [] means the model's
            `input_size`; in training with `crop_size`, that images are cropped as they are.
        crop_size: Height and width, px, of the random crop of training images, after they were
            resized to `output_size` whatever their aspect ratio. [] means no crop.
        input_path: TFRecord files: a path or pattern, several joined by commas, or a list of those.
            None means none; not together with `source`.
        weights: Shares of a mixture. Not available.
        global_batch_size: Examples of one step over all replicas. 0 means not set.
        is_training: Whether examples are repeated, shuffled and augmented.
        dtype: Number format of images that are normalised on the host. Images with ImageNet's
            normalisation leave the host as uint8.
        shuffle_buffer_size: Examples in the buffer from which a shuffled stream is drawn.
        cycle_length: Files read in turn.
        resize_eval_groundtruth: Whether evaluation takes place at the size of the network's input.
            If not, at the size of the original images.
        groundtruth_padded_size: Height and width, px, to which masks of original size are padded;
            that of the largest image where that is larger. [] means that.
        aug_scale_min: Smallest random scale in training; 1 just fits the image in.
        aug_scale_max: Largest random scale in training.
        aug_rand_hflip: Whether half of the images are mirrored in training.
        preserve_aspect_ratio: Whether images keep their aspect ratio when resized.
        aug_policy: Not used, as in Model Garden.
        drop_remainder: Not used: training has no end, evaluation reads every image once.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip; of `input_path`.
        decoder: Not used, as in Model Garden: `image_feature` says how a record is read.
        additional_dense_features: Further images in a TFRecord, whose channels follow.
        centered_crop: Whether padding goes to all sides rather than to the bottom and right.
        aug_rand_rot90: Ours. Whether images are turned by 0, 90, 180 or 270 degrees in training.
        color_jitter: Ours. Largest relative change of brightness and contrast in training, and of
            saturation where images are RGB.
        source: Ours. Where examples come from. Its type null means `input_path`.
    """

    image_feature: DenseFeatureConfig = dataclasses.field(default_factory=DenseFeatureConfig)
    output_size: list[int] = dataclasses.field(default_factory=list)
    crop_size: list[int] = dataclasses.field(default_factory=list)
    input_path: Union[Sequence[str], str, hyperparams.Config, None] = None  # type: ignore[assignment]
    weights: Optional[hyperparams.Config] = None
    global_batch_size: int = 0
    is_training: Optional[bool] = True
    dtype: common.Dtype = 'float32'
    shuffle_buffer_size: int = 1000
    cycle_length: Optional[int] = 10
    resize_eval_groundtruth: bool = True
    groundtruth_padded_size: list[int] = dataclasses.field(default_factory=list)
    aug_scale_min: float = 1.0
    aug_scale_max: float = 1.0
    aug_rand_hflip: bool = True
    preserve_aspect_ratio: bool = True
    aug_policy: Optional[str] = None
    drop_remainder: bool = True
    file_type: common.FileType = 'tfrecord'
    decoder: Optional[common.DataDecoder] = dataclasses.field(default_factory=common.DataDecoder)
    additional_dense_features: list[DenseFeatureConfig] = dataclasses.field(default_factory=list)
    centered_crop: bool = False
    # Ours.
    aug_rand_rot90: bool = False
    color_jitter: float = 0.0
    source: SegmentationSource = dataclasses.field(default_factory=SegmentationSource)

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        check_one_source(self, report, empty='null')
        for name in ('output_size', 'crop_size', 'groundtruth_padded_size'):
            size = getattr(self, name)
            if size and (len(size) != 2 or min(size) < 1):
                report(name, expected='[height, width] of 1 or more, or []')
        check_scales(self, report)
        if self.color_jitter < 0:
            report('color_jitter', expected='0 or more')
        if len(self.output_size) == len(self.crop_size) == 2 and any(
            crop > side for crop, side in zip(self.crop_size, self.output_size)
        ):
            report('crop_size', expected=f'at most output_size {list(self.output_size)}')
        if self.centered_crop and not self.resize_eval_groundtruth:
            report('centered_crop', expected='false, because resize_eval_groundtruth is off')
        if self.source.type not in (None, 'tfrecord') and self.additional_dense_features:
            report(
                'additional_dense_features',
                expected=f'none with source.type={self.source.type}: only TFRecords have them',
            )
