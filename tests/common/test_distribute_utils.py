"""Strategies by name."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import tensorflow as tf

from official_lite.common import distribute_utils


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'num_gpus': -1}, '`num_gpus` can not be negative.'),
        ({'distribution_strategy': False}, 'must be a string but got: False. If you meant to pass'),
        ({'distribution_strategy': 1}, 'must be a string but got: 1'),
        ({'distribution_strategy': 'off', 'num_gpus': 2}, 'When 2 GPUs are specified'),
        (
            {'distribution_strategy': 'one_device', 'num_gpus': 2},
            '`OneDeviceStrategy` can not be used for more than one device',
        ),
        ({'distribution_strategy': 'mirored'}, "Strategy: 'mirored'; expected one of off, one_dev"),
        (
            {'distribution_strategy': 'parameter_server'},
            r'parameter_server does not work with Keras 3 \(keras#18624\).*use multi_worker_mirrored',
        ),
        ({'distribution_strategy': 'tpu'}, '`tpu_address` must be specified'),
        (
            {'all_reduce_alg': 'dummy'},
            'When used with `mirrored`, valid values for all_reduce_alg are nccl, hierarchical_copy',
        ),
        (
            {'distribution_strategy': 'multi_worker_mirrored', 'all_reduce_alg': 'dummy'},
            'When used with `multi_worker_mirrored`, valid values for all_reduce_alg are nccl, ring',
        ),
        ({'num_gpus': 64}, r'runtime.num_gpus: 64 GPUs are asked for and \d+ are visible'),
    ],
)
def test_what_cannot_be_made(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        distribute_utils.get_distribution_strategy(**kwargs)
    assert caught.value.exit_code == 2  # type: ignore[attr-defined]


def test_off_is_the_current_strategy() -> None:
    assert distribute_utils.get_distribution_strategy('off') is tf.distribute.get_strategy()


def test_one_device() -> None:
    strategy = distribute_utils.get_distribution_strategy('one_device')
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)


@pytest.mark.parametrize(
    ('visible', 'num_gpus', 'expected'),
    [
        (2, 0, ['GPU:0', 'GPU:1']),
        (2, 1, ['GPU:0']),
        (0, 0, ['CPU:0']),
    ],
)
def test_d11_mirrored_takes_all_visible_gpus_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    visible: int,
    num_gpus: int,
    expected: list[str],
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(tf.config, 'list_logical_devices', lambda kind: [kind] * visible)
    monkeypatch.setattr(tf.distribute, 'MirroredStrategy', lambda **kwargs: seen.update(kwargs))
    distribute_utils.get_distribution_strategy('mirrored', num_gpus=num_gpus)
    assert seen['devices'] == expected
    text = capsys.readouterr().out
    assert (f'Training on {", ".join(expected)}' in text) is (num_gpus == 0)


def test_cluster_of_worker_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TF_CONFIG', '')
    monkeypatch.delenv('TF_CONFIG')
    assert distribute_utils.configure_cluster() == 1
    with pytest.raises(ValueError, match='Must specify task_index when number of workers > 1'):
        distribute_utils.configure_cluster('a:1,b:2')
    assert distribute_utils.configure_cluster('a:1,b:2', 1) == 2
    assert json.loads(os.environ['TF_CONFIG']) == {
        'cluster': {'worker': ['a:1', 'b:2']},
        'task': {'type': 'worker', 'index': 1},
    }
    assert distribute_utils.configure_cluster('c:1') == 2  # TF_CONFIG decides.


def test_scope() -> None:
    strategy = tf.distribute.OneDeviceStrategy('CPU:0')
    with distribute_utils.get_strategy_scope(strategy):
        assert tf.distribute.get_strategy() is strategy
    with distribute_utils.get_strategy_scope(None):
        assert tf.distribute.get_strategy() is not strategy
