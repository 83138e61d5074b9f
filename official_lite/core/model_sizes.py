"""Sizes of a model: its parameters, and the floating-point operations of a forward pass."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from official_lite.modeling.hyperparams import yaml_files

__all__ = [
    'count_flops',
    'try_count_flops',
    'try_count_params',
    'write_flops',
    'write_model_params',
]

# Operations of convolutional and dense layers, whose work is the product of their output's size and the kernel's.
_MATMULS = ('MatMul', 'BatchMatMul', 'BatchMatMulV2')
_CONVOLUTIONS = ('Conv2D', 'Conv3D', 'DepthwiseConv2dNative')


def count_flops(graph: Any) -> dict[str, float]:
    """Floating-point operations of a graph by name of the operation, counted from its shapes.

    Of convolutions and matrix products, two for each multiplication and addition.

    Args:
        graph: A `tf.Graph`; shapes that are not fully known count nothing.
    """
    counts: dict[str, float] = collections.defaultdict(float)
    for operation in graph.get_operations():
        flops = _count_flops(operation)
        if flops:
            counts[operation.name] += flops
    return dict(counts)


def try_count_flops(
    model: Any, inputs_kwargs: Mapping[str, Any] | None = None, output_path: str | None = None
) -> float | None:
    """Floating-point operations of a forward pass, as `count_flops`; a name of Model Garden's.

    Args:
        model: A Keras model.
        inputs_kwargs: `tf.TensorSpec`s by argument of the call, for a model without `inputs`. Those
            are counted with a batch of one.
        output_path: A file that gets the count of each operation, and the sum. None: none.

    Returns:
        Their number; None if neither the model nor `inputs_kwargs` tells its inputs.
    """
    inputs = getattr(model, 'inputs', None)
    if inputs:
        specs = [tf.TensorSpec([1, *value.shape[1:]], value.dtype) for value in inputs]
        forward = tf.function(lambda *args: model(args[0] if len(args) == 1 else args))
        function = forward.get_concrete_function(*specs)
    elif inputs_kwargs:
        forward = tf.function(lambda **kwargs: model(**kwargs, training=False), autograph=False)
        function = forward.get_concrete_function(**inputs_kwargs)
    else:
        return None
    if output_path is not None:
        write_flops(function.graph, output_path)
    return sum(count_flops(function.graph).values())


def write_flops(graph: Any, output_path: str) -> None:
    """Writes what `count_flops` finds, and the sum.

    Args:
        graph: A `tf.Graph`.
        output_path: The file, local or remote.
    """
    counts = count_flops(graph)
    lines = [f'{name} {count:.0f}' for name, count in counts.items()]
    total = f'Total FLOPs: {sum(counts.values()):.0f}'
    yaml_files.write_text(output_path, '\n'.join([*lines, '', total, '']))


def write_model_params(model: Any, output_path: str) -> None:
    """Writes name and shape of each variable of a model, and the number of parameters.

    States of random generators are not parameters.

    Args:
        model: A Keras model or layer, built, or a `tf.Module`.
        output_path: The file, local or remote.
    """
    variables = [v for v in model.variables if not _is_random_state(v)]
    lines = [f'{_variable_name(variable)} {list(variable.shape)}' for variable in variables]
    text = '\n'.join([*lines, '', f'Total params: {_count(variables)}', ''])
    yaml_files.write_text(output_path, text)


def try_count_params(model: Any, trainable_only: bool = False) -> int | None:
    """Returns the number of parameters of a model, None if it has not been built.

    Args:
        model: A Keras model or layer, or a `tf.Module`.
        trainable_only: Whether parameters that are not trained are left out.
    """
    if not getattr(model, 'built', True):
        return None
    variables = model.trainable_variables if trainable_only else model.variables
    return _count(v for v in variables if not _is_random_state(v))


def _variable_name(variable: Any) -> str:
    """The name as TensorFlow writes it; Keras 3 keeps it in `path`, without the output's number."""
    path = getattr(variable, 'path', None)
    return f'{path}:0' if path else str(variable.name)


def _is_random_state(variable: Any) -> bool:
    return str(getattr(variable, 'path', '')).endswith('seed_generator_state')


def _count(variables: Iterable[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _count_flops(operation: Any) -> float:
    if operation.type not in (*_CONVOLUTIONS, *_MATMULS):
        return 0.0
    output = operation.outputs[0].shape
    first, second = (tensor.shape for tensor in operation.inputs[:2])
    if not (output.is_fully_defined() and first.is_fully_defined() and second.is_fully_defined()):
        return 0.0
    return 2.0 * output.num_elements() * _terms_of_sum(operation, first, second)


def _terms_of_sum(operation: Any, first: Any, second: Any) -> int:
    """How many products are added up for one element of the output."""
    if operation.type in _CONVOLUTIONS:
        # Kernels are [*window, in, out], depthwise ones [*window, in, multiplier] without a sum over `in`.
        window = second[:-2].num_elements()
        return window * (1 if operation.type == 'DepthwiseConv2dNative' else second[-2])
    name = 'transpose_a' if operation.type == 'MatMul' else 'adj_x'
    return first[-2] if operation.get_attr(name) else first[-1]
