"""Image classification: configs and experiments, under Model Garden's names.

In the order in which to read them: `image_classification_experiments` and
`image_classification_imagenet` have the experiments, `image_classification_task` what they set, and
`image_classification_data` the data's part of it.
"""

from __future__ import annotations

from official_lite.vision.configs.image_classification_data import (
    ClassificationSource,
    CsvSource,
    DataConfig,
    FolderSource,
    RecordSource,
)
from official_lite.vision.configs.image_classification_experiments import (
    classification_custom,
    image_classification,
)
from official_lite.vision.configs.image_classification_imagenet import (
    IMAGENET_INPUT_PATH_BASE,
    IMAGENET_TRAIN_EXAMPLES,
    IMAGENET_VAL_EXAMPLES,
    image_classification_imagenet,
    image_classification_imagenet_deit_pretrain,
    image_classification_imagenet_mobilenet,
    image_classification_imagenet_resnetrs,
    image_classification_imagenet_revnet,
    image_classification_imagenet_vit_finetune,
    image_classification_imagenet_vit_pretrain,
)
from official_lite.vision.configs.image_classification_task import (
    Evaluation,
    ImageClassificationModel,
    ImageClassificationTask,
    Losses,
)

__all__ = [
    'IMAGENET_INPUT_PATH_BASE',
    'IMAGENET_TRAIN_EXAMPLES',
    'IMAGENET_VAL_EXAMPLES',
    'ClassificationSource',
    'CsvSource',
    'DataConfig',
    'Evaluation',
    'FolderSource',
    'ImageClassificationModel',
    'ImageClassificationTask',
    'Losses',
    'RecordSource',
    'classification_custom',
    'image_classification',
    'image_classification_imagenet',
    'image_classification_imagenet_deit_pretrain',
    'image_classification_imagenet_mobilenet',
    'image_classification_imagenet_resnetrs',
    'image_classification_imagenet_revnet',
    'image_classification_imagenet_vit_finetune',
    'image_classification_imagenet_vit_pretrain',
]
