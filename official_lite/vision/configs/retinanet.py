"""RetinaNet (arXiv:1708.02002): configs and experiments, under Model Garden's names.

In the order in which to read them: `retinanet_experiments` has the experiments, `retinanet_task`
what they set, `retinanet_model` the model's part of it and `retinanet_data` the data's.
"""

from __future__ import annotations

from official_lite.vision.configs.retinanet_data import (
    DataConfig,
    DataDecoder,
    Parser,
    TfExampleDecoder,
    TfExampleDecoderLabelMap,
)
from official_lite.vision.configs.retinanet_experiments import (
    COCO_INPUT_PATH_BASE,
    COCO_TRAIN_EXAMPLES,
    COCO_VAL_EXAMPLES,
    retinanet,
    retinanet_custom,
    retinanet_mobile_coco,
    retinanet_resnetfpn_coco,
    retinanet_spinenet_coco,
)
from official_lite.vision.configs.retinanet_model import (
    Anchor,
    AttributeHead,
    DetectionGenerator,
    RetinaNet,
    RetinaNetHead,
)
from official_lite.vision.configs.retinanet_task import ExportConfig, Losses, RetinaNetTask

__all__ = [
    'COCO_INPUT_PATH_BASE',
    'COCO_TRAIN_EXAMPLES',
    'COCO_VAL_EXAMPLES',
    'Anchor',
    'AttributeHead',
    'DataConfig',
    'DataDecoder',
    'DetectionGenerator',
    'ExportConfig',
    'Losses',
    'Parser',
    'RetinaNet',
    'RetinaNetHead',
    'RetinaNetTask',
    'TfExampleDecoder',
    'TfExampleDecoderLabelMap',
    'retinanet',
    'retinanet_custom',
    'retinanet_mobile_coco',
    'retinanet_resnetfpn_coco',
    'retinanet_spinenet_coco',
]
