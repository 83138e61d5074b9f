"""D2: lengths in epochs follow the data and the batch."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import epochs, exp_factory
from official_lite.modeling import hyperparams


def make(overrides: dict[str, Any], experiment: str = 'retinanet_custom') -> cfg.ExperimentConfig:
    config = exp_factory.get_exp_config(experiment)
    config.override(overrides, source='--params_override')
    config.validate()
    return config


def test_d2_all_lengths_follow_the_data_and_the_batch() -> None:
    lr = 'trainer.optimizer_config.learning_rate'
    config = make(
        {
            'task.train_data.global_batch_size': 8,
            'trainer.train_epochs': 2.5,
            'trainer.validation_interval_epochs': 1,
            'trainer.checkpoint_interval_epochs': 0.5,
            'trainer.summary_interval_epochs': 0.001,
            'trainer.optimizer_config.warmup.linear.warmup_epochs': 0.1,
            f'{lr}.type': 'stepwise',
            f'{lr}.stepwise.boundaries_epochs': [1, 2],
            f'{lr}.stepwise.values': [1, 0.1, 0.01],
        }
    )
    lengths = epochs.resolve_lengths(config, num_examples=1001)
    trainer = config.trainer
    assert trainer.train_steps == 313  # 2.5 * 1001 / 8 = 312.8
    assert trainer.validation_interval == 125
    assert trainer.checkpoint_interval == 63
    assert trainer.summary_interval == 1
    assert trainer.optimizer_config.warmup.linear.warmup_steps == 13
    assert trainer.optimizer_config.learning_rate.stepwise.boundaries == [125, 250]
    assert 'trainer.train_steps=313 (2.5 epochs)' in [str(length) for length in lengths]
    assert len(lengths) == 6

    config.override({'task.train_data.global_batch_size': 16})
    epochs.resolve_lengths(config, num_examples=1001)
    assert trainer.train_steps == 156
    assert trainer.optimizer_config.learning_rate.stepwise.boundaries == [63, 125]


def test_d2_a_decay_without_a_length_lasts_as_long_as_training() -> None:
    config = make({'trainer.train_steps': 500})
    cosine = config.trainer.optimizer_config.learning_rate.cosine
    assert cosine.decay_steps is None
    assert epochs.resolve_lengths(config, None) == []
    assert cosine.decay_steps == 500
    config.override({'trainer.train_steps': 700})
    epochs.resolve_lengths(config, None)
    assert cosine.decay_steps == 700
    config.override({'trainer.optimizer_config.learning_rate.cosine.decay_steps': 100})
    epochs.resolve_lengths(config, None)
    assert cosine.decay_steps == 100


def test_resolving_twice_changes_nothing() -> None:
    config = make({'trainer.train_epochs': 3})
    epochs.resolve_lengths(config, 80)
    before = config.as_dict()
    config.validate()
    epochs.resolve_lengths(config, 80)
    assert config.as_dict() == before
    assert str(config.source_of('trainer.train_steps')) == 'epochs: trainer.train_epochs'


def test_epochs_beat_the_steps_of_the_factory() -> None:
    config = make({'trainer.train_epochs': 3})
    assert epochs.list_unresolved_lengths(config) == ['trainer.train_epochs']
    epochs.resolve_lengths(config, 80)
    assert config.trainer.train_steps == 30


def test_steps_beat_the_epochs_of_the_factory() -> None:
    config = exp_factory.get_exp_config('retinanet')
    config.trainer.train_epochs = 3.0
    config.reset_sources('factory: made up')
    config.override({'trainer.train_steps': 7}, source='--params_override')
    config.validate()
    assert epochs.resolve_lengths(config, 80) == []
    assert config.trainer.train_steps == 7


def test_both_is_an_error() -> None:
    with pytest.raises(
        hyperparams.ConfigError,
        match=r'^trainer\.train_epochs: expected null, because train_steps is set, received 3\.0 '
        r'\(float\) \(from --params_override\); set one of train_epochs and train_steps$',
    ):
        make({'trainer.train_epochs': 3, 'trainer.train_steps': 7})
    with pytest.raises(hyperparams.ConfigError, match=r'^train_epochs: expected null'):
        cfg.TrainerConfig(train_steps=7, train_epochs=3.0).validate()


def test_epochs_need_the_number_of_examples_and_a_batch() -> None:
    config = make({'trainer.train_epochs': 3})
    with pytest.raises(
        errors.UsageError,
        match=r'^trainer\.train_epochs: epochs need the number of training examples, which the data '
        r'does not tell; set task\.train_data\.num_examples, or give the length in steps$',
    ):
        epochs.resolve_lengths(config, None)
    config = make({'trainer.train_epochs': 3}, experiment='retinanet')
    with pytest.raises(
        errors.UsageError, match=r'^trainer\.train_epochs: epochs need a batch size'
    ):
        epochs.resolve_lengths(config, 80)


def test_a_branch_that_is_not_chosen_has_no_length() -> None:
    config = make({})
    config.trainer.optimizer_config.warmup.polynomial.warmup_epochs = 3.0
    assert epochs.list_unresolved_lengths(config) == []


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, 150),
        ({'trainer.train_steps': 60}, 3),
        ({'trainer.train_steps': 1}, 1),
        (
            {
                'trainer.train_steps': 60,
                'trainer.optimizer_config.warmup.linear.warmup_steps': 70,
            },
            70,
        ),
    ],
)
def test_a_default_warm_up_ends_before_training_does(changes: dict, expected: int) -> None:
    """Otherwise the rate rises to the end of the cosine, which is 0."""
    config = make(changes)
    for _ in range(2):
        epochs.resolve_lengths(config, 8000)
        assert config.trainer.optimizer_config.warmup.linear.warmup_steps == expected


def test_a_chosen_warm_up_that_outlasts_training_is_told() -> None:
    config = make(
        {
            'trainer.train_steps': 60,
            'trainer.optimizer_config.warmup.linear.warmup_steps': 70,
        }
    )
    with pytest.warns(UserWarning, match='the warm-up of 70 steps does not end before training'):
        list(epochs.resolve_lengths(config, 100))
    assert config.trainer.optimizer_config.warmup.linear.warmup_steps == 70
