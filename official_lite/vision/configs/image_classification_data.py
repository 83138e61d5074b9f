"""Image classification: configs of its data. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs import common
from official_lite.vision.configs.checks import check_one_source, check_range, check_share
from official_lite.vision.configs.data_sources import Orientation

__all__ = [
    'ClassificationSource',
    'CsvSource',
    'DataConfig',
    'FolderSource',
    'RecordSource',
    'ResizeMethod',
]

ResizeMethod = Literal[
    'bilinear', 'lanczos3', 'lanczos5', 'bicubic', 'gaussian', 'nearest', 'area', 'mitchellcubic'
]


@dataclasses.dataclass
class FolderSource(hyperparams.Config):
    """A folder of images for each class.

    Attributes:
        root: The folder that has the folders of the classes, or that of the splits above them. ''
            in validation data means that of the training data.
        split: 'train', 'validation' or another folder below `root` that has the folders of the
            classes ('val' and 'valid' are found as 'validation' too). Where there is no such folder,
            'train' and 'validation' divide the images of each class by `validation_share`. ''
            means all images below `root`.
        validation_share: Share of each class's images that is held out where one folder is divided.
        split_seed: Which images those are.
        class_names: Folders of the classes in the order of labels. Empty means all, sorted; numbers
            by their value.
        orientation: Whether images with an EXIF orientation are turned 'upright', or left as they
            are 'stored'. 'auto' turns them.
    """

    root: str = ''
    split: str = ''
    validation_share: float = 0.2
    split_seed: int = 0
    class_names: list[str] = dataclasses.field(default_factory=list)
    orientation: Orientation = 'auto'

    def _check(self, report: hyperparams.Report) -> None:
        check_share(self, report, 'validation_share')
        _check_names(self.class_names, report)


@dataclasses.dataclass
class CsvSource(hyperparams.Config):
    """A table with an image and its class, or classes, in each row.

    Attributes:
        file: The table, with names of columns in the first row; separated by commas, semicolons or
            tabs. '' in validation data means that of the training data.
        image_dir: The folder that the images' paths are relative to. '' means the table's.
        image_column: Column of the paths. '' means the first one.
        label_column: Column of the class names. '' means the second one.
        label_separator: What stands between the class names of an image that has several. '' means
            that the whole field is one name.
        split_column: Column that says which split a row is in. '' means none.
        split: Its value in the rows to use. Without `split_column`, 'train' and 'validation' divide
            the rows of each class by `validation_share`. '' means all rows.
        validation_share: As in `FolderSource`.
        split_seed: As in `FolderSource`.
        class_names: Names in the order of labels. Empty means all that occur, sorted; numbers by
            their value.
        orientation: As in `FolderSource`.
    """

    file: str = ''
    image_dir: str = ''
    image_column: str = ''
    label_column: str = ''
    label_separator: str = ''
    split_column: str = ''
    split: str = ''
    validation_share: float = 0.2
    split_seed: int = 0
    class_names: list[str] = dataclasses.field(default_factory=list)
    orientation: Orientation = 'auto'

    def _check(self, report: hyperparams.Report) -> None:
        check_share(self, report, 'validation_share')
        _check_names(self.class_names, report)


@dataclasses.dataclass
class RecordSource(hyperparams.Config):
    """TFRecord files with Model Garden's features.

    Attributes:
        input_path: Files: a path or pattern, several of them joined by commas, or a list of those.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip.
    """

    input_path: Union[str, list[str]] = ''
    file_type: common.FileType = 'tfrecord'


@dataclasses.dataclass
class ClassificationSource(hyperparams.OneOfConfig):
    """Which kind of source, and its settings.

    Attributes:
        type: Name of the branch that counts. None means Model Garden's `input_path`.
        folder: A folder of images for each class.
        csv: A table of images and classes.
        tfrecord: TFRecord files.
    """

    type: Optional[str] = None
    folder: FolderSource = dataclasses.field(default_factory=FolderSource)
    csv: CsvSource = dataclasses.field(default_factory=CsvSource)
    tfrecord: RecordSource = dataclasses.field(default_factory=RecordSource)


@dataclasses.dataclass
class DataConfig(cfg.DataConfig):
    """Examples for image classification.

    Attributes:
        input_path: TFRecord files: a path or pattern, several joined by commas, a list of those, or
            a mapping of names to those for a mixture. '' means none; not together with `source`.
        weights: Share of each name in a mixture. None means equal shares.
        global_batch_size: Examples of one step over all replicas. 0 means not set.
        is_training: Whether examples are repeated, shuffled and augmented.
        dtype: Number format of images that are normalised on the host. Ours leave the host as
            uint8, so this counts only for a parser of your own.
        shuffle_buffer_size: Examples in the buffer from which a shuffled stream is drawn.
        cycle_length: Files read in turn.
        is_multilabel: Whether an image has any number of classes. That of the training data counts.
        aug_rand_hflip: Whether half of the images are mirrored in training.
        aug_crop: Whether images are cropped: at random in training, in the centre in evaluation.
            None means no.
        crop_area_range: Smallest and largest random crop, as shares of the image's area. None means
            (0.08, 1.0).
        aug_type: AutoAugment or RandAugment in training. None means neither.
        three_augment: Whether DeiT III's three augmentations (arXiv:2204.07118) are applied in
            training.
        color_jitter: Largest relative change of brightness, contrast and saturation in training.
        random_erasing: Random erasing in training. None means none.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip; of `input_path`.
        image_field_key: Feature of the TFRecords that has the encoded image. That of the training
            data counts.
        label_field_key: Feature that has the label. That of the training data counts.
        decode_jpeg_only: Whether images of TFRecords are JPEGs, of which only the crop is decoded.
        mixup_and_cutmix: Mixup and CutMix of training batches. None means neither.
        decoder: How a TFRecord becomes an example. Not used: the feature keys say it.
        aug_policy: Not used; older name of `aug_type`.
        randaug_magnitude: Not used; older name of `aug_type.randaug.magnitude`.
        center_crop_fraction: Side of the central crop relative to the image's shorter side. None
            means 1.
        tf_resize_method: How crops are resized.
        repeated_augment: How often each image comes in a row in training, each time augmented anew.
            None means once.
        source: Ours. Where examples come from. Its type null means `input_path`.
    """

    input_path: Union[Sequence[str], str, hyperparams.Config] = ''
    weights: Optional[hyperparams.Config] = None
    global_batch_size: int = 0
    is_training: Optional[bool] = True
    dtype: common.Dtype = 'float32'
    shuffle_buffer_size: int = 10000
    cycle_length: Optional[int] = 10
    is_multilabel: bool = False
    aug_rand_hflip: bool = True
    aug_crop: Optional[bool] = True
    crop_area_range: Optional[tuple[float, float]] = (0.08, 1.0)
    aug_type: Optional[common.Augmentation] = None
    three_augment: bool = False
    color_jitter: float = 0.0
    random_erasing: Optional[common.RandomErasing] = None
    file_type: common.FileType = 'tfrecord'
    image_field_key: str = 'image/encoded'
    label_field_key: str = 'image/class/label'
    decode_jpeg_only: bool = True
    mixup_and_cutmix: Optional[common.MixupAndCutmix] = None
    decoder: Optional[common.DataDecoder] = dataclasses.field(default_factory=common.DataDecoder)
    aug_policy: Optional[str] = None
    randaug_magnitude: Optional[int] = 10
    center_crop_fraction: Optional[float] = 0.875
    tf_resize_method: ResizeMethod = 'bilinear'
    repeated_augment: Optional[int] = None
    # Ours.
    source: ClassificationSource = dataclasses.field(default_factory=ClassificationSource)

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        check_one_source(self, report)
        if self.color_jitter < 0:
            report('color_jitter', expected='0 or more')
        if self.crop_area_range is not None:
            check_range(self, report, 'crop_area_range', largest=1.0)
        if self.center_crop_fraction is not None and not 0 < self.center_crop_fraction <= 1:
            report('center_crop_fraction', expected='more than 0 and at most 1')
        if self.repeated_augment is not None and self.repeated_augment < 1:
            report('repeated_augment', expected='1 or more')
        if self.aug_type is not None and self.aug_type.type == 'ssd_random_crop':
            report('aug_type.type', expected='randaug or autoaug; ssd_random_crop needs boxes')
        if self.is_multilabel and self.mixup_and_cutmix is not None:
            report('mixup_and_cutmix', expected='null, because is_multilabel is on')


def _check_names(names: list[str], report: hyperparams.Report) -> None:
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        report('class_names', expected=f'different names, not {repeated[0]!r} twice')
