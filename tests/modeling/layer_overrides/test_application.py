"""What overrides do to a model that is built: each acts, in the compiled step, by its closed form."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.modeling import layer_overrides, model_keys
from official_lite.modeling.layer_overrides import LayerOverrideError, apply_layer_overrides
from official_lite.vision.modeling.layers import nn_blocks, nn_layers
from tests.modeling.layer_overrides import models


def compiled(model, training=False):
    """The outputs of a compiled call, and its losses."""

    @tf.function
    def call(x):
        outputs = model(x, training=training)
        return outputs, [tf.convert_to_tensor(loss) for loss in model.losses]

    return call


def dense(x, layer):
    return x @ layer.kernel.numpy() + layer.bias.numpy()


def in_use(model, x):
    """What the MLP returns with moving statistics 0 and 1 and epsilon `eps`."""
    first, _, normalize, last = model.layers[-4:]
    hidden = np.maximum(dense(x.numpy(), first), 0.0)
    scale = normalize.gamma.numpy() / np.sqrt(1.0 + normalize.epsilon)
    return dense(hidden * scale + normalize.beta.numpy(), last)


# Structure.


def test_an_activation_is_in_force_in_the_next_compiled_step():
    model, x = models.make_mlp(), models.make_inputs()
    before = compiled(model)(x)[0]
    np.testing.assert_allclose(before, in_use(model, x), rtol=1e-5, atol=1e-5)
    apply_layer_overrides(model, [{'pattern': 'last', 'activation': 'tanh'}])
    np.testing.assert_allclose(compiled(model)(x)[0], np.tanh(before), rtol=1e-5, atol=1e-6)
    assert model.layers[-1].get_config()['activation'] == 'tanh'


def test_inside_a_module_layers_without_activation_stay_without():
    model = models.Detector()
    apply_layer_overrides(model, [{'pattern': 'backbone', 'activation': 'relu'}])
    x = models.make_inputs()
    stem, block = model.backbone.layers[1:]
    expected = np.maximum(dense(dense(x.numpy(), stem), block), 0.0)
    np.testing.assert_allclose(compiled(model.backbone)(x)[0], expected, rtol=1e-5, atol=1e-5)


def test_a_block_of_ours_takes_an_activation_and_tells_it():
    block = nn_blocks.ResidualBlock(4, 1, activation='relu', name='block')
    inputs = keras.layers.Input((8, 8, 4))
    model = keras.Model(inputs, block(inputs))
    other = nn_blocks.ResidualBlock(4, 1, activation='swish', name='block')
    expected = keras.Model(inputs, other(inputs))
    expected.set_weights(model.get_weights())
    apply_layer_overrides(model, [{'pattern': 'block', 'activation': 'swish'}])
    x = tf.random.stateless_normal([2, 8, 8, 4], [0, 1])
    np.testing.assert_array_equal(compiled(model)(x)[0], compiled(expected)(x)[0])
    assert block.get_config()['activation'] == 'swish'


def test_a_rate_of_dropout_is_in_force_where_there_was_none():
    model, x = models.make_mlp(), models.make_inputs(4000)
    keys = set(model_keys.find_variables(model))
    apply_layer_overrides(model, [{'pattern': 'drop', 'dropout_rate': 0.25}])
    tail = keras.Sequential(model.layers[1:2])
    outputs = compiled(tail, training=True)(tf.ones([4000, 3]))[0].numpy()
    assert abs((outputs == 0.0).mean() - 0.25) < 0.02
    np.testing.assert_allclose(outputs[outputs > 0], 1 / 0.75, rtol=1e-6)
    np.testing.assert_allclose(compiled(model)(x)[0], in_use(model, x), rtol=1e-4, atol=1e-4)
    new = set(model_keys.find_variables(model)) - keys
    assert new == {'model/drop/seed_generator/seed_generator_state'}


def test_a_rate_of_zero_turns_dropout_off():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dropout(0.5, name='drop')])
    apply_layer_overrides(model, [{'pattern': 'drop', 'dropout_rate': 0}])
    np.testing.assert_array_equal(
        compiled(model, training=True)(tf.ones([9, 3]))[0], np.ones([9, 3])
    )


def test_stochastic_depth_has_a_rate_if_it_is_named():
    inputs = keras.layers.Input((1,))
    model = keras.Model(inputs, nn_layers.StochasticDepth(None, name='depth')(inputs))
    apply_layer_overrides(model, [{'pattern': '.*depth', 'dropout_rate': 0.5}])
    outputs = compiled(model, training=True)(tf.ones([2000, 1]))[0].numpy()
    assert abs((outputs == 0.0).mean() - 0.5) < 0.04


def test_attention_drops_what_it_is_told_to():
    inputs = keras.layers.Input((5, 4))
    attention = keras.layers.MultiHeadAttention(1, 4, name='attention')
    model = keras.Model(inputs, attention(inputs, inputs))
    apply_layer_overrides(model, [{'pattern': 'attention', 'dropout_rate': 0.5}])
    x = tf.random.stateless_normal([3, 5, 4], [0, 1])
    call = compiled(model, training=True)
    assert np.abs(call(x)[0] - call(x)[0]).max() > 1e-3
    assert attention.get_config()['dropout'] == 0.5


def test_momentum_and_epsilon_of_normalization():
    model, x = models.make_mlp(), models.make_inputs()
    apply_layer_overrides(model, [{'pattern': '.*', 'norm_momentum': 0.5, 'norm_epsilon': 3.0}])
    np.testing.assert_allclose(compiled(model)(x)[0], in_use(model, x), rtol=1e-5, atol=1e-5)
    compiled(model, training=True)(x)
    hidden = np.maximum(dense(x.numpy(), model.layers[0]), 0.0)
    moved = model.layers[2].moving_mean.numpy()
    np.testing.assert_allclose(moved, 0.5 * hidden.mean(axis=0), rtol=1e-5)
    assert model.layers[2].get_config()['epsilon'] == 3.0


def test_dtype_sets_what_is_computed_in_and_leaves_variables_alone():
    model, x = models.make_mlp(), models.make_inputs()
    exact = compiled(model)(x)[0]
    apply_layer_overrides(model, [{'pattern': 'last', 'dtype': 'bfloat16'}])
    outputs = compiled(model)(x)[0]
    assert outputs.dtype == tf.bfloat16
    assert {v.dtype for v in model.weights} == {'float32'}
    error = np.abs(tf.cast(outputs, tf.float32) - exact).max()
    assert 1e-4 < error < 0.1
    apply_layer_overrides(model, [{'pattern': 'last', 'dtype': 'float32'}])
    np.testing.assert_array_equal(compiled(model)(x)[0], exact)


# Losses.


@pytest.mark.parametrize(
    ('config', 'l1', 'l2'),
    [
        ({'type': 'l1', 'l1': 0.1}, 0.1, 0.0),
        ({'l2': 0.2}, 0.0, 0.2),
        ({'type': 'l1_l2', 'l1': 0.1, 'l2': 0.2}, 0.1, 0.2),
    ],
)
def test_regularizers_change_the_loss_by_their_closed_form(config, l1, l2):
    def penalty(values):
        return l1 * np.abs(values).sum() + l2 * np.square(values).sum()

    model, x = models.make_mlp(), models.make_inputs()
    assert compiled(model)(x)[1] == []
    apply_layer_overrides(
        model,
        [
            {'pattern': 'first', 'kernel_regularizer': config},
            {'pattern': 'last', 'bias_regularizer': config, 'activity_regularizer': config},
        ],
    )
    for training in (True, False):
        outputs, losses = compiled(model, training)(x)
        expected = penalty(model.layers[0].kernel.numpy()) + penalty(model.layers[-1].bias.numpy())
        expected += penalty(outputs.numpy()) / 6
        np.testing.assert_allclose(sum(losses), expected, rtol=1e-5)


def test_a_regularizer_replaces_one_and_none_takes_it_away():
    model = keras.Sequential(
        [keras.layers.Input((2,)), keras.layers.Dense(2, kernel_regularizer='l2', name='a')]
    )
    for config, factor in (({'l2': 0.5}, 0.5), ({'type': 'none'}, 0.0)):
        apply_layer_overrides(model, [{'pattern': 'a', 'kernel_regularizer': config}])
        losses = compiled(model)(tf.ones([1, 2]))[1]
        total = factor * np.square(model.layers[0].kernel.numpy()).sum()
        np.testing.assert_allclose(sum(losses), total, rtol=1e-6)
    assert model.layers[0].get_config()['kernel_regularizer'] is None


def test_depthwise_kernels_have_regularizers():
    inputs = keras.layers.Input((4, 4, 2))
    layer = keras.layers.DepthwiseConv2D(3, name='deep')
    model = keras.Model(inputs, layer(inputs))
    apply_layer_overrides(model, [{'pattern': 'deep', 'kernel_regularizer': {'l2': 0.5}}])
    expected = 0.5 * np.square(layer.kernel.numpy()).sum()
    np.testing.assert_allclose(sum(model.losses), expected, rtol=1e-6)
    assert layer.depthwise_regularizer is layer.kernel.regularizer


# Training.


def test_trainable_false_and_a_multiplier_of_zero_freeze():
    for setting in ({'trainable': False}, {'learning_rate_multiplier': 0}):
        model, x = models.make_mlp(), models.make_inputs()
        settings = apply_layer_overrides(model, [{'pattern': 'first|norm', **setting}])
        assert sorted(settings.frozen) == [
            *('model/first/bias', 'model/first/kernel', 'model/norm/beta', 'model/norm/gamma'),
            *('model/norm/moving_mean', 'model/norm/moving_variance'),
        ]
        before = [v.numpy() for v in model.weights]
        model.compile(settings.configure_optimizer(keras.optimizers.Adam(0.1)), 'mse')
        model.fit(x, tf.ones([6, 2]), epochs=2, verbose=0)
        changed = [bool((a != v.numpy()).any()) for a, v in zip(before, model.weights, strict=True)]
        names = [v.path.split('/')[-2] for v, c in zip(model.weights, changed, strict=True) if c]
        assert set(names) == {'last'}


def test_what_is_inside_a_frozen_module_can_be_trained():
    model = models.Detector()
    model.backbone.trainable = False
    apply_layer_overrides(model, [{'pattern': 'backbone/block', 'trainable': True}])
    trained = {v.path.split('/')[-2] for v in model.backbone.trainable_variables}
    assert trained == {'block'}
    assert len(model.trainable_variables) == 6


def test_statistics_do_not_become_weights():
    model = models.make_mlp()
    model.trainable = False
    apply_layer_overrides(model, [{'pattern': 'norm', 'trainable': True}])
    assert [v.name for v in model.trainable_variables] == ['gamma', 'beta']
    compiled(model, training=True)(models.make_inputs())
    assert np.abs(model.layers[2].moving_mean.numpy()).max() > 0


def test_rates_act_in_fit_with_a_stock_optimizer():
    x, y = models.make_inputs(), tf.ones([6, 2])
    moved = []
    for multiplier in (1.0, 0.1):
        model = models.make_mlp()
        overrides = [{'pattern': 'first', 'learning_rate_multiplier': multiplier}]
        settings = apply_layer_overrides(model, overrides)
        model.compile(settings.configure_optimizer(keras.optimizers.SGD(0.1)), 'mse')
        before = model.layers[0].kernel.numpy()
        model.fit(x, y, batch_size=6, verbose=0)
        moved.append(model.layers[0].kernel.numpy() - before)
    np.testing.assert_allclose(moved[1], moved[0] * 0.1, rtol=1e-4, atol=1e-7)


def test_compiled_steps_of_fit_are_forgotten():
    model, x = models.make_mlp(), models.make_inputs()
    before = model.predict(x, verbose=0)
    apply_layer_overrides(model, [{'pattern': 'last', 'activation': 'tanh'}])
    np.testing.assert_allclose(model.predict(x, verbose=0), np.tanh(before), rtol=1e-5, atol=1e-6)


# New initial values.


def test_new_values_depend_on_key_and_seed_only():
    values = []
    for seed in (0, 0, 1):
        model = models.Detector()
        initializer = {'name': 'random_normal', 'arguments': {'stddev': 0.5}}
        settings = apply_layer_overrides(
            model, [{'pattern': 'backbone', 'kernel_initializer': initializer}]
        )
        before = model.backbone.layers[1].kernel.numpy()
        assert settings.reinitialize(seed) == ['backbone/stem/kernel', 'backbone/block/kernel']
        values.append([layer.kernel.numpy() for layer in model.backbone.layers[1:]])
        assert np.abs(values[-1][0] - before).max() > 0.1
    np.testing.assert_array_equal(values[0][1], values[1][1])
    assert np.abs(values[0][1] - values[2][1]).max() > 0.1
    assert np.abs(values[0][1] - np.resize(values[0][0], (5, 5))).max() > 0.1
    assert 0.3 < np.std(values[0][1]) < 0.7


def test_an_initializer_by_name():
    model = models.make_mlp()
    settings = apply_layer_overrides(model, [{'pattern': 'last', 'kernel_initializer': 'ones'}])
    assert settings.reinitialize() == ['model/last/kernel']
    np.testing.assert_array_equal(model.layers[-1].kernel.numpy(), np.ones((3, 2)))


# Errors.


@pytest.mark.parametrize(
    ('overrides', 'match'),
    [
        (
            [{'pattern': 'backbon', 'trainable': False}],
            r"layer_overrides\[0\].pattern: 'backbon' matches no layer and no variable; .*"
            r'the nearest are backbone, ',
        ),
        (
            [{'pattern': 'head', 'dropout_rate': 0.1}],
            r"\[0\].dropout_rate: 'head' \(Sequential\) has no dropout_rate, nor has a layer inside "
            r'it; .*no layer of this model has it',
        ),
        (
            [{'pattern': 'backbone/input_layer', 'kernel_regularizer': {'l2': 1.0}}],
            r"'backbone/input_layer' \(InputLayer\) has no kernel_regularizer.*nearest are backbone/",
        ),
        (
            [{'pattern': '.*/bias', 'activation': 'relu'}],
            r"'.*/bias' has no activation; .*the nearest are ",
        ),
        (
            [
                {'pattern': 'backbone', 'learning_rate_multiplier': 0.1},
                {'pattern': '.*/kernel', 'learning_rate_multiplier': 0.2},
            ],
            r'\[1\].learning_rate_multiplier: contradicts '
            r"task.layer_overrides\[0\].learning_rate_multiplier on 'backbone/stem/kernel'; "
            r'expected 0.1; received 0.2',
        ),
        (
            [
                {'pattern': 'backbone', 'trainable': True},
                {'pattern': '.*/kernel', 'learning_rate_multiplier': 0},
            ],
            r"\[1\].learning_rate_multiplier: contradicts .*\[0\].trainable on 'backbone/stem/kernel'",
        ),
        ([{'pattern': '.*', 'trainable': False}], 'nothing is left to train'),
        ([{'pattern': 'head/cls', 'activation': 'rleu'}], "Received: 'rleu'. Did you mean 'relu'"),
        ([{'pattern': 'head', 'kernel_initializer': 'he'}], 'the name of a Keras initializer'),
        (
            [{'pattern': 'head', 'warmup': {'type': 'linear'}}],
            r'\[0\].warmup: there is no learning rate that it could warm up to',
        ),
    ],
)
def test_errors(overrides, match):
    with pytest.raises(LayerOverrideError, match=match):
        apply_layer_overrides(models.Detector(), overrides)


def test_contradiction_with_what_is_frozen_already():
    with pytest.raises(LayerOverrideError, match=r"contradicts task.freeze on 'head/cls/bias'"):
        apply_layer_overrides(
            models.Detector(), [{'pattern': 'head', 'trainable': True}], frozen=['head/cls/bias']
        )


def test_a_decay_multiplier_without_decay_is_an_error():
    model = models.Detector()
    overrides = [{'pattern': 'head', 'weight_decay_multiplier': 0.5}]
    settings = apply_layer_overrides(model, overrides)
    optimizer = settings.configure_optimizer(keras.optimizers.SGD(0.1))
    optimizer.build(model.trainable_variables)
    with pytest.raises(
        LayerOverrideError, match=r'\[0\].weight_decay_multiplier: sgd\w* has no weight decay'
    ):
        settings.check_optimizer(optimizer)
    optimizer = settings.configure_optimizer(keras.optimizers.SGD(0.1, weight_decay=0.1))
    optimizer.build(model.trainable_variables)
    settings.check_optimizer(optimizer)


def test_only_models_that_are_built():
    with pytest.raises(TypeError, match=r'expected a keras\.Model; received Dense'):
        apply_layer_overrides(keras.layers.Dense(1), [])
    with pytest.raises(ValueError, match='expected a built model'):
        apply_layer_overrides(keras.Sequential([keras.layers.Dense(1)]), [])


def test_no_overrides_change_nothing():
    model, x = models.make_mlp(), models.make_inputs()
    before = compiled(model)(x)[0]
    settings = layer_overrides.apply_layer_overrides(model, [])
    assert (settings.rates, settings.frozen, settings.plan) == ({}, (), {})
    np.testing.assert_array_equal(compiled(model)(x)[0], before)
