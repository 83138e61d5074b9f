"""FPN and NAS-FPN: values worked out by hand, sizes, refusals, and numbers of Model Garden."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.modeling import variable_keys
from official_lite.vision.configs import common
from official_lite.vision.configs import decoders as decoders_cfg
from official_lite.vision.modeling.decoders import factory, feature_levels, fpn, nasfpn
from tests import garden_weights

R50 = {'2': 256, '3': 512, '4': 1024, '5': 2048}


def _make_specs(
    channels: dict[str, int], size: tuple[int | None, int | None] = (128, 256)
) -> dict[str, tuple[int | None, ...]]:
    """Shapes of a backbone's features for images of a size."""
    return {
        level: (None, *(None if side is None else -(-side // 2 ** int(level)) for side in size), n)
        for level, n in channels.items()
    }


def _make_features(
    channels: dict[str, int], size: tuple[int, int] = (128, 256), batch: int = 2
) -> dict[str, tf.Tensor]:
    return {
        level: tf.random.stateless_normal([batch, *shape[1:]], [7, int(level)])
        for level, shape in _make_specs(channels, size).items()
    }


SMALL = {'3': 24, '4': 32, '5': 48}


def _small_nasfpn(**options: Any) -> nasfpn.NASFPN:
    values = {'num_filters': 16, 'num_repeats': 1, 'merge_filters': None, **options}
    return nasfpn.NASFPN(**{'input_specs': _make_specs(SMALL), **values})


# FPN by hand


def _set_identity(model: keras.Model) -> None:
    """Each convolution passes the sum of its input's channels at the kernel's middle."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, np.float32)
            kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1.0
            layer.set_weights([kernel, np.zeros([1], np.float32)])


@pytest.mark.parametrize('use_keras_layer', [False, True])
@pytest.mark.parametrize('fusion_type', ['sum', 'concat'])
def test_fpn_values_by_hand(fusion_type: str, use_keras_layer: bool) -> None:
    channels = {'2': 3, '3': 1, '4': 1}
    model = fpn.FPN(
        _make_specs(channels, (64, 128)),
        min_level=3,
        max_level=6,
        num_filters=1,
        fusion_type=fusion_type,
        use_keras_layer=use_keras_layer,
        norm_epsilon=1.25,
    )
    _set_identity(model)
    features = _make_features(channels, (64, 128))
    fine, coarse = (features[level].numpy() for level in '34')
    # A coarser pixel is four finer ones; concatenated channels are summed by the convolution.
    expected = {'3': fine + coarse.repeat(2, axis=1).repeat(2, axis=2), '4': coarse}
    # Even sizes are padded at the end only, so that a kernel's middle meets the odd pixels; what is
    # made from a made level is activated first.
    expected['5'] = expected['4'][:, 1::2, 1::2]
    expected['6'] = np.maximum(expected['5'], 0)[:, 1::2, 1::2]
    got = model(features, training=False)
    assert got.keys() == expected.keys()
    for level, values in expected.items():
        # Untrained statistics: a mean of 0, a variance of 1.
        np.testing.assert_allclose(got[level], values / 1.5, rtol=1e-6, atol=1e-6)
    assert (got['5'].numpy() < 0).any()


def test_fpn_normalises_every_level() -> None:
    model = fpn.FPN(_make_specs(SMALL), max_level=6, num_filters=8)
    outputs = model(_make_features(SMALL, batch=4), training=True)
    for level, values in outputs.items():
        mean, variance = tf.nn.moments(values, [0, 1, 2])
        np.testing.assert_allclose(mean, np.zeros(8), atol=1e-5, err_msg=level)
        np.testing.assert_allclose(variance, np.ones(8), atol=0.02, err_msg=level)


@pytest.mark.parametrize(
    ('first', 'last', 'parameters', 'names'),
    [
        (3, 7, 3_873_792, {'lateral_3', 'lateral_5', 'post_hoc_3', 'coarser_6', 'coarser_7'}),
        (2, 6, 3_939_584, {'lateral_2', 'lateral_5', 'post_hoc_2', 'coarser_6'}),
        # Two laterals, two 3x3 convolutions and two of BatchNorm.
        (3, 4, 256 * (512 + 1024 + 2) + 2 * 256 * (9 * 256 + 1) + 2 * 4 * 256, {'post_hoc_4'}),
    ],
)
def test_fpn_parameters(first: int, last: int, parameters: int, names: set[str]) -> None:
    model = fpn.FPN(_make_specs(R50), first, last)
    assert model.count_params() == parameters
    assert names <= {layer.name for layer in model.layers}
    assert list(model.output_specs) == [str(level) for level in range(first, last + 1)]


def test_fpn_ignores_what_it_does_not_read() -> None:
    channels = {**SMALL, '2': 8, '2/depthwise': 4, '6': 8}
    model = fpn.FPN(
        {**_make_specs(SMALL), '2': (None, 32, 64, 8), '2/depthwise': (None, 1, 1, 4)}, 3, 5, 8
    )
    features = _make_features(SMALL)
    extra = {level: tf.zeros([2, 1, 1, n]) for level, n in channels.items() if level not in SMALL}
    for level, values in model(features).items():
        np.testing.assert_array_equal(values, model({**extra, **features})[level])


@pytest.mark.parametrize('make', [fpn.FPN, nasfpn.NASFPN])
def test_symbolic_inputs_keep_their_levels(make: Any) -> None:
    """Keras would flatten a dict of more levels than are read, and take level 2 for level 3."""
    channels = {'2': 8, **SMALL}
    model = make(_make_specs(channels, (None, None)))
    inputs = {
        level: keras.Input(shape[1:], batch_size=1, name=level)
        for level, shape in _make_specs(channels).items()
    }
    outputs = model(inputs)
    assert {level: x.shape for level, x in outputs.items()} == {
        level: (1, *shape[1:]) for level, shape in _make_specs(dict.fromkeys('34567', 256)).items()
    }
    features = _make_features(channels, batch=1)
    whole = keras.Model(inputs, outputs)
    np.testing.assert_array_equal(whole(features)['3'], model(features)['3'])


# NAS-FPN


def test_attention_by_hand() -> None:
    first = np.array([[[[0.0, -1.0]], [[2.0, -3.0]]]], np.float32)  # [1, 2, 1, 2]
    second = np.array([[[[1.0, 10.0]], [[3.0, 20.0]]]], np.float32)
    gates = 1 / (1 + np.exp(-np.array([2.0, -1.0])))
    got = nasfpn.GlobalAttention()([first, second])
    np.testing.assert_allclose(got, first + second * gates, rtol=1e-6)


@pytest.mark.parametrize(
    ('options', 'parameters'),
    [
        ({}, 21_609_984),
        # Three 1x1 convolutions with BatchNorm, and 35 3x3 ones.
        (
            {'num_filters': 64, 'merge_filters': None},
            64 * (512 + 1024 + 2048) + 3 * 5 * 64 + 35 * (9 * 64 * 64 + 5 * 64),
        ),
        # 16 maps are combined, two per node and two spare ones; each is projected from 64 to 256.
        (
            {'num_filters': 64, 'num_repeats': 1},
            64 * (512 + 1024 + 2048)
            + 3 * 5 * 64
            + 16 * (64 * 256 + 5 * 256)
            + 7 * (9 * 256 * 64 + 5 * 64),
        ),
    ],
)
def test_nasfpn_parameters(options: dict[str, Any], parameters: int) -> None:
    model = nasfpn.NASFPN(_make_specs(R50), **options)
    assert model.count_params() == parameters
    filters = options.get('num_filters', 256)
    assert model.output_specs == _make_specs(dict.fromkeys('34567', filters))


def test_nasfpn_combines_what_the_paper_says() -> None:
    """The nodes of the first cell, as sets of what feeds them (0 to 4 are the levels 3 to 7)."""
    model = _small_nasfpn()
    names = [layer.name for layer in model.layers if layer.name.endswith(('sum', 'attention'))]
    prefix = 'cell_0_node_'
    assert sorted(name.removeprefix(prefix) for name in names) == [
        '0_attention',
        '1_sum',
        '2_sum',
        '3_sum',
        '4_attention',
        '4_unused_2_sum',
        '5_attention',
        '5_unused_4_sum',
        '6_attention',
    ]
    # Level 7 and the node of level 6 see half of what is four levels finer.
    assert model.get_layer(f'{prefix}5_input_0_pool').pool_size == (8, 8)
    assert model.get_layer('input_7_pool').pool_size == (2, 2)


def test_nasfpn_attends_from_the_coarser_level() -> None:
    """Node 0 combines the levels 4 and 6: the gates come from level 6, whichever stands first."""
    attention = _small_nasfpn().get_layer('cell_0_node_0_attention')
    assert attention.input[0]._keras_history.operation.name == 'cell_0_node_0_input_1_upsample'
    assert attention.input[1]._keras_history.operation.name == 'input_4_norm'


def test_own_cell() -> None:
    cell = [(3, 'sum', (0, 1), True), (4, 'attention', (1, 2), True)]
    model = nasfpn.NASFPN(
        _make_specs(SMALL), 3, 4, cell, num_filters=8, num_repeats=2, merge_filters=None
    )
    assert list(model.output_specs) == ['3', '4']
    copy = nasfpn.NASFPN.from_config(model.get_config())
    assert copy.get_config() == model.get_config()


# Both


@pytest.mark.parametrize(
    'make', [lambda **kwargs: fpn.FPN(_make_specs(SMALL), **kwargs), _small_nasfpn]
)
def test_config_round_trip_and_keys(make: Any) -> None:
    model = make(use_separable_conv=True, kernel_regularizer=keras.regularizers.L2(0.5))
    copy = type(model).from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    first, second = (list(variable_keys.variable_keys({'decoder': m})) for m in (model, copy))
    assert first == second
    # B18: depthwise and pointwise kernels are regularised too.
    kernels = [v.path for v in model.trainable_variables if 'kernel' in v.name]
    assert [v.path for v in model.trainable_variables if v.regularizer] == kernels
    assert {v.name for v in model.variables} >= {'depthwise_kernel', 'pointwise_kernel'}


def test_nasfpn_kernels_start_from_fan_out() -> None:
    model = _small_nasfpn(num_filters=64)
    kernel = model.get_layer('cell_0_node_0_conv').kernel
    assert np.std(kernel) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    other = _small_nasfpn(
        num_filters=64, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.5)
    )
    kernels = [other.get_layer(f'cell_0_node_{i}_conv').kernel.numpy() for i in (0, 1)]
    assert np.std(kernels[0]) == pytest.approx(0.5, rel=0.02)
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize(
    ('size', 'match'),
    [
        ((96, 72), 'width 9 at level 3 is not twice the 5 at level 4.*width .*multiple of 32'),
        ((80, 128), 'height 5 at level 4 is not twice the 3 at level 5.*height .*multiple of 32'),
    ],
)
def test_b27_fpn_refuses_maps_that_do_not_fit(size: tuple[int, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fpn.FPN(_make_specs(SMALL, size), 3, 7, 8)
    # Sizes that are only known with the images: the same text instead of one about broadcasting.
    model = fpn.FPN(_make_specs(SMALL, (None, None)), 3, 7, 8)
    with pytest.raises(ValueError, match=match):
        model(_make_features(SMALL, size))
    with pytest.raises(ValueError, match=match):
        tf.function(model)(_make_features(SMALL, size))


def test_b27_fpn_needs_multiples_of_the_levels_that_it_adds_only() -> None:
    """Levels 6 and 7 are made from level 5, so that 96 px are enough."""
    outputs = fpn.FPN(_make_specs(SMALL, (96, 32)), 3, 7, 8)(_make_features(SMALL, (96, 32)))
    assert {level: tuple(x.shape[1:3]) for level, x in outputs.items()} == {
        '3': (12, 4),
        '4': (6, 2),
        '5': (3, 1),
        '6': (2, 1),
        '7': (1, 1),
    }


def test_maps_that_no_image_size_makes_fit_are_refused_as_such() -> None:
    """MobileNetMultiAVGSeg has a level 6 at the stride of level 5."""
    match = (
        'height 10 at level 5 is not twice the 10 at level 6. '
        'Expected a backbone whose maps are halved from level to level, or a max_level of at most 5.'
    )
    specs = {level: (None, size, size, 8) for level, size in zip('3456', (40, 20, 10, 10))}
    for make in (lambda: fpn.FPN(specs, 3, 7, 8), lambda: _small_nasfpn(input_specs=specs)):
        with pytest.raises(ValueError, match=match):
            make()
    assert set(fpn.FPN(specs, 3, 5, 8).output_specs) == {'3', '4', '5'}


def test_b27_nasfpn_refuses_maps_that_do_not_fit() -> None:
    match = 'height 3 at level 5 cannot be halved down to level 7.*height .*multiple of 128'
    with pytest.raises(ValueError, match=match):
        _small_nasfpn(input_specs=_make_specs(SMALL, (96, 128)))
    model = _small_nasfpn(input_specs=_make_specs(SMALL, (None, None)))
    with pytest.raises(ValueError, match=match):
        model(_make_features(SMALL, (96, 128)))
    assert model(_make_features(SMALL, (128, 256)))['7'].shape == (2, 1, 2, 16)


@pytest.mark.parametrize(
    ('make', 'match'),
    [
        (lambda: fpn.FPN(_make_specs(SMALL), 2), r'FPN starts at level 2, .*levels \[3, 4, 5\]'),
        (lambda: fpn.FPN(_make_specs(SMALL), 6, 7), 'FPN starts at level 6'),
        (lambda: fpn.FPN({}, 3, 7), r'FPN starts at level 3, .*levels \[\]'),
        (
            lambda: fpn.FPN(_make_specs({'3': 8, '5': 8}), 3, 5),
            r'no features. Expected min_level to be one of its levels \[3, 5\]',
        ),
        (lambda: fpn.FPN(_make_specs(SMALL), fusion_type='add'), "'sum' or 'concat'. .*'add'"),
        (
            lambda: _small_nasfpn(min_level=2, max_level=6),
            r'outputs \[3, 4, 5, 6, 7\]. .*Received: \[2, 3, 4, 5, 6\]',
        ),
        (lambda: _small_nasfpn(num_repeats=0), 'Expected num_repeats of 1 or more. Received: 0'),
        (
            lambda: _small_nasfpn(max_level=3, block_specs=[(3, 'sum', (0, 1), True)]),
            r'Node 0 .*input_offsets below 1. Received: \(0, 1\)',
        ),
        (
            lambda: _small_nasfpn(max_level=3, block_specs=[(3, 'mean', (0, 0), True)]),
            "combine_fn 'sum' or 'attention'. Received: 'mean'",
        ),
        (
            lambda: nasfpn.NASFPN(_make_specs({'5': 8})),
            r'NAS-FPN starts at level 3, .*levels \[5\]',
        ),
    ],
)
def test_refuses_what_cannot_be_built(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_sizes_that_are_not_known_are_not_checked() -> None:
    feature_levels.check_sizes(
        {'3': (None, None, 7, 1), '4': (None, 3, None, 1)}, [3, 4], coarsest=4
    )


@pytest.mark.parametrize(
    ('config', 'match'),
    [
        (decoders_cfg.NASFPN(num_filters=0), 'num_filters: expected 1 or more'),
        (decoders_cfg.NASFPN(num_repeats=0), 'num_repeats: expected 1 or more'),
        (decoders_cfg.NASFPN(merge_filters=0), 'merge_filters: expected 1 or more, or null'),
        (decoders_cfg.FPN(num_filters=0), 'num_filters: expected 1 or more'),
    ],
)
def test_configs_are_checked(config: Any, match: str) -> None:
    with pytest.raises(errors.OfficialLiteError, match=match):
        config.validate()


def _make_model_config(**decoder: Any) -> Any:
    return types.SimpleNamespace(
        decoder=decoders_cfg.Decoder(decoder),
        min_level=3,
        max_level=7,
        norm_activation=common.NormActivation(
            activation='swish', use_sync_bn=True, norm_momentum=0.5, norm_epsilon=0.25
        ),
    )


@pytest.mark.parametrize('name', ['fpn', 'nasfpn'])
def test_builders_pass_everything_on(name: str) -> None:
    settings: dict[str, Any] = {'num_filters': 8, 'use_separable_conv': True}
    if name == 'fpn':
        settings |= {'fusion_type': 'concat', 'use_keras_layer': True}
    else:
        settings |= {'num_repeats': 2, 'merge_filters': 8}
    regularizer = keras.regularizers.L2(0.5)
    config = _make_model_config(type=name, **{name: settings})
    model = factory.build_decoder(_make_specs(SMALL), config, regularizer)
    expected = {
        **settings,
        'min_level': 3,
        'max_level': 7,
        'activation': 'swish',
        'use_sync_bn': True,
        'norm_momentum': 0.5,
        'norm_epsilon': 0.25,
        'kernel_regularizer': keras.regularizers.serialize(regularizer),
    }
    found = model.get_config()
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('num_filters', 8),
        ('num_repeats', 2),
        ('use_separable_conv', True),
        ('merge_filters', 24),
        ('merge_filters', None),
    ],
)
def test_d3_a_field_of_nasfpn_changes_the_model(name: str, value: Any) -> None:
    fields = {field.name for field in dataclasses.fields(decoders_cfg.NASFPN)}
    assert fields - {'default_params', 'restrictions'} == {
        'num_filters',
        'num_repeats',
        'use_separable_conv',
        'merge_filters',
    }
    base = {'num_filters': 16, 'num_repeats': 1, 'merge_filters': 32}
    first, second = (
        factory.build_decoder(
            _make_specs(SMALL), _make_model_config(type='nasfpn', nasfpn={**base, **change})
        )
        for change in ({}, {name: value})
    )
    shapes = [[(v.path, v.shape) for v in model.variables] for model in (first, second)]
    assert shapes[0] != shapes[1]


def test_builders_refuse_the_config_of_another_decoder() -> None:
    config = _make_model_config(type='identity')
    for build, name in ((fpn.build_fpn_decoder, 'fpn'), (nasfpn.build_nasfpn_decoder, 'nasfpn')):
        with pytest.raises(errors.UsageError, match=f"expected type '{name}'; received 'identity'"):
            build(_make_specs(SMALL), config)
    assert factory.build_decoder(_make_specs(SMALL), config) is None


# Parity with Model Garden

PAIRS: dict[str, dict[str, Any]] = {
    'fpn': {'type': 'fpn', 'num_filters': 16},
    'fpn concat': {'type': 'fpn', 'num_filters': 16, 'fusion_type': 'concat', 'max_level': 5},
    'fpn separable': {'type': 'fpn', 'num_filters': 16, 'use_separable_conv': True},
    'fpn, Keras layer, level 2': {
        'type': 'fpn',
        'num_filters': 16,
        'use_keras_layer': True,
        'min_level': 2,
        'max_level': 6,
        'use_sync_bn': True,
    },
    'nasfpn': {'type': 'nasfpn', 'num_repeats': 2},
    'nasfpn of other width': {'type': 'nasfpn', 'num_filters': 16, 'num_repeats': 1},
    'nasfpn separable': {
        'type': 'nasfpn',
        'num_repeats': 1,
        'use_separable_conv': True,
        'use_sync_bn': True,
    },
}
BACKBONE = {'2': 8, **SMALL}


def _make_pair(settings: dict[str, Any]) -> tuple[Any, Any]:
    from official.vision.modeling.decoders import fpn as garden_fpn
    from official.vision.modeling.decoders import nasfpn as garden_nasfpn

    options = {'activation': 'swish', 'norm_momentum': 0.9, **settings}
    if options.pop('type') == 'fpn':
        garden, ours = garden_fpn.FPN, fpn.FPN
    else:
        garden, ours = garden_nasfpn.NASFPN, nasfpn.NASFPN
    specs = _make_specs(BACKBONE)
    garden_specs = {level: tf.TensorShape(shape) for level, shape in specs.items()}
    pair = garden(input_specs=garden_specs, **options), ours(input_specs=specs, **options)
    garden_weights.randomize_weights(pair[0])
    garden_weights.carry_weights(*pair)
    return pair


def _compute(model: Any, features: dict, variables: list, training: bool) -> tuple[dict, list]:
    """Outputs, and gradients of their products with fixed random numbers."""

    @tf.function(autograph=False)
    def compute() -> tuple[dict, list]:
        with tf.GradientTape() as tape:
            tape.watch([*variables, *features.values()])
            outputs = dict(model(features, training=training))
            loss = tf.add_n(
                [
                    tf.reduce_mean(x * tf.random.stateless_normal(x.shape, [5, int(level)]))
                    for level, x in outputs.items()
                ]
            )
        return outputs, tape.gradient(loss, [*variables, *features.values()])

    return compute()


@pytest.mark.garden
@pytest.mark.parametrize('name', PAIRS)
@pytest.mark.parametrize('training', [False, True])
def test_outputs_gradients_and_statistics_equal_model_garden(name: str, training: bool) -> None:
    theirs, ours = _make_pair(PAIRS[name])
    # Fewer values per channel would leave BatchNorm of the coarsest level to rounding errors.
    features = _make_features(BACKBONE, batch=6)
    pairs = [p for p in garden_weights.pair_variables(theirs, ours) if p[0].trainable]
    expected, expected_gradients = _compute(theirs, features, [p[0] for p in pairs], training)
    got, gradients = _compute(ours, features, [p[1].value for p in pairs], training)
    assert got.keys() == expected.keys()
    for level in expected:
        largest = max(1.0, float(tf.reduce_max(tf.abs(expected[level]))))
        np.testing.assert_allclose(got[level], expected[level], atol=1e-4 * largest, rtol=0)
    _assert_gradients_agree(gradients, expected_gradients, pairs, features)
    for variable, other in garden_weights.pair_variables(theirs, ours):
        np.testing.assert_allclose(other, variable, rtol=1e-4, atol=1e-4, err_msg=variable.name)


def _assert_gradients_agree(got: list, expected: list, pairs: list, features: dict) -> None:
    names = [variable.name for variable, _ in pairs] + list(features)
    whole = float(tf.linalg.global_norm([g for g in expected if g is not None]))
    for name, ours, theirs in zip(names, got, expected, strict=True):
        if theirs is None:  # a level that is not read
            assert ours is None, name
            continue
        # Biases before batch normalisation have no gradient but rounding errors.
        limit = max(1e-4 * np.linalg.norm(theirs), 1e-6 * whole)
        assert np.linalg.norm(ours - theirs) <= limit, name


@pytest.mark.garden
@pytest.mark.slow
def test_whole_nasfpn_equals_model_garden() -> None:
    theirs, ours = _make_pair({'type': 'nasfpn', 'activation': 'relu'})
    features = _make_features(BACKBONE)
    expected, got = theirs(features, training=False), ours(features, training=False)
    for level in expected:
        largest = max(1.0, float(tf.reduce_max(tf.abs(expected[level]))))
        np.testing.assert_allclose(got[level], expected[level], atol=1e-4 * largest, rtol=0)
