"""Configs of optimizers. Fields and defaults are Model Garden's.

Name patterns are regular expressions, searched for in a variable's key, for example
'backbone/stem/conv/kernel'. A trailing ':0' in a pattern is accepted and means nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Optional

from official_lite.modeling import hyperparams

__all__ = [
    'AdafactorConfig',
    'AdafactorKerasConfig',
    'AdagradConfig',
    'AdamConfig',
    'AdamExperimentalConfig',
    'AdamWeightDecayConfig',
    'AdamWeightDecayExperimentalConfig',
    'BaseOptimizerConfig',
    'EMAConfig',
    'LAMBConfig',
    'LARSConfig',
    'RMSPropConfig',
    'SGDConfig',
    'SGDExperimentalConfig',
    'SLIDEConfig',
]

# Fields that hold a fraction in [0, 1): a mean that keeps all of its past would never move.
_FRACTIONS = ('beta_1', 'beta_2', 'beta1', 'rho', 'momentum', 'adam_beta_1', 'adam_beta_2')
_POSITIVE = (
    *('epsilon', 'epsilon_1', 'epsilon_2', 'epsilon1', 'epsilon2'),
    *('decay_rate', 'min_dim_size_to_factor', 'adam_lr_ratio', 'rms_rate'),
)
_NOT_NEGATIVE = (
    'decay',
    'weight_decay',
    'weight_decay_rate',
    'adam_weight_decay',
    'gradient_clip_norm',
    'initial_accumulator_value',
    'eeta',
    'beta',
    'l1_regularization_strength',
    'l2_regularization_strength',
    'l2_shrinkage_regularization_strength',
    'step_offset',
)
_CLIPS = ('clipnorm', 'clipvalue', 'global_clipnorm', 'clip_threshold', 'clipping_threshold')


@dataclasses.dataclass
class BaseOptimizerConfig(hyperparams.Config):
    """What all optimizers share. The clipping is done after the sum over replicas.

    Attributes:
        clipnorm: Largest L2 norm of each variable's gradient. None means no limit.
        clipvalue: Largest absolute value of each number in a gradient. None means no limit.
        global_clipnorm: Largest L2 norm of all gradients together. None means no limit.
    """

    clipnorm: Optional[float] = None
    clipvalue: Optional[float] = None
    global_clipnorm: Optional[float] = None

    def _check(self, report: hyperparams.Report) -> None:
        values = {name: getattr(self, name) for name in type(self).__dataclass_fields__}
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        for name in numbers.keys() & set(_FRACTIONS):
            if not 0 <= numbers[name] < 1:
                report(name, expected='0 or more and less than 1')
        for name in numbers.keys() & set(_POSITIVE):
            if numbers[name] <= 0:
                report(name, expected='more than 0')
        for name in numbers.keys() & set(_NOT_NEGATIVE):
            if numbers[name] < 0:
                report(name, expected='0 or more')
        for name in numbers.keys() & set(_CLIPS):
            if numbers[name] <= 0:
                report(name, expected='more than 0, or null for no clipping')
        if self.clipnorm is not None and self.global_clipnorm is not None:
            report('clipnorm', expected='null, because global_clipnorm is set')


@dataclasses.dataclass
class SGDConfig(BaseOptimizerConfig):
    """Gradient descent with momentum.

    Attributes:
        name: Name of the optimizer.
        decay: Decay of the learning rate by time: it is divided by `1 + decay * step`.
        nesterov: Whether the gradient is looked up ahead of the momentum.
        momentum: Share of the last update that is kept.
    """

    name: str = 'SGD'
    decay: float = 0.0
    nesterov: bool = False
    momentum: float = 0.0


@dataclasses.dataclass
class SGDExperimentalConfig(BaseOptimizerConfig):
    """Gradient descent with momentum; Model Garden's name for the newer Keras class.

    Attributes:
        name: Name of the optimizer.
        nesterov: Whether the gradient is looked up ahead of the momentum.
        momentum: Share of the last update that is kept.
        jit_compile: Whether the update is compiled by XLA.
    """

    name: str = 'SGD'
    nesterov: bool = False
    momentum: float = 0.0
    jit_compile: bool = False


@dataclasses.dataclass
class RMSPropConfig(BaseOptimizerConfig):
    """RMSProp (Hinton, Coursera lecture 6e).

    Attributes:
        name: Name of the optimizer.
        rho: Share of the mean square that is kept at each step.
        momentum: Share of the last update that is kept.
        epsilon: Added to the mean square.
        centered: Whether the variance, not the mean square, scales the gradient.
    """

    name: str = 'RMSprop'
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False


@dataclasses.dataclass
class AdagradConfig(BaseOptimizerConfig):
    """Adagrad (Duchi et al., 2011).

    Attributes:
        name: Name of the optimizer.
        initial_accumulator_value: Where the sums of squares start.
        epsilon: Added to the divisor.
    """

    name: str = 'Adagrad'
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-07


@dataclasses.dataclass
class AdamConfig(BaseOptimizerConfig):
    """Adam (Kingma and Ba, arXiv:1412.6980).

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
        amsgrad: Whether the largest mean square so far is used (arXiv:1904.09237).
    """

    name: str = 'Adam'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-07
    amsgrad: bool = False


@dataclasses.dataclass
class AdamExperimentalConfig(BaseOptimizerConfig):
    """Adam; Model Garden's name for the newer Keras class.

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
        amsgrad: Whether the largest mean square so far is used (arXiv:1904.09237).
        jit_compile: Whether the update is compiled by XLA.
    """

    name: str = 'Adam'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-07
    amsgrad: bool = False
    jit_compile: bool = False


@dataclasses.dataclass
class AdamWeightDecayConfig(BaseOptimizerConfig):
    """Adam with weight decay apart from the gradient (arXiv:1711.05101).

    With include patterns, the variables that they match decay and no others (in Model Garden, all
    others do). Without, all but the excluded ones.

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
        amsgrad: Whether the largest mean square so far is used (arXiv:1904.09237).
        weight_decay_rate: Each step takes `learning rate * weight_decay_rate` off a weight.
        include_in_weight_decay: Name patterns; given, only variables that they match decay. None:
            all but the excluded ones.
        exclude_from_weight_decay: Name patterns of variables that do not decay, unless they are
            included. None: none.
        gradient_clip_norm: Largest L2 norm of all gradients together. 0 means no limit.
    """

    name: str = 'AdamWeightDecay'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-07
    amsgrad: bool = False
    weight_decay_rate: float = 0.0
    include_in_weight_decay: Optional[list[str]] = None
    exclude_from_weight_decay: Optional[list[str]] = None
    gradient_clip_norm: float = 1.0


@dataclasses.dataclass
class AdamWeightDecayExperimentalConfig(BaseOptimizerConfig):
    """Adam with weight decay; Model Garden's name for the newer Keras class.

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
        amsgrad: Whether the largest mean square so far is used (arXiv:1904.09237).
        weight_decay: Each step takes `learning rate * weight_decay` off every weight.
        global_clipnorm: Largest L2 norm of all gradients together.
        jit_compile: Whether the update is compiled by XLA.
    """

    name: str = 'AdamWeightDecayExperimental'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-07
    amsgrad: bool = False
    weight_decay: float = 0.0
    global_clipnorm: Optional[float] = 1.0
    jit_compile: bool = False


@dataclasses.dataclass
class LAMBConfig(BaseOptimizerConfig):
    """Adam with a step per layer in proportion to the layer's norm (arXiv:1904.00962).

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
        weight_decay_rate: Weight of the parameters in the update.
        exclude_from_weight_decay: Name patterns of variables that do not decay. None: none.
        exclude_from_layer_adaptation: Name patterns of variables whose step is not scaled by their
            norm. None: as `exclude_from_weight_decay`.
    """

    name: str = 'LAMB'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-6
    weight_decay_rate: float = 0.0
    exclude_from_weight_decay: Optional[list[str]] = None
    exclude_from_layer_adaptation: Optional[list[str]] = None


@dataclasses.dataclass
class EMAConfig(BaseOptimizerConfig):
    """A moving average of the weights, which evaluation and export use.

    Attributes:
        name: Name of the optimizer that keeps the average.
        trainable_weights_only: Whether BatchNorm's statistics are left out.
        average_decay: Share of the average that is kept at each step.
        start_step: Step at which averaging starts.
        dynamic_decay: Whether the share starts small: at most `(1 + k) / (10 + k)` after k steps.
    """

    name: str = 'ExponentialMovingAverage'
    trainable_weights_only: bool = True
    average_decay: float = 0.99
    start_step: int = 0
    dynamic_decay: bool = True

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        if not 0 <= self.average_decay <= 1:
            report('average_decay', expected='0 to 1')
        if self.start_step < 0:
            report('start_step', expected='0 or more')


@dataclasses.dataclass
class LARSConfig(BaseOptimizerConfig):
    """Momentum with a learning rate per layer (arXiv:1708.03888).

    Attributes:
        name: Name of the optimizer.
        momentum: Share of the last update that is kept.
        eeta: Step of a layer relative to its norm.
        weight_decay_rate: L2 penalty added to the gradient.
        nesterov: Whether the gradient is looked up ahead of the momentum.
        classic_momentum: Whether the learning rate acts before the momentum, not after it.
        exclude_from_weight_decay: Name patterns of variables that do not decay. None: none.
        exclude_from_layer_adaptation: Name patterns of variables whose step is not scaled by their
            norm. None: as `exclude_from_weight_decay`.
    """

    name: str = 'LARS'
    momentum: float = 0.9
    eeta: float = 0.001
    weight_decay_rate: float = 0.0
    nesterov: bool = False
    classic_momentum: bool = True
    exclude_from_weight_decay: Optional[list[str]] = None
    exclude_from_layer_adaptation: Optional[list[str]] = None


@dataclasses.dataclass
class SLIDEConfig(BaseOptimizerConfig):
    """SLIDE. Model Garden declares it without an implementation, and none is published.

    It is here so that Model Garden's configs load; to choose it is an error.

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
        weight_decay_rate: Rate of the weight decay.
        weight_decay_type: Whether decay acts before or after the scaling.
        exclude_from_weight_decay: Name patterns of variables that do not decay. None: none.
        exclude_from_layer_adaptation: Name patterns of variables not scaled by norm. None: none.
        include_in_sparse_layer_adaptation: Name patterns of sparse layers. None: none.
        sparse_layer_learning_rate: Learning rate of sparse layers.
        do_gradient_rescaling: Whether gradients are rescaled.
        norm_type: Norm by which steps are scaled.
        ratio_clip_norm: Largest ratio of norms.
    """

    name: str = 'SLIDE'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-6
    weight_decay_rate: float = 0.0
    weight_decay_type: Literal['inner', 'outer'] = 'inner'
    exclude_from_weight_decay: Optional[list[str]] = None
    exclude_from_layer_adaptation: Optional[list[str]] = None
    include_in_sparse_layer_adaptation: Optional[list[str]] = None
    sparse_layer_learning_rate: float = 0.1
    do_gradient_rescaling: bool = True
    norm_type: str = 'layer'
    ratio_clip_norm: float = 1e5


@dataclasses.dataclass
class AdafactorConfig(BaseOptimizerConfig):
    """Adafactor (arXiv:1804.04235) with the switches of flax' and optax' implementations.

    Model Garden has these fields and no implementation of them.

    Attributes:
        name: Name of the optimizer.
        factored: Whether the mean squares of large matrices are kept as a row and a column.
        multiply_by_parameter_scale: Whether a step is relative to the root mean square of its
            variable; the learning rate is then near 1e-2, not near 1e-3.
        beta1: Share of the mean update that is kept. None means no mean is kept.
        decay_rate: The mean square keeps `1 - t ** -decay_rate` of its past at update t.
        step_offset: Updates before the t of the decay begins to count, for fine-tuning.
        clipping_threshold: Largest root mean square of an update relative to its step size.
        min_dim_size_to_factor: A variable is factored if its two largest dimensions have at least
            this size.
        epsilon1: Added to squared gradients.
        epsilon2: Smallest size of a variable that scales a step.
        weight_decay: Share that each update takes off a weight, whatever the learning rate. None
            means none.
        include_in_weight_decay: Name pattern of the variables that decay. None: all.
    """

    name: str = 'Adafactor'
    factored: bool = True
    multiply_by_parameter_scale: bool = True
    beta1: Optional[float] = None
    decay_rate: float = 0.8
    step_offset: int = 0
    clipping_threshold: float = 1.0
    min_dim_size_to_factor: int = 128
    epsilon1: float = 1e-30
    epsilon2: float = 1e-3
    weight_decay: Optional[float] = None
    include_in_weight_decay: Optional[str] = None


@dataclasses.dataclass
class AdafactorKerasConfig(BaseOptimizerConfig):
    """Adafactor (arXiv:1804.04235) as Keras has it.

    Attributes:
        name: Name of the optimizer.
        learning_rate: Not used: the learning rate of the experiment counts.
        beta_2_decay: Exponent of the decay of the mean square.
        epsilon_1: Added to squared gradients.
        epsilon_2: Smallest size of a parameter that scales a step.
        clip_threshold: Largest root mean square of an update.
        relative_step: Whether the learning rate is at most one over the root of the step.
    """

    name: str = 'Adafactor'
    learning_rate: float = 0.001
    beta_2_decay: float = -0.8
    epsilon_1: float = 1e-30
    epsilon_2: float = 1e-3
    clip_threshold: float = 1.0
    relative_step: bool = True
