"""Whole studies of fake trials: what is recorded, what fails, what ends early."""

from __future__ import annotations

import csv
import json
import math
import pathlib
from typing import Any

import pytest

from official_lite import errors, tuning
from official_lite.core import exp_factory, parsing
from official_lite.modeling import hyperparams
from official_lite.tuning import study_runner
from tests.tuning import studies

pytest.importorskip('optuna')


def read_trials(study_dir: pathlib.Path) -> list[dict[str, str]]:
    """trials.csv."""
    with (study_dir / 'trials.csv').open() as file:
        return list(csv.DictReader(file))


def test_a_study_finds_the_best_and_writes_it_down(tmp_path: pathlib.Path) -> None:
    result = studies.run(tmp_path / 'study', n_trials=6, workers=3)
    assert [record.number for record in result.trials] == list(range(6))
    assert all(record.state == 'complete' for record in result.trials)
    expected = {
        r.number: 1.0 - abs(math.log10(float(str(r.params[studies.RATE]))) + 3.0) / 10.0
        for r in result.trials
    }
    for record in result.trials:
        assert record.values == pytest.approx((expected[record.number],))
        assert record.step == 30
        assert (record.exit_reason, record.exit_code, record.num_starts) == ('complete', 0, 1)
        assert record.wall_secs > 0.0
    best = max(expected, key=lambda number: expected[number])
    assert result.best.number == best

    rows = read_trials(tmp_path / 'study')
    assert [float(row['objective/AP']) for row in rows] == pytest.approx(list(expected.values()))
    assert float(rows[best][studies.RATE]) == result.best.params[studies.RATE]
    assert rows[best]['exit_reason'] == 'complete'
    assert float(rows[best]['eval/loss']) == pytest.approx(1.0 - expected[best])

    options = parsing.ParseConfigOptions('', [str(tmp_path / 'study' / 'best.yaml')])
    parsed = parsing.parse_experiment(options)
    assert parsed.experiment == 'retinanet_custom'
    config: Any = parsed.config
    rate = config.trainer.optimizer_config.learning_rate.cosine.initial_learning_rate
    assert rate == result.best.params[studies.RATE]
    trial_config = tmp_path / 'study' / 'trials' / f'{best:05d}' / 'config.yaml'
    again = parsing.parse_experiment(parsing.ParseConfigOptions('', [str(trial_config)]))
    assert again.config == parsed.config


def test_the_same_call_goes_on_to_more_trials(tmp_path: pathlib.Path) -> None:
    first = studies.run(tmp_path / 'study', n_trials=2)
    second = studies.run(tmp_path / 'study', n_trials=4)
    whole = studies.run(tmp_path / 'whole', n_trials=4)
    assert [r.params for r in second.trials[:2]] == [r.params for r in first.trials]
    assert [r.params for r in second.trials] == [r.params for r in whole.trials]
    assert studies.run(tmp_path / 'study', n_trials=4).trials == second.trials


def test_a_grid_ends_by_itself(tmp_path: pathlib.Path) -> None:
    space = {
        studies.RATE: tuning.LogUniform(1e-4, 1e-2, num_points=2),
        f'{studies.OPTIMIZER}.type': tuning.Choice(['sgd', 'adamw']),
        studies.MOMENTUM: tuning.Choice([0.8, 0.9]),
    }
    result = studies.run(
        tmp_path / 'study', '--evaluations=1', space=space, sampler={'type': 'grid'}, workers=2
    )
    points = [tuple(sorted(record.params.items())) for record in result.trials]
    assert len(points) == 2 * 3
    assert len(set(points)) == 6


def test_a_grid_needs_the_values_of_ranges(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        hyperparams.ConfigError, match=r'initial_learning_rate: a grid needs .*; add num_points'
    ):
        studies.run(tmp_path / 'study', sampler={'type': 'grid'})


@pytest.mark.parametrize(
    ('end', 'code', 'reason'),
    [
        ('crash', 1, 'exit code 1: task.model: this model cannot be built'),
        ('kill', -9, 'killed by SIGKILL, maybe out of memory'),
    ],
)
def test_a_crash_fails_one_trial_and_not_the_study(
    tmp_path: pathlib.Path, end: str, code: int, reason: str
) -> None:
    well, badly = studies.make_command(), studies.make_command(f'--end={end}')
    result = studies.run(
        tmp_path / 'study',
        n_trials=3,
        make_command=lambda d: (badly if d.name == '00001' else well)(d),
    )
    assert [record.state for record in result.trials] == ['complete', 'failed', 'complete']
    failed = result.trials[1]
    assert (failed.exit_code, failed.exit_reason, failed.values) == (code, reason, None)
    assert result.best.number != 1
    assert read_trials(tmp_path / 'study')[1]['exit_reason'] == reason


def test_a_study_whose_trials_all_fail_ends(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        study_runner.TooManyFailures,
        match=r'trial 2: 3 trials failed in a row, the last one with: exit code 1: .*cannot be built',
    ):
        studies.run(tmp_path / 'study', '--end=crash', n_trials=9, max_failures_in_a_row=3)


def test_a_pruned_trial_ends_early(tmp_path: pathlib.Path) -> None:
    space = {studies.RATE: tuning.Choice([1e-3, 2e-3, 1e-1, 1.1e-3])}
    result = studies.run(
        tmp_path / 'study',
        '--delay=0.4',
        '--evaluations=4',
        space=space,
        sampler={'type': 'grid'},
        pruner={'type': 'median', 'median': {'n_startup_trials': 2}},
    )
    assert [r.state for r in result.trials] == ['complete', 'complete', 'pruned', 'complete']
    pruned = result.trials[2]
    assert pruned.exit_reason == 'pruned after 1 evaluations'
    assert pruned.step == 10
    assert pruned.metrics['AP'] == pytest.approx(0.8 / 4)
    assert result.best.params == {studies.RATE: 1e-3}


def test_trials_that_are_out_of_time_go_on_with_the_next_call(tmp_path: pathlib.Path) -> None:
    study_dir = tmp_path / 'study'
    first = studies.run(study_dir, '--end=hang', n_trials=1, timeout_mins=0.03)
    assert [record.state for record in first.trials] == ['running']
    assert first.trials[0].exit_reason == 'stopped: the time of the study is over'
    assert first.pareto == []
    with pytest.raises(LookupError, match='no trial is complete'):
        first.best  # noqa: B018
    second = studies.run(study_dir, n_trials=1)
    assert [record.state for record in second.trials] == ['complete']
    assert second.best.num_starts == 2
    assert second.best.params == first.trials[0].params
    assert second.best.wall_secs > first.trials[0].wall_secs
    # Evaluations of the first start count: the fake trial did not make them again.
    metrics = (study_dir / 'trials' / '00000' / 'metrics.jsonl').read_text().splitlines()
    assert len(metrics) == 6


def test_several_objectives_have_a_front(tmp_path: pathlib.Path, with_plots: None) -> None:
    pytest.importorskip('matplotlib')
    pytest.importorskip('plotly')
    space = {studies.RATE: tuning.Choice([1e-3, 1e-2, 1e-1])}
    result = studies.run(
        tmp_path / 'study',
        space=space,
        sampler={'type': 'grid'},
        objectives=['AP:max', 'loss:max'],
    )
    assert [record.values for record in result.trials] == [
        pytest.approx((1.0, 0.0)),
        pytest.approx((0.9, 0.1)),
        pytest.approx((0.8, 0.2)),
    ]
    assert [record.number for record in result.pareto] == [0, 1, 2]
    names = {path.name for path in (tmp_path / 'study').iterdir()}
    assert {'best.yaml', 'best_00000.yaml', 'best_00001.yaml', 'best_00002.yaml'} <= names
    plots = {path.name for path in (tmp_path / 'study' / 'plots').iterdir()}
    assert {'pareto.png', 'pareto.html', 'slices_AP.png', 'slices_loss.html'} <= plots


def test_the_last_evaluation_can_count(tmp_path: pathlib.Path) -> None:
    space = {studies.RATE: tuning.Choice([1e-3])}
    for which, expected in (('best', 1.0 / 3.0), ('last', 1.0)):
        result = studies.run(
            tmp_path / which,
            space=space,
            sampler={'type': 'grid'},
            objectives=['AP:min'],
            objective_value=which,
        )
        assert result.best.values == pytest.approx((expected,))


def test_another_study_in_the_folder_is_refused(tmp_path: pathlib.Path) -> None:
    study_dir = tmp_path / 'study'
    studies.run(study_dir, n_trials=1)
    space = {**studies.SPACE, studies.RATE: tuning.LogUniform(1e-5, 1e-2)}
    with pytest.raises(
        errors.UsageError, match=r'(?s)there is another study.*space: .*high=0.1.*choose another'
    ):
        studies.run(study_dir, n_trials=2, space=space)
    config = exp_factory.get_exp_config('retinanet_custom')
    config.trainer.train_steps = 5
    with pytest.raises(errors.UsageError, match=r'config: trainer.train_steps: \(absent\) -> 5'):
        tuning.tune(config, studies.SPACE, study_dir, n_trials=2)
    with pytest.raises(errors.UsageError, match=r'objectives: .*AP:max.*loss:min'):
        studies.run(study_dir, n_trials=2, objectives=['loss:min'])


def test_values_that_do_not_fit_together_fail_their_trial_only(tmp_path: pathlib.Path) -> None:
    space = {
        'task.model.min_level': tuning.Choice([3, 6]),
        'task.model.max_level': tuning.Choice([5, 7]),
    }
    result = studies.run(tmp_path / 'study', space=space, sampler={'type': 'grid'})
    states = {
        (r.params['task.model.min_level'], r.params['task.model.max_level']): r.state
        for r in result.trials
    }
    assert states[6, 5] == 'failed'
    assert states[3, 5] == states[3, 7] == 'complete'
    reasons = [r.exit_reason for r in result.trials if r.state == 'failed']
    assert reasons[0].startswith('these values do not fit together: task.model.min_level')


def test_the_first_trial_can_be_the_config_itself(tmp_path: pathlib.Path) -> None:
    result = studies.run(tmp_path / 'study', n_trials=2, try_default=True)
    assert result.trials[0].params == {studies.RATE: 0.008, f'{studies.OPTIMIZER}.type': 'adamw'}
    assert len(result.trials) == 2
    space = {studies.RATE: tuning.LogUniform(1e-5, 1e-3)}
    with pytest.raises(errors.UsageError, match=r'try_default: .*0\.008 is outside'):
        studies.run(tmp_path / 'other', n_trials=2, space=space, try_default=True)


def test_a_config_that_is_not_registered_is_refused(tmp_path: pathlib.Path) -> None:
    from official_lite.core import config_definitions as cfg

    config = cfg.ExperimentConfig()
    config.trainer.best_checkpoint_eval_metric = 'AP'
    space = {'trainer.train_steps': tuning.Int(1, 5)}
    with pytest.raises(errors.UsageError, match='has to come from the registry'):
        tuning.tune(config, space, tmp_path / 'study', n_trials=1)


def test_what_a_trial_writes_while_it_is_read_is_no_problem(tmp_path: pathlib.Path) -> None:
    from official_lite.tuning import trial_files

    lines = [json.dumps({'step': 5, 'eval/AP': None, 'loss': 2.0}), '{"step": 6, "eval/A']
    (tmp_path / 'metrics.jsonl').write_text('\n'.join(lines))
    (evaluation,) = trial_files.load_evaluations(tmp_path)
    assert evaluation.step == 5
    assert math.isnan(evaluation.metrics['AP'])
    assert evaluation.get_values([tuning.Objective('AP')]) is None


@pytest.mark.slow
def test_memory_does_not_grow_with_trials(tmp_path: pathlib.Path) -> None:
    def get_bytes() -> int:
        return int(pathlib.Path('/proc/self/statm').read_text().split()[1]) * 4096

    def run(num_trials: int) -> int:
        studies.run(tmp_path, '--evaluations=1', n_trials=num_trials, workers=4)
        return get_bytes()

    before = run(8)
    assert run(40) - before < 16e6  # a trial of its own in this process would take 500 MB
