"""Semantic segmentation: configs and experiments, under Model Garden's names.

In the order in which to read them: `semantic_segmentation_experiments`, `..._pascal` and
`..._cityscapes` have the experiments, `deeplab` what these have in common, `semantic_segmentation_task`
what they set, `semantic_segmentation_model` the model's part of it and `semantic_segmentation_data`
the data's.
"""

from __future__ import annotations

from official_lite.vision.configs.semantic_segmentation_cityscapes import (
    CITYSCAPES_INPUT_PATH_BASE,
    CITYSCAPES_TRAIN_EXAMPLES,
    CITYSCAPES_VAL_EXAMPLES,
    mnv2_deeplabv3_cityscapes,
    mnv2_deeplabv3plus_cityscapes,
    seg_deeplabv3plus_cityscapes,
)
from official_lite.vision.configs.semantic_segmentation_data import (
    DataConfig,
    DenseFeatureConfig,
    PngPairsSource,
    SegmentationSource,
)
from official_lite.vision.configs.semantic_segmentation_experiments import (
    segmentation_custom,
    semantic_segmentation,
)
from official_lite.vision.configs.semantic_segmentation_model import (
    MaskScoringHead,
    SegmentationHead,
    SemanticSegmentationModel,
)
from official_lite.vision.configs.semantic_segmentation_pascal import (
    PASCAL_INPUT_PATH_BASE,
    PASCAL_TRAIN_EXAMPLES,
    PASCAL_VAL_EXAMPLES,
    mnv2_deeplabv3_pascal,
    seg_deeplabv3_pascal,
    seg_deeplabv3plus_pascal,
    seg_resnetfpn_pascal,
)
from official_lite.vision.configs.semantic_segmentation_task import (
    Evaluation,
    ExportConfig,
    Losses,
    SemanticSegmentationTask,
)

__all__ = [
    'CITYSCAPES_INPUT_PATH_BASE',
    'CITYSCAPES_TRAIN_EXAMPLES',
    'CITYSCAPES_VAL_EXAMPLES',
    'PASCAL_INPUT_PATH_BASE',
    'PASCAL_TRAIN_EXAMPLES',
    'PASCAL_VAL_EXAMPLES',
    'DataConfig',
    'DenseFeatureConfig',
    'Evaluation',
    'ExportConfig',
    'Losses',
    'MaskScoringHead',
    'PngPairsSource',
    'SegmentationHead',
    'SegmentationSource',
    'SemanticSegmentationModel',
    'SemanticSegmentationTask',
    'mnv2_deeplabv3_cityscapes',
    'mnv2_deeplabv3_pascal',
    'mnv2_deeplabv3plus_cityscapes',
    'seg_deeplabv3_pascal',
    'seg_deeplabv3plus_cityscapes',
    'seg_deeplabv3plus_pascal',
    'seg_resnetfpn_pascal',
    'segmentation_custom',
    'semantic_segmentation',
]
