"""Optimizers, learning-rate schedules and moving averages, and their configs.

The configs need no TensorFlow; what does is imported on first use.
"""

from official_lite import _lazy
from official_lite.modeling.optimization.configs.keras_optimizer_config import *  # noqa: F403
from official_lite.modeling.optimization.configs.learning_rate_config import *  # noqa: F403
from official_lite.modeling.optimization.configs.optimization_config import *  # noqa: F403
from official_lite.modeling.optimization.configs.optimizer_config import *  # noqa: F403

_PACKAGE = 'official_lite.modeling.optimization'

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=('configs', 'ema_optimizer', 'lr_schedule', 'optimizer_factory', 'registration'),
    attributes={
        'CosineDecayWithOffset': f'{_PACKAGE}.lr_schedule:CosineDecayWithOffset',
        'DirectPowerDecay': f'{_PACKAGE}.lr_schedule:DirectPowerDecay',
        'ExponentialDecayWithOffset': f'{_PACKAGE}.lr_schedule:ExponentialDecayWithOffset',
        'ExponentialMovingAverage': f'{_PACKAGE}.ema_optimizer:ExponentialMovingAverage',
        'LinearWarmup': f'{_PACKAGE}.lr_schedule:LinearWarmup',
        'OptimizerFactory': f'{_PACKAGE}.optimizer_factory:OptimizerFactory',
        'PiecewiseConstantDecayWithOffset': (
            f'{_PACKAGE}.lr_schedule:PiecewiseConstantDecayWithOffset'
        ),
        'PolynomialDecayWithOffset': f'{_PACKAGE}.lr_schedule:PolynomialDecayWithOffset',
        'PolynomialWarmUp': f'{_PACKAGE}.lr_schedule:PolynomialWarmUp',
        'PowerAndLinearDecay': f'{_PACKAGE}.lr_schedule:PowerAndLinearDecay',
        'PowerDecayWithOffset': f'{_PACKAGE}.lr_schedule:PowerDecayWithOffset',
        'StepCosineDecayWithOffset': f'{_PACKAGE}.lr_schedule:StepCosineDecayWithOffset',
        'register_lr_cls': f'{_PACKAGE}.registration:register_lr_cls',
        'register_optimizer_cls': f'{_PACKAGE}.registration:register_optimizer_cls',
        'register_warmup_cls': f'{_PACKAGE}.registration:register_warmup_cls',
    },
)
