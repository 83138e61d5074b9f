"""Where hyperparameters are written, read back."""

from __future__ import annotations

import csv
import importlib.util
import json
import pathlib
import time
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

import official_lite
from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import hyperparameter_writers as writers
from official_lite.core import hyperparameters, run_checks, train_lib
from tests.core import tiny_task

RATES = {'type': 'stepwise', 'stepwise': {'boundaries': [3], 'values': [0.02, 0.005]}}


def _run(folder: pathlib.Path, outputs: list[str], steps: int = 6) -> cfg.ExperimentConfig:
    config = tiny_task.make_config(
        trainer__log_hyperparameters_to=outputs,
        trainer__best_checkpoint_eval_metric='error',
        trainer__best_checkpoint_metric_comp='lower',
        trainer__train_steps=steps,
    )
    config.trainer.optimizer_config.override({'learning_rate': RATES})
    task = tiny_task.TinyTask(config.task)
    train_lib.run_experiment(None, task, 'train_and_eval', config, str(folder))
    return config


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp('runs') / 'first'
    _run(folder, ['jsonl', 'csv', 'tensorboard'])
    return folder


def _read_jsonl(folder: pathlib.Path) -> list[dict[str, Any]]:
    lines = (folder / writers.JSONL_NAME).read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines]


def _read_csv(folder: pathlib.Path) -> list[tuple[int, str, str]]:
    with open(folder / writers.CSV_NAME, encoding='utf-8', newline='') as file:
        head, *rows = csv.reader(file)
    assert head == ['step', 'name', 'value']
    return [(int(step), name, value) for step, name, value in rows]


def _read_best(folder: pathlib.Path) -> float:
    """The lowest `eval/error` in metrics.jsonl."""
    lines = (folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    return min(v['eval/error'] for v in map(json.loads, lines) if 'eval/error' in v)


def _list_sessions(folder: pathlib.Path) -> list[Any]:
    """The rows of TensorBoard's HParams table for a folder, as its own backend makes them."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
    context = backend_context.Context(type('TBContext', (), {'data_provider': provider})())
    body = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=100,
        allowed_statuses=[
            api_pb2.STATUS_UNKNOWN,
            api_pb2.STATUS_SUCCESS,
            api_pb2.STATUS_FAILURE,
            api_pb2.STATUS_RUNNING,
        ],
        aggregation_type=api_pb2.AGGREGATION_AVG,
    )
    handler = list_session_groups.Handler(RequestContext(), context, '', body)
    return list(handler.run().session_groups)


def _metric_values(session: Any) -> dict[str, float]:
    return {value.name.tag: value.value for value in session.metric_values}


class TestTrainer:
    """`trainer.log_hyperparameters_to`."""

    def test_json_lines(self, run: pathlib.Path) -> None:
        begin, *steps, end = _read_jsonl(run)
        assert begin['hyperparameters']['task.train_data.global_batch_size'] == 8
        assert begin['hyperparameters']['step'] == 0
        assert len(begin['hyperparameters']) > 100
        rates = {line['step']: line['learning_rate'] for line in steps}
        assert rates == pytest.approx({2: 0.02, 3: 0.02, 4: 0.005, 6: 0.005})
        assert {line['step'] for line in steps if 'eval/error' in line} == {3, 6}
        assert {line['step'] for line in steps if 'loss' in line} == {2, 4, 6}
        assert end['best'] == {'eval/error': _read_best(run)}

    def test_csv(self, run: pathlib.Path) -> None:
        rows = _read_csv(run)
        assert (0, 'trainer.train_steps', '6') in rows
        assert (0, 'task.freeze', '[]') in rows
        rates = [(step, float(value)) for step, name, value in rows if name == 'learning_rate']
        assert rates[0] == (0, pytest.approx(0.02))
        assert rates[-1] == (6, pytest.approx(0.005))
        assert float({n: v for _, n, v in rows}['best/eval/error']) == _read_best(run)

    def test_tensorboard_shows_one_row_with_what_was_set(self, run: pathlib.Path) -> None:
        (group,) = [g for g in _list_sessions(run.parent) if g.name == run.name]
        shown = {
            name: value.string_value or value.number_value for name, value in group.hparams.items()
        }
        assert shown['trainer.train_steps'] == 6
        assert shown['trainer.optimizer_config.learning_rate.type'] == 'stepwise'
        assert json.loads(shown['trainer.optimizer_config.learning_rate.stepwise.values']) == [
            0.02,
            0.005,
        ]
        assert 'trainer.max_to_keep' not in shown  # nobody set it
        (session,) = group.sessions
        assert session.status == api_pb2.STATUS_SUCCESS
        metrics = _metric_values(session)
        assert metrics['best/eval/error'] == pytest.approx(_read_best(run))
        assert 'eval/error' in metrics

    def test_a_run_that_goes_on_appends(self, tmp_path: pathlib.Path) -> None:
        _run(tmp_path, ['jsonl', 'csv', 'tensorboard'], steps=3)
        _run(tmp_path, ['jsonl', 'csv', 'tensorboard'], steps=6)
        lines = _read_jsonl(tmp_path)
        assert [line['hyperparameters']['step'] for line in lines if line['event'] == 'begin'] == [
            0,
            3,
        ]
        assert (3, 'trainer.train_steps', '6') in _read_csv(tmp_path)
        assert len(_list_sessions(tmp_path)) == 1

    def test_two_runs_are_two_rows(self, run: pathlib.Path) -> None:
        _run(run.parent / 'second', ['tensorboard'], steps=3)
        groups = {group.name: group for group in _list_sessions(run.parent)}
        steps = {name: g.hparams['trainer.train_steps'].number_value for name, g in groups.items()}
        assert steps == {'first': 6, 'second': 3}

    def test_by_default_nothing_is_written(self, tmp_path: pathlib.Path) -> None:
        _run(tmp_path, [])
        assert not list(tmp_path.glob('hyperparameters.*'))
        assert not list(tmp_path.glob('events*'))

    def test_the_log_shows_what_was_set(self, tmp_path: pathlib.Path, capsys: Any) -> None:
        _run(tmp_path, ['log'])
        text = capsys.readouterr().out
        assert 'of which' in text
        assert 'trainer.train_steps ' in text
        assert 'trainer.max_to_keep ' not in text
        assert 'best  eval/error ' in text


class TestCallback:
    """`HyperparameterLogger` in `fit`."""

    def _fit(self, model: Any, logger: Any, epochs: int = 3) -> Any:
        x = np.random.default_rng(0).normal(size=[12, tiny_task.NUM_FEATURES]).astype('float32')
        y = x @ tiny_task.TRUE_WEIGHTS
        return model.fit(
            x, y, batch_size=4, epochs=epochs, validation_data=(x, y), callbacks=[logger], verbose=0
        )

    def _compile(self, model: Any, rate: Any = 0.01) -> Any:
        model.compile(keras.optimizers.SGD(rate, momentum=0.5), 'mse')
        return model

    def test_any_keras_model(self, tmp_path: pathlib.Path) -> None:
        logger = official_lite.HyperparameterLogger(
            ['jsonl', 'csv', 'tensorboard'], log_dir=str(tmp_path / 'a'), extra={'note': 'first'}
        )
        model = self._compile(
            keras.Sequential([keras.Input([tiny_task.NUM_FEATURES]), keras.layers.Dense(1)])
        )
        history = self._fit(model, logger).history
        begin, *steps, end = _read_jsonl(tmp_path / 'a')
        told = begin['hyperparameters']
        assert told['optimizer.class'] == 'SGD'
        assert told['optimizer.momentum'] == 0.5
        assert told['optimizer.learning_rate'] == pytest.approx(0.01)
        assert (told['epochs'], told['steps'], told['loss'], told['note']) == (3, 3, 'mse', 'first')
        assert [line['step'] for line in steps] == [3, 6, 9]
        assert [line['val_loss'] for line in steps] == pytest.approx(history['val_loss'])
        assert end['best'] == {'val_loss': pytest.approx(min(history['val_loss']))}
        (group,) = _list_sessions(tmp_path)
        assert group.hparams['optimizer.class'].string_value == 'SGD'
        metrics = _metric_values(group.sessions[0])
        assert metrics['best/val_loss'] == pytest.approx(min(history['val_loss']))

    def test_a_schedule_is_followed(self, tmp_path: pathlib.Path) -> None:
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.02, 0.005])
        logger = official_lite.HyperparameterLogger(['jsonl'], log_dir=str(tmp_path))
        model = keras.Sequential([keras.Input([tiny_task.NUM_FEATURES]), keras.layers.Dense(1)])
        self._fit(self._compile(model, schedule), logger)
        rates = [line['learning_rate'] for line in _read_jsonl(tmp_path)[1:-1]]
        assert rates == pytest.approx([0.02, 0.005, 0.005])

    def test_a_model_that_a_task_built(self, tmp_path: pathlib.Path) -> None:
        config = tiny_task.make_config(task__num_examples=77)
        model = self._compile(tiny_task.TinyTask(config.task).build_model())
        logger = official_lite.HyperparameterLogger(['jsonl'], log_dir=str(tmp_path))
        self._fit(model, logger, epochs=1)
        told = _read_jsonl(tmp_path)[0]['hyperparameters']
        assert told['task.num_examples'] == 77
        assert told['optimizer.class'] == 'SGD'

    def test_what_is_given_counts(self) -> None:
        lines: list[str] = []
        logger = official_lite.HyperparameterLogger(
            [], hyperparameters={'a': {'b': 1}}, writers=[writers.LogWriter(lines.append)]
        )
        model = keras.Sequential([keras.Input([tiny_task.NUM_FEATURES]), keras.layers.Dense(1)])
        self._fit(self._compile(model), logger, epochs=1)
        assert '  a.b ' in lines[0]
        assert lines[1].startswith('step 3  epoch 1  learning_rate 0.01  loss ')
        assert lines[2].startswith('best  val_loss ')

    def test_what_is_wrong(self) -> None:
        with pytest.raises(errors.UsageError, match=r"received 'csvs'; did you mean 'csv'\?"):
            official_lite.HyperparameterLogger(['csvs'])
        with pytest.raises(errors.UsageError, match="log_dir: 'csv' needs a folder"):
            official_lite.HyperparameterLogger(['csv'])


def test_a_package_that_is_not_installed_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_task.make_config(trainer__log_hyperparameters_to=['wandb'])
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        errors.UsageError,
        match=r"trainer\.log_hyperparameters_to: 'wandb' needs the package wandb, which is not "
        r"installed; pip install 'official-lite\[wandb\]'",
    ):
        run_checks.check_runnable(config, 'train')


def test_an_output_twice_is_refused() -> None:
    config = tiny_task.make_config(trainer__log_hyperparameters_to=['csv', 'csv'])
    with pytest.raises(
        errors.UsageError, match='log_hyperparameters_to: expected each output once'
    ):
        config.validate()


def test_values_that_tensorboard_has_no_words_for(tmp_path: pathlib.Path) -> None:
    writer = writers.TensorBoardWriter(str(tmp_path / 'run'))
    tree = {'none': None, 'list': [1, 2], 'flag': True, 'text': 'a', 'number': 3}
    writer.begin(hyperparameters.Hyperparameters(tree))
    writer.write(1, {'x': 2.0, 'word': 'left out'})
    writer.end({})
    (group,) = _list_sessions(tmp_path / 'run')
    assert group.hparams['none'].string_value == 'null'
    assert group.hparams['list'].string_value == '[1, 2]'
    assert group.hparams['flag'].bool_value is True
    assert group.hparams['number'].number_value == 3
    assert tf.io.gfile.glob(str(tmp_path / 'run' / 'events*'))


def _has(package: str) -> Any:
    is_missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(is_missing, reason=f'{package} is not installed (an extra)')


@_has('mlflow')
def test_mlflow(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.delenv('MLFLOW_TRACKING_URI', raising=False)
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    _run(tmp_path / 'run', ['mlflow'], steps=3)
    _run(tmp_path / 'run', ['mlflow'], steps=6)
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / 'run' / 'mlruns').as_uri())
    run_id = (tmp_path / 'run' / 'mlflow_run_id').read_text().strip()
    stored = client.get_run(run_id)
    assert stored.info.status == 'FINISHED'
    assert stored.data.params['task.train_data.global_batch_size'] == '8'
    assert stored.data.params['trainer.optimizer_config.learning_rate.type'] == 'stepwise'
    rates = client.get_metric_history(run_id, 'learning_rate')
    assert [(m.step, m.value) for m in rates if m.step == 6][-1] == (6, pytest.approx(0.005))
    errors_by_step = {m.step: m.value for m in client.get_metric_history(run_id, 'eval/error')}
    assert set(errors_by_step) == {3, 6}
    experiments = [e for e in client.search_experiments() if e.name == 'official_lite']
    assert len(client.search_runs([e.experiment_id for e in experiments])) == 1


@_has('wandb')
def test_wandb_offline(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    monkeypatch.setenv('WANDB_ERROR_REPORTING', 'false')
    for name in ('WANDB_CACHE_DIR', 'WANDB_CONFIG_DIR', 'WANDB_DATA_DIR'):
        monkeypatch.setenv(name, str(tmp_path / 'home'))
    _run(tmp_path / 'run', ['wandb'])
    (folder,) = (tmp_path / 'run' / 'wandb').glob('offline-run-*')
    end = time.monotonic() + 60.0  # W&B's own process writes when it likes
    stored = b''
    while b'eval/error' not in stored and time.monotonic() < end:
        time.sleep(0.1)
        stored = b''.join(path.read_bytes() for path in folder.glob('*.wandb'))
    assert b'global_batch_size' in stored
    assert b'eval/error' in stored
    assert b'learning_rate' in stored
    assert (tmp_path / 'run' / 'wandb_run_id').read_text().strip() in folder.name
