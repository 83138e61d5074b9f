"""What a study leaves: plots, TensorBoard's dashboard, tables, configs."""

from __future__ import annotations

import io
import pathlib
import sys

import pytest

from official_lite import tuning
from official_lite.core import exp_factory
from official_lite.tuning import (
    config_files,
    live_table,
    records,
    space_checks,
    storage,
    trial_files,
)
from tests.tuning import studies

pytest.importorskip('optuna')

OBJECTIVES = (tuning.Objective('AP', 'max'),)


@pytest.fixture(scope='module')
def study(tmp_path_factory: pytest.TempPathFactory) -> tuning.StudyResult:
    space = {**studies.SPACE, studies.BATCH: tuning.Choice([8]), 'trainer.train_steps': 7}
    return studies.run(tmp_path_factory.mktemp('study'), space=space, n_trials=6, workers=2)


def test_plots_are_pictures_and_pages(study: tuning.StudyResult) -> None:
    image = pytest.importorskip('PIL.Image')
    pytest.importorskip('matplotlib')
    pytest.importorskip('plotly')
    names = {path.name for path in (study.study_dir / 'plots').iterdir()}
    kinds = ('history', 'importance', 'parallel', 'slices')
    pictures = {f'{kind}.{ending}' for kind in kinds for ending in ('png', 'html')}
    assert names == pictures | {'plotly.min.js'}
    for path in (study.study_dir / 'plots').glob('*.png'):
        with image.open(path) as picture:
            assert picture.width > 300
            assert len(picture.convert('RGB').getcolors(1 << 24)) > 10
    page = (study.study_dir / 'plots' / 'slices.html').read_text()
    assert 'initial_learning_rate' in page
    assert studies.RATE not in page  # short names


def test_tensorboard_shows_what_varies_and_the_objective(study: tuning.StudyResult) -> None:
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    folder = study.study_dir / 'tensorboard'

    def read(path: pathlib.Path) -> event_accumulator.EventAccumulator:
        return event_accumulator.EventAccumulator(str(path)).Reload()

    def parse(path: pathlib.Path) -> dict[str, plugin_data_pb2.HParamsPluginData]:
        content = read(path).summary_metadata
        return {
            tag: plugin_data_pb2.HParamsPluginData.FromString(data.plugin_data.content)
            for tag, data in content.items()
            if data.plugin_data.plugin_name == 'hparams'
        }

    experiment = parse(folder)['_hparams_/experiment'].experiment
    assert {info.name for info in experiment.hparam_infos} == {
        'initial_learning_rate',
        'optimizer.type',
        'momentum',
    }
    assert [info.name.tag for info in experiment.metric_infos] == ['objective/AP']
    for record in study.trials:
        path = folder / f'trial_{record.number:05d}'
        started = parse(path)['_hparams_/session_start_info'].session_start_info
        shown = started.hparams['initial_learning_rate'].number_value
        assert shown == pytest.approx(record.params[studies.RATE])
        is_sgd = record.params[f'{studies.OPTIMIZER}.type'] == 'sgd'
        assert ('momentum' in started.hparams) == is_sgd
        events = read(path)
        assert [event.step for event in events.Scalars('AP')] == [10, 20, 30]
        (result,) = events.Scalars('objective/AP')
        assert result.value == pytest.approx((record.values or (0.0,))[0])


def test_a_search_does_not_load_tensorflow() -> None:
    import subprocess

    code = (
        'import sys\n'
        'from official_lite import tuning\n'
        'from official_lite.cli import tune\n'
        "print(sorted({'tensorflow', 'keras', 'optuna'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def make_records(*values: float) -> list[records.TrialRecord]:
    return [
        records.TrialRecord(
            number=number,
            state='complete',
            params={studies.RATE: 0.001 * (number + 1)},
            values=(value,),
            metrics={'AP': value},
            step=30,
            wall_secs=12.3,
            exit_reason='complete',
        )
        for number, value in enumerate(values)
    ]


def test_the_table_shows_the_best_first_where_there_is_no_room() -> None:
    from rich import console

    trials = make_records(0.1, 0.5, 0.3, 0.2)
    trials.append(records.TrialRecord(number=4, state='running', params={studies.RATE: 0.5}))
    names = {studies.RATE: 'rate'}
    shown = live_table.build_table(trials, names, OBJECTIVES, 'study', most_rows=3)
    stream = io.StringIO()
    console.Console(file=stream, width=120).print(shown)
    text = stream.getvalue()
    assert 'study: 4 complete, 1 running' in text
    rows = [line.split('│') for line in text.splitlines() if line.startswith('│')]
    assert [[cell.strip() for cell in row[1:4]] for row in rows] == [
        ['1*', 'complete', '0.5'],
        ['2', 'complete', '0.3'],
        ['4', 'running', ''],
    ]


def test_without_a_terminal_each_event_is_a_line() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    space = space_checks.check_space(config, space_checks.make_parameters(studies.SPACE))
    stream = io.StringIO()
    table = live_table.LiveTable(space, OBJECTIVES, title='study', stream=stream)
    running = records.TrialRecord(number=0, state='running', params={studies.RATE: 0.001})
    failed = records.TrialRecord(
        number=1, state='failed', params={}, wall_secs=3.0, exit_reason='killed by SIGKILL'
    )
    with table:
        table.update([running])
        table.update([running])
        table.update([*make_records(0.25), failed])
    assert stream.getvalue().splitlines() == [
        'trial 0 running: initial_learning_rate=0.001',
        'trial 0 complete: AP 0.25, 12 s',
        'trial 1 failed: killed by SIGKILL, 3 s',
    ]


def test_the_best_of_several_objectives_are_those_that_none_dominates() -> None:
    objectives = (tuning.Objective('AP', 'max'), tuning.Objective('loss', 'min'))
    trials = [
        records.TrialRecord(number=number, state='complete', params={}, values=values)
        for number, values in enumerate([(0.5, 0.5), (0.6, 0.6), (0.4, 0.6), (0.5, 0.5)])
    ]
    assert [r.number for r in records.find_best(trials, objectives)] == [1, 0, 3]
    assert [r.number for r in records.find_best(trials, objectives[:1])] == [1]
    assert records.find_best([], objectives) == []


def test_a_config_file_has_what_was_chosen_only() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    config.override(
        {
            'trainer.train_epochs': 0.5,
            'task.model.backbone.type': 'mobilenet',
            'trainer.optimizer_config.ema': {'average_decay': 0.9},
            'task.model.anchor.aspect_ratios[0]': 0.5,
        }
    )
    overrides = config_files.make_overrides(config, 'retinanet_custom')
    assert overrides['trainer'] == {
        'train_epochs': 0.5,
        'optimizer_config': {'ema': {'average_decay': 0.9}},
    }
    again = exp_factory.get_exp_config('retinanet_custom')
    again.override(overrides)
    assert again == config
    again.validate()


def test_a_torn_line_of_the_journal_is_dropped(tmp_path: pathlib.Path) -> None:
    studies.run(tmp_path, n_trials=1)
    path = tmp_path / storage.JOURNAL_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker_i')
    studies.run(tmp_path, n_trials=2)
    assert path.read_bytes().startswith(whole + b'{')
    assert b'worker_i{' not in path.read_bytes()


@pytest.mark.parametrize(
    ('log', 'words'),
    [
        ('started\nerror: 2 problems:\n  a\n  b\n', '2 problems: a b'),
        ('Traceback\n  File x\nValueError: no\n', 'ValueError: no'),
        ('', ''),
    ],
)
def test_last_words_of_a_trial(tmp_path: pathlib.Path, log: str, words: str) -> None:
    assert trial_files.find_last_words(tmp_path) == ''
    (tmp_path / 'trial.log').write_text(log)
    assert trial_files.find_last_words(tmp_path) == words
