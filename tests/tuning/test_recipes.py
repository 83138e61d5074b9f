"""The search spaces that come with the package fit their experiments, and run."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

import pytest

from official_lite.core import exp_factory, metric_names, parsing
from official_lite.tuning import (
    Choice,
    LogUniform,
    Uniform,
    search_space,
    space_checks,
    space_files,
    study_config,
)
from tests import commands
from tests.tuning import studies

pytest.importorskip('optuna')

RECIPES = sorted((commands.REPO / 'configs' / 'tuning').glob('*.yaml'))
IOU = 'task.model.detection_generator.nms_iou_threshold'
BACKBONE = 'task.model.backbone'
TINY = """\
task:
  train_data: {global_batch_size: 2, source: {embedded: {num_scenes: 64}}}
  validation_data: {global_batch_size: 2, source: {embedded: {num_scenes: 4}}}
  model: {input_size: [64, 64, 3], decoder: {fpn: {num_filters: 16}}, head: {num_filters: 16}}
trainer: {train_steps: 2, steps_per_loop: 1, validation_interval: 1, checkpoint_interval: 1, summary_interval: 2}
runtime: {mixed_precision_dtype: float32}
"""


def load(path: pathlib.Path) -> tuple[search_space.SearchSpace, study_config.StudyConfig]:
    """A recipe, checked against the experiment that it names."""
    file = space_files.load_space_file(str(path))
    config = exp_factory.get_exp_config('retinanet_custom')
    settings = study_config.StudyConfig()
    settings.override(file.settings)
    settings.validate()
    return space_checks.check_space(config, file.parameters, file.problems), settings


def find_domains(path: str) -> dict[str, Any]:
    """The domains of a recipe by path."""
    space, _ = load(commands.REPO / 'configs' / 'tuning' / path)
    return {parameter.path: parameter.domain for parameter in space.parameters}


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_recipes_fit_the_experiment(path: pathlib.Path) -> None:
    load(path)
    assert '--search_space=' + path.name in path.read_text()  # the command in its head


def test_the_random_recipe_is_the_classical_one() -> None:
    assert find_domains('retinanet_random.yaml') == {
        studies.RATE: LogUniform(1e-5, 1e-3),
        studies.BATCH: Choice((8, 16, 32, 64)),
        IOU: Uniform(0.4, 0.7),
    }


def test_the_recipe_of_backbones_has_options_for_each() -> None:
    space, settings = load(commands.REPO / 'configs' / 'tuning' / 'retinanet_backbones.yaml')
    assert settings.sampler.type == 'grid'
    points = list(space.iterate_grid(exp_factory.get_exp_config('retinanet_custom')))
    assert len(points) == 2 + 2 * 2
    assert {len(point) for point in points} == {2, 3}


def test_recipes_are_found_by_name() -> None:
    assert parsing.list_config_files('tuning') == [path.name for path in RECIPES]
    assert parsing.find_config_file('retinanet.yaml', 'tuning') == str(
        commands.REPO / 'configs' / 'tuning' / 'retinanet.yaml'
    )
    with pytest.raises(Exception, match=r"--search_space=retinanet_gird.yaml: .*'retinanet_grid"):
        parsing.find_config_file('retinanet_gird.yaml', 'tuning', '--search_space')


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_recipes_run(path: pathlib.Path, tmp_path: pathlib.Path, with_plots: None) -> None:
    """Two real trials of each, one after the other's kind: trained, evaluated, written down."""
    pytest.importorskip('sklearn')
    (tmp_path / 'tiny.yaml').write_text(TINY)
    study_dir = tmp_path / 'study'
    from official_lite import cli

    code = cli.main(
        [
            'official-lite',
            'tune',
            '--experiment=retinanet_custom',
            f'--config_file={tmp_path}/tiny.yaml',
            f'--search_space={path}',
            f'--study_dir={study_dir}',
            '--n_trials=2',
            '--workers=2',
        ]
    )
    logs = [log.read_text()[-2000:] for log in study_dir.glob('trials/*/trial.log')]
    assert code == 0, logs
    with (study_dir / 'trials.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['exit_reason'] for row in rows] == ['complete', 'complete'], logs
    assert all(row['eval/AP50'] for row in rows)
    best = parsing.parse_experiment(parsing.ParseConfigOptions('', [str(study_dir / 'best.yaml')]))
    listed = metric_names.list_metric_paths(best.config)
    assert listed is not None  # before the first trial
    reported = {name.removeprefix('eval/') for name in rows[0] if name.startswith('eval/')}
    assert reported == set(listed)
