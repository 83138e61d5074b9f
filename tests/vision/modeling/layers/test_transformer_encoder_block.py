"""The transformer's encoder block: worked out in NumPy, options, and numbers of Model Garden."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.layers import nn_blocks
from tests import garden_weights

_BASE: dict[str, Any] = {'num_attention_heads': 2, 'inner_dim': 10, 'inner_activation': 'relu'}
_CHANNELS = 6


def _make(**options: Any) -> Any:
    return nn_blocks.TransformerEncoderBlock(**{**_BASE, **options})


def _make_inputs(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [seed, 7])


def _norm(layer: Any, x: np.ndarray) -> np.ndarray:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * layer.gamma.numpy() + layer.beta.numpy()


def _attend(layer: Any, x: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
    """One example: [tokens, channels]; what is not seen has weight 0."""
    heads = []
    for head in range(2):
        q, k, v = (
            x @ part.kernel.numpy()[:, head] + part.bias.numpy()[head]
            for part in (layer.query_dense, layer.key_dense, layer.value_dense)
        )
        weights = np.exp(q @ k.T / np.sqrt(k.shape[-1])) * is_seen
        weights /= weights.sum(-1, keepdims=True)
        heads.append(weights @ v @ layer.output_dense.kernel.numpy()[head])
    return sum(heads) + layer.output_dense.bias.numpy()


def _expect(block: Any, x: np.ndarray, is_seen: np.ndarray, norm_first: bool) -> np.ndarray:
    def mlp(values: np.ndarray) -> np.ndarray:
        inner, outer = block.intermediate_dense, block.output_dense
        hidden = np.maximum(values @ inner.kernel.numpy() + inner.bias.numpy(), 0)
        return hidden @ outer.kernel.numpy() + outer.bias.numpy()

    if norm_first:
        y = x + _attend(block.attention_layer, _norm(block.attention_layer_norm, x), is_seen)
        return y + mlp(_norm(block.output_layer_norm, y))
    y = _norm(block.attention_layer_norm, x + _attend(block.attention_layer, x, is_seen))
    return _norm(block.output_layer_norm, y + mlp(y))


@pytest.mark.parametrize('norm_first', [True, False])
@pytest.mark.parametrize('has_mask', [True, False])
def test_equals_numpy(norm_first: bool, has_mask: bool) -> None:
    block = _make(norm_first=norm_first, norm_epsilon=1e-6)
    x = _make_inputs(2, 5, _CHANNELS)
    mask = np.ones([2, 5, 5], np.float32)
    if has_mask:
        mask[:, :, 3:] = 0.0
        mask[0, 1, 0] = 0.0
    inputs = [x, tf.constant(mask)] if has_mask else x
    block(inputs)
    garden_weights.randomize_weights(block)
    got = block(inputs)
    for example in range(2):
        expected = _expect(block, x.numpy()[example], mask[example], norm_first)
        np.testing.assert_allclose(got[example], expected, atol=1e-4, rtol=1e-4)


def test_layer_scale_multiplies_the_branches() -> None:
    """Factors of 0 leave the shortcut; their start is what was asked for."""
    block = _make(norm_first=True, layer_scale_init_value=0.25)
    x = _make_inputs(2, 5, _CHANNELS)
    block(x)
    for scale in (block.layer_scale_attn, block.layer_scale_mlp):
        np.testing.assert_array_equal(scale.gamma, np.full([1, 1, _CHANNELS], 0.25))
        scale.gamma.assign(tf.zeros([1, 1, _CHANNELS]))
    np.testing.assert_array_equal(block(x), x)


@pytest.mark.parametrize('norm_first', [True, False])
def test_stochastic_depth_drops_branches_and_not_shortcuts(norm_first: bool) -> None:
    """Nearly always dropped: what remains is the input, normalised where the block does so."""
    block = _make(norm_first=norm_first, norm_epsilon=1e-6, stochastic_depth_drop_rate=0.9999)
    x = _make_inputs(2, 5, _CHANNELS)
    block(x)
    got = block(x, training=True)
    expected = x.numpy()
    if not norm_first:
        for layer in (block.attention_layer_norm, block.output_layer_norm):
            expected = _norm(layer, expected)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert not np.allclose(block(x, training=False), expected, atol=1e-2)


def test_scores_and_range_of_the_output() -> None:
    block = _make(norm_first=True, output_range=2, return_attention_scores=True)
    x = _make_inputs(2, 5, _CHANNELS)
    outputs, scores = block(x)
    assert (outputs.shape, scores.shape) == ((2, 2, _CHANNELS), (2, 2, 2, 5))
    np.testing.assert_allclose(tf.reduce_sum(scores, -1), np.ones([2, 2, 2]), rtol=1e-5)
    whole, _ = block(x, output_range=5)
    np.testing.assert_allclose(outputs, whole[:, :2], atol=1e-6)
    assert block.compute_output_shape((2, 5, _CHANNELS)) == ((2, 2, _CHANNELS), (2, 2, 2, 5))


def test_symbolic_shapes() -> None:
    inputs = keras.Input([5, _CHANNELS])
    assert _make()(inputs).shape == (None, 5, _CHANNELS)
    others = keras.Input([9, _CHANNELS])
    block = _make(return_attention_scores=True, use_query_residual=False, output_last_dim=4)
    outputs, scores = block([inputs, others, keras.Input([5, 9])])
    assert (outputs.shape, scores.shape) == ((None, 5, 4), (None, 2, 5, 9))


def test_round_trip_and_refusals() -> None:
    block = _make(kernel_regularizer=keras.regularizers.L2(0.1), key_dim=4)
    copy = nn_blocks.TransformerEncoderBlock.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    x = _make_inputs(1, 3, _CHANNELS)
    copy(x)
    assert copy.attention_layer.query_dense.kernel.shape == (_CHANNELS, 2, 4)
    assert len(copy.losses) == 6
    with pytest.raises(ValueError, match=r'output_last_dim=6, .*use_query_residual=False'):
        _make(output_last_dim=4)(x)
    with pytest.raises(ValueError, match='Received: 4 inputs'):
        _make()([x, x, None, None])


_PAIRS: dict[str, dict[str, Any]] = {
    'first': {'norm_first': True},
    'last': {},
    'gelu, scale, scores': {
        'norm_first': True,
        'layer_scale_init_value': 0.3,
        'return_attention_scores': True,
        'norm_epsilon': 1e-6,
    },
    'range': {'norm_first': True, 'output_range': 2},
    'no shortcut': {'use_query_residual': False, 'output_last_dim': 4, 'key_dim': 5},
    'no bias': {'use_bias': False, 'value_dim': 3, 'norm_first': True},
}


@pytest.mark.garden
@pytest.mark.parametrize('num_inputs', [1, 2, 3])
@pytest.mark.parametrize('name', _PAIRS)
def test_equals_model_garden(name: str, num_inputs: int) -> None:
    from official.modeling import activations as garden_activations
    from official.vision.modeling.layers import nn_blocks as garden_blocks

    options = dict(_PAIRS[name])
    theirs_activation: Any = 'relu'
    if 'gelu' in name:
        options['inner_activation'], theirs_activation = 'gelu', garden_activations.gelu
    garden_options = {**_BASE, **options, 'inner_activation': theirs_activation}
    theirs, ours = garden_blocks.TransformerEncoderBlock(**garden_options), _make(**options)
    x, others = _make_inputs(2, 5, _CHANNELS), _make_inputs(2, 4, _CHANNELS, seed=1)
    mask = tf.cast(_make_inputs(2, 5, 4, seed=2) > -0.5, tf.float32)
    self_mask = tf.cast(_make_inputs(2, 5, 5, seed=3) > -0.5, tf.float32)
    inputs = {1: x, 2: [x, self_mask], 3: [x, others, mask]}[num_inputs]
    theirs(inputs), ours(inputs)
    garden_weights.randomize_weights(theirs)
    garden_weights.carry_weights(theirs, ours)
    for got, expected in zip(
        tf.nest.flatten(ours(inputs)), tf.nest.flatten(theirs(inputs)), strict=True
    ):
        np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)
