"""Configs that several vision tasks share. Fields and defaults are Model Garden's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Optional

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs.data_sources import (
    CocoSource,
    DataSource,
    EmbeddedSource,
    TfrecordSource,
)

__all__ = [
    'Augmentation',
    'AutoAugment',
    'CocoSource',
    'DataDecoder',
    'DataSource',
    'EmbeddedSource',
    'MixupAndCutmix',
    'NormActivation',
    'PseudoLabelDataConfig',
    'RandAugment',
    'RandJpegQuality',
    'RandomErasing',
    'SSDRandomCrop',
    'SSDRandomCropParam',
    'TFLitePostProcessingConfig',
    'TfExampleDecoder',
    'TfExampleDecoderLabelMap',
    'TfrecordSource',
]

Dtype = Literal['float32', 'float16', 'bfloat16']
FileType = Literal['tfrecord', 'tfrecord_compressed']


def _check_share(config: hyperparams.Config, report: hyperparams.Report, *names: str) -> None:
    """Reports fields that are not within 0 and 1."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1:
            report(name, expected='0 to 1')


@dataclasses.dataclass
class TfExampleDecoder(hyperparams.Config):
    """How a TFRecord becomes an example.

    Attributes:
        regenerate_source_id: Whether the image id is a hash of the image, not the record's own.
        mask_binarize_threshold: Masks are 1 above this. None keeps them as they are.
        attribute_names: Features of each object to read besides box and class.
    """

    regenerate_source_id: bool = False
    mask_binarize_threshold: Optional[float] = None
    attribute_names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class TfExampleDecoderLabelMap(hyperparams.Config):
    """How a TFRecord becomes an example when its classes are names.

    Attributes:
        regenerate_source_id: Whether the image id is a hash of the image, not the record's own.
        mask_binarize_threshold: Masks are 1 above this. None keeps them as they are.
        label_map: CSV file with a label and a class name in each line, such as `1,cat`.
    """

    regenerate_source_id: bool = False
    mask_binarize_threshold: Optional[float] = None
    label_map: str = ''


@dataclasses.dataclass
class DataDecoder(hyperparams.OneOfConfig):
    """Which decoder of TFRecords, and its settings.

    Attributes:
        type: Name of the branch that counts.
        simple_decoder: Labels are numbers in the records.
        label_map_decoder: Labels are names in the records.
    """

    type: Optional[str] = 'simple_decoder'
    simple_decoder: TfExampleDecoder = dataclasses.field(default_factory=TfExampleDecoder)
    label_map_decoder: TfExampleDecoderLabelMap = dataclasses.field(
        default_factory=TfExampleDecoderLabelMap
    )


@dataclasses.dataclass
class RandAugment(hyperparams.Config):
    """RandAugment (arXiv:1909.13719).

    Attributes:
        num_layers: Operations applied to each image.
        magnitude: Strength of the operations, 0 to 10.
        cutout_const: Largest side of the grey square of Cutout, in px.
        translate_const: Largest shift, in px.
        magnitude_std: Standard deviation of the strength. 0 means none.
        prob_to_apply: Chance of each operation. None means always.
        exclude_ops: Names of operations that are left out.
    """

    num_layers: int = 2
    magnitude: float = 10
    cutout_const: float = 40
    translate_const: float = 10
    magnitude_std: float = 0.0
    prob_to_apply: Optional[float] = None
    exclude_ops: list[str] = dataclasses.field(default_factory=list)

    def _check(self, report: hyperparams.Report) -> None:
        _check_share(self, report, 'prob_to_apply')
        if self.num_layers < 0:
            report('num_layers', expected='0 or more')


@dataclasses.dataclass
class AutoAugment(hyperparams.Config):
    """AutoAugment (arXiv:1805.09501).

    Attributes:
        augmentation_name: Name of the policy.
        cutout_const: Largest side of the grey square of Cutout, in px.
        translate_const: Largest shift, in px.
    """

    augmentation_name: str = 'v0'
    cutout_const: float = 100
    translate_const: float = 250


@dataclasses.dataclass
class RandomErasing(hyperparams.Config):
    """Random erasing (arXiv:1708.04896).

    Attributes:
        probability: Chance that an image loses a rectangle.
        min_area: Smallest rectangle, as a share of the image.
        max_area: Largest rectangle, as a share of the image.
        min_aspect: Smallest aspect ratio of a rectangle.
        max_aspect: Largest aspect ratio. None means one over `min_aspect`.
        min_count: Fewest rectangles.
        max_count: Most rectangles.
        trials: Tries to fit a rectangle in.
    """

    probability: float = 0.25
    min_area: float = 0.02
    max_area: float = 1 / 3
    min_aspect: float = 0.3
    max_aspect: Optional[float] = None
    min_count: int = 1
    max_count: int = 1
    trials: int = 10

    def _check(self, report: hyperparams.Report) -> None:
        _check_share(self, report, 'probability', 'min_area', 'max_area')
        if self.min_area > self.max_area:
            report('min_area', expected=f'at most max_area ({self.max_area:g})')
        if self.min_count > self.max_count:
            report('min_count', expected=f'at most max_count ({self.max_count})')


@dataclasses.dataclass
class MixupAndCutmix(hyperparams.Config):
    """Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899).

    Attributes:
        mixup_alpha: Both parameters of the Beta distribution of Mixup's shares.
        cutmix_alpha: Both parameters of the Beta distribution of CutMix's shares.
        prob: Chance that a batch is mixed.
        switch_prob: Chance that a mixed batch gets CutMix, not Mixup.
        label_smoothing: Share of each label that is spread over all classes.
    """

    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0
    prob: float = 1.0
    switch_prob: float = 0.5
    label_smoothing: float = 0.1

    def _check(self, report: hyperparams.Report) -> None:
        _check_share(self, report, 'prob', 'switch_prob', 'label_smoothing')


@dataclasses.dataclass
class SSDRandomCropParam(hyperparams.Config):
    """One way of cropping in SSD's augmentation.

    Attributes:
        min_object_covered: Least share of some object that is inside the crop.
        min_box_overlap: Objects with a smaller share inside the crop are dropped.
        prob_to_apply: Chance that this crop is applied.
    """

    min_object_covered: float = 0.0
    min_box_overlap: float = 0.5
    prob_to_apply: float = 0.85

    def _check(self, report: hyperparams.Report) -> None:
        _check_share(self, report, 'min_object_covered', 'min_box_overlap', 'prob_to_apply')


# The least shares of SSD's crops (arXiv:1512.02325, section 2.2).
_SSD_MIN_OBJECT_COVERED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@dataclasses.dataclass
class SSDRandomCrop(hyperparams.Config):
    """SSD's random crops (arXiv:1512.02325).

    Attributes:
        ssd_random_crop_params: Ways of cropping; one is drawn for each image.
        aspect_ratio_range: Smallest and largest aspect ratio of a crop.
        area_range: Smallest and largest area of a crop, as shares of the image.
    """

    ssd_random_crop_params: Sequence[SSDRandomCropParam] = dataclasses.field(
        default_factory=lambda: tuple(
            SSDRandomCropParam(min_object_covered=share) for share in _SSD_MIN_OBJECT_COVERED
        )
    )
    aspect_ratio_range: tuple[float, float] = (0.5, 2.0)
    area_range: tuple[float, float] = (0.1, 1.0)


@dataclasses.dataclass
class Augmentation(hyperparams.OneOfConfig):
    """Which augmentation, and its settings.

    Attributes:
        type: Name of the branch that counts. None means none.
        randaug: RandAugment.
        autoaug: AutoAugment.
        ssd_random_crop: SSD's random crops.
    """

    type: Optional[str] = None
    randaug: RandAugment = dataclasses.field(default_factory=RandAugment)
    autoaug: AutoAugment = dataclasses.field(default_factory=AutoAugment)
    ssd_random_crop: SSDRandomCrop = dataclasses.field(default_factory=SSDRandomCrop)


@dataclasses.dataclass
class RandJpegQuality(hyperparams.Config):
    """Random JPEG compression.

    Attributes:
        min_quality: Lowest quality, 0 to 100.
        max_quality: Highest quality, 0 to 100.
        prob_to_apply: Chance that an image is compressed.
    """

    min_quality: int = 20
    max_quality: int = 100
    prob_to_apply: float = 0.6

    def _check(self, report: hyperparams.Report) -> None:
        _check_share(self, report, 'prob_to_apply')
        if not 0 <= self.min_quality <= self.max_quality <= 100:
            report('min_quality', expected='0 to max_quality, and that at most 100')


@dataclasses.dataclass
class NormActivation(hyperparams.Config):
    """Normalisation and activation of all blocks.

    Attributes:
        activation: Name of the activation.
        use_sync_bn: Whether BatchNorm's statistics are those of all replicas together.
        norm_momentum: Share of BatchNorm's moving statistics that is kept at each step.
        norm_epsilon: Added to the variance.
    """

    activation: str = 'relu'
    use_sync_bn: bool = True
    norm_momentum: float = 0.99
    norm_epsilon: float = 0.001

    def _check(self, report: hyperparams.Report) -> None:
        _check_share(self, report, 'norm_momentum')
        if self.norm_epsilon <= 0:
            report('norm_epsilon', expected='more than 0')


@dataclasses.dataclass
class PseudoLabelDataConfig(cfg.DataConfig):
    """Pseudo-labelled examples mixed into training.

    Attributes:
        input_path: Files to read: a path or pattern, or several joined by commas.
        data_ratio: Pseudo-labelled examples per labelled one in a batch.
        is_training: Whether examples are repeated, shuffled and augmented.
        dtype: Number format of images.
        shuffle_buffer_size: Examples in the buffer from which a shuffled stream is drawn.
        cycle_length: Files read at the same time.
        aug_rand_hflip: Whether half of the images are mirrored.
        aug_type: Further augmentation. None means none.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip.
        aug_policy: Not used; older name of `aug_type`.
        randaug_magnitude: Not used; older name of `aug_type.randaug.magnitude`.
    """

    input_path: str = ''
    data_ratio: float = 1.0
    is_training: bool = True
    dtype: Dtype = 'float32'
    shuffle_buffer_size: int = 10000
    cycle_length: int = 10
    aug_rand_hflip: bool = True
    aug_type: Optional[Augmentation] = None
    file_type: FileType = 'tfrecord'
    aug_policy: Optional[str] = None
    randaug_magnitude: Optional[int] = 10


@dataclasses.dataclass
class TFLitePostProcessingConfig(hyperparams.Config):
    """Post-processing inside an exported TFLite model.

    Attributes:
        max_detections: Most detections in an image.
        max_classes_per_detection: Most classes of one box.
        use_regular_nms: Whether each class is suppressed by itself (slow).
        nms_score_threshold: Boxes below this score are dropped.
        nms_iou_threshold: A box that overlaps a better one by more than this is dropped.
        normalize_anchor_coordinates: Whether anchors and boxes are in shares of the image.
        omit_nms: Whether boxes and scores come out before suppression.
        detections_per_class: Most detections of a class with `use_regular_nms`.
        y_scale: Weight of the centre's y in box codes.
        x_scale: Weight of the centre's x in box codes.
        w_scale: Weight of the width in box codes.
        h_scale: Weight of the height in box codes.
    """

    max_detections: int = 200
    max_classes_per_detection: int = 5
    use_regular_nms: bool = False
    nms_score_threshold: float = 0.1
    nms_iou_threshold: float = 0.5
    normalize_anchor_coordinates: Optional[bool] = False
    omit_nms: Optional[bool] = False
    detections_per_class: Optional[int] = 5
    y_scale: float = 1.0
    x_scale: float = 1.0
    w_scale: float = 1.0
    h_scale: float = 1.0
