"""Variable keys: stable over builds, whole, unique."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import variable_keys as vk


class Block(keras.layers.Layer):
    """Holds layers in every way that Keras allows."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = keras.layers.Dense(2)
        self._hidden = keras.layers.Dense(3, use_bias=False)
        self.towers = [
            [keras.layers.Dense(2), keras.layers.BatchNormalization()],
            [keras.layers.Dense(2)],
        ]
        self.levels = {'p3': keras.layers.Dense(2), 4: [keras.layers.Dense(2, use_bias=False)]}
        self.dropout = keras.layers.Dropout(0.5)
        self.again = self.towers[1][0]

    def build(self, input_shape):
        self.scales = [
            self.add_weight(name='scale', shape=(), initializer='ones') for _ in range(2)
        ]
        self.offset = self.add_weight(shape=())
        self.add_weight(shape=(1,), name='kept_by_keras_only')
        self.stem.build(input_shape)
        for layer in (
            self._hidden,
            self.towers[0][0],
            self.towers[0][1],
            self.again,
            self.levels['p3'],
            self.levels[4][0],
        ):
            layer.build((None, 2))


BLOCK_KEYS = {
    'offset',
    'scales/0',
    'scales/1',
    'kept_by_keras_only',
    'stem/kernel',
    'stem/bias',
    '_hidden/kernel',
    'towers/0/0/kernel',
    'towers/0/0/bias',
    'towers/0/1/gamma',
    'towers/0/1/beta',
    'towers/0/1/moving_mean',
    'towers/0/1/moving_variance',
    'again/kernel',
    'again/bias',
    'levels/p3/kernel',
    'levels/p3/bias',
    'levels/4/0/kernel',
    'dropout/seed_generator/seed_generator_state',
}


def make_block() -> Block:
    block = Block()
    block.build((None, 5))
    return block


def make_functional() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = keras.layers.BatchNormalization(name='norm')(x)
    x = keras.layers.Conv2D(4, 3)(x)
    x = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(2, name='dense_1')])(x)
    return keras.Model(inputs, x)


FUNCTIONAL_KEYS = {
    'conv2d/kernel',
    'conv2d/bias',
    'conv2d_1/kernel',
    'conv2d_1/bias',
    'norm/gamma',
    'norm/beta',
    'norm/moving_mean',
    'norm/moving_variance',
    'sequential/dense/kernel',
    'sequential/dense/bias',
    'sequential/dense_1/kernel',
    'sequential/dense_1/bias',
}


def test_subclassed_layer_with_nested_lists_dicts_and_private_attributes():
    block = make_block()
    keys = vk.variable_keys({'head': block})
    assert set(keys) == {f'head/{key}' for key in BLOCK_KEYS}
    assert keys['head/towers/0/1/moving_mean'] is block.towers[0][1].moving_mean
    assert keys['head/levels/4/0/kernel'] is block.levels[4][0].kernel


def test_functional_model_by_explicit_name_or_class_and_position():
    model = make_functional()
    keys = vk.variable_keys({'model': model})
    assert set(keys) == {f'model/{key}' for key in FUNCTIONAL_KEYS}
    convs = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert keys['model/conv2d/kernel'] is convs[0].kernel
    assert keys['model/conv2d_1/kernel'] is convs[1].kernel


def test_two_builds_in_one_process_and_another_order_give_the_same_keys():
    first = vk.variable_keys({'backbone': make_functional(), 'head': make_block()})
    head, backbone = make_block(), make_functional()
    second = vk.variable_keys({'backbone': backbone, 'head': head})
    swapped = vk.variable_keys({'head': head, 'backbone': backbone})
    assert list(first) == list(second)
    assert set(first) == set(swapped)
    assert [v.shape for v in first.values()] == [v.shape for v in second.values()]
    assert all(swapped[key] is variable for key, variable in second.items())


def test_equal_names_in_two_modules_do_not_collide():
    def module() -> keras.Model:
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(2, name='stem')(inputs), name='same')

    keys = vk.variable_keys({'backbone': module(), 'decoder': module()})
    assert list(keys) == [
        'backbone/stem/bias',
        'backbone/stem/kernel',
        'decoder/stem/bias',
        'decoder/stem/kernel',
    ]


def test_keras_applications_backbone():
    def build() -> keras.Model:
        return keras.applications.MobileNetV2(
            input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
        )

    backbone = build()
    keys = vk.variable_keys({'backbone': backbone})
    assert list(keys) == list(vk.variable_keys({'backbone': build()}))
    assert len(keys) == len(backbone.variables) == 260
    assert keys['backbone/Conv1/kernel'] is backbone.get_layer('Conv1').kernel
    assert (
        keys['backbone/bn_Conv1/moving_variance'] is backbone.get_layer('bn_Conv1').moving_variance
    )


def test_functional_subclass_with_extra_layers_and_nested_model():
    class Detector(keras.Model):
        def __init__(self):
            inputs = keras.Input((8, 8, 3))
            backbone = make_functional()
            super().__init__(inputs=inputs, outputs=keras.layers.Dense(1)(backbone(inputs)))
            self.backbone = backbone
            self.extra = keras.layers.Dense(2)
            self.extra.build((None, 3))

    keys = vk.variable_keys({'m': Detector()})
    assert 'm/functional/conv2d_1/kernel' in keys
    assert {'m/dense/kernel', 'm/dense/bias', 'm/extra/kernel', 'm/extra/bias'} <= set(keys)
    assert not any(key.startswith('m/backbone') for key in keys)


def test_wrappers_recurrent_cells_and_attention():
    layers = {
        'time': keras.layers.TimeDistributed(keras.layers.Dense(2)),
        'both': keras.layers.Bidirectional(keras.layers.GRU(2)),
        'spectral': keras.layers.SpectralNormalization(keras.layers.Dense(2)),
    }
    for name, layer in layers.items():
        layer.build((None, 4) if name == 'spectral' else (None, 3, 4))
    attention = keras.layers.MultiHeadAttention(2, 2, dropout=0.1)
    attention.build((None, 3, 4), (None, 3, 4))
    keys = vk.variable_keys({**layers, 'attention': attention})
    assert len(keys) == sum(len(layer.variables) for layer in [*layers.values(), attention])
    assert {
        'time/layer/kernel',
        'spectral/kernel',
        'spectral/layer/bias',
        'attention/_query_dense/kernel',
    } <= set(keys)
    assert 'both/forward_layer/cell/recurrent_kernel' in keys


def test_shared_layer_has_its_shortest_path():
    shared = keras.layers.Dense(2)
    shared.build((None, 2))

    class Deep(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Holder()

    class Holder(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.layer = shared

    assert set(vk.variable_keys({'a': Deep(), 'z': Holder()})) == {'z/layer/kernel', 'z/layer/bias'}


def test_modules_variables_and_lists_as_items():
    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.parts = [tf.Variable(1.0), tf.Variable(2.0, name='scope/named')]

    step = tf.Variable(0, name='step')
    keys = vk.variable_keys(
        {
            'module': Module(),
            'global_step': step,
            'list': [keras.Variable(1.0), keras.Variable(2.0)],
        }
    )
    assert set(keys) == {'global_step', 'list/0', 'list/1', 'module/parts/0', 'module/named'}
    assert keys['global_step'] is step


def test_variable_that_no_path_leads_to_is_named():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))

    class Hidden(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.layers_in_a_set = {layer}

    with pytest.raises(
        errors.CheckpointError,
        match=r"checkpoint item 'head': the variable .*kernel \(3, 2\) has no key",
    ):
        vk.variable_keys({'head': Hidden()})


def test_collision_names_both_variables():
    class Twice(keras.layers.Layer):
        def build(self, input_shape):
            self.add_weight(name='w', shape=(1,))
            self.add_weight(name='w', shape=(2,))

    layer = Twice()
    layer.build(None)
    with pytest.raises(
        errors.CheckpointError, match=r"two variables have the key 'head/w'.*\(1,\) and .*\(2,\)"
    ):
        vk.variable_keys({'head': layer})


def test_item_of_another_kind_is_refused():
    with pytest.raises(
        TypeError, match=r"checkpoint item 'head': expected a Keras layer.*received int"
    ):
        vk.variable_keys({'head': 3})


def test_flat_map_saves_and_restores_layers_in_lists(tmp_path):
    block = make_block()
    for i, variable in enumerate(block.trainable_variables):
        variable.assign(np.full(variable.shape, i + 1.0))
    flat = {key: vk.to_tf_variable(v) for key, v in vk.variable_keys({'head': block}).items()}
    path = tf.train.Checkpoint(variables=flat).save(tmp_path / 'ckpt')
    other = make_block()
    flat = {key: vk.to_tf_variable(v) for key, v in vk.variable_keys({'head': other}).items()}
    tf.train.Checkpoint(variables=flat).restore(path).assert_existing_objects_matched()
    for a, b in zip(block.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b)
