"""What the experiments for own data have in common. Ours."""

from __future__ import annotations

from official_lite.modeling import optimization
from official_lite.vision.configs import backbones

__all__ = ['get_adamw', 'get_small_resnet']


def get_small_resnet() -> backbones.Backbone:
    """One basic block per stage with 32 to 256 channels, and no max-pool: for small images."""
    return backbones.Backbone(
        type='resnet',
        resnet=backbones.ResNet(model_id=10, depth_multiplier=0.5, stem_type='v1', stem_pool=False),
    )


def get_adamw(
    peak: float, train_steps: int, weight_decay_rate: float = 1e-4
) -> optimization.OptimizationConfig:
    """AdamW on a cosine over all of training, with 5% warm-up; decay on kernels only.

    Args:
        peak: The highest learning rate.
        train_steps: Steps of the training.
        weight_decay_rate: Share of a kernel that a step takes off it, times the learning rate.
    """
    return optimization.OptimizationConfig(
        {
            'optimizer': {
                'type': 'adamw',
                'adamw': {
                    'weight_decay_rate': weight_decay_rate,
                    'exclude_from_weight_decay': ['bias$', 'gamma$', 'beta$'],
                    'gradient_clip_norm': 10.0,
                },
            },
            'learning_rate': {'type': 'cosine', 'cosine': {'initial_learning_rate': peak}},
            'warmup': {'type': 'linear', 'linear': {'warmup_steps': train_steps // 20}},
        }
    )
