"""Configs of backbones from other packages' collections."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, Optional

from official_lite.modeling import hyperparams

__all__ = ['KerasApplications', 'KerasHub']

KerasApplicationName = Literal[
    'ConvNeXtBase',
    'ConvNeXtLarge',
    'ConvNeXtSmall',
    'ConvNeXtTiny',
    'ConvNeXtXLarge',
    'DenseNet121',
    'DenseNet169',
    'DenseNet201',
    'EfficientNetB0',
    'EfficientNetB1',
    'EfficientNetB2',
    'EfficientNetB3',
    'EfficientNetB4',
    'EfficientNetB5',
    'EfficientNetB6',
    'EfficientNetB7',
    'EfficientNetV2B0',
    'EfficientNetV2B1',
    'EfficientNetV2B2',
    'EfficientNetV2B3',
    'EfficientNetV2L',
    'EfficientNetV2M',
    'EfficientNetV2S',
    'InceptionResNetV2',
    'InceptionV3',
    'MobileNet',
    'MobileNetV2',
    'MobileNetV3Large',
    'MobileNetV3Small',
    'NASNetLarge',
    'NASNetMobile',
    'ResNet101',
    'ResNet101V2',
    'ResNet152',
    'ResNet152V2',
    'ResNet50',
    'ResNet50V2',
    'VGG16',
    'VGG19',
    'Xception',
]
ImageValues = Literal['normalized', 'pixels', 'prepared']


@dataclasses.dataclass
class KerasApplications(hyperparams.Config):
    """A model of `keras.applications` without its top; each stride from 2 to 32 px is a level.

    Normalisation and activation are the model's own, but for `use_sync_bn`.

    Attributes:
        model_id: Which model.
        weights: What it starts from: null for random weights; 'imagenet' for those that Keras
            downloads; or the path of a weights file of the model without its top.
        image_values: What the images hold that arrive here, from which the model's own input is
            computed: 'normalized' by ImageNet's mean and deviation, as this package's parsers leave
            them; 'pixels' from 0 to 255; or 'prepared' already, as the model takes them.
    """

    model_id: KerasApplicationName = 'MobileNetV2'
    weights: Optional[str] = None
    image_values: ImageValues = 'normalized'

    _weight_fields: ClassVar[tuple[str, ...]] = ('model_id',)

    def _check(self, report: hyperparams.Report) -> None:
        if self.weights == '':
            report('weights', expected="null, 'imagenet' or the path of a weights file")


@dataclasses.dataclass
class KerasHub(hyperparams.Config):
    """An image backbone of KerasHub: pip install 'official-lite[keras-hub]'.

    Attributes:
        preset: A preset's name ('resnet_50_imagenet'), a handle ('kaggle://...', 'hf://...'), or the
            path of a folder that `save_to_preset` wrote.
        load_weights: Whether it starts from the preset's weights, or from random ones.
        image_values: What the images hold that arrive here, from which the model's own input is
            computed: 'normalized' by ImageNet's mean and deviation, as this package's parsers leave
            them; 'pixels' from 0 to 255; or 'prepared' already, as the model takes them.
    """

    preset: str = 'resnet_50_imagenet'
    load_weights: bool = True
    image_values: ImageValues = 'normalized'

    _weight_fields: ClassVar[tuple[str, ...]] = ('preset',)

    def _check(self, report: hyperparams.Report) -> None:
        if not self.preset:
            report('preset', expected='the name, handle or path of a preset')
