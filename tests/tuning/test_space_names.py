"""Short names in search spaces mean what they mean in `--hparams_overrides`."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite import tuning
from official_lite.core import exp_factory, parsing
from official_lite.modeling import hyperparams
from official_lite.modeling.optimization.configs import peak_learning_rate
from official_lite.tuning import search_space, space_checks, space_files, study_config
from tests.tuning import studies

SCHEDULE = 'trainer.optimizer_config.learning_rate'
IOU = 'task.model.detection_generator.nms_iou_threshold'
STEPS = {'boundaries': [100, 200], 'values': [0.4, 0.04, 0.004]}


def make_config(**changes: Any) -> Any:
    config = exp_factory.get_exp_config('retinanet_custom')
    config.override(changes)
    return config


def check(config: Any, space: dict[str, Any]) -> search_space.SearchSpace:
    return space_checks.check_space(config, space_checks.make_parameters(space))


def test_names_become_paths() -> None:
    space = check(
        make_config(),
        {
            'learning_rate': tuning.LogUniform(1e-4, 1e-2),
            'batch_size': tuning.Choice([8, 16]),
            'nms_iou_threshold': tuning.Uniform(0.4, 0.7),
            'focal_loss_gamma': tuning.Uniform(1.0, 2.0),
            'backbone.type': tuning.Choice(['resnet', 'mobilenet']),
            'head.num_convs': 2,
        },
    )
    assert {p.path for p in space.parameters} == {
        studies.RATE,
        studies.BATCH,
        IOU,
        'task.losses.focal_loss_gamma',
        'task.model.backbone.type',
        'task.model.head.num_convs',
    }
    assert all(p.short is None for p in space.parameters)


def test_a_name_may_mean_a_branch_that_only_the_search_chooses() -> None:
    space = check(
        make_config(),
        {
            'sgd.momentum': tuning.Uniform(0.5, 0.99),  # the config itself has adamw
            'optimizer.type': tuning.Choice(['sgd', 'adamw']),
            'mobilenet.model_id': tuning.Choice(['MobileNetV2', 'MobileNetV3Small']),
            'backbone.type': tuning.Choice(['resnet', 'mobilenet']),
            'resnet.depth_multiplier': tuning.Choice([0.25, 0.5]),
        },
    )
    assert [p.path for p in space.list_conditional()] == [
        studies.MOMENTUM,
        'task.model.backbone.mobilenet.model_id',
        'task.model.backbone.resnet.depth_multiplier',
    ]


@pytest.mark.parametrize(
    ('space', 'message'),
    [
        (
            {'momentm': tuning.Uniform(0.5, 0.9)},
            r'^momentm: no field has this name, and no path ends in it \(from .*test_space_names.py:\d+'
            r"\); did you mean 'norm_momentum'\?$",
        ),
        (
            {'shuffle_buffer_size': tuning.Int(10, 20)},
            r'^shuffle_buffer_size: several fields end in this: '
            r"'task.train_data.shuffle_buffer_size', 'task.validation_data.shuffle_buffer_size' .*; "
            r'write more of the path, such as task.train_data.shuffle_buffer_size=\.\.\.$',
        ),
        (
            {'sgd.momentum': tuning.Uniform(0.5, 0.9)},
            r'branches that are not chosen have it: .*optimizer.type=sgd',
        ),
        (  # one in the config, the other one where the search chooses it
            {
                'model_id': tuning.Choice([10, 18]),
                'backbone.type': tuning.Choice(['resnet', 'revnet']),
            },
            r'model_id: several fields end in this: .*backbone\.resnet\.model_id.*revnet\.model_id',
        ),
        ({'batch_size': tuning.Uniform(7.5, 9.0)}, r'batch_size: expected int, received 7.5'),
        (
            {'learning_rate': tuning.Choice(['fast'])},
            r"learning_rate: expected float, received 'fast'",
        ),
        ({'batch_size': tuning.Choice([8, -1])}, r'global_batch_size: expected 0 or more'),
        ({'batch_size': tuning.Int(8, 4)}, r'a lower end below the upper end, received \[8, 4\]'),
        (
            {'batch_size': tuning.Choice([8]), 'global_batch_size': tuning.Choice([4, 8])},
            r'^task\.train_data\.global_batch_size: searched twice',
        ),
    ],
)
def test_what_is_wrong_is_said_before_the_first_trial(space: Any, message: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=message):
        check(make_config(), space)


def test_all_problems_of_names_are_told_with_their_lines(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'space.yaml'
    path.write_text(
        'space:\n  momentm: 0.5\n  shuffle_buffer_size: 3\n  batch_size: {choice: [a]}\n'
    )
    found = space_files.load_space_file(str(path))
    with pytest.raises(hyperparams.ConfigError) as caught:
        space_checks.check_space(make_config(), found.parameters, found.problems)
    said = str(caught.value)
    for line in (
        f'momentm: no field has this name, and no path ends in it (from {path}:2)',
        'shuffle_buffer_size: several fields end in this',
        f"batch_size: expected int, received 'a' (from {path}:4)",
    ):
        assert line in said


def test_a_learning_rate_scales_a_schedule_in_steps() -> None:
    config = make_config(**{f'{SCHEDULE}.type': 'stepwise', f'{SCHEDULE}.stepwise': STEPS})
    space = check(config, {'learning_rate': tuning.LogUniform(0.1, 1.0)})
    (parameter,) = space.parameters
    assert (parameter.path, parameter.sets) == ('learning_rate', (f'{SCHEDULE}.stepwise.values',))
    built: Any = space.build_config(config, lambda p: 0.8)
    rates = built.trainer.optimizer_config.learning_rate.stepwise.values
    assert rates == pytest.approx([0.8, 0.08, 0.008])
    assert space.find_defaults(config) == {'learning_rate': 0.4}


def test_a_learning_rate_is_that_of_the_schedule_which_the_trial_has() -> None:
    config = make_config(**{f'{SCHEDULE}.type': 'stepwise', f'{SCHEDULE}.stepwise': STEPS})
    space = check(
        config,
        {
            'learning_rate': tuning.Choice([0.1, 0.2]),
            'learning_rate.type': tuning.Choice(['cosine', 'stepwise']),
        },
    )
    assert [p.path for p in space.parameters] == [f'{SCHEDULE}.type', 'learning_rate']
    for kind in ('cosine', 'stepwise'):

        def suggest(parameter: search_space.Parameter, kind: str = kind) -> Any:
            return kind if parameter.is_selector else 0.2

        built: Any = space.build_config(config, suggest)
        schedule = built.trainer.optimizer_config.learning_rate
        assert schedule.type == kind
        assert peak_learning_rate.find_peak(schedule) == 0.2
    assert len(list(space.iterate_grid(config))) == 4
    with pytest.raises(hyperparams.ConfigError, match=r'stepwise\.values: searched twice'):
        check(
            config,
            {
                'learning_rate': tuning.Choice([0.1, 0.2]),
                'learning_rate.type': tuning.Choice(['cosine', 'stepwise']),
                f'{SCHEDULE}.stepwise.values': [1.0, 0.1, 0.01],
            },
        )


def test_a_threshold_is_that_of_the_suppression_which_the_trial_has() -> None:
    name = 'nms_iou_threshold'
    config = make_config(**{'task.model.detection_generator.nms_version': 'tflite'})
    (parameter,) = check(config, {name: tuning.Uniform(0.4, 0.7)}).parameters
    inside = 'task.model.detection_generator.tflite_post_processing.nms_iou_threshold'
    assert parameter.path == inside
    versions = {'nms_version': tuning.Choice(['v2', 'tflite'])}
    space = check(make_config(), {name: tuning.Uniform(0.4, 0.7), **versions})
    assert next(p.sets for p in space.parameters if p.path == name) == (IOU, inside)


def test_a_schedule_without_rates_is_told() -> None:
    config = make_config(**{f'{SCHEDULE}.type': 'stepwise'})
    with pytest.raises(hyperparams.ConfigError, match='no rate above 0 that could be scaled'):
        check(config, {'learning_rate': tuning.Choice([0.1, 0.2])})


def test_a_study_with_short_names_writes_a_config_that_runs(tmp_path: pathlib.Path) -> None:
    pytest.importorskip('optuna')
    space = {
        'learning_rate': tuning.LogUniform(1e-4, 1e-2),
        'learning_rate.type': tuning.Choice(['cosine', 'stepwise']),
        'batch_size': tuning.Choice([8, 16]),
    }
    config = make_config(**{f'{SCHEDULE}.type': 'stepwise', f'{SCHEDULE}.stepwise': STEPS})
    command = studies.make_command('--evaluations=1')
    result = tuning.tune(
        config, space, tmp_path, n_trials=3, sampler={'type': 'random'}, make_command=command
    )
    assert set(result.best.params) == {'learning_rate', f'{SCHEDULE}.type', studies.BATCH}
    parsed: Any = parsing.parse_experiment(
        parsing.ParseConfigOptions('', [str(tmp_path / 'best.yaml')])
    )
    schedule = parsed.config.trainer.optimizer_config.learning_rate
    assert peak_learning_rate.find_peak(schedule) == result.best.params['learning_rate']
    assert parsed.config.task.train_data.global_batch_size == result.best.params[studies.BATCH]


def test_the_classical_space_in_short_names() -> None:
    settings = study_config.StudyConfig(n_trials=1)
    settings.validate()
    short = {
        'learning_rate': tuning.LogUniform(1e-5, 1e-3),
        'batch_size': tuning.Choice([8, 16, 32, 64]),
        'nms_iou_threshold': tuning.Uniform(0.4, 0.7),
    }
    whole = dict(zip((studies.RATE, studies.BATCH, IOU), short.values()))
    first, second = (check(make_config(), space).parameters for space in (short, whole))
    assert [(p.path, p.domain, p.conditions) for p in first] == [
        (p.path, p.domain, p.conditions) for p in second
    ]
