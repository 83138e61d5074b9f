"""One training step of a backbone on one device and on two replicas: norms of what came out.

A program, because MirroredStrategy on logical CPUs wants a process of its own:
`python replica_backbone.py NAME RESULT.json`.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

import numpy as np
import tensorflow as tf

from tests.vision.modeling import backbones


def _step(model: Any, images: tf.Tensor, share: float) -> tuple[dict[str, Any], list[Any]]:
    """Features, and gradients of `share` times their mean square."""
    variables = [v.value for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        features = model(images, training=True)
        levels = [features[level] for level in sorted(model.output_specs)]
        loss = share * tf.add_n([tf.reduce_mean(x**2) for x in levels])
    gradients = tape.gradient(loss, variables, unconnected_gradients='zero')
    return dict(zip(sorted(model.output_specs), levels, strict=True)), gradients


def _norm(values: list[Any]) -> float:
    return float(np.sqrt(sum(float(np.sum(np.square(v))) for v in values)))


def run(name: str) -> dict[str, list[float]]:
    """Name of a figure -> [on one device, on two replicas]."""
    strategy = tf.distribute.MirroredStrategy(
        ['CPU:0', 'CPU:1'], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    single = backbones.build(name)
    with strategy.scope():
        mirrored = backbones.build(name)
        mirrored.set_weights(single.get_weights())
    images = tf.random.stateless_normal([4, *backbones.SIZE, 3], [3, 4])
    features, gradients = _step(single, images, 1.0)
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.split(images, 2)[context.replica_id_in_sync_group]
    )

    # Eager: one step takes less time than to trace it.
    parts, part_gradients = strategy.run(lambda half: _step(mirrored, half, 0.5), [halves])
    result = {}
    for level, x in features.items():
        both = tf.concat(strategy.experimental_local_results(parts[level]), 0)
        result[f'level {level}'] = [_norm([x]), _norm([both])]
        difference = float(tf.norm(both - x) / tf.norm(x))
        result[f'difference at level {level}'] = [0.0, 0.0 if difference < 2e-2 else difference]
    summed = [
        tf.add_n(strategy.experimental_local_results(gradient)) for gradient in part_gradients
    ]
    result['gradient'] = [_norm(gradients), _norm(summed)]
    moving = [
        [v for v in m.non_trainable_variables if 'moving' in v.name] for m in (single, mirrored)
    ]
    if moving[0]:
        result['statistics'] = [_norm(part) for part in moving]
    return result


if __name__ == '__main__':
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    pathlib.Path(sys.argv[2]).write_text(json.dumps(run(sys.argv[1])))
