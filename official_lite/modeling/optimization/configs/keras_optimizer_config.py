"""Configs of the optimizers of Keras 3 that Model Garden does not have. Defaults are Keras'.

Where Model Garden has an optimizer of the same name but with other numbers, the one of Keras is
called `<name>_keras`. `sgd_experimental`, `adam_experimental` and `adamw_experimental` are Keras'
SGD, Adam and AdamW already.
"""

from __future__ import annotations

import dataclasses
from typing import Optional

from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import optimizer_config

__all__ = [
    'AdadeltaConfig',
    'AdagradKerasConfig',
    'AdamaxConfig',
    'FtrlConfig',
    'KerasOptimizerConfig',
    'LambKerasConfig',
    'LionConfig',
    'MuonConfig',
    'NadamConfig',
    'RMSPropKerasConfig',
    'ScheduleFreeAdamWConfig',
]


@dataclasses.dataclass
class KerasOptimizerConfig(optimizer_config.BaseOptimizerConfig):
    """What the optimizers of Keras share beside the clipping: weight decay apart from the gradient.

    Attributes:
        weight_decay: Each step takes `learning rate * weight_decay` off a weight, before the rule
            (arXiv:1711.05101).
        include_in_weight_decay: Name patterns; given, only variables that they match decay. None:
            all but the excluded ones.
        exclude_from_weight_decay: Name patterns of variables that do not decay, unless they are
            included. None: none.
    """

    weight_decay: float = 0.0
    include_in_weight_decay: Optional[list[str]] = None
    exclude_from_weight_decay: Optional[list[str]] = None


@dataclasses.dataclass
class AdadeltaConfig(KerasOptimizerConfig):
    """Adadelta (arXiv:1212.5701).

    Attributes:
        name: Name of the optimizer.
        rho: Share of both mean squares that is kept at each step.
        epsilon: Added to the mean squares.
    """

    name: str = 'Adadelta'
    rho: float = 0.95
    epsilon: float = 1e-07


@dataclasses.dataclass
class AdagradKerasConfig(KerasOptimizerConfig):
    """Adagrad (Duchi et al., 2011) with Keras' place of epsilon.

    Attributes:
        name: Name of the optimizer.
        initial_accumulator_value: Where the sums of squares start.
        epsilon: Added to the sum of squares, inside of the root.
    """

    name: str = 'Adagrad'
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-07


@dataclasses.dataclass
class AdamaxConfig(KerasOptimizerConfig):
    """Adam with the largest gradient in place of the mean square (arXiv:1412.6980, section 7).

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the largest gradient that is kept at each step.
        epsilon: Added to the divisor.
    """

    name: str = 'Adamax'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-07


@dataclasses.dataclass
class FtrlConfig(KerasOptimizerConfig):
    """Follow the regularized leader (McMahan et al., KDD 2013).

    Attributes:
        name: Name of the optimizer.
        learning_rate_power: Exponent of the sums of squares in the step, 0 or less.
        initial_accumulator_value: Where the sums of squares start.
        l1_regularization_strength: L1 penalty; weights within it become 0.
        l2_regularization_strength: L2 penalty that stabilizes.
        l2_shrinkage_regularization_strength: L2 penalty on the size of the weights.
        beta: The paper's beta, added to the root of the sums of squares.
    """

    name: str = 'Ftrl'
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = 0.0
    beta: float = 0.0

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        if self.learning_rate_power > 0:
            report('learning_rate_power', expected='0 or less')


@dataclasses.dataclass
class LambKerasConfig(KerasOptimizerConfig):
    """LAMB (arXiv:1904.00962) as Keras has it: weight decay is no part of the scaled update.

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
    """

    name: str = 'Lamb'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-07


@dataclasses.dataclass
class LionConfig(KerasOptimizerConfig):
    """Lion: steps of one size, in the direction of a mean's sign (arXiv:2302.06675).

    The learning rate should be 3 to 10 times smaller than for AdamW, and the weight decay as much
    larger.

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean in the direction of a step.
        beta_2: Share of the mean gradient that is kept at each step.
    """

    name: str = 'Lion'
    beta_1: float = 0.9
    beta_2: float = 0.99


@dataclasses.dataclass
class MuonConfig(KerasOptimizerConfig):
    """Muon: orthogonalized momentum for matrices, AdamW for the rest (arXiv:2502.16982).

    Matrices are variables with two dimensions. AdamW gets the embeddings, what `exclude_layers`
    finds, and every variable with another number of dimensions: also the kernels of convolutions,
    unless `flatten_kernels` is set.

    Attributes:
        name: Name of the optimizer.
        weight_decay: Each step takes `learning rate * weight_decay` off a weight of Muon's.
        adam_beta_1: AdamW's share of the mean gradient that is kept.
        adam_beta_2: AdamW's share of the mean square that is kept.
        adam_weight_decay: Each step takes `learning rate * adam_weight_decay` off AdamW's weights.
        adam_lr_ratio: AdamW's learning rate relative to Muon's.
        epsilon: Added to the root of AdamW's mean square.
        exclude_layers: Name patterns of matrices that AdamW gets, as a rule the last layer's. None:
            none.
        exclude_embeddings: Whether AdamW gets the variables with 'embedding' in their key.
        flatten_kernels: Whether Muon takes kernels with more than two dimensions too, as matrices
            of [all other dimensions, outputs]. Keras does not.
        momentum: Share of the momentum that is kept.
        nesterov: Whether the gradient is looked up ahead of the momentum.
        ns_steps: Number of Newton-Schulz iterations, which orthogonalize.
        muon_a: Their coefficient of x.
        muon_b: Their coefficient of x^3.
        muon_c: Their coefficient of x^5.
        rms_rate: Root mean square of a step of learning rate 1: that of AdamW, so that both can
            have one learning rate. None: steps are not scaled by the matrix' size.
    """

    name: str = 'Muon'
    weight_decay: float = 0.004
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_weight_decay: float = 0.004
    adam_lr_ratio: float = 1.0
    epsilon: float = 1e-07
    exclude_layers: Optional[list[str]] = None
    exclude_embeddings: bool = True
    flatten_kernels: bool = False
    momentum: float = 0.95
    nesterov: bool = True
    ns_steps: int = 5
    muon_a: float = 3.4445
    muon_b: float = -4.7750
    muon_c: float = 2.0315
    rms_rate: Optional[float] = 0.2

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        if self.ns_steps < 1:
            report('ns_steps', expected='1 or more')


@dataclasses.dataclass
class NadamConfig(KerasOptimizerConfig):
    """Adam with Nesterov's momentum (Dozat, 2016).

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the mean gradient that is kept at each step.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
    """

    name: str = 'Nadam'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-07


@dataclasses.dataclass
class RMSPropKerasConfig(KerasOptimizerConfig):
    """RMSProp (Hinton, Coursera lecture 6e) with Keras' place of epsilon.

    Attributes:
        name: Name of the optimizer.
        rho: Share of the mean square that is kept at each step.
        momentum: Share of the last update that is kept.
        epsilon: Added to the mean square, inside of the root.
        centered: Whether the variance, not the mean square, scales the gradient.
    """

    name: str = 'RMSprop'
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-07
    centered: bool = False


@dataclasses.dataclass
class ScheduleFreeAdamWConfig(KerasOptimizerConfig):
    """AdamW that averages its weights instead of lowering the rate (arXiv:2405.15682).

    The learning rate should be constant, after `optimizer_config.warmup`. Training takes gradients
    between the average and the weights that move; evaluation and export get the average. BatchNorm's
    statistics are those of training. The numbers are the paper's, which Keras' are not.

    Attributes:
        name: Name of the optimizer.
        beta_1: Share of the average in the weights that gradients are taken at.
        beta_2: Share of the mean square that is kept at each step.
        epsilon: Added to the root of the mean square.
    """

    name: str = 'ScheduleFreeAdamW'
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-08

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        if self.beta_1 == 0:
            report('beta_1', expected='more than 0')
