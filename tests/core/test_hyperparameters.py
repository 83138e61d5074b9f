"""`Hyperparameters` of models, trainers and files."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import types
import zipfile
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import official_lite
from official_lite import errors
from official_lite.core import (
    checkpoint_files,
    checkpoints,
    exp_factory,
    export_base,
    hyperparameter_files,
    hyperparameters,
    model_hyperparameters,
    train_lib,
)
from official_lite.core import config_definitions as cfg
from tests.core import tiny_task


@pytest.fixture(scope='module', autouse=True)
def _experiment() -> Any:
    exp_factory.register_config_factory('tiny_hyperparameters')(tiny_task.make_config)
    yield
    exp_factory._EXPERIMENTS.remove('tiny_hyperparameters')


def _make_config(**overrides: Any) -> cfg.ExperimentConfig:
    config = exp_factory.get_exp_config('tiny_hyperparameters')
    config.override({path.replace('__', '.'): value for path, value in overrides.items()})
    return config


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, pathlib.Path]:
    """A finished run with a best export: its model and its folder."""
    folder = tmp_path_factory.mktemp('run')
    config = _make_config(
        trainer__best_checkpoint_eval_metric='error',
        trainer__best_checkpoint_metric_comp='lower',
        trainer__best_checkpoint_export_subdir='best',
        task__dropout=0.25,
    )
    task = tiny_task.TinyTask(config.task)
    model, _ = train_lib.run_experiment(None, task, 'train_and_eval', config, str(folder))
    return model, folder


class TestView:
    """Flat, tree, table."""

    TREE = {'task': {'size': [3, 4], 'name': '', 'heads': [{'a': 1}, {'a': 2}], 'free': {}}}  # noqa: RUF012

    def test_flat_tree_and_table(self) -> None:
        found = hyperparameters.Hyperparameters(self.TREE, live={'step': 7})
        assert found.flat() == {
            'task.size': [3, 4],
            'task.name': '',
            'task.heads[0].a': 1,
            'task.heads[1].a': 2,
            'task.free': {},
            'step': 7,
        }
        assert found.tree() == {**self.TREE, 'step': 7}
        assert found.table().splitlines()[:2] == ['task.size        [3, 4]', "task.name        ''"]
        assert found['task.heads[1].a'] == 2
        assert found.get('task.none') is None

    def test_an_unknown_name_suggests_the_nearest(self) -> None:
        found = hyperparameters.Hyperparameters(self.TREE)
        with pytest.raises(KeyError, match=r"task\.sise: .* did you mean 'task\.size'\?"):
            found['task.sise']

    def test_of_a_config(self) -> None:
        config = _make_config(trainer__train_steps=9)
        found = hyperparameters.Hyperparameters.of(config)
        assert found['trainer.train_steps'] == 9
        assert found.changed() == {'trainer.train_steps': 9}
        assert found.experiment == 'tiny_hyperparameters'
        assert found.to_config() == config
        assert found.table(only_changed=True) == 'trainer.train_steps  9'

    def test_without_an_experiment_there_is_no_typed_config(self) -> None:
        with pytest.raises(errors.UsageError, match='not known of which experiment'):
            hyperparameters.Hyperparameters(self.TREE).to_config()

    def test_later_changes_of_the_config_do_not_reach_it(self) -> None:
        config = _make_config()
        found = hyperparameters.Hyperparameters.of(config)
        config.trainer.train_steps = 1000
        config.task.train_data.global_batch_size = 99
        assert (found['trainer.train_steps'], found['task.train_data.global_batch_size']) == (6, 8)


class TestModels:
    """`model.hyperparameters` and `trainer.hyperparameters`."""

    def test_a_model_that_a_task_built(self) -> None:
        config = _make_config(task__dropout=0.5)
        model = tiny_task.TinyTask(config.task).build_model()
        assert model.hyperparameters['task.dropout'] == 0.5
        assert 'trainer.train_steps' not in model.hyperparameters

    def test_a_subclass_that_builds_on_its_base(self) -> None:
        class Task(tiny_task.TinyTask):
            def build_model(self) -> Any:
                model = super().build_model()
                model.mark = 1
                return model

        model = Task(_make_config(task__dropout=0.5).task).build_model()
        assert (model.mark, model.hyperparameters['task.dropout']) == (1, 0.5)

    def test_a_run_adds_trainer_and_runtime(self, run: Any) -> None:
        model, _ = run
        assert model.hyperparameters['trainer.train_steps'] == 6
        assert model.hyperparameters['runtime.seed'] == 7
        assert model.hyperparameters['task.dropout'] == 0.25

    def test_a_trainer_tells_the_live_values(self) -> None:
        config = _make_config(
            trainer__optimizer_config={
                'learning_rate': {
                    'type': 'stepwise',
                    'stepwise': {'boundaries': [1], 'values': [0.02, 0.005]},
                }
            }
        )
        task = tiny_task.TinyTask(config.task)
        trainer = train_lib.make_trainer(config, task, num_train_examples=64)
        before = trainer.hyperparameters
        assert before.live == {
            'learning_rate': pytest.approx(0.02),
            'step': 0,
            'epoch': 0.0,
            'batch_size': 8,
        }
        trainer.train(4)
        after = trainer.hyperparameters
        assert after['learning_rate'] == pytest.approx(0.005)
        assert (after['step'], after['epoch']) == (4, 4 * 8 / 64)
        assert before['step'] == 0  # what was told stays
        assert after.flat().items() >= hyperparameters.Hyperparameters.of(config).flat().items()

    def test_a_trainer_that_only_evaluates_has_no_learning_rate(self) -> None:
        config = _make_config()
        trainer = train_lib.make_trainer(config, tiny_task.TinyTask(config.task), train=False)
        assert trainer.hyperparameters['learning_rate'] is None
        assert trainer.hyperparameters['epoch'] is None


class TestFiles:
    """`load_hyperparameters` of whatever a run leaves."""

    @pytest.mark.parametrize(
        'name', ['', 'ckpt-6', 'ckpt-6.index', 'best', 'params.yaml', 'ckpt-6.data-00000-of-00001']
    )
    def test_a_run_and_its_files(self, run: Any, name: str) -> None:
        model, folder = run
        found = official_lite.load_hyperparameters(folder / name if name else folder)
        assert found == model.hyperparameters
        assert found.experiment == 'tiny_hyperparameters'
        assert found.to_config().task.dropout == 0.25

    def test_a_best_checkpoint_carries_it_by_itself(self, run: Any, tmp_path: pathlib.Path) -> None:
        model, folder = run
        prefix = checkpoint_files.latest_checkpoint(str(folder / 'best'))
        assert prefix is not None
        for path in pathlib.Path(prefix).parent.glob(os.path.basename(prefix) + '*'):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        found = official_lite.load_hyperparameters(tmp_path / os.path.basename(prefix))
        assert found == model.hyperparameters
        checkpoint_files.write_state(str(tmp_path), [str(tmp_path / os.path.basename(prefix))])
        assert official_lite.load_hyperparameters(tmp_path) == found

    def test_a_checkpoint_of_before_has_its_params_beside_it(
        self, run: Any, tmp_path: pathlib.Path
    ) -> None:
        _, folder = run
        variables = {checkpoints.STEP_KEY: tf.Variable(3, dtype=tf.int64)}
        checkpoints.FlatCheckpoint(variables).write(str(tmp_path / 'ckpt-3'))
        with pytest.raises(errors.UsageError, match='does not tell which hyperparameters made it'):
            official_lite.load_hyperparameters(tmp_path / 'ckpt-3')
        (tmp_path / 'params.yaml').write_bytes((folder / 'params.yaml').read_bytes())
        assert official_lite.load_hyperparameters(tmp_path / 'ckpt-3')['task.dropout'] == 0.25

    def test_a_keras_file(self, run: Any, tmp_path: pathlib.Path) -> None:
        model, _ = run
        model.save(tmp_path / 'model.keras')
        assert official_lite.load_hyperparameters(tmp_path / 'model.keras') == model.hyperparameters

    def test_a_keras_file_can_still_be_read(self, tmp_path: pathlib.Path) -> None:
        class Task(tiny_task.TinyTask):
            def build_model(self) -> Any:
                return keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])

        model = Task(_make_config(task__dropout=0.5).task).build_model()
        model.save(tmp_path / 'model.keras')
        loaded = keras.saving.load_model(tmp_path / 'model.keras')
        x = np.ones([3, 2], np.float32)
        np.testing.assert_allclose(loaded(x), model(x))
        assert official_lite.load_hyperparameters(tmp_path / 'model.keras')['task.dropout'] == 0.5

    def test_a_saved_model_of_keras(self, run: Any, tmp_path: pathlib.Path) -> None:
        model, _ = run
        model.export(str(tmp_path / 'exported'), verbose=False)
        found = official_lite.load_hyperparameters(tmp_path / 'exported')
        assert found == model.hyperparameters
        assert 'serving_default' in tf.saved_model.load(str(tmp_path / 'exported')).signatures

    def test_a_saved_model_of_an_export_module(self, tmp_path: pathlib.Path) -> None:
        class Module(export_base.ExportModule):
            @tf.function(input_signature=[tf.TensorSpec([None, tiny_task.NUM_FEATURES])])
            def serve(self, x: Any) -> Any:
                return {'y': self.model(x)}

            def get_inference_signatures(self, function_keys: Any) -> Any:
                return dict.fromkeys(function_keys.values(), self.serve)

        config = _make_config(task__dropout=0.5)
        model = tiny_task.TinyTask(config.task).build_model()
        path = export_base.export(Module(config, model), ['x'], str(tmp_path), timestamped=False)
        found = official_lite.load_hyperparameters(path)
        assert (found['task.dropout'], found['trainer.train_steps']) == (0.5, 6)

    def test_files_of_other_programs_get_it(self, run: Any, tmp_path: pathlib.Path) -> None:
        model, _ = run
        other = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
        other.save(tmp_path / 'other.keras')
        other.export(str(tmp_path / 'saved'), verbose=False)
        for name in ('other.keras', 'saved'):
            with pytest.raises(errors.UsageError, match='save_hyperparameters adds them'):
                official_lite.load_hyperparameters(tmp_path / name)
            official_lite.save_hyperparameters(model, tmp_path / name)
            assert official_lite.load_hyperparameters(tmp_path / name) == model.hyperparameters
        keras.saving.load_model(tmp_path / 'other.keras')
        assert (tmp_path / 'saved' / 'assets.extra' / 'params.yaml').is_file()

    def test_what_is_not_there(self, tmp_path: pathlib.Path) -> None:
        with pytest.raises(errors.UsageError, match='nothing is there; expected a run'):
            official_lite.load_hyperparameters(tmp_path / 'nothing.yaml')
        with pytest.raises(errors.UsageError, match='does not tell'):
            official_lite.load_hyperparameters(tmp_path)
        with pytest.raises(errors.UsageError, match='nothing is there; expected a model'):
            official_lite.save_hyperparameters({'a': 1}, tmp_path / 'nothing')
        (tmp_path / 'broken.keras').write_text('no zip')
        with pytest.raises(errors.UsageError, match='does not tell'):
            official_lite.load_hyperparameters(tmp_path / 'broken.keras')

    def test_lengths_from_epochs_are_given_once(self, tmp_path: pathlib.Path) -> None:
        class Task(tiny_task.TinyTask):
            @classmethod
            def get_data_info(cls, task_config: Any, is_training: bool) -> Any:
                return types.SimpleNamespace(num_examples=64)

        config = _make_config(trainer__train_steps=0, trainer__train_epochs=0.5)
        model, _ = train_lib.run_experiment(None, Task(config.task), 'train', config, str(tmp_path))
        assert model.hyperparameters['trainer.train_steps'] == 4
        for name in ('params.yaml', 'ckpt-4'):
            loaded = official_lite.load_hyperparameters(tmp_path / name).to_config()
            loaded.validate()
            assert loaded.trainer.train_epochs == 0.5

    def test_the_metadata_of_a_checkpoint_is_json(self, run: Any) -> None:
        _, folder = run
        metadata = json.loads(checkpoints.CheckpointSource(str(folder / 'ckpt-6')).metadata)
        assert metadata['config']['experiment'] == 'tiny_hyperparameters'
        assert metadata['config']['task']['dropout'] == 0.25

    def test_a_part_of_a_model_does_not_hide_the_whole(
        self, run: Any, tmp_path: pathlib.Path
    ) -> None:
        model, _ = run
        part = tiny_task.TinyTask(_make_config(task__dropout=0.75).task).build_model()
        outer = keras.Sequential([keras.Input([tiny_task.NUM_FEATURES]), part])
        model_hyperparameters.attach(outer, model.hyperparameters.to_config())
        outer.save(tmp_path / 'outer.keras')
        with zipfile.ZipFile(tmp_path / 'outer.keras') as archive:
            members = [n for n in archive.namelist() if n.endswith(hyperparameter_files.ASSET_NAME)]
        assert len(members) == 2
        assert official_lite.load_hyperparameters(tmp_path / 'outer.keras')['task.dropout'] == 0.25


def test_a_run_is_read_without_tensorflow(run: Any) -> None:
    _, folder = run
    code = (
        'import sys, official_lite\n'
        'found = official_lite.load_hyperparameters(sys.argv[1])\n'
        "print(found['task.dropout'], 'tensorflow' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, '-c', code, str(folder)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ['0.25', 'False']
