"""What a run needs is asked for at once, and before TensorFlow is loaded."""

from __future__ import annotations

import pytest

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory, run_checks
from official_lite.modeling import hyperparams


def missing(experiment: str, mode: str) -> list[str]:
    with pytest.raises(hyperparams.ConfigError) as caught:
        run_checks.check_runnable(exp_factory.get_exp_config(experiment), mode)
    return [problem.path for problem in caught.value.problems]


def test_everything_that_is_missing_is_listed() -> None:
    assert missing('retinanet', 'train_and_eval') == [
        'task.train_data.global_batch_size',
        'task.train_data.source.type',
        'trainer.train_steps',
        'trainer.optimizer_config.optimizer.type',
        'trainer.optimizer_config.learning_rate.type',
        'task.validation_data.global_batch_size',
        'task.validation_data.source.type',
        'task.model.input_size',
    ]


def test_evaluation_needs_no_training_data() -> None:
    assert missing('retinanet', 'eval') == [
        'task.validation_data.global_batch_size',
        'task.validation_data.source.type',
        'task.model.input_size',
    ]


def test_the_text_says_what_would_be_right() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    config.trainer.train_steps = 0
    with pytest.raises(
        hyperparams.ConfigError,
        match=r'^trainer\.train_steps: needed here and not set, expected 1 or more, or '
        r'trainer\.train_epochs, received 0$',
    ):
        run_checks.check_runnable(config, 'train')
    config.trainer.train_epochs = 1.0
    run_checks.check_runnable(config, 'train')


@pytest.mark.parametrize('mode', cfg.MODES)
def test_whole_experiments_may_run(mode: str) -> None:
    for name in ('retinanet_custom', 'retinanet_resnetfpn_coco'):
        run_checks.check_runnable(exp_factory.get_exp_config(name), mode)


def test_a_model_needs_a_backbone() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    config.task.model.backbone.type = None
    with pytest.raises(
        hyperparams.ConfigError,
        match=r'^task\.model\.backbone\.type: needed here and not set, expected one of resnet, .*mobilenet',
    ):
        run_checks.check_runnable(config, 'train')
