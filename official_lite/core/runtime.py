"""What must be settled before TensorFlow computes anything: precision, seeds, threads, strategy.

And what cannot work together, refused before anything starts.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.common import distribute_utils
from official_lite.core import randomness
from official_lite.modeling import performance

_CPU_INFO = pathlib.Path('/proc/cpuinfo')
# What Linux calls the instructions that multiply in bfloat16.
_BFLOAT16_CPU_FLAGS = frozenset({'avx512_bf16', 'amx_bf16'})
# First NVIDIA compute capability with bfloat16 units (Ampere).
_BFLOAT16_COMPUTE_CAPABILITY = 8


class RuntimeSetupError(errors.UsageError, ValueError):
    """A combination of settings that cannot work."""


def set_up(params: Any) -> tf.distribute.Strategy:
    """Makes the process ready for `params` and returns the strategy. Call it before anything is built.

    Args:
        params: The `ExperimentConfig`.

    Raises:
        RuntimeSetupError: settings that cannot work together.
    """
    runtime = params.runtime
    check(params)
    _set_environment(runtime)
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()
    if runtime.distribution_strategy == 'multi_worker_mirrored':
        distribute_utils.configure_cluster(runtime.worker_hosts, runtime.task_index)
    strategy = distribute_utils.get_distribution_strategy(
        runtime.distribution_strategy,
        num_gpus=runtime.num_gpus,
        all_reduce_alg=runtime.all_reduce_alg,
        num_packs=runtime.num_packs,
        tpu_address=runtime.tpu,
    )
    check_strategy(params, strategy)
    prepare(params)
    return strategy


def prepare(params: Any) -> None:
    """Sets precision, seeds and eager mode: what any process can still change before it builds a model."""
    runtime = params.runtime
    dtype = resolve_precision(runtime.mixed_precision_dtype)
    performance.set_mixed_precision_policy(dtype)
    tf.config.run_functions_eagerly(bool(runtime.run_eagerly))
    keras.utils.set_random_seed(get_seed(runtime))
    randomness.set_run_seed(get_seed(runtime))


def get_seed(runtime: Any) -> int:
    """`runtime.seed`, which is 0 unless set."""
    return int(getattr(runtime, 'seed', 0) or 0)


def resolve_precision(dtype: str | None) -> str:
    """The number format for `runtime.mixed_precision_dtype`; None is float32.

    'auto' is bfloat16 where the processor computes in it (AVX512-BF16 or AMX, a GPU from Ampere on, a TPU),
    else float32: in software bfloat16 is slower than float32.
    """
    if dtype != 'auto':
        return dtype or 'float32'
    return 'bfloat16' if has_bfloat16() else 'float32'


def has_bfloat16() -> bool:
    """Whether the processor that will train multiplies in bfloat16."""
    if tf.config.list_physical_devices('TPU'):
        return True
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return details.get('compute_capability', (0, 0))[0] >= _BFLOAT16_COMPUTE_CAPABILITY
    return cpu_has_bfloat16()


def cpu_has_bfloat16(cpu_info: pathlib.Path = _CPU_INFO) -> bool:
    """Whether Linux lists AVX512-BF16 or AMX among the flags of the CPU; False elsewhere."""
    if not cpu_info.exists():
        return False
    flags = re.search(r'^flags\s*:\s*(.*)$', cpu_info.read_text(), re.MULTILINE)
    return flags is not None and bool(_BFLOAT16_CPU_FLAGS & set(flags[1].split()))


def check(params: Any) -> None:
    """Refuses settings that cannot work together, whatever the hardware.

    Raises:
        RuntimeSetupError: says which, and what to do instead.
    """
    runtime, trainer = params.runtime, params.trainer
    strategy = runtime.distribution_strategy
    uses_tpu = strategy == 'tpu'
    for is_wrong, where, message, hint in (
        (
            runtime.enable_xla and runtime.run_eagerly,
            'runtime.enable_xla',
            'XLA compiles functions, and run_eagerly makes none',
            'switch one of them off',
        ),
        (
            runtime.enable_xla and strategy == 'multi_worker_mirrored',
            'runtime.enable_xla',
            'gradients cannot be summed over workers inside an XLA-compiled step',
            'switch it off',
        ),
        (
            uses_tpu and not runtime.tpu,
            'runtime.tpu',
            'the strategy tpu needs the name or address of a TPU',
            "give --tpu; on a TPU VM it is 'local'",
        ),
        (
            uses_tpu and runtime.mixed_precision_dtype == 'float16',
            'runtime.mixed_precision_dtype',
            'TPUs do not compute in float16',
            'use bfloat16',
        ),
        (
            runtime.use_tpu_mp_strategy or runtime.num_cores_per_replica > 1,
            'runtime.num_cores_per_replica',
            'one model over several TPU cores is not supported',
            'leave num_cores_per_replica at 1 and use_tpu_mp_strategy off',
        ),
        (
            trainer.train_tf_while_loop
            and not trainer.train_tf_function
            and not runtime.run_eagerly,
            'trainer.train_tf_while_loop',
            'a loop inside a function needs train_tf_function',
            'switch it off too',
        ),
    ):
        if is_wrong:
            raise RuntimeSetupError(message, where=where, hint=hint)


def check_strategy(params: Any, strategy: tf.distribute.Strategy) -> None:
    """Refuses what cannot work on this many replicas.

    Raises:
        RuntimeSetupError: says what, and what to do instead.
    """
    replicas = strategy.num_replicas_in_sync
    is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    if params.runtime.enable_xla and replicas > 1 and not is_tpu:
        raise RuntimeSetupError(
            f'gradients cannot be summed over {replicas} replicas inside an XLA-compiled step',
            where='runtime.enable_xla',
            hint='switch it off, or train on one device',
        )
    for name in ('train_data', 'validation_data'):
        batch_size = getattr(getattr(params.task, name, None), 'global_batch_size', 0) or 0
        if batch_size % replicas:
            raise RuntimeSetupError(
                f'{replicas} replicas cannot share {batch_size} examples equally',
                where=f'task.{name}.global_batch_size',
                expected=f'a multiple of {replicas}',
            )


def _set_environment(runtime: Any) -> None:
    if runtime.gpu_thread_mode:
        os.environ['TF_GPU_THREAD_MODE'] = runtime.gpu_thread_mode
    if runtime.per_gpu_thread_count:
        os.environ['TF_GPU_THREAD_COUNT'] = str(runtime.per_gpu_thread_count)
    if runtime.batchnorm_spatial_persistent:
        os.environ['TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT'] = '1'
