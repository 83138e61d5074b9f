"""What recipes of experiments have in common."""

from __future__ import annotations

from typing import Any

from official_lite.modeling import optimization

__all__ = ['RESTRICTIONS', 'SPINENET_RESTRICTIONS', 'get_intervals', 'get_stepwise_sgd']

# A config whose training data or validation data does not say what it is for is refused.
RESTRICTIONS = [
    'task.train_data.is_training != None',
    'task.validation_data.is_training != None',
]
# A SpineNet makes the levels of the detector itself.
SPINENET_RESTRICTIONS = [
    *RESTRICTIONS,
    'task.model.min_level == task.model.backbone.spinenet.min_level',
    'task.model.max_level == task.model.backbone.spinenet.max_level',
]


def get_intervals(steps_per_epoch: int) -> dict[str, Any]:
    """Fields of the trainer: everything once an epoch."""
    return {
        'steps_per_loop': steps_per_epoch,
        'summary_interval': steps_per_epoch,
        'checkpoint_interval': steps_per_epoch,
        'validation_interval': steps_per_epoch,
    }


def get_stepwise_sgd(
    boundaries: list[int], values: list[float], warmup_steps: int
) -> optimization.OptimizationConfig:
    """SGD with momentum as detectors learn COCO by it, warmed up from 0.0067.

    Args:
        boundaries: Steps at which the learning rate changes.
        values: Learning rates, one more than boundaries.
        warmup_steps: Steps of a linear warm-up.
    """
    return optimization.OptimizationConfig(
        {
            'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
            'learning_rate': {
                'type': 'stepwise',
                'stepwise': {'boundaries': boundaries, 'values': values},
            },
            'warmup': {
                'type': 'linear',
                'linear': {'warmup_steps': warmup_steps, 'warmup_learning_rate': 0.0067},
            },
        }
    )
