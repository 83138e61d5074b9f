"""Models refuse arguments that they do not have; Keras alone would ignore them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from official_lite.vision.modeling.backbones import mobilenet, resnet, spinenet, spinenet_mobile
from official_lite.vision.modeling.decoders import fpn, nasfpn

_SPECS = {str(level): (None, None, None, 8) for level in range(3, 6)}


@pytest.mark.parametrize(
    ('make', 'wrong'),
    [
        (lambda **kwargs: resnet.ResNet(10, **kwargs), 'depth_multipler'),
        (mobilenet.MobileNet, 'depth_multiplier'),
        (spinenet.SpineNet, 'max_levels'),
        (spinenet_mobile.SpineNetMobile, 'max_levels'),
        (lambda **kwargs: fpn.FPN(_SPECS, **kwargs), 'num_filter'),
        (lambda **kwargs: nasfpn.NASFPN(_SPECS, **kwargs), 'num_filter'),
    ],
    ids=['resnet', 'mobilenet', 'spinenet', 'spinenet_mobile', 'fpn', 'nasfpn'],
)
def test_a_misspelt_argument_is_refused(make: Callable[..., Any], wrong: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'"):
        make(**{wrong: 3})
