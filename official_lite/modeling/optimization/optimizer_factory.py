"""From an OptimizationConfig to a learning rate and an optimizer."""

import collections
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Optional, Union

import keras

from official_lite import errors
from official_lite.modeling.hyperparams import errors as config_errors
from official_lite.modeling.optimization import (
    accumulated_schedule,
    adafactor,
    ema_optimizer,
    keras_optimizers,
    lamb,
    lars,
    legacy_adamw,
    lr_schedule,
    optimizers,
    registration,
    replicated_optimizer,
)
from official_lite.modeling.optimization.configs import optimization_config as opt_cfg

register_optimizer_cls = registration.register_optimizer_cls
register_lr_cls = registration.register_lr_cls
register_warmup_cls = registration.register_warmup_cls

# The classes of `use_legacy_optimizer=True` have the numbers of tf_keras.optimizers.legacy, the
# others those of Keras 3.
SHARED_OPTIMIZERS: dict[str, Any] = {
    'sgd': optimizers.SGD,
    'sgd_experimental': optimizers.SGD,
    'adam': optimizers.Adam,
    'adam_experimental': optimizers.AdamExperimental,
    'adamw': legacy_adamw.AdamWeightDecay,
    'adamw_experimental': optimizers.AdamW,
    'lamb': lamb.LAMB,
    'lars': lars.LARS,
    'adafactor': adafactor.Adafactor,
    'adafactor_keras': optimizers.KerasAdafactor,
    'adadelta': replicated_optimizer.replicated(keras.optimizers.Adadelta),
    'adagrad_keras': replicated_optimizer.replicated(keras.optimizers.Adagrad),
    'adamax': replicated_optimizer.replicated(keras.optimizers.Adamax),
    'ftrl': replicated_optimizer.replicated(keras.optimizers.Ftrl),
    'lamb_keras': replicated_optimizer.replicated(keras.optimizers.Lamb),
    'lion': replicated_optimizer.replicated(keras.optimizers.Lion),
    'muon': keras_optimizers.Muon,
    'nadam': keras_optimizers.Nadam,
    'rmsprop_keras': replicated_optimizer.replicated(keras.optimizers.RMSprop),
    'schedule_free_adamw': keras_optimizers.ScheduleFreeAdamW,
}
_LEGACY = {'rmsprop': optimizers.RMSprop, 'adagrad': optimizers.Adagrad}
_NEW = {
    'rmsprop': SHARED_OPTIMIZERS['rmsprop_keras'],
    'adagrad': SHARED_OPTIMIZERS['adagrad_keras'],
}
# What is registered later is found too.
LEGACY_OPTIMIZERS_CLS: Mapping[str, Any] = collections.ChainMap(
    registration.LEGACY_OPTIMIZERS, _LEGACY, SHARED_OPTIMIZERS
)
NEW_OPTIMIZERS_CLS: Mapping[str, Any] = collections.ChainMap(
    registration.NEW_OPTIMIZERS, _NEW, SHARED_OPTIMIZERS
)

_SCHEDULES: dict[str, Any] = {
    'stepwise': lr_schedule.PiecewiseConstantDecayWithOffset,
    'polynomial': lr_schedule.PolynomialDecayWithOffset,
    'exponential': lr_schedule.ExponentialDecayWithOffset,
    'cosine': lr_schedule.CosineDecayWithOffset,
    'power': lr_schedule.DirectPowerDecay,
    'power_linear': lr_schedule.PowerAndLinearDecay,
    'power_with_offset': lr_schedule.PowerDecayWithOffset,
    'step_cosine_with_offset': lr_schedule.StepCosineDecayWithOffset,
}
_WARMUPS: dict[str, Any] = {
    'linear': lr_schedule.LinearWarmup,
    'polynomial': lr_schedule.PolynomialWarmUp,
}
LR_CLS: Mapping[str, Any] = collections.ChainMap(registration.LEARNING_RATES, _SCHEDULES)
WARMUP_CLS: Mapping[str, Any] = collections.ChainMap(registration.WARMUPS, _WARMUPS)

_CLIPPING = ('clipnorm', 'clipvalue', 'global_clipnorm')


class OptimizationError(errors.UsageError, ValueError):
    """An optimization config from which nothing can be built."""


class OptimizerFactory:
    """Builds a learning rate and an optimizer from an `OptimizationConfig`.

    factory = OptimizerFactory(config)
    with strategy.scope():
        optimizer = factory.build_optimizer(factory.build_learning_rate())
    """

    def __init__(self, config: opt_cfg.OptimizationConfig) -> None:
        """Looks at the config.

        Args:
            config: What to build. It is read when the methods are called.

        Raises:
            OptimizationError: the type of the optimizer or of the learning rate is not set.
        """
        self._config = config
        _check_type(config.optimizer.type, 'optimizer', LEGACY_OPTIMIZERS_CLS)
        _check_type(config.learning_rate.type, 'learning_rate', ['constant', *LR_CLS])

    def build_learning_rate(self) -> Union[lr_schedule.Schedule, float]:
        """Returns the schedule, warm-up included, or a float for a constant rate without warm-up.

        Raises:
            OptimizationError: a type is not known, a value that has no default is not set, or
                values do not fit.
        """
        return build_learning_rate(self._config.learning_rate, self._config.warmup)

    def build_optimizer(
        self,
        lr: Union[lr_schedule.Schedule, float],
        gradient_aggregator: Optional[replicated_optimizer.GradientsTransform] = None,
        gradient_transformers: Optional[Sequence[replicated_optimizer.GradientsTransform]] = None,
        postprocessor: Optional[Callable[[Any], Any]] = None,
        use_legacy_optimizer: bool = True,
    ) -> Any:
        """Builds the optimizer, under the strategy in whose scope it is called.

        Args:
            lr: What `build_learning_rate` returned, or another rate; a schedule is in train steps,
                of which one update takes `gradient_accumulation_steps`.
            gradient_aggregator: Used instead of the sum over the replicas: list of (gradient,
                variable) to the same.
            gradient_transformers: Applied in order to the summed list of (gradient, variable),
                before clipping.
            postprocessor: Last of all, optimizer to optimizer.
            use_legacy_optimizer: Whether rmsprop and adagrad have the numbers of TensorFlow's
                legacy optimizers, as in Model Garden's recipes, or Keras 3's; they differ in the
                place of epsilon.

        Returns:
            A `ReplicatedOptimizer`, in an `ExponentialMovingAverage` if the config has `ema`.

        Raises:
            OptimizationError: the type is not known, or values do not fit.
            TypeError: `postprocessor` returned something else than an optimizer.
        """
        table = LEGACY_OPTIMIZERS_CLS if use_legacy_optimizer else NEW_OPTIMIZERS_CLS
        config = self._config.optimizer
        cls = _get(table, config.type, 'optimizer.type')
        kwargs = {
            k: v for k, v in config.get().as_dict().items() if v is not None or k not in _CLIPPING
        }
        steps_per_update = self._config.gradient_accumulation_steps
        if steps_per_update > 1:
            kwargs['gradient_accumulation_steps'] = steps_per_update
            if callable(lr):
                lr = accumulated_schedule.AccumulatedSchedule(lr, steps_per_update)
        kwargs['learning_rate'] = lr if callable(lr) else float(lr)
        if gradient_aggregator is not None:
            kwargs['gradient_aggregator'] = gradient_aggregator
        if gradient_transformers is not None:
            kwargs['gradient_transformers'] = gradient_transformers
        optimizer = _call(_replicated(cls), kwargs, f'optimizer.{config.type}')
        if self._config.ema is not None:
            ema = self._config.ema.as_dict()
            ema['start_step'] = -(-ema['start_step'] // steps_per_update)
            optimizer = _call(
                ema_optimizer.ExponentialMovingAverage, {'optimizer': optimizer} | ema, 'ema'
            )
        if postprocessor is not None:
            optimizer = postprocessor(optimizer)
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                'OptimizerFactory.build_optimizer: expected an optimizer from the postprocessor; '
                f'received {optimizer!r}'
            )
        return optimizer


def build_learning_rate(
    learning_rate: opt_cfg.LrConfig, warmup: opt_cfg.WarmupConfig
) -> Union[lr_schedule.Schedule, float]:
    """Builds a schedule, warm-up included, or a float for a constant rate without warm-up.

    Args:
        learning_rate: The schedule.
        warmup: What it begins with.

    Raises:
        OptimizationError: a type is not known, a value that has no default is not set, or values
            do not fit.
    """
    if learning_rate.type == 'constant':
        rate: Any = learning_rate.get().learning_rate
    else:
        rate = _build_branch(learning_rate, 'learning_rate', LR_CLS)
    if warmup.type is None:
        return rate
    return _build_branch(warmup, 'warmup', WARMUP_CLS, rate)


def _replicated(cls: Any) -> Any:
    """`cls` with our `apply_gradients`, if it is a Keras optimizer class."""
    if isinstance(cls, type) and issubclass(cls, keras.optimizers.Optimizer):
        return replicated_optimizer.replicated(cls)
    return cls


def _build_branch(config: Any, path: str, table: Mapping[str, Any], *args: Any) -> Any:
    """Calls the class of the chosen branch with the branch's fields."""
    cls = _get(table, config.type, f'{path}.type')
    path = f'{path}.{config.type}'
    kwargs = _without_epochs(config.get().as_dict(), path)
    _check_set(cls, kwargs, path)
    return _call(cls, kwargs, path, *args)


def _without_epochs(kwargs: dict[str, Any], path: str) -> dict[str, Any]:
    """Leaves out `*_epochs`: they have become steps when the data was known."""
    for name in [name for name in kwargs if name.endswith('epochs')]:
        steps = name.removesuffix('_epochs')
        steps = steps if steps in kwargs else f'{steps}_steps'
        if kwargs.pop(name) is not None and kwargs.get(steps) is None:
            raise OptimizationError(
                f'{steps} is not known yet',
                where=f'{path}.{name}',
                expected='a resolved config',
                hint='call train_lib.resolve(config), which looks at the data',
            )
    return kwargs


def _check_set(cls: Any, kwargs: dict[str, Any], path: str) -> None:
    """Raises for values that are None where the class has no default; drops other Nones."""
    parameters = inspect.signature(cls).parameters
    for name in [name for name, value in kwargs.items() if value is None]:
        parameter = parameters.get(name)
        if parameter is None or parameter.default is not inspect.Parameter.empty:
            del kwargs[name]
            continue
        raise OptimizationError('is not set', where=f'{path}.{name}', expected='a value')


def _call(cls: Callable[..., Any], kwargs: dict[str, Any], path: str, *args: Any) -> Any:
    try:
        return cls(*args, **kwargs)
    except errors.OfficialLiteError:
        raise
    except (TypeError, ValueError) as e:
        raise OptimizationError(str(e), where=path) from e


def _check_type(name: Optional[str], path: str, known: Iterable[str]) -> None:
    if name is None:
        raise OptimizationError(
            f'{path.replace("_", " ").capitalize()} type must be specified',
            where=f'{path}.type',
            expected=f'one of {", ".join(sorted(known))}',
        )


def _get(table: Mapping[str, Any], name: Optional[str], path: str) -> Any:
    if name is not None and name in table:
        return registration.import_registered(table[name], path)
    nearest = config_errors.find_nearest(name, table)
    raise OptimizationError(
        f'there is no {name!r}',
        where=path,
        expected=f'one of {", ".join(sorted(table))}',
        hint=f'did you mean {nearest!r}?' if nearest else '',
    )
