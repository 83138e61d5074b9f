"""Losses of a batch of R-CNN's task on one device and on two replicas.

A program, because MirroredStrategy on logical CPUs wants a process of its own:
`python maskrcnn_replicas.py RESULT.json`.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

import tensorflow as tf

from official_lite.core import task_factory
from tests.vision.tasks import tiny_masks

NUM_PROPOSALS = 20


def _make_batch(task: Any) -> dict[str, Any]:
    """Two images, of which the second has no object."""
    images, labels = next(iter(task.build_inputs(task.task_config.train_data)))
    batch = {'images': images, **labels}
    for name in ('gt_boxes', 'gt_classes'):
        first, second = tf.split(batch[name], 2)
        batch[name] = tf.concat([first, tf.fill(tf.shape(second), tf.cast(-1, second.dtype))], 0)
    # The ground truth is among the proposals.
    count = NUM_PROPOSALS + batch['gt_boxes'].shape[1]
    order = tf.argsort(tf.random.stateless_uniform([2, count], [1, 2]), axis=-1)
    return {**batch, 'order': order}


def _compute_losses(task: Any, model: Any, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
    outputs = model(
        batch['images'],
        image_shape=batch['image_info'][:, 1, :],
        gt_boxes=batch['gt_boxes'],
        gt_classes=batch['gt_classes'],
        gt_masks=batch['gt_masks'],
        sampling_order=batch['order'],
        training=True,
    )
    losses: dict[str, tf.Tensor] = task.build_losses(outputs, batch)
    return losses


def run() -> dict[str, list[float]]:
    """Name of a loss -> [on one device, the mean of two replicas]."""
    params = tiny_masks.make_params()
    scoring = {'num_convs': 1, 'num_filters': 8, 'fc_dims': 16}
    params.task.model.override({'num_classes': 11, 'mask_scoring_head': scoring})
    params.task.model.roi_generator.num_proposals = NUM_PROPOSALS
    task = task_factory.get_task(params.task)
    batch = _make_batch(task)
    strategy = tf.distribute.MirroredStrategy(
        ['CPU:0', 'CPU:1'], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    single = task.build_model()
    with strategy.scope():
        mirrored = task.build_model()
        mirrored.set_weights(single.get_weights())
    expected = tf.function(lambda b: _compute_losses(task, single, b), autograph=False)(batch)

    def take(values: tf.Tensor) -> Any:
        return strategy.experimental_distribute_values_from_function(
            lambda context: values[context.replica_id_in_sync_group :][:1]
        )

    @tf.function(autograph=False)
    def step(parts: dict[str, Any]) -> Any:
        return strategy.run(lambda part: _compute_losses(task, mirrored, part), [parts])

    found = step({name: take(values) for name, values in batch.items()})
    return {
        name: [
            float(expected[name]),
            float(strategy.reduce('MEAN', found[name], axis=None)),
        ]
        for name in expected
    }


if __name__ == '__main__':
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    pathlib.Path(sys.argv[1]).write_text(json.dumps(run()))
