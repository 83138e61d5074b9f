"""What layer overrides cost in the compiled training step: nothing where there are none."""

from __future__ import annotations

import collections
from typing import Any

import pytest
import tensorflow as tf

from official_lite.core import layer_control, train_lib
from official_lite.modeling.optimization import variable_rates
from tests.core import tiny_task


def count_operations(overrides: Any = None, **fields: Any) -> collections.Counter[str]:
    """Operations of a training step by kind, those inside of functions too."""
    config = tiny_task.make_config(task__use_batch_norm=True, **fields)
    if overrides is not None:
        config.override({'task.layer_overrides': overrides})
    trainer = train_lib.make_trainer(config, tiny_task.TinyTask(config.task))
    batches = iter(trainer.task.build_inputs(config.task.train_data))
    function = tf.function(trainer.train_step).get_concrete_function(batches)
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return collections.Counter(node.op for node in nodes)


class _NoControl(layer_control.LayerControl):
    """As if there were no code for overrides at all."""

    def __init__(self, *args: Any) -> None:
        self.settings = None

    def configure_optimizer(self, optimizer: Any) -> None:
        pass

    check_optimizer = configure_optimizer


class _OneRate(variable_rates.VariableRates):
    def group(self, key: str) -> int:
        return 0

    def compute(self, own: tf.Tensor, schedule_rate: Any) -> list[tf.Tensor]:
        return [own]


@pytest.fixture(scope='module')
def plain() -> collections.Counter[str]:
    """Operations of a step of which no override has been asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_control, 'LayerControl', _NoControl)
        patch.setattr(variable_rates, 'VariableRates', _OneRate)
        return count_operations()


@pytest.mark.parametrize('overrides', [None, []])
def test_no_overrides_no_operation_more(plain: Any, overrides: Any) -> None:
    assert plain['ResourceApplyKerasMomentum'] + plain['AssignAddVariableOp'] > 0
    assert count_operations(overrides) == plain


def test_what_changes_nothing_costs_nothing(plain: Any) -> None:
    same = [{'pattern': 'head', 'learning_rate_multiplier': 1.0}]
    assert count_operations(same) == plain
    assert count_operations([{'pattern': 'head/stem', 'activation': 'linear'}]) == plain
    assert count_operations([{'pattern': 'head', 'kernel_initializer': 'ones'}]) == plain


def test_a_multiplier_costs_one_product_however_many_layers_have_it(plain: Any) -> None:
    for pattern in ('head/stem/bias', '.*'):
        more = count_operations([{'pattern': pattern, 'learning_rate_multiplier': 0.1}])
        more.subtract(plain)
        assert {k: v for k, v in more.items() if v and k != 'Const'} == {'Mul': 1}


def test_what_is_frozen_is_not_computed(plain: Any) -> None:
    less = count_operations([{'pattern': 'backbone', 'trainable': False}])
    assert sum(less.values()) < 0.8 * sum(plain.values())


def test_an_activation_is_one_operation_and_its_gradient(plain: Any) -> None:
    more = count_operations([{'pattern': 'backbone/stem', 'activation': 'relu'}])
    more.subtract(plain)
    assert (more['Relu'], more['ReluGrad']) == (1, 1)
