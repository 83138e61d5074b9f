"""A search space is checked against the config before the first trial: all problems at once."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.tuning import (
    Choice,
    Int,
    LogUniform,
    Uniform,
    search_space,
    space_checks,
    space_files,
)
from tests.tuning import studies

BACKBONE = 'task.model.backbone'


@pytest.fixture(scope='module')
def config() -> cfg.ExperimentConfig:
    return exp_factory.get_exp_config('retinanet_custom')


def check(config: cfg.ExperimentConfig, space: dict[str, Any]) -> search_space.SearchSpace:
    return space_checks.check_space(config, space_checks.make_parameters(space))


def check_file(
    config: cfg.ExperimentConfig, path: pathlib.Path, text: str
) -> search_space.SearchSpace:
    path.write_text(text)
    found = space_files.load_space_file(str(path))
    return space_checks.check_space(config, found.parameters, found.problems)


def test_all_problems_are_reported_at_once_with_line_and_suggestion(
    config: cfg.ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    text = f"""\
space:
  {studies.OPTIMIZER}.sgd.momentum: {{uniform: [0.8, 0.99]}}
  trainer.optimizer_config.learning_rate.cosine.initial_rate: {{log_uniform: [1.0e-5, 1.0e-3]}}
  {studies.BATCH}: {{choice: [8, hello, -1]}}
  {BACKBONE}: {{choice: [resnet, mobilnet]}}
  task.model:
    min_level: {{uniform: [2, 5]}}
    detection_generator.nms_iou_threshold: {{uniform: [0.4, 1.7]}}
    head.num_convs: {{int: [4, 2]}}
    head.num_filters: {{choise: [4, 2]}}
    max_level: {{int: [4, 7], stp: 2}}
    norm_activation.norm_momentum: {{log_uniform: [0, 1]}}
    anchor.anchor_size: {{uniform: [a, 1]}}
"""
    path = tmp_path / 'space.yaml'
    with pytest.raises(hyperparams.ConfigError) as caught:
        check_file(config, path, text)
    said = str(caught.value)
    for line in (
        f"{studies.BATCH}: expected int, received 'hello' (from {path}:4)",
        f"cosine.initial_rate: The key 'initial_rate' does not exist in CosineLrConfig (from {path}:3); "
        "did you mean 'initial_learning_rate'?",
        "did you mean 'mobilenet'?",
        f'task.model.min_level: expected int, received 3.145898 (float) (from {path}:7)',
        f'nms_iou_threshold: expected 0 to 1, received 1.7 (float) (from {path}:8)',
        f'head.num_convs: expected a lower end below the upper end, received [4, 2] (from {path}:9)',
        "head.num_filters: expected one of 'uniform', 'log_uniform', 'int', 'choice', 'value'",
        "did you mean 'choice'?",
        "task.model.max_level: expected 'step', 'log' beside 'int', received 'stp'",
        "did you mean 'step'?",
        'norm_momentum: expected a lower end above 0, because the scale is logarithmic',
        "anchor_size: expected a number, received 'a'",
    ):
        assert line in said
    assert len(caught.value.problems) >= 10


def test_a_value_that_cannot_be_trained_with_is_refused(config: cfg.ExperimentConfig) -> None:
    with pytest.raises(hyperparams.ConfigError, match=r'global_batch_size: .*expected 1 or more'):
        check(config, {studies.BATCH: Choice([0, 8])})


@pytest.mark.parametrize(
    ('space', 'message'),
    [
        (
            {studies.MOMENTUM: Uniform(0.5, 0.9)},
            r"momentum: the branch 'sgd' is never chosen \(.*optimizer.type is 'adamw'\).*; add 'sgd' "
            r'to the choices of trainer.optimizer_config.optimizer.type',
        ),
        (
            {BACKBONE: Choice(['resnet']), f'{BACKBONE}.type': Choice(['mobilenet'])},
            r'backbone.type: searched twice',
        ),
        ({'task.model.min_level': 3}, 'the search space has nothing to search'),
        ({'task..model': Choice([1])}, r"'task..model' is no dotted path"),
        ({'trainer.train_stepz': Choice([1])}, r"did you mean 'train_steps'\?"),
        ({'task.model': Choice([3])}, r'task.model: expected .*received 3'),
        (
            {studies.RATE: Choice([True])},
            r'initial_learning_rate: expected float or None, received True',
        ),
        (
            {studies.BATCH: Choice([8, 8.0])},
            r'global_batch_size: expected each value once, received 8 more than once',
        ),
    ],
)
def test_problems(config: cfg.ExperimentConfig, space: dict[str, Any], message: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=message):
        check(config, space)


def test_the_problem_of_a_python_space_says_the_line_of_code(config: cfg.ExperimentConfig) -> None:
    with pytest.raises(hyperparams.ConfigError, match=r'test_space_checks.py:\d+'):
        check(config, {studies.RATE: Choice(['a'])})


def test_values_are_read_by_their_fields(
    config: cfg.ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    text = f"""\
space:
  {BACKBONE}.type: {{choice: [resnet, mobilenet]}}
  {BACKBONE}.resnet.model_id: {{choice: [18, 5e1]}}
  trainer.optimizer_config.learning_rate.cosine.name: off
  task.model.anchor.aspect_ratios: {{choice: [[1], [0.5, 2]]}}
"""
    space = check_file(config, tmp_path / 'space.yaml', text)
    domains = {p.path: p.domain for p in space.parameters}
    assert domains[f'{BACKBONE}.resnet.model_id'] == Choice((18, 50))
    assert domains['task.model.anchor.aspect_ratios'] == Choice(([1.0], [0.5, 2.0]))
    assert domains['trainer.optimizer_config.learning_rate.cosine.name'].get_value(None) == 'off'


def test_conditions_follow_from_paths(config: cfg.ExperimentConfig) -> None:
    space = check(
        config,
        {
            studies.MOMENTUM: Uniform(0.5, 0.9),
            studies.RATE: LogUniform(1e-5, 1e-3),
            studies.OPTIMIZER: Choice(['sgd', 'adamw']),
        },
    )
    assert [p.path for p in space.parameters] == [
        f'{studies.OPTIMIZER}.type',
        studies.MOMENTUM,
        studies.RATE,
    ]
    assert space.parameters[0].is_selector
    assert [p.path for p in space.list_conditional()] == [studies.MOMENTUM]


def test_whole_branches_can_be_chosen_and_searched_below(config: cfg.ExperimentConfig) -> None:
    branches = {
        'small': {'type': 'resnet', 'resnet': {'depth_multiplier': 0.25}},
        'mobile': {'type': 'mobilenet', 'mobilenet': {'model_id': 'MobileNetV3Small'}},
    }
    space = check(
        config, {f'{BACKBONE}.resnet.model_id': Choice([10, 18]), BACKBONE: Choice(branches)}
    )
    grid = list(space.iterate_grid(config))
    assert grid == [
        {BACKBONE: 'small', f'{BACKBONE}.resnet.model_id': 10},
        {BACKBONE: 'small', f'{BACKBONE}.resnet.model_id': 18},
        {BACKBONE: 'mobile'},
    ]
    built = space.build_config(config, lambda parameter: grid[1][parameter.path])
    assert built.task.model.backbone.resnet.model_id == 18
    assert built.task.model.backbone.resnet.depth_multiplier == 0.25


def test_a_branch_of_a_branch_that_is_wrong_says_where(config: cfg.ExperimentConfig) -> None:
    branches = [{'type': 'resnet', 'resnet': {'depht': 1}}]
    with pytest.raises(
        hyperparams.ConfigError, match=r'backbone.resnet.depht: .*does not exist in ResNet'
    ):
        check(config, {BACKBONE: Choice(branches), studies.RATE: LogUniform(1e-5, 1e-3)})


def test_a_value_that_depends_on_another_searched_one_is_left_to_the_trial(
    config: cfg.ExperimentConfig,
) -> None:
    space = check(config, {'task.model.min_level': Int(3, 6), 'task.model.max_level': Int(4, 7)})
    values = {'task.model.min_level': 6, 'task.model.max_level': 4}
    with pytest.raises(hyperparams.ConfigError, match='min_level: expected 1 to max_level'):
        space.build_config(config, lambda parameter: values[parameter.path])


def test_a_space_file_without_a_space(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'space.yaml'
    path.write_text('n_trials: 3\n')
    found = space_files.load_space_file(str(path))
    assert [str(problem) for problem in found.problems] == [
        f'space: expected `path: domain` lines, received nothing (from {path})'
    ]
