"""Models refuse arguments that they do not have; Keras alone would ignore them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import pytest

from official_lite.vision.modeling import classification_model
from official_lite.vision.modeling.backbones import (
    efficientnet,
    keras_applications,
    keras_hub_backbone,
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
from official_lite.vision.modeling.decoders import fpn, nasfpn
from official_lite.vision.modeling.layers import deeplab, feature_fusion, nn_layers

_SPECS = {str(level): (None, None, None, 8) for level in range(3, 6)}


@pytest.mark.parametrize(
    ('make', 'wrong'),
    [
        (functools.partial(resnet.ResNet, 10), 'depth_multipler'),
        (functools.partial(resnet_deeplab.DilatedResNet, 50, 16), 'multi_grid'),
        (functools.partial(resnet_unet.ResNetUNet, 50), 'upsample_filter'),
        (mobilenet.MobileNet, 'depth_multiplier'),
        (mobiledet.MobileDet, 'depth_multiplier'),
        (functools.partial(efficientnet.EfficientNet, 'b0'), 'drop_rate'),
        (functools.partial(revnet.RevNet, 38), 'depth'),
        (spinenet.SpineNet, 'max_levels'),
        (spinenet_mobile.SpineNetMobile, 'max_levels'),
        (vit.VisionTransformer, 'num_layer'),
        (functools.partial(keras_applications.KerasApplication, 'MobileNet'), 'weight'),
        (functools.partial(keras_hub_backbone.KerasHubBackbone, 'a'), 'load_weight'),
        (functools.partial(fpn.FPN, _SPECS), 'num_filter'),
        (functools.partial(nasfpn.NASFPN, _SPECS), 'num_filter'),
        (
            functools.partial(classification_model.ClassificationModel, keras.Model(), 3),
            'dropout',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_a_misspelt_argument_is_refused(make: Callable[..., Any], wrong: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'"):
        make(**{wrong: 3})


def test_layers_are_where_model_garden_has_them() -> None:
    assert nn_layers.SpatialPyramidPooling is deeplab.SpatialPyramidPooling
    assert nn_layers.PanopticFPNFusion is feature_fusion.PanopticFPNFusion
    assert nn_layers.pyramid_feature_fusion is feature_fusion.pyramid_feature_fusion
    with pytest.raises(AttributeError, match="has no attribute 'SpatialPyramidPoling'"):
        nn_layers.SpatialPyramidPoling  # noqa: B018
