"""Every backbone against Model Garden's: parameters, levels, frozen outputs and gradients.

With carried weights, in float32, and with images that are not square where Model Garden's networks take
them. Batch normalisation uses its moving statistics: in training mode its gradients amplify rounding
errors, so blocks are compared in that mode (`layers/`) and whole networks are not. Networks too heavy
for small machines are built without values, and counted.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import vit as vit_cfg
from official_lite.vision.modeling.backbones import (
    efficientnet,
    mobiledet,
    mobilenet,
    resnet,
    resnet_deeplab,
    resnet_unet,
    revnet,
    spinenet,
    spinenet_mobile,
    vit,
)
from tests import garden_weights

pytestmark = pytest.mark.garden

# Largest difference of an output, relative to its largest value or 1.
OUTPUT_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Family:
    """A class of backbones, and what of it is compared.

    Attributes:
        ours: Our class.
        theirs: Name of Model Garden's class; its module is called as ours.
        compared: Options of networks whose outputs and gradients are compared.
        compared_slowly: The same, among the slow tests.
        counted: Options of networks that are built without values, and counted.
        size: Height and width of images.
        square: Options of `compared` whose images are square, by their `model_id`.
        kernel_scale: See `garden_weights.randomize_weights`.
        gradient_tolerance: Largest difference of a gradient, relative to its norm; a hundredth of it
            relative to the norm of all gradients together.
        pair: What pairs variables.
    """

    ours: Any
    theirs: str
    compared: tuple[dict[str, Any], ...]
    compared_slowly: tuple[dict[str, Any], ...] = ()
    counted: tuple[dict[str, Any], ...] = ()
    size: tuple[int, int] = (64, 96)
    square: tuple[str, ...] = ()
    kernel_scale: float = 1.0
    gradient_tolerance: float = 1e-3
    pair: Callable[[Any, Any], list[tuple[Any, Any]]] = garden_weights.pair_variables


def _pair_revnets(theirs: Any, ours: Any) -> list[tuple[Any, Any]]:
    """Their reversible layers stand one by one, ours in groups."""
    their_layers = [layer for layer in theirs.layers if layer.weights]
    our_layers = [ours.get_layer('stem_conv'), ours.get_layer('stem_norm')]
    groups = [layer for layer in ours.layers if layer.name.startswith('revblock_group')]
    our_layers += [block for group in groups for block in group.blocks]
    return [
        pair
        for layers in zip(their_layers, our_layers, strict=True)
        for pair in garden_weights.pair_variables(*layers)
    ]


def _each(name: str, values: Any, **options: Any) -> tuple[dict[str, Any], ...]:
    return tuple({name: value, **options} for value in values)


_RS = {
    'stem_type': 'v1',
    'resnetd_shortcut': True,
    'replace_stem_max_pool': True,
    'se_ratio': 0.25,
}
# Of residual blocks: theirs ignore `resnetd_shortcut`.
_RESIDUAL_RS = {name: value for name, value in _RS.items() if name != 'resnetd_shortcut'}
_SLOW_MOBILENETS = (
    'MobileNetMultiAVG',
    'MobileNetMultiMAX',
    'MobileNetV4ConvLarge',
    'MobileNetV4ConvMedium',
    'MobileNetV4HybridLarge',
)
_SMALL_VIT = {'mlp_dim': 24, 'num_heads': 3, 'num_layers': 2, 'patch_size': 16, 'hidden_size': 12}
# Those of the paper in full, by name.
_VITS = {name: sizes._asdict() for name, sizes in vit_cfg.VIT_SPECS.items()}

FAMILIES: dict[str, Family] = {
    'resnet': Family(
        resnet.ResNet,
        'ResNet',
        (
            *_each('model_id', (10, 18, 50)),
            {'model_id': 50, 'activation': 'swish', **_RS},
            {'model_id': 10, 'depth_multiplier': 0.5, 'scale_stem': False, 'norm_epsilon': 1e-5},
            {'model_id': 10, 'use_sync_bn': True, 'norm_epsilon': 1e-5},
        ),
        (
            *_each('model_id', (26, 34, 101)),
            {'model_id': 26, 'depth_multiplier': 0.25, 'scale_stem': False, **_RESIDUAL_RS},
        ),
        _each('model_id', (152, 200, 270, 350, 420), se_ratio=0.25),
    ),
    'dilated_resnet': Family(
        resnet_deeplab.DilatedResNet,
        'DilatedResNet',
        ({'model_id': 50, 'output_stride': 16, 'multigrid': [1, 2, 4], **_RS},),
        (
            *_each('output_stride', (8, 32), model_id=50, multigrid=[2, 1, 3]),
            {'model_id': 50, 'output_stride': 16, 'last_stage_repeats': 2, 'activation': 'swish'},
            {'model_id': 101, 'output_stride': 16, 'stem_type': 'v1'},
        ),
        tuple(
            {'model_id': model_id, 'output_stride': stride, 'se_ratio': 0.25}
            for model_id in resnet_deeplab.DILATED_RESNET_IDS
            for stride in (4, 8, 16, 32)
        ),
    ),
    'resnet_unet': Family(
        resnet_unet.ResNetUNet,
        'ResNetUNet',
        (
            {
                'model_id': 10,
                'depth_multiplier': 0.25,
                'upsample_repeats': [2, 1],
                'upsample_filters': [24, 16],
                'upsample_kernel_sizes': [5, 3],
                'classification_output': True,
                'activation': 'swish',
                'norm_epsilon': 1e-5,
                **_RESIDUAL_RS,
            },
        ),
        # Theirs has no pyramid of its own accord.
        counted=_each(
            'model_id',
            (50, 101),
            upsample_repeats=list(resnet_unet.UPSAMPLE_REPEATS),
            upsample_filters=list(resnet_unet.UPSAMPLE_FILTERS),
            upsample_kernel_sizes=list(resnet_unet.UPSAMPLE_KERNEL_SIZES),
        ),
    ),
    'mobilenet': Family(
        mobilenet.MobileNet,
        'MobileNet',
        (
            *_each(
                'model_id',
                [
                    n
                    for n in mobilenet.MOBILENET_SPECS
                    if n not in ('MobileNetV2', *_SLOW_MOBILENETS)
                ],
            ),
            {'model_id': 'MobileNetV2', 'filter_size_scale': 0.35},
            {'model_id': 'MobileNetV2', 'output_stride': 8, 'output_intermediate_endpoints': True},
            {'model_id': 'MobileNetV1', 'output_stride': 16, 'filter_size_scale': 0.5},
            {'model_id': 'MobileNetV4ConvMedium', 'output_stride': 8, 'filter_size_scale': 0.25},
            {'model_id': 'MobileNetV4ConvSmall', 'use_sync_bn': True, 'norm_epsilon': 1e-6},
        ),
        _each('model_id', _SLOW_MOBILENETS),
        # Its attention with fewer keys reshapes queries as if maps were square.
        square=('MobileNetV4HybridMedium', 'MobileNetV4HybridLarge'),
    ),
    'mobiledet': Family(
        mobiledet.MobileDet,
        'MobileDet',
        (
            *_each('model_id', [n for n in mobiledet.MOBILEDET_SPECS if n != 'MobileDetGPU']),
            {'model_id': 'MobileDetGPU', 'filter_size_scale': 0.5, 'norm_epsilon': 1e-4},
            {'model_id': 'MobileDetCPU', 'filter_size_scale': 0.55, 'use_sync_bn': True},
        ),
        ({'model_id': 'MobileDetGPU'},),
    ),
    'efficientnet': Family(
        efficientnet.EfficientNet,
        'EfficientNet',
        (
            {'model_id': 'b0'},
            {'model_id': 'b0', 'se_ratio': 0.25, 'activation': 'swish', 'norm_epsilon': 1e-4},
            {'model_id': 'b2', 'se_ratio': 0.25, 'se_inner_activation': 'swish'},
        ),
        _each('model_id', ('b4', 'b7'), se_ratio=0.25, activation='swish'),
        _each('model_id', ('b1', 'b3', 'b5', 'b6'), se_ratio=0.25),
    ),
    'spinenet': Family(
        spinenet.SpineNet,
        'SpineNet',
        ({'filter_size_scale': 0.65, 'endpoints_num_filters': 128, 'activation': 'swish'},),
        (
            {
                'filter_size_scale': 0.25,
                'endpoints_num_filters': 16,
                'block_repeats': 2,
                'resample_alpha': 1.0,
                'min_level': 2,
                'max_level': 6,
            },
        ),
        tuple(dataclasses.asdict(scaling) for scaling in spinenet.SPINENET_SCALINGS.values()),
        size=(128, 256),
        gradient_tolerance=1e-2,
    ),
    'spinenet_mobile': Family(
        spinenet_mobile.SpineNetMobile,
        'SpineNetMobile',
        (
            {'filter_size_scale': 0.6, 'endpoints_num_filters': 24, 'activation': 'swish'},
            {
                'max_level': 5,
                'se_ratio': 0.0,
                'expand_ratio': 3,
                'use_keras_upsampling_2d': True,
                'activation': 'hard_swish',
            },
        ),
        ({'endpoints_num_filters': 48, 'activation': 'swish'},),
        tuple(
            dataclasses.asdict(scaling) for scaling in spinenet_mobile.SPINENET_SCALINGS.values()
        ),
        size=(128, 256),
        gradient_tolerance=1e-2,
    ),
    'revnet': Family(
        revnet.RevNet,
        'RevNet',
        _each('model_id', (38, 56)),
        _each('model_id', (104,)),
        kernel_scale=0.5,
        pair=_pair_revnets,
    ),
    'vit': Family(
        vit.VisionTransformer,
        'VisionTransformer',
        (
            {**_VITS['vit-ti16'], 'output_2d_feature_maps': True, 'dropout_rate': 0.0},
            {
                **_SMALL_VIT,
                'pooler': 'gap',
                'layer_scale_init_value': 0.1,
                'representation_size': 7,
                'pos_embed_shape': (2, 2),
            },
            {
                **_SMALL_VIT,
                'pooler': 'none',
                'original_init': False,
                'output_attention_scores': True,
            },
        ),
        tuple({**_VITS[name], 'dropout_rate': 0.0} for name in ('vit-s16', 'vit-b16', 'vit-b32')),
        tuple(_VITS[name] for name in ('vit-l16', 'vit-l32', 'vit-h14')),
    ),
}


def _cases(group: str, *, is_slow: bool = False) -> Iterator[Any]:
    marks = [pytest.mark.slow] if is_slow else []
    for name, family in FAMILIES.items():
        for options in getattr(family, group):
            values = '-'.join(str(value) for value in options.values())
            yield pytest.param(name, options, id=f'{name}-{values}', marks=marks)


def _get_size(family: Family, options: dict[str, Any]) -> tuple[int, int]:
    is_square = options.get('model_id') in family.square
    return (family.size[0], family.size[0]) if is_square else family.size


def _build_theirs(family: Family, options: dict[str, Any]) -> Any:
    import tf_keras

    module = family.ours.__module__.rsplit('.', 1)[1]
    theirs = importlib.import_module(f'official.vision.modeling.backbones.{module}')
    spec = tf_keras.layers.InputSpec(shape=[None, *_get_size(family, options), 3])
    return getattr(theirs, family.theirs)(input_specs=spec, **options)


def _build_ours(family: Family, options: dict[str, Any]) -> Any:
    spec = keras.layers.InputSpec(shape=[None, *_get_size(family, options), 3])
    return family.ours(input_specs=spec, **options)


def _describe(model: Any) -> dict[str, Any]:
    """Parameters, trainable ones, and shapes of levels."""
    return {
        'parameters': model.count_params(),
        'trainable': sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        'levels': {level: tuple(shape) for level, shape in _get_specs(model).items()},
    }


def _get_specs(model: Any) -> dict[str, Any]:
    # Model Garden's vision transformer has none without maps.
    return getattr(model, 'output_specs', None) or {}


@pytest.mark.parametrize(
    ('name', 'options'), [*_cases('compared'), *_cases('compared_slowly', is_slow=True)]
)
def test_frozen_network_equals_model_gardens(name: str, options: dict[str, Any]) -> None:
    family = FAMILIES[name]
    theirs, ours = _build_theirs(family, options), _build_ours(family, options)
    assert _describe(ours) == _describe(theirs)
    garden_weights.randomize_weights(theirs, kernel_scale=family.kernel_scale)
    pairs = family.pair(theirs, ours)
    assert len(pairs) == len(theirs.variables)
    for variable, other in pairs:
        other.assign(variable.numpy())
    images = (
        np.random.default_rng(1).normal(size=(2, *_get_size(family, options), 3)).astype(np.float32)
    )
    trained = [pair for pair in pairs if pair[0].trainable]
    expected, expected_gradients = _compute(theirs, images, [a for a, _ in trained])
    got, gradients = _compute(ours, images, [b.value for _, b in trained])
    assert set(got) == set(expected)
    for key, reference in expected.items():
        largest = max(1.0, float(tf.reduce_max(tf.abs(reference))))
        np.testing.assert_allclose(
            got[key], reference, atol=OUTPUT_TOLERANCE * largest, rtol=0, err_msg=key
        )
    whole = float(tf.linalg.global_norm([g for g in expected_gradients if g is not None]))
    for (variable, _), theirs_gradient, gradient in zip(
        trained, expected_gradients, gradients, strict=True
    ):
        if theirs_gradient is None:  # of layers after the coarsest level
            assert gradient is None, variable.name
            continue
        limit = family.gradient_tolerance * (np.linalg.norm(theirs_gradient) + 0.01 * whole)
        assert np.linalg.norm(gradient - theirs_gradient) <= limit, variable.name


def _compute(model: Any, images: np.ndarray, variables: list[Any]) -> tuple[dict[str, Any], list]:
    """Outputs, and gradients of the sum of their mean squares."""
    with tf.GradientTape() as tape:
        outputs = dict(model(images, training=False))
        loss = tf.add_n([tf.reduce_mean(outputs[key] ** 2) for key in sorted(outputs)])
    return outputs, tape.gradient(loss, variables)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'options'), _cases('counted'))
def test_heavy_network_has_as_many_parameters_and_the_same_levels(
    name: str, options: dict[str, Any]
) -> None:
    # Without values.
    with tf.Graph().as_default():
        theirs = _describe(_build_theirs(FAMILIES[name], options))
    with keras.StatelessScope(initialize_variables=False):
        ours = _describe(_build_ours(FAMILIES[name], options))
    assert ours == theirs


def test_every_name_of_a_config_is_compared_or_counted() -> None:
    """So that a network that is added to a family is compared too."""
    missing = {}
    for name, family in FAMILIES.items():
        cases = [*family.compared, *family.compared_slowly, *family.counted]
        ids = {options.get('model_id') for options in cases}
        known = _list_ids(name)
        if ids != {None} and known - ids:
            missing[name] = known - ids
    # Its depths are ResNet's, and so are their numbers.
    assert missing == {'resnet_unet': set(resnet.RESNET_SPECS) - {10, 50, 101}}


def _list_ids(name: str) -> set[Any]:
    config = getattr(backbones_cfg.Backbone(), name)
    hint = typing.get_type_hints(type(config)).get('model_id')
    return set(typing.get_args(hint))


def test_every_family_of_model_garden_is_here() -> None:
    from official.vision.configs import backbones as theirs

    assert set(inspect.get_annotations(theirs.Backbone)) - {'type'} <= set(FAMILIES)
