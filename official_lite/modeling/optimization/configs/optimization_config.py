"""The config of optimization: optimizer, learning rate, warm-up and moving average."""

from __future__ import annotations

import dataclasses
from typing import Optional

from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import keras_optimizer_config as keras_cfg
from official_lite.modeling.optimization.configs import learning_rate_config as lr_cfg
from official_lite.modeling.optimization.configs import optimizer_config as opt_cfg

__all__ = ['LrConfig', 'OptimizationConfig', 'OptimizerConfig', 'WarmupConfig']

# Optimizers that keep an average of the weights, in slots called `average`.
_AVERAGING = ('schedule_free_adamw',)


@dataclasses.dataclass
class OptimizerConfig(hyperparams.OneOfConfig):
    """Which optimizer, and its settings.

    Attributes:
        type: Name of the branch that counts. None means not set.
        sgd: Gradient descent with momentum.
        sgd_experimental: The same, as Model Garden names the newer Keras class.
        adam: Adam.
        adam_experimental: The same, as Model Garden names the newer Keras class.
        adamw: Adam with weight decay and name patterns.
        adamw_experimental: Adam with weight decay, as in the newer Keras class.
        lamb: LAMB.
        rmsprop: RMSProp.
        lars: LARS.
        adagrad: Adagrad.
        slide: SLIDE. Not implemented.
        adafactor: Adafactor with the switches of flax' and optax' implementations.
        adafactor_keras: Adafactor as Keras has it.
        adadelta: Adadelta.
        adagrad_keras: Adagrad with Keras' place of epsilon.
        adamax: Adam with the largest gradient in place of the mean square.
        ftrl: Follow the regularized leader.
        lamb_keras: LAMB as Keras has it.
        lion: Lion.
        muon: Muon for matrices, AdamW for the rest.
        nadam: Adam with Nesterov's momentum.
        rmsprop_keras: RMSProp with Keras' place of epsilon.
        schedule_free_adamw: AdamW that averages its weights and needs no schedule.
    """

    type: Optional[str] = None
    sgd: opt_cfg.SGDConfig = dataclasses.field(default_factory=opt_cfg.SGDConfig)
    sgd_experimental: opt_cfg.SGDExperimentalConfig = dataclasses.field(
        default_factory=opt_cfg.SGDExperimentalConfig
    )
    adam: opt_cfg.AdamConfig = dataclasses.field(default_factory=opt_cfg.AdamConfig)
    adam_experimental: opt_cfg.AdamExperimentalConfig = dataclasses.field(
        default_factory=opt_cfg.AdamExperimentalConfig
    )
    adamw: opt_cfg.AdamWeightDecayConfig = dataclasses.field(
        default_factory=opt_cfg.AdamWeightDecayConfig
    )
    adamw_experimental: opt_cfg.AdamWeightDecayExperimentalConfig = dataclasses.field(
        default_factory=opt_cfg.AdamWeightDecayExperimentalConfig
    )
    lamb: opt_cfg.LAMBConfig = dataclasses.field(default_factory=opt_cfg.LAMBConfig)
    rmsprop: opt_cfg.RMSPropConfig = dataclasses.field(default_factory=opt_cfg.RMSPropConfig)
    lars: opt_cfg.LARSConfig = dataclasses.field(default_factory=opt_cfg.LARSConfig)
    adagrad: opt_cfg.AdagradConfig = dataclasses.field(default_factory=opt_cfg.AdagradConfig)
    slide: opt_cfg.SLIDEConfig = dataclasses.field(default_factory=opt_cfg.SLIDEConfig)
    adafactor: opt_cfg.AdafactorConfig = dataclasses.field(default_factory=opt_cfg.AdafactorConfig)
    adafactor_keras: opt_cfg.AdafactorKerasConfig = dataclasses.field(
        default_factory=opt_cfg.AdafactorKerasConfig
    )
    # Ours.
    adadelta: keras_cfg.AdadeltaConfig = dataclasses.field(default_factory=keras_cfg.AdadeltaConfig)
    adagrad_keras: keras_cfg.AdagradKerasConfig = dataclasses.field(
        default_factory=keras_cfg.AdagradKerasConfig
    )
    adamax: keras_cfg.AdamaxConfig = dataclasses.field(default_factory=keras_cfg.AdamaxConfig)
    ftrl: keras_cfg.FtrlConfig = dataclasses.field(default_factory=keras_cfg.FtrlConfig)
    lamb_keras: keras_cfg.LambKerasConfig = dataclasses.field(
        default_factory=keras_cfg.LambKerasConfig
    )
    lion: keras_cfg.LionConfig = dataclasses.field(default_factory=keras_cfg.LionConfig)
    muon: keras_cfg.MuonConfig = dataclasses.field(default_factory=keras_cfg.MuonConfig)
    nadam: keras_cfg.NadamConfig = dataclasses.field(default_factory=keras_cfg.NadamConfig)
    rmsprop_keras: keras_cfg.RMSPropKerasConfig = dataclasses.field(
        default_factory=keras_cfg.RMSPropKerasConfig
    )
    schedule_free_adamw: keras_cfg.ScheduleFreeAdamWConfig = dataclasses.field(
        default_factory=keras_cfg.ScheduleFreeAdamWConfig
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.type == 'slide':
            report(
                'type',
                expected='an optimizer that is implemented; SLIDE has never been published',
                hint='use lamb',
            )


@dataclasses.dataclass
class LrConfig(hyperparams.OneOfConfig):
    """Which learning-rate schedule, and its settings.

    Attributes:
        type: Name of the branch that counts. None means not set.
        constant: The same learning rate at every step.
        stepwise: Constant between boundaries.
        exponential: Exponential decay.
        polynomial: Polynomial decay.
        cosine: Half a cosine wave.
        power: A power of the step.
        power_linear: A power of the step, with a straight line to 0 at the end.
        power_with_offset: A power of the steps after an offset.
        step_cosine_with_offset: Half cosine waves between boundaries.
    """

    type: Optional[str] = None
    constant: lr_cfg.ConstantLrConfig = dataclasses.field(default_factory=lr_cfg.ConstantLrConfig)
    stepwise: lr_cfg.StepwiseLrConfig = dataclasses.field(default_factory=lr_cfg.StepwiseLrConfig)
    exponential: lr_cfg.ExponentialLrConfig = dataclasses.field(
        default_factory=lr_cfg.ExponentialLrConfig
    )
    polynomial: lr_cfg.PolynomialLrConfig = dataclasses.field(
        default_factory=lr_cfg.PolynomialLrConfig
    )
    cosine: lr_cfg.CosineLrConfig = dataclasses.field(default_factory=lr_cfg.CosineLrConfig)
    power: lr_cfg.DirectPowerLrConfig = dataclasses.field(
        default_factory=lr_cfg.DirectPowerLrConfig
    )
    power_linear: lr_cfg.PowerAndLinearDecayLrConfig = dataclasses.field(
        default_factory=lr_cfg.PowerAndLinearDecayLrConfig
    )
    power_with_offset: lr_cfg.PowerDecayWithOffsetLrConfig = dataclasses.field(
        default_factory=lr_cfg.PowerDecayWithOffsetLrConfig
    )
    step_cosine_with_offset: lr_cfg.StepCosineLrConfig = dataclasses.field(
        default_factory=lr_cfg.StepCosineLrConfig
    )


@dataclasses.dataclass
class WarmupConfig(hyperparams.OneOfConfig):
    """Which warm-up, and its settings.

    Attributes:
        type: Name of the branch that counts. None means no warm-up.
        linear: A straight line.
        polynomial: A power of the step.
    """

    type: Optional[str] = None
    linear: lr_cfg.LinearWarmupConfig = dataclasses.field(default_factory=lr_cfg.LinearWarmupConfig)
    polynomial: lr_cfg.PolynomialWarmupConfig = dataclasses.field(
        default_factory=lr_cfg.PolynomialWarmupConfig
    )


@dataclasses.dataclass
class OptimizationConfig(hyperparams.Config):
    """How weights are updated.

    Lengths in here (warm-up, decay, boundaries, `ema.start_step`) are train steps, as
    `trainer.train_steps` is: batches. They keep their meaning with gradient accumulation.

    Attributes:
        optimizer: Which optimizer.
        ema: Moving average of the weights. None means none.
        learning_rate: Which learning-rate schedule.
        warmup: Which warm-up, over the first steps of the schedule.
        gradient_accumulation_steps: Train steps (batches) whose gradients are averaged for one
            update. n of them with batches of b examples do what one with n * b does.
        layerwise_lr_decay: Factor of the learning rate from each block of the backbone to the one
            before it, more than 0 and at most 1. The last of n blocks has this factor, the stem its
            (n + 1)th power (arXiv:2106.08254). None: one rate for all.
    """

    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    ema: Optional[opt_cfg.EMAConfig] = None
    learning_rate: LrConfig = dataclasses.field(default_factory=LrConfig)
    warmup: WarmupConfig = dataclasses.field(default_factory=WarmupConfig)
    # Ours.
    gradient_accumulation_steps: int = 1
    layerwise_lr_decay: Optional[float] = None

    def _check(self, report: hyperparams.Report) -> None:
        if self.gradient_accumulation_steps < 1:
            report('gradient_accumulation_steps', expected='1 or more')
        if self.layerwise_lr_decay is not None and not 0 < self.layerwise_lr_decay <= 1:
            report('layerwise_lr_decay', expected='more than 0 and at most 1, or null')
        if self.ema is not None and self.optimizer.type in _AVERAGING:
            report('ema', expected=f'null, because {self.optimizer.type} keeps an average itself')

    @property
    def has_averages(self) -> bool:
        """Whether evaluation and export get averages of the weights."""
        return self.ema is not None or self.optimizer.type in _AVERAGING
