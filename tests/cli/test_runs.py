"""`official-lite runs` and `official-lite diff`."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from official_lite import cli
from official_lite.core import exp_factory, run_files

EVALUATIONS = {'a': [(10, 0.25), (20, 0.5), (30, 0.375)], 'b': [(10, 0.625), (20, 0.5)]}


def _make_run(folder: pathlib.Path, text: str, evaluations: list[tuple[int, float]]) -> None:
    config = exp_factory.get_exp_config('retinanet_custom').to_hparams().parse(text).to_config()
    run_files.save_params(config, str(folder), 'retinanet_custom')
    run_files.save_run_info(str(folder), ['train.py'])
    lines = [{'step': step, 'eval/AP': ap, 'eval/loss': 2 - ap} for step, ap in evaluations]
    lines.insert(1, {'step': 15, 'loss': 1.0})
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'metrics.jsonl').write_text(text + '{"step": 40, "eval/A', encoding='utf-8')


@pytest.fixture(name='root')
def _root(tmp_path: pathlib.Path) -> pathlib.Path:
    metric = 'best_checkpoint_eval_metric=AP,best_checkpoint_export_subdir=best'
    _make_run(tmp_path / 'a', f'learning_rate=0.001,{metric}', EVALUATIONS['a'])
    _make_run(
        tmp_path / 'deep' / 'b', f'batch_size=4,optimizer.type=sgd,{metric}', EVALUATIONS['b']
    )
    best = tmp_path / 'a' / 'best'
    best.mkdir()
    (best / 'params.yaml').write_text((tmp_path / 'a' / 'params.yaml').read_text())
    info = {'AP': 0.5, 'validation_loss': 1.5, 'best_ckpt_global_step': 20.0}
    (best / 'info.json').write_text(json.dumps(info))
    return tmp_path


def _call(capsys: Any, *args: str) -> tuple[int, str, str]:
    code = cli.main(['official-lite', *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_runs_are_listed(root: pathlib.Path, capsys: Any) -> None:
    code, out, _ = _call(capsys, 'runs', str(root))
    head, *rows = [line.split() for line in out.splitlines()[:3]]
    assert code == 0
    assert head[:7] == ['run', 'experiment', 'started', 'step', 'metric', 'best', 'at']
    assert [row[0] for row in rows] == ['a', 'deep/b']  # a best export is no run
    assert rows[0][4:8] == ['30', 'AP', '0.5', '20']
    assert rows[1][4:8] == ['20', 'AP', '0.625', '10']
    assert 'more hyperparameters differ' in out


def test_columns_and_order(root: pathlib.Path, capsys: Any) -> None:
    _, out, _ = _call(
        capsys, 'runs', str(root), '--sort=best', '--columns=initial_learning_rate,optimizer.type'
    )
    head, first, second = out.splitlines()
    assert head.split()[-2:] == ['initial_learning_rate', 'type']
    assert (first.split()[0], second.split()[0]) == ('deep/b', 'a')
    assert second.split()[-2:] == ['0.001', 'adamw']


def test_runs_as_json(root: pathlib.Path, capsys: Any) -> None:
    _, out, _ = _call(capsys, 'runs', str(root), '--json')
    runs = json.loads(out)
    assert [run['best_step'] for run in runs] == [20, 10]
    assert runs[1]['hyperparameters']['task.train_data.global_batch_size'] == 4
    assert runs[0]['best'] == {'eval/AP': 0.5, 'eval/loss': 1.5}


def test_what_is_wrong_with_runs(root: pathlib.Path, capsys: Any) -> None:
    assert _call(capsys, 'runs', str(root / 'none'))[0] == 2
    (root / 'empty').mkdir()
    code, _, err = _call(capsys, 'runs', str(root / 'empty'))
    assert (code, 'there are no runs' in err) == (2, True)
    code, _, err = _call(capsys, 'runs', str(root), '--columns=lerning_rate')
    assert (code, 'no run has this hyperparameter' in err) == (2, True)
    code, _, err = _call(capsys, 'runs', str(root), '--columns=seed')
    assert (code, 'several hyperparameters end in this' in err) == (2, True)
    (root / 'a' / 'params.yaml').write_text('a: [')
    code, out, err = _call(capsys, 'runs', str(root))
    assert (code, 'skipped: ' in err, 'deep/b' in out) == (0, True, True)


def test_two_runs_are_compared(root: pathlib.Path, capsys: Any) -> None:
    code, out, _ = _call(capsys, 'diff', str(root / 'a'), str(root / 'deep' / 'b'))
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0][:3] == ['A', str(root / 'a'), 'retinanet_custom']
    assert ['trainer.optimizer_config.optimizer.type', 'adamw', 'sgd'] in lines
    assert ['task.train_data.global_batch_size', '8', '4'] in lines
    rate = 'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate'
    assert [rate, '0.001', '0.008'] in lines
    assert ['trainer.optimizer_config.optimizer.sgd.momentum', '(absent)', '0.0'] in lines
    assert ['eval/AP', '0.5', '0.625', '+0.125'] in lines
    assert ['eval/loss', '1.5', '1.375', '-0.125'] in lines
    assert 'focal_loss_alpha' not in out  # the same in both


def test_a_best_export_has_its_metrics(root: pathlib.Path, capsys: Any) -> None:
    _, out, _ = _call(capsys, 'diff', str(root / 'a' / 'best'), str(root / 'a'))
    assert 'all hyperparameters are the same' in out
    assert ['eval/AP', '0.5', '0.5', '+0'] in [line.split() for line in out.splitlines()]


def test_comparison_as_json(root: pathlib.Path, capsys: Any) -> None:
    _, out, _ = _call(capsys, 'diff', str(root / 'a'), str(root / 'deep' / 'b'), '--json')
    found = json.loads(out)
    assert found['hyperparameters']['trainer.optimizer_config.optimizer.type'] == ['adamw', 'sgd']
    assert found['best']['eval/AP'] == [0.5, 0.625]


def test_what_is_wrong_with_a_comparison(root: pathlib.Path, capsys: Any) -> None:
    code, _, err = _call(capsys, 'diff', str(root / 'a'))
    assert (code, 'two runs are compared' in err) == (2, True)
    code, _, err = _call(capsys, 'diff', str(root / 'a'), str(root / 'none'))
    assert (code, 'nothing is there' in err) == (2, True)
