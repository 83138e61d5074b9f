"""Shapes and features of backbones for tests of decoders, and a small NAS-FPN."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from official_lite.vision.modeling.decoders import nasfpn

R50 = {'2': 256, '3': 512, '4': 1024, '5': 2048}


SMALL = {'3': 24, '4': 32, '5': 48}


def make_specs(
    channels: dict[str, int], size: tuple[int | None, int | None] = (128, 256)
) -> dict[str, tuple[int | None, ...]]:
    """Shapes of a backbone's features for images of a size."""
    return {
        level: (None, *(None if side is None else -(-side // 2 ** int(level)) for side in size), n)
        for level, n in channels.items()
    }


def make_features(
    channels: dict[str, int], size: tuple[int, int] = (128, 256), batch: int = 2
) -> dict[str, tf.Tensor]:
    return {
        level: tf.random.stateless_normal([batch, *shape[1:]], [7, int(level)])
        for level, shape in make_specs(channels, size).items()
    }


def make_small_nasfpn(**options: Any) -> nasfpn.NASFPN:
    values = {'num_filters': 16, 'num_repeats': 1, 'merge_filters': None, **options}
    return nasfpn.NASFPN(**{'input_specs': make_specs(SMALL), **values})
