"""Configs that several vision tasks share. Fields and defaults are Model Garden's."""

from __future__ import annotations

import dataclasses
from typing import Literal, Optional

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs.augmentation import (
    Augmentation,
    AutoAugment,
    CopyPaste,
    MixupAndCutmix,
    Mosaic,
    RandAugment,
    RandJpegQuality,
    RandomErasing,
    SSDRandomCrop,
    SSDRandomCropParam,
)
from official_lite.vision.configs.checks import check_share
from official_lite.vision.configs.data_sources import (
    CocoSource,
    DataSource,
    EmbeddedSource,
    TfdsSource,
    TfrecordSource,
    VocSource,
    YoloSource,
)

__all__ = [
    'Augmentation',
    'AutoAugment',
    'CocoSource',
    'CopyPaste',
    'DataDecoder',
    'DataSource',
    'EmbeddedSource',
    'MixupAndCutmix',
    'Mosaic',
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
    'TfdsSource',
    'TfrecordSource',
    'VocSource',
    'YoloSource',
]

Dtype = Literal['float32', 'float16', 'bfloat16']
FileType = Literal['tfrecord', 'tfrecord_compressed']


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
        check_share(self, report, 'norm_momentum')
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
