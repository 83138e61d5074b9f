"""What FPN and NAS-FPN share: levels, copies, refusals, configs and builders."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import keras
import numpy as np
import pytest

from official_lite import errors
from official_lite.modeling import variable_keys
from official_lite.vision.configs import common
from official_lite.vision.configs import decoders as decoders_cfg
from official_lite.vision.modeling.decoders import factory, feature_levels, fpn, nasfpn
from tests.vision.modeling import pyramids


@pytest.mark.parametrize('make', [fpn.FPN, nasfpn.NASFPN])
def test_symbolic_inputs_keep_their_levels(make: Any) -> None:
    """Keras would flatten a dict of more levels than are read, and take level 2 for level 3."""
    channels = {'2': 8, **pyramids.SMALL}
    model = make(pyramids.make_specs(channels, (None, None)))
    inputs = {
        level: keras.Input(shape[1:], batch_size=1, name=level)
        for level, shape in pyramids.make_specs(channels).items()
    }
    outputs = model(inputs)
    assert {level: x.shape for level, x in outputs.items()} == {
        level: (1, *shape[1:])
        for level, shape in pyramids.make_specs(dict.fromkeys('34567', 256)).items()
    }
    features = pyramids.make_features(channels, batch=1)
    whole = keras.Model(inputs, outputs)
    np.testing.assert_array_equal(whole(features)['3'], model(features)['3'])


@pytest.mark.parametrize(
    'make',
    [
        lambda **kwargs: fpn.FPN(pyramids.make_specs(pyramids.SMALL), **kwargs),
        pyramids.make_small_nasfpn,
    ],
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


def test_maps_that_no_image_size_makes_fit_are_refused_as_such() -> None:
    """MobileNetMultiAVGSeg has a level 6 at the stride of level 5."""
    match = (
        'height 10 at level 5 is not twice the 10 at level 6. '
        'Expected a backbone whose maps are halved from level to level, or a max_level of at most 5.'
    )
    specs = {level: (None, size, size, 8) for level, size in zip('3456', (40, 20, 10, 10))}
    for make in (
        lambda: fpn.FPN(specs, 3, 7, 8),
        lambda: pyramids.make_small_nasfpn(input_specs=specs),
    ):
        with pytest.raises(ValueError, match=match):
            make()
    assert set(fpn.FPN(specs, 3, 5, 8).output_specs) == {'3', '4', '5'}


@pytest.mark.parametrize(
    ('make', 'match'),
    [
        (
            lambda: fpn.FPN(pyramids.make_specs(pyramids.SMALL), 2),
            r'FPN starts at level 2, .*levels \[3, 4, 5\]',
        ),
        (lambda: fpn.FPN(pyramids.make_specs(pyramids.SMALL), 6, 7), 'FPN starts at level 6'),
        (lambda: fpn.FPN({}, 3, 7), r'FPN starts at level 3, .*levels \[\]'),
        (
            lambda: fpn.FPN(pyramids.make_specs({'3': 8, '5': 8}), 3, 5),
            r'no features. Expected min_level to be one of its levels \[3, 5\]',
        ),
        (
            lambda: fpn.FPN(pyramids.make_specs(pyramids.SMALL), fusion_type='add'),
            "'sum' or 'concat'. .*'add'",
        ),
        (
            lambda: pyramids.make_small_nasfpn(min_level=2, max_level=6),
            r'outputs \[3, 4, 5, 6, 7\]. .*Received: \[2, 3, 4, 5, 6\]',
        ),
        (
            lambda: pyramids.make_small_nasfpn(num_repeats=0),
            'Expected num_repeats of 1 or more. Received: 0',
        ),
        (
            lambda: pyramids.make_small_nasfpn(max_level=3, block_specs=[(3, 'sum', (0, 1), True)]),
            r'Node 0 .*input_offsets below 1. Received: \(0, 1\)',
        ),
        (
            lambda: pyramids.make_small_nasfpn(
                max_level=3, block_specs=[(3, 'mean', (0, 0), True)]
            ),
            "combine_fn 'sum' or 'attention'. Received: 'mean'",
        ),
        (
            lambda: nasfpn.NASFPN(pyramids.make_specs({'5': 8})),
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
    model = factory.build_decoder(pyramids.make_specs(pyramids.SMALL), config, regularizer)
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
            pyramids.make_specs(pyramids.SMALL),
            _make_model_config(type='nasfpn', nasfpn={**base, **change}),
        )
        for change in ({}, {name: value})
    )
    shapes = [[(v.path, v.shape) for v in model.variables] for model in (first, second)]
    assert shapes[0] != shapes[1]


def test_builders_refuse_the_config_of_another_decoder() -> None:
    config = _make_model_config(type='identity')
    for build, name in ((fpn.build_fpn_decoder, 'fpn'), (nasfpn.build_nasfpn_decoder, 'nasfpn')):
        with pytest.raises(errors.UsageError, match=f"expected type '{name}'; received 'identity'"):
            build(pyramids.make_specs(pyramids.SMALL), config)
    assert factory.build_decoder(pyramids.make_specs(pyramids.SMALL), config) is None
