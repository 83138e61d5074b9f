"""The experiments of R-CNNs, with their own data form, from records to a report; and resumed runs."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from official_lite.core import exp_factory, task_factory, train_lib
from official_lite.vision.dataloaders import tfrecord_writer
from official_lite.vision.tasks import maskrcnn
from tests.core import tiny_runs
from tests.vision.dataloaders import data_makers
from tests.vision.tasks import tiny_masks

EXPERIMENTS = (
    'fasterrcnn_resnetfpn_coco',
    'maskrcnn_resnetfpn_coco',
    'maskrcnn_spinenet_coco',
    'cascadercnn_spinenet_coco',
    'maskrcnn_mobilenet_coco',
)
# The cheapest stands for all where time is short.
CHEAP = 'maskrcnn_mobilenet_coco'


def _write_records(folder: pathlib.Path) -> str:
    """Four images with boxes, and masks that fill them."""
    table = data_makers.make_table([2, 1, 3, 1], height=96, width=128)
    examples = []
    for example in tfrecord_writer.make_examples(table):
        masks = np.ones([len(example.labels), 96, 128], np.uint8)
        examples.append(dataclasses.replace(example, masks=masks))
    tfrecord_writer.write_tfrecords(examples, folder / 'data')
    return f'{folder}/data*'


def _make_params(experiment: str, records: str) -> Any:
    """The experiment with two small images a step; all else is its own."""
    params = exp_factory.get_exp_config(experiment)
    data = {'input_path': records, 'global_batch_size': 2, 'shuffle_buffer_size': 4}
    params.override(
        {
            'runtime': {
                'distribution_strategy': 'one_device',
                'mixed_precision_dtype': 'float32',
                'enable_xla': False,
            },
            'task': {
                'init_checkpoint': None,
                'annotation_file': None,
                'model': {'input_size': [128, 128, 3]},
                'train_data': data,
                'validation_data': data,
            },
            'trainer': {
                'train_steps': 2,
                'steps_per_loop': 1,
                'summary_interval': 1,
                'checkpoint_interval': 2,
                'validation_interval': 2,
                'validation_steps': 2,
                # The experiments' own is for hundreds of images a step, after thousands of steps.
                'optimizer_config': {'learning_rate': {'stepwise': {'values': [1e-4] * 3}}},
            },
        }
    )
    return params


@pytest.mark.parametrize(
    'experiment',
    [name if name == CHEAP else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS],
)
def test_an_experiment_trains_and_evaluates(
    experiment: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))
    params = _make_params(experiment, _write_records(tmp_path))
    task = task_factory.get_task(params.task)
    run_dir = tmp_path / 'run'
    _, logs = train_lib.run_experiment(None, task, 'train_and_eval', params, str(run_dir))
    has_masks = params.task.model.include_mask
    names = ['AP', 'AP50', 'total_loss', *(['mask_AP', 'mask_AP50'] if has_masks else [])]
    for name in names:
        assert np.isfinite(logs[name]), name
    assert ('mask_AP' in logs) == has_masks
    assert tiny_runs.saved_steps(run_dir) == [2]
    losses = [line['loss'] for line in tiny_runs.read_lines(run_dir) if 'loss' in line]
    assert len(losses) == 2
    assert np.all(np.isfinite(losses))


def _train(folder: pathlib.Path, **run_kwargs: Any) -> Any:
    """Four steps, of which two are saved in between."""
    params = tiny_masks.make_params(trainer__checkpoint_interval=2, runtime__seed=3)
    task = task_factory.get_task(params.task)
    return train_lib.run_experiment(None, task, 'train', params, str(folder), **run_kwargs)[0]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: pathlib.Path) -> None:
    """Anchors and regions are drawn as if nothing had happened, too."""
    whole = _train(tmp_path / 'whole')
    with pytest.raises(tiny_runs.Killed):
        _train(tmp_path / 'parts', train_actions=[tiny_runs.KillAt(2)])
    assert tiny_runs.saved_steps(tmp_path / 'parts') == [2]
    tiny_runs.assert_same_weights(whole, _train(tmp_path / 'parts'))


def test_mean_over_two_replicas_is_the_loss_of_the_whole_batch(tmp_path: pathlib.Path) -> None:
    """Objects are all on one replica: what a loss is divided by counts those of all."""
    program = pathlib.Path(__file__).with_name('maskrcnn_replicas.py')
    result = tmp_path / 'losses.json'
    done = subprocess.run(
        [sys.executable, str(program), str(result)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    losses = json.loads(result.read_text())
    assert set(losses) == {*maskrcnn.LOSS_NAMES, maskrcnn.SCORING_LOSS_NAME}
    for name, (one, two) in losses.items():
        assert one > 0.0, name
        assert two == pytest.approx(one, rel=1e-4), name
