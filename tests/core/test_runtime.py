"""Precision, seeds, and combinations that cannot work."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import runtime
from tests.core import tiny_task

CPU_INFO = 'processor : 0\nflags\t\t: fpu sse2 avx512f {}\nbugs\t: none\n'


@pytest.mark.parametrize(
    ('flags', 'expected'), [('avx512_bf16', True), ('amx_bf16 amx_tile', True), ('avx512vl', False)]
)
def test_auto_precision_looks_at_the_processor(
    tmp_path: pathlib.Path, flags: str, expected: bool
) -> None:
    path = tmp_path / 'cpuinfo'
    path.write_text(CPU_INFO.format(flags))
    assert runtime.cpu_has_bfloat16(path) is expected
    assert runtime.cpu_has_bfloat16(tmp_path / 'missing') is False


def test_auto_is_bfloat16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_bfloat16, expected in ((True, 'bfloat16'), (False, 'float32')):
        monkeypatch.setattr(runtime, 'has_bfloat16', lambda value=has_bfloat16: value)
        assert runtime.resolve_precision('auto') == expected
    assert runtime.resolve_precision(None) == 'float32'
    assert runtime.resolve_precision('float16') == 'float16'


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', None])
def test_prepare_sets_the_policy(dtype: str | None) -> None:
    try:
        runtime.prepare(tiny_task.make_config(runtime__mixed_precision_dtype=dtype))
        assert keras.config.dtype_policy().compute_dtype == (dtype or 'float32')
        assert keras.config.dtype_policy().variable_dtype == 'float32'
    finally:
        keras.config.set_dtype_policy('float32')


def test_d9_prepare_seeds_everything() -> None:
    def draw(seed: int) -> list[Any]:
        runtime.prepare(tiny_task.make_config(runtime__seed=seed))
        layer = keras.layers.Dense(2)
        layer.build((None, 2))
        return [np.array(layer.kernel), float(tf.random.uniform([])), np.random.rand()]

    first, same, other = draw(1), draw(1), draw(2)
    for a, b, c in zip(first, same, other):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            {
                'runtime__enable_xla': True,
                'runtime__distribution_strategy': 'multi_worker_mirrored',
            },
            r'runtime.enable_xla: gradients cannot be summed over workers',
        ),
        ({'runtime__enable_xla': True, 'runtime__run_eagerly': True}, 'XLA compiles functions'),
        ({'runtime__distribution_strategy': 'tpu'}, r'runtime.tpu: the strategy tpu needs'),
        (
            {
                'runtime__distribution_strategy': 'tpu',
                'runtime__tpu': 'local',
                'runtime__mixed_precision_dtype': 'float16',
            },
            'TPUs do not compute in float16; use bfloat16',
        ),
        ({'runtime__num_cores_per_replica': 2}, 'one model over several TPU cores'),
        ({'trainer__train_tf_function': False}, 'a loop inside a function needs train_tf_function'),
    ],
)
def test_what_cannot_work_together_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(runtime.RuntimeSetupError, match=message) as caught:
        runtime.check(tiny_task.make_config(**settings))
    assert caught.value.exit_code == 2


class _TwoReplicas:
    num_replicas_in_sync = 2


def test_what_cannot_work_on_two_replicas_is_refused() -> None:
    strategy: Any = _TwoReplicas()
    runtime.check_strategy(tiny_task.make_config(), strategy)
    with pytest.raises(runtime.RuntimeSetupError, match='summed over 2 replicas inside an XLA'):
        runtime.check_strategy(tiny_task.make_config(runtime__enable_xla=True), strategy)
    config = tiny_task.make_config(task__train_data__global_batch_size=7)
    with pytest.raises(
        runtime.RuntimeSetupError,
        match=r'train_data.global_batch_size: 2 replicas cannot share 7 examples equally; expected a '
        'multiple of 2',
    ):
        runtime.check_strategy(config, strategy)


def test_set_up_returns_the_strategy_and_sets_thread_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ('TF_GPU_THREAD_MODE', 'TF_GPU_THREAD_COUNT'):
        monkeypatch.setenv(name, '')
    config = tiny_task.make_config(
        runtime__distribution_strategy='one_device',
        runtime__gpu_thread_mode='gpu_private',
        runtime__per_gpu_thread_count=2,
    )
    strategy = runtime.set_up(config)
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert os.environ['TF_GPU_THREAD_MODE'] == 'gpu_private'
    assert os.environ['TF_GPU_THREAD_COUNT'] == '2'
