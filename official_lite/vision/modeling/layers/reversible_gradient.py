"""The backward pass of reversible blocks, which keeps no activations.

A block maps the halves of its channels `x1, x2` to `y1 = x1 + f(x2), y2 = x2 + g(y1)`. So its inputs
follow from its outputs, `x2 = y2 - g(y1), x1 = y1 - f(x2)`, and the backward pass of a chain of
blocks needs the last one's output only: it walks back, computing each block's inputs and, on the
way, the activations that the gradients of `f` and `g` depend on. It costs one more forward pass.

Source: Gomez et al., https://arxiv.org/abs/1707.04585, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Optional, Protocol

import keras
import tensorflow as tf

Halves = tuple[tf.Tensor, tf.Tensor]
State = list[tuple[keras.Variable, tf.Tensor]]


class Block(Protocol):
    """What the backward pass asks of a block."""

    f: Callable[..., tf.Tensor]
    g: Callable[..., tf.Tensor]

    @property
    def is_reversible(self) -> bool:
        """Whether the inputs follow from the outputs."""

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """Variables that the forward pass may change."""

    def transform(self, x1: tf.Tensor, x2: tf.Tensor, training: Optional[bool]) -> Halves:
        """The forward pass."""

    def shorten(self, x: tf.Tensor) -> tf.Tensor:
        """What is added to f or g: a half in the shape of the output."""


class _Flow(NamedTuple):
    """What goes back from block to block.

    Attributes:
        features: The block's outputs, each [batch, height, width, channels / 2].
        gradients: The loss's gradients at them.
        of_variables: The gradients of variables so far, None where there is none yet.
    """

    features: Halves
    gradients: Halves
    of_variables: list[Optional[tf.Tensor]]


def split(x: tf.Tensor) -> Halves:
    """The halves of the channels."""
    first, second = tf.split(x, 2, axis=-1)
    return first, second


def join(halves: Halves) -> tf.Tensor:
    """The opposite of `split`."""
    return tf.concat(halves, axis=-1)


def run_reversibly(
    blocks: Sequence[Block], inputs: tf.Tensor, training: Optional[bool]
) -> tf.Tensor:
    """Runs blocks one after the other; the backward pass computes their activations anew.

    Inside a `tf.function` only the outputs stay in memory for it, and the inputs if the first block
    is not reversible. (An eager tape keeps everything.) The second computation starts from the
    state that the first one found, and changes none: moving statistics move once, and dropout drops
    the same.

    Args:
        blocks: Built blocks, of which all but the first are reversible.
        inputs: float [batch, height, width, channels].
        training: Whether layers are in training mode.

    Returns:
        The last block's output.
    """
    states = [_read_state(block) for block in blocks]

    @tf.custom_gradient
    def run(x: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        halves = split(x)
        for block in blocks:
            halves = block.transform(*halves, training=training)
        y = join(halves)

        def differentiate(dy: tf.Tensor, variables: Optional[Iterable[Any]] = None) -> Any:
            sources = list(variables or ())
            flow = _Flow(split(_wait(y, [dy])), split(dy), [None] * len(sources))
            for block, state in zip(reversed(blocks), reversed(states), strict=True):
                with keras.StatelessScope(state, initialize_variables=False):
                    given = None if block.is_reversible else split(_wait(x, flow.gradients))
                    flow = _step_back(block, given, flow, sources, training)
            dx = join(flow.gradients)
            if not sources:
                return dx
            return dx, [
                tf.zeros_like(tf.convert_to_tensor(source)) if gradient is None else gradient
                for source, gradient in zip(sources, flow.of_variables, strict=True)
            ]

        return y, differentiate

    return run(inputs)


def _read_state(block: Block) -> State:
    return [(v, tf.identity(tf.convert_to_tensor(v))) for v in block.non_trainable_variables]


def _step_back(
    block: Block,
    inputs: Optional[Halves],
    flow: _Flow,
    variables: Sequence[Any],
    training: Optional[bool],
) -> _Flow:
    """Goes back over one block, of which the inputs are given if they do not follow."""
    dy1, dy2 = flow.gradients
    y1, y2 = flow.features
    y1 = _wait(y1, [dy1, dy2, *flow.of_variables])
    g_y1, dg_y1, g_gradients = _differentiate(block.g, y1, dy2, variables, training)
    dz1 = dy1 + dg_y1
    x2 = y2 - g_y1 if inputs is None else inputs[1]
    x2 = _wait(x2, [dz1, *g_gradients])
    f_x2, df_x2, f_gradients = _differentiate(block.f, x2, dz1, variables, training)
    x1 = y1 - f_x2 if inputs is None else inputs[0]
    dx1, dx2 = (dz1, dy2) if inputs is None else _differentiate_shortcuts(block, inputs, dz1, dy2)
    of_variables = _add(_add(flow.of_variables, g_gradients), f_gradients)
    return _Flow((x1, x2), (dx1, dx2 + df_x2), of_variables)


def _differentiate(
    layer: Callable[..., tf.Tensor],
    x: tf.Tensor,
    dy: tf.Tensor,
    variables: Sequence[Any],
    training: Optional[bool],
) -> tuple[tf.Tensor, tf.Tensor, list[Optional[tf.Tensor]]]:
    """Output of a layer, and gradients of its input and of variables."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.cast(layer(x, training=training), x.dtype)
    dx, *gradients = tape.gradient(y, [x, *variables], dy)
    return y, dx, gradients


def _differentiate_shortcuts(block: Block, inputs: Halves, *gradients: tf.Tensor) -> Halves:
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = [block.shorten(x) for x in inputs]
    dx1, dx2 = tape.gradient(outputs, list(inputs), list(gradients))
    return dx1, dx2


def _wait(tensor: tf.Tensor, others: Iterable[Optional[tf.Tensor]]) -> tf.Tensor:
    """The same tensor, but not before `others` are there.

    Without this TensorFlow would compute a block's activations while those of the one after it are
    still needed, or take them for those of the forward pass and keep these.
    """
    with tf.control_dependencies([other for other in others if other is not None]):
        return tf.identity(tensor)


def _add(
    first: Sequence[Optional[tf.Tensor]], second: Sequence[Optional[tf.Tensor]]
) -> list[Optional[tf.Tensor]]:
    return [
        b if a is None else a if b is None else a + b for a, b in zip(first, second, strict=True)
    ]
