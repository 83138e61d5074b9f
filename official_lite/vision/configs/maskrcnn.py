"""Faster, Mask and Cascade R-CNN (arXiv:1506.01497, 1703.06870, 1712.00726): configs and
experiments, under Model Garden's names.

In the order in which to read them: `maskrcnn_experiments` has the experiments, `maskrcnn_task` what
they set, `maskrcnn_model` the model's part of it and `maskrcnn_data` the data's.
"""

from __future__ import annotations

from official_lite.vision.configs.maskrcnn_data import DataConfig, Parser
from official_lite.vision.configs.maskrcnn_experiments import (
    COCO_INPUT_PATH_BASE,
    cascadercnn_spinenet_coco,
    fasterrcnn_resnetfpn_coco,
    maskrcnn_custom,
    maskrcnn_mobilenet_coco,
    maskrcnn_resnetfpn_coco,
    maskrcnn_spinenet_coco,
)
from official_lite.vision.configs.maskrcnn_model import (
    Anchor,
    DetectionGenerator,
    DetectionHead,
    MaskHead,
    MaskRCNN,
    MaskROIAligner,
    MaskSampler,
    MaskScoringHead,
    ROIAligner,
    ROIGenerator,
    ROISampler,
    RPNHead,
)
from official_lite.vision.configs.maskrcnn_task import Losses, MaskRCNNTask

__all__ = [
    'COCO_INPUT_PATH_BASE',
    'Anchor',
    'DataConfig',
    'DetectionGenerator',
    'DetectionHead',
    'Losses',
    'MaskHead',
    'MaskRCNN',
    'MaskRCNNTask',
    'MaskROIAligner',
    'MaskSampler',
    'MaskScoringHead',
    'Parser',
    'ROIAligner',
    'ROIGenerator',
    'ROISampler',
    'RPNHead',
    'cascadercnn_spinenet_coco',
    'fasterrcnn_resnetfpn_coco',
    'maskrcnn_custom',
    'maskrcnn_mobilenet_coco',
    'maskrcnn_resnetfpn_coco',
    'maskrcnn_spinenet_coco',
]
