"""Backbones by name, as the tests of all of them build them: small where a table says how."""

from __future__ import annotations

import importlib
from typing import Any

import keras

from official_lite import manifest
from official_lite.vision.configs import backbones as backbones_cfg
from official_lite.vision.configs import common
from official_lite.vision.modeling.backbones import factory

# Sides of images: multiples of the stride of level 7, and not the same.
SIZE = (128, 256)
# What makes a network small. One that is not here is built as its config has it.
SMALL: dict[str, dict[str, Any]] = {
    'dilated_resnet': {'model_id': 50, 'output_stride': 16},
    'keras_applications': {'model_id': 'MobileNet', 'image_values': 'prepared'},
    'mobiledet': {'filter_size_scale': 0.25},
    'mobilenet': {'filter_size_scale': 0.25},
    'resnet': {'model_id': 10, 'depth_multiplier': 0.25},
    'resnet_unet': {
        'model_id': 10,
        'depth_multiplier': 0.25,
        'upsample_repeats': [1, 1, 1],
        'upsample_filters': [32, 32, 32],
    },
    'revnet': {'model_id': 38},
    'spinenet': {'model_id': '49S'},
    'spinenet_mobile': {'model_id': '49XS'},
    'vit': {
        'model_name': 'vit-custom',
        'hidden_size': 24,
        'transformer': {'mlp_dim': 48, 'num_heads': 2, 'num_layers': 2},
        'output_2d_feature_maps': True,
    },
}
# Needs an optional package and a preset: see test_backbones_keras_hub.py.
WITHOUT_DEFAULT = ('keras_hub',)
# What the ordinary tests build; the others are among the slow ones.
ORDINARY = ('resnet', 'vit')


def list_names() -> list[str]:
    """Those of this package that can be built by their name."""
    return [name for name in sorted(manifest.BACKBONES) if name not in WITHOUT_DEFAULT]


def build(backbone: str, *, size: tuple[int, int] | None = SIZE) -> keras.Model:
    """A backbone with synchronised batch normalisation.

    Args:
        backbone: A name in the registry, or 'module:name' for one that a module registers.
        size: Height and width of images. None for any.
    """
    module, _, name = backbone.rpartition(':')
    if module:
        importlib.import_module(module)
    config = backbones_cfg.Backbone(type=name)
    config.override({name: SMALL.get(name, {})})
    config.validate()
    spec = keras.layers.InputSpec(shape=[None, *(size or (None, None)), 3])
    return factory.build_backbone(spec, config, common.NormActivation(use_sync_bn=True))
