"""Configs of augmentation. Fields and defaults are Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Optional

from official_lite.modeling import hyperparams
from official_lite.vision.configs.checks import check_range, check_share

__all__ = [
    'Augmentation',
    'AutoAugment',
    'CopyPaste',
    'MixupAndCutmix',
    'Mosaic',
    'RandAugment',
    'RandJpegQuality',
    'RandomErasing',
    'SSDRandomCrop',
    'SSDRandomCropParam',
]

# Those of vision/ops/augment_policies.py.
PolicyName = Literal[
    'detection_v0',
    'v0',
    'test',
    'simple',
    'reduced_cifar10',
    'svhn',
    'reduced_imagenet',
    'panoptic_deeplab_policy',
    'vit',
    'deit3_three_augment',
]
FillMode = Literal['reflect', 'constant']
RANDAUGMENT_OPERATIONS = (
    'AutoContrast',
    'Equalize',
    'Invert',
    'Rotate',
    'Posterize',
    'Solarize',
    'Color',
    'Contrast',
    'Brightness',
    'Sharpness',
    'ShearX',
    'ShearY',
    'TranslateX',
    'TranslateY',
    'Cutout',
    'SolarizeAdd',
)


@dataclasses.dataclass
class RandAugment(hyperparams.Config):
    """RandAugment (arXiv:1909.13719).

    Attributes:
        num_layers: Operations applied to each image.
        magnitude: Strength of the operations, 0 to 10; more is possible.
        cutout_const: Half of the side of Cutout's grey square at magnitude 10, in px.
        translate_const: Shift at magnitude 10, in px.
        magnitude_std: Standard deviation of the strength, which then stays within 0 and 10. 0
            means none.
        prob_to_apply: Chance of each operation. None means always.
        exclude_ops: Names of operations that are left out: 'Invert', 'Rotate', ...
        fill_mode: Ours. What rotations, shifts and shears bring in at the edges: 'reflect' mirrors
            the image, 'constant' is grey. None means 'constant' in detection, where mirrored
            objects would have no boxes, and else 'reflect', as in Model Garden.
    """

    num_layers: int = 2
    magnitude: float = 10
    cutout_const: float = 40
    translate_const: float = 10
    magnitude_std: float = 0.0
    prob_to_apply: Optional[float] = None
    exclude_ops: list[str] = dataclasses.field(default_factory=list)
    # Ours.
    fill_mode: Optional[FillMode] = None

    def _check(self, report: hyperparams.Report) -> None:
        check_share(self, report, 'prob_to_apply')
        for name in ('num_layers', 'magnitude', 'magnitude_std'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')
        known = ', '.join(RANDAUGMENT_OPERATIONS)
        for name in self.exclude_ops:
            # Model Garden's RetinaNet adds a suffix to operations that move boxes.
            if name.removesuffix('_BBox') not in RANDAUGMENT_OPERATIONS:
                report(
                    'exclude_ops', expected=f'names of operations: {known}', hint=f'not {name!r}'
                )


@dataclasses.dataclass
class AutoAugment(hyperparams.Config):
    """AutoAugment (arXiv:1805.09501).

    Attributes:
        augmentation_name: Name of the policy. 'v0' is for classification, and 'detection_v0' for
            detection; in detection all of them move boxes with the image.
        cutout_const: Half of the side of Cutout's grey square at magnitude 10, in px.
        translate_const: Shift at magnitude 10, in px.
        fill_mode: Ours. As in RandAugment.
    """

    augmentation_name: PolicyName = 'v0'
    cutout_const: float = 100
    translate_const: float = 250
    # Ours.
    fill_mode: Optional[FillMode] = None


@dataclasses.dataclass
class RandomErasing(hyperparams.Config):
    """Random erasing (arXiv:1708.04896).

    Attributes:
        probability: Chance that an image loses a rectangle.
        min_area: Smallest rectangle, as a share of the image.
        max_area: Largest rectangle, as a share of the image.
        min_aspect: Smallest height by width of a rectangle.
        max_aspect: Largest height by width. None means one over `min_aspect`.
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
        check_share(self, report, 'probability', 'min_area', 'max_area')
        if self.min_area > self.max_area:
            report('min_area', expected=f'at most max_area ({self.max_area:g})')
        if not 0 <= self.min_count <= self.max_count:
            report('min_count', expected=f'0 or more and at most max_count ({self.max_count})')
        if self.trials < 1:
            report('trials', expected='1 or more')
        largest = 1.0 if self.max_aspect is None else self.max_aspect
        if not 0 < self.min_aspect <= largest:
            report('min_aspect', expected=f'more than 0 and at most {largest:g}')


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
        check_share(self, report, 'prob', 'switch_prob', 'label_smoothing')


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
        check_share(self, report, 'min_object_covered', 'min_box_overlap', 'prob_to_apply')


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

    def _check(self, report: hyperparams.Report) -> None:
        check_range(self, report, 'aspect_ratio_range')
        check_range(self, report, 'area_range', largest=1.0)
        if not self.ssd_random_crop_params:
            report('ssd_random_crop_params', expected='one way of cropping or more')


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
        check_share(self, report, 'prob_to_apply')
        if not 0 <= self.min_quality <= self.max_quality <= 100:
            report('min_quality', expected='0 to max_quality, and that at most 100')


@dataclasses.dataclass
class Mosaic(hyperparams.Config):
    """Ours. Four images of a batch in one (YOLOv4, arXiv:2004.10934).

    The four are neighbours in the batch of one replica, so that nothing is read twice; with fewer
    than four images there, some appear twice.

    Attributes:
        prob: Chance that an image becomes a mosaic.
        center_range: Smallest and largest place where the four meet, as a share of height and width.
        min_box_overlap: Objects with a smaller share of their box in the picture are dropped.
    """

    prob: float = 0.5
    center_range: tuple[float, float] = (0.25, 0.75)
    min_box_overlap: float = 0.1

    def _check(self, report: hyperparams.Report) -> None:
        check_share(self, report, 'prob', 'min_box_overlap')
        check_range(self, report, 'center_range', largest=1.0)


@dataclasses.dataclass
class CopyPaste(hyperparams.Config):
    """Ours. Objects of another image of the batch pasted into an image (arXiv:2012.07177).

    Attributes:
        prob: Chance that an image gets objects.
        object_prob: Chance that an object of the other image is taken.
        min_visible: Objects of which a smaller share stays visible are dropped.
        max_num_objects: Most objects that are pasted into an image.
    """

    prob: float = 0.5
    object_prob: float = 0.5
    min_visible: float = 0.1
    max_num_objects: int = 10

    def _check(self, report: hyperparams.Report) -> None:
        check_share(self, report, 'prob', 'object_prob', 'min_visible')
        if self.max_num_objects < 1:
            report('max_num_objects', expected='1 or more')
