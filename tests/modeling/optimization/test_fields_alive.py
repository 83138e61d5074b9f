"""Every field of every optimizer's config changes the updates, or is listed here with the reason."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import optimization
from tests.modeling.optimization import update_rules

_SHAPES = {
    'conv/kernel': (2, 2, 2, 3),
    'embedding/table': (4, 3),
    'head/kernel': (3, 2),
    'head/bias': (2,),
}
# The sizes of the gradients differ, so that clipping changes their mixture.
_SCALES = (3.0, 0.5, 0.1, 1.0)
_GRADIENTS = [
    [tf.constant(g * scale, tf.float32) for g in gradients]
    for scale, gradients in zip(
        _SCALES, update_rules.make_gradients(list(_SHAPES.values()), 4), strict=True
    )
]

# What else must be set for a field to count; by field, or by branch and field.
_CONTEXT: dict[str, dict[str, Any]] = {
    'nesterov': {'momentum': 0.9},
    'lamb.exclude_from_weight_decay': {'weight_decay_rate': 0.5},
    'lars.exclude_from_weight_decay': {'weight_decay_rate': 0.5},
    'adamw.exclude_from_weight_decay': {'weight_decay_rate': 0.5},
    'adamw.include_in_weight_decay': {'weight_decay_rate': 0.5},
    'exclude_from_weight_decay': {'weight_decay': 0.5},
    'include_in_weight_decay': {'weight_decay': 0.5},
    'adafactor.factored': {'min_dim_size_to_factor': 1},
    # Both kinds of clipping together are an error.
    'adamw_experimental.clipnorm': {'global_clipnorm': None},
    # Without weight decay its steps do not depend on the gradients' size.
    'lars.clipnorm': {'weight_decay_rate': 0.5},
    'lars.global_clipnorm': {'weight_decay_rate': 0.5},
}
_VALUES: dict[str, Any] = {
    'adafactor.include_in_weight_decay': 'kernel',
    'min_dim_size_to_factor': 1,
    'step_offset': 2,
    'clip_threshold': 0.1,
    'clipping_threshold': 0.1,
    'learning_rate_power': -0.3,
    'beta_2_decay': -0.3,
    'ns_steps': 2,
    'epsilon2': 5.0,
    'epsilon_2': 5.0,
}
_NOT_ALIVE = {
    'name': 'a name',
    'jit_compile': 'how the rule runs, not what it does',
    'adafactor_keras.learning_rate': "the experiment's counts, as in Model Garden",
    'adafactor_keras.relative_step': 'without effect in Keras: its limit holds in any case',
}


def _fields() -> list[tuple[str, str]]:
    config = optimization.OptimizerConfig()
    return [
        (branch.name, field.name)
        for branch in dataclasses.fields(config)
        if dataclasses.is_dataclass(getattr(config, branch.name)) and branch.name != 'slide'
        for field in dataclasses.fields(getattr(config, branch.name))
        if field.name not in ('default_params', 'restrictions')
    ]


@functools.cache
def _train(branch: str, settings: str) -> np.ndarray:
    """All weights after four updates, with the fields in `settings`, as JSON."""
    config = optimization.OptimizationConfig(
        {
            'optimizer': {'type': branch, branch: json.loads(settings)},
            'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.1}},
        }
    )
    config.validate()
    factory = optimization.OptimizerFactory(config)
    optimizer = factory.build_optimizer(factory.build_learning_rate())
    variables = {
        key: tf.Variable(np.linspace(-1.0, 2.0, np.prod(shape)).reshape(shape), dtype=tf.float32)
        for key, shape in _SHAPES.items()
    }
    optimizer.set_variable_keys(variables)
    optimizer.build(list(variables.values()))
    for gradients in _GRADIENTS:
        optimizer.apply_gradients(list(zip(gradients, variables.values(), strict=True)))
    return np.concatenate([np.ravel(v) for v in variables.values()])


def _lookup(table: dict[str, Any], branch: str, name: str, default: Any) -> Any:
    return table.get(f'{branch}.{name}', table.get(name, default))


def _other_value(default: Any, name: str) -> Any:
    if isinstance(default, bool):
        return not default
    if isinstance(default, str):
        return 'other'
    if 'clip' in name:
        return 0.01
    if name.startswith(('include', 'exclude')):
        return ['kernel']
    return 0.5 if default in (None, 0.0) or 'epsilon' in name else default * 0.5


@pytest.mark.parametrize(('branch', 'name'), _fields())
def test_a_field_changes_the_updates(branch: str, name: str) -> None:
    context = _lookup(_CONTEXT, branch, name, {})
    default = context.get(name, getattr(getattr(optimization.OptimizerConfig(), branch), name))
    value = _lookup(_VALUES, branch, name, _other_value(default, name))
    before = _train(branch, json.dumps(context))
    after = _train(branch, json.dumps({**context, name: value}))
    is_alive = _lookup(_NOT_ALIVE, branch, name, None) is None
    assert np.allclose(before, after, rtol=1e-6, atol=0.0) is not is_alive
