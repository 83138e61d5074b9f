"""The limits of training and evaluation: what TensorFlow's kernels take for the work that remains."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from official_lite.core import task_factory
from official_lite.modeling import performance

_CONVOLUTIONS = ('Conv2D', 'Conv2DBackpropInput', 'Conv2DBackpropFilter')


def measure_limits(config: Any, size: int, batch: int, precision: str) -> dict[str, float]:
    """Images per second of the model's convolutions, forward and backward, and of its forward pass.

    Args:
        config: The experiment.
        size: Height and width of the input, pixels.
        batch: Images of a step.
        precision: 'float32' or 'bfloat16'.
    """
    performance.set_mixed_precision_policy(precision)
    model = task_factory.get_task(config.task).build_model()
    images = tf.zeros([batch, size, size, 3], tf.uint8)

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = tf.add_n([tf.reduce_sum(tf.cast(o, tf.float32)) for o in _get_raw(outputs)])
        return tape.gradient(loss, model.trainable_variables)

    forward = tf.function(lambda: _get_raw(model(images, training=True)), autograph=False)
    convolutions = make_convolutions(step.get_concrete_function().graph)
    return {
        'convolutions_images_per_sec': batch / _time(convolutions),
        'forward_images_per_sec': batch / _time(forward),
    }


def _get_raw(outputs: Any) -> list[tf.Tensor]:
    return [*outputs['cls_outputs'].values(), *outputs['box_outputs'].values()]


def make_convolutions(graph: tf.Graph) -> Callable[[], Any]:
    """A function that runs the convolutions of a graph, none waiting for another."""
    operations = [op for op in graph.get_operations() if op.type in _CONVOLUTIONS]
    # One tensor for each shape: the kernels take the same time for all values.
    tensors: dict[tuple[Any, ...], tf.Tensor] = {}

    def get_tensor(op: tf.Operation, like: tf.Tensor) -> tf.Tensor:
        if like.dtype == tf.int32:  # the shape that a gradient is to have
            return tf.constant(op.outputs[0].shape)
        key = (*like.shape, like.dtype)
        if key not in tensors:
            tensors[key] = tf.cast(tf.random.normal(like.shape), like.dtype)
        return tensors[key]

    calls = [(op, [get_tensor(op, tensor) for tensor in op.inputs]) for op in operations]

    @tf.function(autograph=False)
    def run(inputs: list[list[tf.Tensor]]) -> tf.Tensor:
        outputs = [_call(op, values) for (op, _), values in zip(calls, inputs, strict=True)]
        # One value of each, so that none is left out.
        return tf.add_n([tf.cast(tf.reshape(o, [-1])[0], tf.float32) for o in outputs])

    return lambda: run([values for _, values in calls])


def _call(op: tf.Operation, inputs: list[tf.Tensor]) -> tf.Tensor:
    names = {
        'Conv2D': ('input', 'filter'),
        'Conv2DBackpropInput': ('input_sizes', 'filter', 'out_backprop'),
        'Conv2DBackpropFilter': ('input', 'filter_sizes', 'out_backprop'),
    }[op.type]
    attributes = ('strides', 'padding', 'explicit_paddings', 'dilations')
    return getattr(tf.raw_ops, op.type)(
        **dict(zip(names, inputs, strict=True)),
        **{name: op.get_attr(name) for name in attributes},
    )


def _time(function: Callable[[], Any]) -> float:
    """Seconds of a call: the best of ten."""
    function()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        tf.nest.map_structure(
            lambda tensor: tensor.numpy() if tensor.ndim == 0 else None, function()
        )
        times.append(time.perf_counter() - start)
    return min(times)
