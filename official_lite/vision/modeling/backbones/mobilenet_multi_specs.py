"""MobileNets for many kinds of hardware ("3.5"), block by block (https://arxiv.org/abs/2008.08178).

Those for segmentation have half the width in the last stage, and one level more: the features
before the pooling, at the stride of level 5.
"""

from __future__ import annotations

from official_lite.vision.modeling.backbones.mobilenet_blocks import POOLING, conv, inverted

MOBILENET_MULTI_MAX = (
    conv(3, 2, 32, 'relu'),
    *inverted(
        (
            (3, 2, 32, 3.0, True),
            (5, 2, 64, 6.0, False),
            (3, 1, 64, 2.0, False),
            (3, 1, 64, 2.0, True),
            (5, 2, 128, 6.0, False),
            (3, 1, 128, 4.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 6.0, False),
            (3, 1, 128, 3.0, True),
            (3, 2, 160, 6.0, False),
            (5, 1, 160, 4.0, False),
            (3, 1, 160, 5.0, False),
            (5, 1, 160, 4.0, True),
        ),
        'relu',
    ),
    conv(1, 1, 960, 'relu'),
    POOLING,
    conv(1, 1, 1280, 'relu'),
)

MOBILENET_MULTI_AVG = (
    conv(3, 2, 32, 'relu'),
    *inverted(
        (
            (3, 2, 32, 3.0, False),
            (3, 1, 32, 2.0, True),
            (5, 2, 64, 5.0, False),
            (3, 1, 64, 3.0, False),
            (3, 1, 64, 2.0, False),
            (3, 1, 64, 3.0, True),
            (5, 2, 128, 6.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 160, 6.0, False),
            (3, 1, 160, 4.0, True),
            (3, 2, 192, 6.0, False),
            (5, 1, 192, 4.0, False),
            (5, 1, 192, 4.0, False),
            (5, 1, 192, 4.0, True),
        ),
        'relu',
    ),
    conv(1, 1, 960, 'relu'),
    POOLING,
    conv(1, 1, 1280, 'relu'),
)

MOBILENET_MULTI_MAX_SEG = (
    conv(3, 2, 32, 'relu'),
    *inverted(
        (
            (3, 2, 32, 3.0, True),
            (5, 2, 64, 6.0, False),
            (3, 1, 64, 2.0, False),
            (3, 1, 64, 2.0, True),
            (5, 2, 128, 6.0, False),
            (3, 1, 128, 4.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 6.0, False),
            (3, 1, 128, 3.0, True),
            (3, 2, 160, 6.0, False),
            (5, 1, 96, 2.0, False),
            (3, 1, 96, 4.0, False),
            (5, 1, 96, 320.0 / 96.0, True),
        ),
        'relu',
    ),
    conv(1, 1, 448, 'relu', is_output=True),
    POOLING,
    conv(1, 1, 1280, 'relu'),
)

MOBILENET_MULTI_AVG_SEG = (
    conv(3, 2, 32, 'relu'),
    *inverted(
        (
            (3, 2, 32, 3.0, False),
            (3, 1, 32, 2.0, True),
            (5, 2, 64, 5.0, False),
            (3, 1, 64, 3.0, False),
            (3, 1, 64, 2.0, False),
            (3, 1, 64, 3.0, True),
            (5, 2, 128, 6.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 128, 3.0, False),
            (3, 1, 160, 6.0, False),
            (3, 1, 160, 4.0, True),
            (3, 2, 192, 6.0, False),
            (5, 1, 96, 2.0, False),
            (5, 1, 96, 4.0, False),
            (5, 1, 96, 4.0, True),
        ),
        'relu',
    ),
    conv(1, 1, 448, 'relu', is_output=True),
    POOLING,
    conv(1, 1, 1280, 'relu'),
)
