"""One device, two replicas and two workers train alike."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
WORKER = REPO / 'tests' / 'core' / 'strategy_worker.py'
TIMEOUT_SECS = 300
STRATEGIES = ('mirrored', 'multi_worker_mirrored')


def _start(name: str, output: pathlib.Path, tf_config: dict[str, Any] | None = None) -> Any:
    env = {**os.environ, 'PYTHONPATH': str(REPO), 'CUDA_VISIBLE_DEVICES': '-1'}
    if tf_config is not None:
        env['TF_CONFIG'] = json.dumps(tf_config)
    return subprocess.Popen(
        [sys.executable, str(WORKER), name, str(output)],
        env=env,
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(processes: list[Any]) -> None:
    try:
        for process in processes:
            text, _ = process.communicate(timeout=TIMEOUT_SECS)
            assert process.returncode == 0, text[-4000:]
    finally:
        for process in processes:
            process.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(('localhost', 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope='module')
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp('strategies')
    names = ('one_device', *STRATEGIES)
    outputs = {name: folder / f'{name}.json' for name in names}
    _finish([_start(name, outputs[name]) for name in names[:2]])
    hosts = [f'localhost:{port}' for port in _free_ports(2)]
    configs = [
        {'cluster': {'worker': hosts}, 'task': {'type': 'worker', 'index': index}}
        for index in range(2)
    ]
    _finish([_start(names[2], outputs[names[2]], config) for config in configs])
    return {name: json.loads(path.read_text()) for name, path in outputs.items()}


def _assert_equal_training(first: Any, second: Any) -> None:
    np.testing.assert_allclose(first['losses'], second['losses'], rtol=1e-5, atol=1e-6)
    assert first['weights'].keys() == second['weights'].keys()
    for key, value in first['weights'].items():
        np.testing.assert_allclose(value, second['weights'][key], atol=1e-5, err_msg=key)


def test_strategies_have_the_replicas_they_should(results: dict[str, Any]) -> None:
    assert results['one_device']['num_replicas'] == 1
    assert [results[name]['num_replicas'] for name in STRATEGIES] == [2, 2]


def test_training_really_changes_the_loss(results: dict[str, Any]) -> None:
    losses = results['one_device']['base']['losses']
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize('kind', ['base', 'overridden'])
def test_strategy_equals_one_device(results: dict[str, Any], strategy: str, kind: str) -> None:
    _assert_equal_training(results['one_device'][kind], results[strategy][kind])


def test_d5_an_overridden_train_step_equals_the_base(results: dict[str, Any]) -> None:
    _assert_equal_training(results['one_device']['base'], results['one_device']['overridden'])


@pytest.mark.parametrize('strategy', ['one_device', *STRATEGIES])
def test_d7_accumulation_equals_a_large_batch(results: dict[str, Any], strategy: str) -> None:
    expected, accumulated = results['one_device']['base'], results[strategy]['accumulated']
    _assert_equal_training(expected, accumulated)
    np.testing.assert_allclose(expected['norms'], accumulated['norms'], rtol=1e-5)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_d7_the_gradient_norm_is_that_of_all_replicas(
    results: dict[str, Any], strategy: str
) -> None:
    expected = results['one_device']['base']['norms']
    np.testing.assert_allclose(results[strategy]['base']['norms'], expected, rtol=1e-5)


def test_compiled_loss_equals_built_loss_on_two_replicas(results: dict[str, Any]) -> None:
    _assert_equal_training(results['one_device']['base'], results['one_device']['compiled'])
    _assert_equal_training(results['one_device']['base'], results['mirrored']['compiled'])


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_d12_evaluation_sees_every_example_once(results: dict[str, Any], strategy: str) -> None:
    single = results['one_device']['evaluation']
    several = results[strategy]['evaluation']
    assert single['num_seen'] == 10
    assert several['num_seen'] == 10
    assert several['sum_seen'] == pytest.approx(single['sum_seen'], rel=1e-5)
    assert several['error'] == pytest.approx(single['error'], rel=1e-5)
    assert several['validation_loss'] == pytest.approx(single['validation_loss'], rel=1e-5)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_a_run_that_is_resumed_equals_one_device(results: dict[str, Any], strategy: str) -> None:
    single, several = results['one_device']['runs'], results[strategy]['runs']
    for part in ('first', 'second'):
        for key, value in single[part]['weights'].items():
            np.testing.assert_allclose(value, several[part]['weights'][key], atol=1e-5)
        for key, value in single[part]['logs'].items():
            assert several[part]['logs'][key] == pytest.approx(value, rel=1e-4), key
    assert several['files'] == single['files']


def test_statistics_are_averaged_over_replicas(results: dict[str, Any]) -> None:
    before, after = (np.array(results['mirrored']['batch_norm'][k]) for k in ('before', 'after'))
    assert np.abs(before[0] - before[1]).max() > 1e-3
    np.testing.assert_allclose(after[0], before.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(after[0], after[1])


@pytest.mark.parametrize('strategy', ['one_device', 'mirrored'])
def test_d10_restored_random_states_are_the_saved_ones(
    results: dict[str, Any], strategy: str
) -> None:
    seeds = results[strategy]['seeds']
    assert seeds['restored'] == seeds['saved']


def test_replicas_draw_different_random_numbers(results: dict[str, Any]) -> None:
    (seed, counter), (other_seed, other_counter) = results['mirrored']['seeds']['saved']
    assert seed != other_seed
    assert counter == other_counter == 2


def test_float16_an_overflow_on_one_replica_skips_the_step_on_all(results: dict[str, Any]) -> None:
    overflow = results['mirrored']['float16']
    initial, after_good_step, after_bad_step = overflow['weights']
    assert initial != after_good_step
    assert after_good_step == after_bad_step
    first, second = overflow['on_all_replicas']
    assert first == second
    assert np.isfinite(first).all()


def test_a_signal_on_one_worker_reaches_all(results: dict[str, Any]) -> None:
    assert results['multi_worker_mirrored']['any_worker'] is True


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_layer_overrides_act_as_on_one_device(results: dict[str, Any], strategy: str) -> None:
    single = results['one_device']['layers']
    _assert_equal_training(single, results[strategy]['layers'])
    moved = {
        key: np.abs(np.subtract(value, single['before'][key])).max()
        for key, value in single['weights'].items()
    }
    # Adam moves weights by about the rate: 0.04, 0.04 and three times 0.02; 0.05 * 0.1 * 0.5 each.
    assert 0.05 < moved['head/stem/kernel'] < 0.3
    assert 0.0 < moved['backbone/stem/bias'] < 0.0126
    assert moved['backbone/batch_normalization/gamma'] == 0.0


@pytest.mark.parametrize('strategy', ['one_device', *STRATEGIES])
def test_frozen_batch_norm_keeps_its_statistics_on_each_replica(
    results: dict[str, Any], strategy: str
) -> None:
    mean, variance, gamma = results[strategy]['layers']['frozen']
    assert len(mean) == (2 if strategy == 'mirrored' else 1)
    assert {value for replica in mean for value in replica} == {0.0}
    assert {value for replica in [*variance, *gamma] for value in replica} == {1.0}
