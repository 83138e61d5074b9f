"""What a list of overrides sets where, without doing it yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from official_lite.modeling import hyperparams
from official_lite.modeling.layer_overrides import configs, kernels, layer_settings, selection

KERNEL_SETTINGS = ('kernel_regularizer', 'bias_regularizer', 'kernel_initializer')
RATE_SETTINGS = (
    *('learning_rate_multiplier', 'weight_decay_multiplier'),
    *('learning_rate', 'warmup', 'trainable'),
)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One setting of one layer or variable.

    Attributes:
        value: What it becomes.
        where: The override that says so, for errors.
    """

    value: Any
    where: str


# Setting to path of a layer, or key of a variable, to what it becomes.
Plan = dict[str, dict[str, Assignment]]


def make_plan(
    layers: selection.Layers, overrides: Sequence[configs.LayerOverride], where: str
) -> Plan:
    """Works out what is set where.

    Args:
        layers: The layers of the model.
        overrides: The overrides.
        where: Where they come from, for errors.

    Raises:
        LayerOverrideError: a pattern names nothing, a layer that it names lacks a setting, or two
            overrides contradict each other.
    """
    plan: Plan = {}
    for index, override in enumerate(overrides):
        place = f'{where}[{index}]'
        chosen = layers.select(override.pattern, f'{place}.pattern')
        for name, value in override.given.items():
            for target in _find_targets(layers, chosen, name, f'{place}.{name}'):
                _assign(plan.setdefault(name, {}), target, Assignment(value, f'{place}.{name}'))
    _check_training(plan)
    return plan


def parse_overrides(
    overrides: Sequence[configs.LayerOverride | Mapping[str, Any]],
) -> list[configs.LayerOverride]:
    """Checked configs from configs or dicts.

    Raises:
        ConfigError: a name or value is wrong.
    """
    holder = _Overrides()
    holder.override({'overrides': [_to_dict(override) for override in overrides]})
    holder.validate()
    return list(holder.overrides)


@dataclasses.dataclass
class _Overrides(hyperparams.Config):
    """A list of overrides on its own.

    Attributes:
        overrides: The list.
    """

    overrides: list[configs.LayerOverride] = dataclasses.field(default_factory=list)


def _to_dict(override: configs.LayerOverride | Mapping[str, Any]) -> dict[str, Any]:
    return override.as_dict() if isinstance(override, hyperparams.Config) else dict(override)


def _find_targets(
    layers: selection.Layers, chosen: selection.Selection, name: str, where: str
) -> Sequence[str]:
    if name in KERNEL_SETTINGS:
        return kernels.find(layers, chosen, where)
    if name in RATE_SETTINGS:
        return _find_weights(layers, chosen, where)
    return _find_layers(layers, chosen, layer_settings.SETTINGS[name], where)


def _find_weights(
    layers: selection.Layers, chosen: selection.Selection, where: str
) -> Sequence[str]:
    if not chosen.keys:
        having = [layers.owner(key) for key in layers.variables]
        selection.check_found(layers, chosen.outermost[0], (), having, where)
    return chosen.keys


def _find_layers(
    layers: selection.Layers,
    chosen: selection.Selection,
    setting: layer_settings.Setting,
    where: str,
) -> list[str]:
    """Paths of the layers to set, inside of each layer that a pattern names."""
    having = [path for path, layer in layers.layers.items() if setting.has(layer)]
    found: list[str] = []
    for path in chosen.outermost:
        own, *inside = layers.inside(path)
        targets = [own] if setting.has(layers.layers[own]) else []
        targets += [p for p in inside if setting.has_inside(layers.layers[p])]
        selection.check_found(layers, path, targets, having, where)
        found += targets
    if not chosen.outermost:
        selection.check_found(layers, chosen.pattern, (), having, where)
    return found


def _assign(targets: dict[str, Assignment], target: str, new: Assignment) -> None:
    old = targets.setdefault(target, new)
    if old.value != new.value:
        raise _contradiction(target, old, new)


def _check_training(plan: Plan) -> None:
    """Raises for variables that are to be trained, with a rate of 0."""
    trainable = plan.get('trainable', {})
    for target, rate in plan.get('learning_rate_multiplier', {}).items():
        if rate.value == 0 and target in trainable and trainable[target].value:
            raise _contradiction(target, trainable[target], rate)


def _contradiction(target: str, old: Assignment, new: Assignment) -> selection.LayerOverrideError:
    return selection.LayerOverrideError(
        f'contradicts {old.where} on {target!r}',
        where=new.where,
        expected=_describe(old.value),
        received=_describe(new.value),
        hint='let no two patterns match one layer, e.g. backbone/(?!stem).*',
    )


def _describe(value: Any) -> str:
    shown = value.as_dict() if isinstance(value, hyperparams.Config) else value
    return repr(shown)


def check_model(model: Any) -> None:
    """Raises TypeError for what is no Keras model, ValueError for one that is not built."""
    if not isinstance(model, keras.Model):
        raise TypeError(f'expected a keras.Model; received {type(model).__name__}')
    if not model.built:
        raise ValueError(f'expected a built model; call {model.name} or build() it first')
