"""Compares a layer or model of ours with Model Garden's, in training mode and frozen, by values."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import tensorflow as tf

from tests import garden_weights


def assert_equal(theirs: Any, ours: Any, inputs: Any, *, tolerance: float = 1e-4) -> None:
    """Carries weights over and compares frozen outputs, and training's gradients and statistics.

    Args:
        theirs: A layer or model of tf-models-official, built.
        ours: The same one of official_lite, built.
        inputs: A tensor or a structure of tensors, the argument of both.
        tolerance: Largest difference, relative to the largest value or the norm.
    """
    garden_weights.randomize_weights(theirs)
    garden_weights.carry_weights(theirs, ours)
    assert len(ours.trainable_variables) == len(theirs.trainable_variables)
    assert ours.count_params() == theirs.count_params()
    pairs = garden_weights.pair_variables(theirs, ours)
    trained = [pair for pair in pairs if pair[0].trainable]
    for training in (False, True):
        expected, got = (
            _compute(layer, inputs, [_get_tf_variable(p[i]) for p in trained], training)
            for i, layer in enumerate((theirs, ours))
        )
        _assert_outputs_agree(expected[0], got[0], tolerance)
        names = [theirs.name for theirs, _ in trained] + ['input'] * len(tf.nest.flatten(inputs))
        _assert_gradients_agree(names, expected[1], got[1], tolerance)
    for variable, other in pairs:
        np.testing.assert_allclose(
            other, variable, rtol=tolerance, atol=tolerance, err_msg=variable.name
        )


def _compute(layer: Any, inputs: Any, variables: list, training: bool) -> tuple[Any, list]:
    """Outputs, and gradients of their products with fixed random numbers."""

    @tf.function(autograph=False)
    def compute() -> tuple[Any, list]:
        flat = tf.nest.flatten(inputs)
        with tf.GradientTape() as tape:
            tape.watch(flat)
            outputs = _call(layer, tf.nest.pack_sequence_as(inputs, flat), training)
            loss = tf.add_n(
                [
                    tf.reduce_mean(x * tf.random.stateless_normal(tf.shape(x), [5, i]))
                    for i, x in enumerate(tf.nest.flatten(outputs))
                ]
            )
        return outputs, tape.gradient(loss, [*variables, *flat])

    return compute()


def _call(layer: Any, inputs: Any, training: bool) -> Any:
    if 'training' in inspect.signature(layer.call).parameters:
        return layer(inputs, training=training)
    import tf_keras

    class Outer(tf_keras.layers.Layer):
        """Tells layers whose `call` does not take it whether they are trained."""

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            del training  # Keras passes it on
            return layer(inputs)

    return Outer()(inputs, training=training)


def _get_tf_variable(variable: Any) -> tf.Variable:
    return variable if isinstance(variable, tf.Variable) else variable.value


def _assert_outputs_agree(expected: Any, got: Any, tolerance: float) -> None:
    tf.nest.assert_same_structure(expected, got)
    for theirs, ours in zip(tf.nest.flatten(expected), tf.nest.flatten(got), strict=True):
        largest = max(1.0, float(tf.reduce_max(tf.abs(theirs))))
        np.testing.assert_allclose(ours, theirs, atol=tolerance * largest, rtol=0)


def _assert_gradients_agree(names: list[str], expected: list, got: list, tolerance: float) -> None:
    whole = float(tf.linalg.global_norm([g for g in expected if g is not None]))
    for name, theirs, ours in zip(names, expected, got, strict=True):
        if theirs is None:  # what is not read
            assert ours is None or not np.any(ours), name
            continue
        # Biases before normalisation have no gradient but rounding errors.
        limit = max(tolerance * np.linalg.norm(theirs), 1e-6 * whole)
        assert np.linalg.norm(ours - theirs) <= limit, name
