"""Short names that every detector has in `--hparams_overrides`."""

from __future__ import annotations

from typing import Any

from official_lite.modeling import hyperparams

__all__ = ['DETECTION_NAMES']

_GENERATOR = 'task.model.detection_generator'


def _expand_nms_iou_threshold(config: Any, value: float) -> dict[str, float]:
    """The threshold of the suppression that the detection generator's version really uses."""
    settings = '.tflite_post_processing'
    inside = settings if config.task.model.detection_generator.nms_version == 'tflite' else ''
    return {f'{_GENERATOR}{inside}.nms_iou_threshold': value}


DETECTION_NAMES = {
    'nms_iou_threshold': hyperparams.ShortName(
        float,
        _expand_nms_iou_threshold,
        'overlap from which one of two final detections is dropped',
    ),
}
