"""The config of layer overrides."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal, Optional, Union

from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import optimization_config as opt_cfg

__all__ = ['InitializerConfig', 'LayerOverride', 'RegularizerConfig']

_NOT_NEGATIVE = ('learning_rate_multiplier', 'weight_decay_multiplier')


@dataclasses.dataclass
class RegularizerConfig(hyperparams.Config):
    """A penalty that is added to the loss.

    Attributes:
        type: 'l1', `l1` times the sum of absolute values; 'l2', `l2` times the sum of squares;
            'l1_l2', both; 'none', no penalty, also where there was one.
        l1: Strength of the sum of absolute values.
        l2: Strength of the sum of squares.
    """

    type: Literal['l1', 'l2', 'l1_l2', 'none'] = 'l2'
    l1: float = 0.0
    l2: float = 0.0

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('l1', 'l2'):
            value = getattr(self, name)
            if name in self.type.split('_') and not value > 0:
                report(name, expected=f'more than 0 with type {self.type!r}')
            elif name not in self.type.split('_') and value:
                report(name, expected=f'0 with type {self.type!r}')


@dataclasses.dataclass
class InitializerConfig(hyperparams.Config):
    """Where values come from.

    Attributes:
        name: Name of a Keras initializer, such as 'he_normal', 'random_normal' or 'zeros'.
        arguments: Its arguments by name, such as `stddev`; for those left out Keras' defaults.
    """

    name: str = ''
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)

    def _check(self, report: hyperparams.Report) -> None:
        if not self.name:
            report('name', expected='the name of a Keras initializer')


@dataclasses.dataclass
class LayerOverride(hyperparams.Config):
    """What is different in some layers. Everything that is None stays as it is.

    Attributes:
        pattern: Which layers or variables: a regular expression that matches a path such as
            `backbone/stage_2_block_0/conv1` or a key such as `head/cls/bias` as a whole, or the
            beginning of one, up to a slash.
        learning_rate_multiplier: Factor of the whole update, weight decay included. 0: not trained.
        weight_decay_multiplier: Factor of the optimizer's weight decay. (The L2 penalty of
            `task.losses.l2_weight_decay` is a `kernel_regularizer`.)
        trainable: Whether variables are trained. BatchNorm of which no variable is trained uses its
            moving statistics, and keeps them.
        learning_rate: Learning rate in place of `trainer.optimizer_config.learning_rate`.
        warmup: Warm-up in place of `trainer.optimizer_config.warmup`.
        kernel_regularizer: Penalty of kernels, in place of theirs.
        bias_regularizer: Penalty of biases, in place of theirs.
        activity_regularizer: Penalty of what a layer returns, divided by the size of the batch.
        activation: Name of an activation function. Inside of a matched module, layers without
            activation stay without.
        dropout_rate: Chance that a value is dropped in training.
        norm_momentum: Share of the old moving statistics that a training step keeps.
        norm_epsilon: What a normalization adds to variances.
        kernel_initializer: Where new values of kernels come from: a Keras initializer, or its name.
            They are set after `init_checkpoint` when a run begins; a resumed run keeps its own.
        dtype: What is computed in; variables stay float32.
    """

    pattern: str = ''
    learning_rate_multiplier: Optional[float] = None
    weight_decay_multiplier: Optional[float] = None
    trainable: Optional[bool] = None
    learning_rate: Optional[opt_cfg.LrConfig] = None
    warmup: Optional[opt_cfg.WarmupConfig] = None
    kernel_regularizer: Optional[RegularizerConfig] = None
    bias_regularizer: Optional[RegularizerConfig] = None
    activity_regularizer: Optional[RegularizerConfig] = None
    activation: Optional[str] = None
    dropout_rate: Optional[float] = None
    norm_momentum: Optional[float] = None
    norm_epsilon: Optional[float] = None
    kernel_initializer: Optional[Union[str, InitializerConfig]] = None
    dtype: Optional[Literal['float32', 'bfloat16', 'float16']] = None

    def _check(self, report: hyperparams.Report) -> None:
        self._check_pattern(report)
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and value < 0:
                report(name, expected='0 or more')
        for name in ('dropout_rate', 'norm_momentum'):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                report(name, expected='0 or more and less than 1')
        if self.norm_epsilon is not None and not self.norm_epsilon > 0:
            report('norm_epsilon', expected='more than 0')
        if self.learning_rate is not None and self.learning_rate.type is None:
            names = ', '.join(type(self.learning_rate).branches())
            report('learning_rate.type', expected=f'one of {names}')
        if self.trainable and self.learning_rate_multiplier == 0:
            report('learning_rate_multiplier', expected='more than 0, because trainable is true')

    def _check_pattern(self, report: hyperparams.Report) -> None:
        if not self.pattern:
            report('pattern', expected='a regular expression over layer paths or variable keys')
        try:
            re.compile(self.pattern)
        except re.error as error:
            report('pattern', expected=f'a regular expression ({error})')
        if not self.given:
            names = [f.name for f in dataclasses.fields(self) if f.name != 'pattern']
            report('pattern', expected=f'at least one setting beside it: {", ".join(names)}')

    @property
    def given(self) -> dict[str, Any]:
        """The settings that are not None, by name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in values.items() if v is not None and k != 'pattern'}
