"""Overrides as configs: what they accept, and the texts of their errors."""

import pytest

from official_lite.core import config_definitions as cfg
from official_lite.core import epochs
from official_lite.modeling import hyperparams


def make_task(**override):
    task = cfg.TaskConfig()
    task.override({'layer_overrides': [override]})
    task.validate()
    return task


def test_only_what_is_given_counts():
    task = make_task(pattern='head', dropout_rate=0, trainable=False)
    assert task.layer_overrides[0].given == {'dropout_rate': 0, 'trainable': False}


@pytest.mark.parametrize(
    ('override', 'match'),
    [
        ({'trainable': False}, r'\[0\].pattern: expected a regular expression over layer paths'),
        ({'pattern': '(', 'trainable': False}, r'\[0\].pattern: expected a regular expression \('),
        ({'pattern': 'a'}, r'expected at least one setting beside it: learning_rate_multiplier'),
        (
            {'pattern': 'a', 'dropout_rate': 1.0},
            r'dropout_rate: expected 0 or more and less than 1',
        ),
        ({'pattern': 'a', 'norm_momentum': -1.0}, r'norm_momentum: expected 0 or more and less'),
        ({'pattern': 'a', 'norm_epsilon': 0.0}, r'norm_epsilon: expected more than 0'),
        ({'pattern': 'a', 'weight_decay_multiplier': -1}, r'multiplier: expected 0 or more'),
        ({'pattern': 'a', 'dtype': 'float64'}, r'dtype: .*float32'),
        ({'pattern': 'a', 'dropout': 0.1}, r"did you mean 'dropout_rate'"),
        ({'pattern': 'a', 'learning_rate': {}}, r'learning_rate.type: expected one of constant'),
        (
            {'pattern': 'a', 'trainable': True, 'learning_rate_multiplier': 0},
            r'learning_rate_multiplier: expected more than 0, because trainable is true',
        ),
        (
            {'pattern': 'a', 'kernel_regularizer': {'type': 'l1'}},
            r"kernel_regularizer.l1: expected more than 0 with type 'l1'",
        ),
        (
            {'pattern': 'a', 'kernel_regularizer': {'type': 'l2', 'l2': 1.0, 'l1': 1.0}},
            r"kernel_regularizer.l1: expected 0 with type 'l2'",
        ),
        ({'pattern': 'a', 'kernel_initializer': {'name': ''}}, r'kernel_initializer.name'),
    ],
)
def test_errors(override, match):
    with pytest.raises(hyperparams.ConfigError, match=match):
        make_task(**override)


def test_layerwise_decay_is_a_factor():
    config = cfg.OptimizationConfig()
    config.override({'layerwise_lr_decay': 1.5})
    with pytest.raises(hyperparams.ConfigError, match='layerwise_lr_decay: expected more than 0'):
        config.validate()


def test_schedules_of_layers_are_resolved_with_the_others():
    schedule = {'type': 'cosine', 'cosine': {'initial_learning_rate': 0.1}}
    config = cfg.ExperimentConfig()
    config.override(
        {
            'task.layer_overrides': [{'pattern': 'head', 'learning_rate': schedule}],
            'task.train_data.global_batch_size': 4,
            'trainer.train_epochs': 3.0,
        }
    )
    epochs.resolve_lengths(config, 40)
    assert config.task.layer_overrides[0].learning_rate.cosine.decay_steps == 30


def test_round_trip():
    task = make_task(
        pattern='a', kernel_initializer={'name': 'zeros'}, kernel_regularizer={'l2': 0.1}
    )
    assert cfg.TaskConfig.from_dict(task.as_dict()) == task
