"""`tf.distribute` strategies by name."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import tensorflow as tf

from official_lite import errors

STRATEGIES = ('off', 'one_device', 'mirrored', 'multi_worker_mirrored', 'tpu')
_MIRRORED_REDUCTIONS = {
    'nccl': tf.distribute.NcclAllReduce,
    'hierarchical_copy': tf.distribute.HierarchicalCopyAllReduce,
}
_COLLECTIVES = {
    None: tf.distribute.experimental.CommunicationImplementation.AUTO,
    'nccl': tf.distribute.experimental.CommunicationImplementation.NCCL,
    'ring': tf.distribute.experimental.CommunicationImplementation.RING,
}


class StrategyError(errors.UsageError, ValueError):
    """A strategy that does not exist, or cannot work as asked for."""


def get_distribution_strategy(
    distribution_strategy: str = 'mirrored',
    num_gpus: int = 0,
    all_reduce_alg: str | None = None,
    num_packs: int = 1,
    tpu_address: str | None = None,
    **kwargs: Any,
) -> tf.distribute.Strategy:
    """Makes a strategy.

    Args:
        distribution_strategy: 'off', 'one_device', 'mirrored', 'multi_worker_mirrored' or 'tpu'.
        num_gpus: How many GPUs of this machine; 0 means all that are visible with 'mirrored' and
            'one_device' (which takes the first), and the CPU where there is none.
        all_reduce_alg: How gradients are summed: 'nccl' or 'hierarchical_copy' (mirrored), 'nccl' or 'ring'
            (multi_worker_mirrored). None lets TensorFlow decide.
        num_packs: Packs into which gradients are put for the sum (mirrored).
        tpu_address: Name or address of the TPU; 'local' on a TPU VM.
        **kwargs: Options of `tf.distribute.experimental.CommunicationOptions` (multi_worker_mirrored).

    Raises:
        StrategyError: there is no such strategy, or it cannot work with the other arguments.
    """
    name = _check_name(distribution_strategy)
    if num_gpus < 0:
        raise StrategyError('`num_gpus` can not be negative.', received=str(num_gpus))
    if name == 'off':
        if num_gpus > 1:
            raise StrategyError(
                f'When {num_gpus} GPUs are specified, distribution_strategy cannot be off',
                hint='use mirrored',
            )
        return tf.distribute.get_strategy()
    if name == 'tpu':
        return _make_tpu_strategy(tpu_address)
    if name == 'multi_worker_mirrored':
        return _make_multi_worker_strategy(all_reduce_alg, **kwargs)
    if name == 'one_device':
        if num_gpus > 1:
            raise StrategyError(
                '`OneDeviceStrategy` can not be used for more than one device.', hint='use mirrored'
            )
        return tf.distribute.OneDeviceStrategy(_list_devices(num_gpus)[0])
    return _make_mirrored_strategy(num_gpus, all_reduce_alg, num_packs)


def configure_cluster(worker_hosts: str | None = None, task_index: int = -1) -> int:
    """Describes the cluster in TF_CONFIG, unless that is set already.

    Args:
        worker_hosts: host:port of every worker, joined by commas.
        task_index: Which of them this process is.

    Returns:
        The number of workers.

    Raises:
        StrategyError: there are several workers, and `task_index` is not one of them.
    """
    tf_config = json.loads(os.environ.get('TF_CONFIG', '{}'))
    if tf_config:
        cluster = tf_config['cluster']
        return len(cluster.get('chief', [])) + len(cluster.get('worker', []))
    if not worker_hosts:
        return 1
    workers = [host.strip() for host in worker_hosts.split(',')]
    index = 0 if len(workers) == 1 else task_index
    if not 0 <= index < len(workers):
        raise StrategyError(
            'Must specify task_index when number of workers > 1',
            where='runtime.task_index',
            expected=f'0 to {len(workers) - 1}',
            received=str(task_index),
        )
    os.environ['TF_CONFIG'] = json.dumps(
        {'cluster': {'worker': workers}, 'task': {'type': 'worker', 'index': index}}
    )
    return len(workers)


def get_strategy_scope(
    strategy: tf.distribute.Strategy | None,
) -> contextlib.AbstractContextManager[Any]:
    """The scope of `strategy`, or a context that does nothing."""
    return strategy.scope() if strategy else contextlib.nullcontext()


def _check_name(name: Any) -> str:
    where = 'runtime.distribution_strategy'
    if not isinstance(name, str):
        hint = 'If you meant to pass the string "off", quote it' if name is False else ''
        raise StrategyError(
            f'distribution_strategy must be a string but got: {name}. {hint}'.strip(), where=''
        )
    name = name.lower()
    if name == 'parameter_server':
        raise StrategyError(
            'parameter_server does not work with Keras 3 (keras#18624)',
            where=where,
            expected='a strategy in which all workers train in step',
            hint='use multi_worker_mirrored',
        )
    if name not in STRATEGIES:
        raise StrategyError(
            f'Unrecognized Distribution Strategy: {name!r}',
            where=where,
            expected=f'one of {", ".join(STRATEGIES)}',
        )
    return name


def _list_devices(num_gpus: int) -> list[str]:
    """The devices to use: the first `num_gpus` GPUs, all of them for 0, or the CPU without any."""
    visible = len(tf.config.list_logical_devices('GPU'))
    if num_gpus > visible:
        raise StrategyError(
            f'{num_gpus} GPUs are asked for and {visible} are visible', where='runtime.num_gpus'
        )
    count = num_gpus or visible
    return [f'GPU:{i}' for i in range(count)] or ['CPU:0']


def _make_mirrored_strategy(
    num_gpus: int, all_reduce_alg: str | None, num_packs: int
) -> tf.distribute.Strategy:
    reduction = _MIRRORED_REDUCTIONS.get(all_reduce_alg or 'nccl')
    if reduction is None:
        raise StrategyError(
            'When used with `mirrored`, valid values for all_reduce_alg are '
            f'{", ".join(_MIRRORED_REDUCTIONS)}',
            received=str(all_reduce_alg),
        )
    devices = _list_devices(num_gpus)
    if not num_gpus:
        print(
            f'Training on {", ".join(devices)} (runtime.num_gpus=0: all visible GPUs, or the CPU).'
        )
    operations = None if all_reduce_alg is None else reduction(num_packs=num_packs)
    return tf.distribute.MirroredStrategy(devices=devices, cross_device_ops=operations)


def _make_multi_worker_strategy(
    all_reduce_alg: str | None, **kwargs: Any
) -> tf.distribute.Strategy:
    if all_reduce_alg not in _COLLECTIVES:
        raise StrategyError(
            'When used with `multi_worker_mirrored`, valid values for all_reduce_alg are nccl, ring',
            received=str(all_reduce_alg),
        )
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=_COLLECTIVES[all_reduce_alg], **kwargs
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _make_tpu_strategy(tpu_address: str | None) -> tf.distribute.Strategy:
    """Connects to a TPU. This path has not been run on hardware."""
    if not tpu_address:
        raise StrategyError(
            '`tpu_address` must be specified when using TPUStrategy.',
            where='runtime.tpu',
            expected="the name or address of a TPU, or 'local'",
        )
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu_address)
    if tpu_address not in ('', 'local'):
        tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
