"""Applies overrides to a model that is built."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional

import keras

from official_lite.modeling.layer_overrides import (
    configs,
    kernels,
    layer_settings,
    plan,
    rates,
    selection,
    training_state,
)
from official_lite.modeling.optimization import replicated_optimizer
from official_lite.modeling.optimization.configs import optimization_config as opt_cfg
from official_lite.modeling.optimization.variable_rates import VariableRate


class LayerSettings:
    """What overrides made of a model, and what is left to do: rates and new initial values.

    Attributes:
        rates: Variable key to rate, of trained variables whose rates differ from the optimizer's.
        frozen: Keys of the variables that overrides took out of training.
        layers: The layers of the model.
        plan: What was set where.
    """

    def __init__(
        self,
        layers: selection.Layers,
        what: plan.Plan,
        frozen: Collection[str],
        variable_rates: Mapping[str, VariableRate],
    ) -> None:
        self.layers = layers
        self.plan = what
        self.frozen = tuple(frozen)
        self.rates = dict(variable_rates)

    def reinitialize(self, seed: int = 0) -> list[str]:
        """Sets what has a `kernel_initializer` to new values; returns the keys.

        Args:
            seed: The values of each variable depend on it and on the variable's key only.
        """
        found = self.plan.get('kernel_initializer', {})
        for key, assignment in found.items():
            kernels.reinitialize(
                key, self.layers.variables[key], assignment.value, assignment.where, seed
            )
        return list(found)

    def configure_optimizer(self, optimizer: keras.optimizers.Optimizer) -> Any:
        """Gives an optimizer, not built yet, the rates.

        Args:
            optimizer: A stock Keras optimizer, of which a copy with the same arguments is returned;
                or one of `modeling.optimization`, which is returned itself.

        Raises:
            ValueError: it is built, or has a feature that `ReplicatedOptimizer` refuses.
        """
        if not hasattr(optimizer, 'set_variable_rates'):
            cls = replicated_optimizer.replicated(type(optimizer))
            optimizer = cls.from_config(optimizer.get_config())
        optimizer.set_variable_keys(self.layers.variables)
        optimizer.set_variable_rates(self.rates)
        return optimizer

    def check_optimizer(self, optimizer: Any) -> None:
        """Looks, once an optimizer is built, for a weight decay that does not exist.

        Raises:
            LayerOverrideError: a `weight_decay_multiplier` multiplies nothing.
        """
        found = self.plan.get('weight_decay_multiplier', {})
        inner = getattr(optimizer, 'inner_optimizer', optimizer)
        # What has no decay already has what a multiplier of 0 asks for.
        trained = {
            key: self.layers.variables[key]
            for key, assignment in found.items()
            if assignment.value and key in self.rates
        }
        for where in dict.fromkeys(assignment.where for assignment in found.values()):
            own = [v for key, v in trained.items() if found[key].where == where]
            if own and not any(inner.own_weight_decay(v) for v in own):
                raise selection.LayerOverrideError(
                    f'{inner.name} has no weight decay on any of the variables',
                    where=where,
                    hint='set the decay of the optimizer, or use kernel_regularizer',
                )


def apply_layer_overrides(
    model: keras.Model,
    overrides: Sequence[configs.LayerOverride | Mapping[str, Any]],
    *,
    optimizer_config: Optional[opt_cfg.OptimizationConfig] = None,
    frozen: Collection[str] = (),
    where: str = 'task.layer_overrides',
) -> LayerSettings:
    """Changes layers of a Keras 3 model, in place; they act from the next trace of a step on.

        settings = apply_layer_overrides(model, [{'pattern': 'head', 'dropout_rate': 0.2}])
        settings.reinitialize()  # if there is a kernel_initializer
        model.compile(settings.configure_optimizer(keras.optimizers.Adam(1e-3)), loss)

    Variables keep their keys and their values. An override can be applied twice.

    Args:
        model: The model, built.
        overrides: `LayerOverride`s, or dicts of their fields.
        optimizer_config: What the overrides' schedules take their warm-up or rate from, where they
            do not say, and `layerwise_lr_decay`.
        frozen: Keys of variables that something else took out of training; an override that
            trains them is an error.
        where: Where the overrides come from, for errors.

    Returns:
        The rates for an optimizer, and the new initial values, which are not set yet.

    Raises:
        ConfigError: an override has a wrong name or value.
        LayerOverrideError: a pattern names nothing, a layer that it names lacks a setting, two
            overrides contradict each other, or nothing is left to train.
    """
    plan.check_model(model)
    layers = selection.Layers(model)
    what = plan.make_plan(layers, plan.parse_overrides(overrides), where)
    _check_values(what)
    for name, setting in layer_settings.SETTINGS.items():
        for path, assignment in what.get(name, {}).items():
            setting.set(layers.layers[path], assignment.value)
    if 'dropout_rate' in what:
        for layer in layers.layers.values():
            layer_settings.sync_attention_dropout(layer)
    for name in ('kernel_regularizer', 'bias_regularizer'):
        for key, assignment in what.get(name, {}).items():
            kernels.regularize(layers, key, assignment.value, name)
    own_frozen = _set_trained(model, layers, what, frozen)
    _forget_compiled_steps(model)
    found = rates.build_rates(model, layers, what, optimizer_config)
    return LayerSettings(layers, what, own_frozen, found)


def _check_values(what: plan.Plan) -> None:
    """Raises before anything is changed."""
    for assignment in what.get('kernel_initializer', {}).values():
        kernels.build_initializer(assignment.value, assignment.where)
    for assignment in what.get('activation', {}).values():
        layer_settings.check_activation(assignment.value, assignment.where)


def _set_trained(
    model: keras.Model, layers: selection.Layers, what: plan.Plan, frozen: Collection[str]
) -> list[str]:
    trainable = what.get('trainable', {})
    off = [key for key, assignment in trainable.items() if not assignment.value]
    multipliers = what.get('learning_rate_multiplier', {})
    off += [key for key, found in multipliers.items() if found.value == 0 and key not in off]
    on = [key for key, assignment in trainable.items() if assignment.value]
    for key in on:
        if key in frozen:
            raise selection.LayerOverrideError(
                f'contradicts task.freeze on {key!r}', where=trainable[key].where
            )
    if on:
        training_state.unfreeze(model, layers, on)
    if off:
        training_state.freeze(model, layers, off)
        if not model.trainable_variables:
            assignment = {**multipliers, **trainable}[off[0]]
            raise selection.LayerOverrideError(
                'nothing is left to train',
                where=assignment.where,
                expected='patterns that spare some variables',
            )
    return off


def _forget_compiled_steps(model: keras.Model) -> None:
    """`fit`, `evaluate` and `predict` would go on with what they have traced."""
    for name in ('train_function', 'test_function', 'predict_function'):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
