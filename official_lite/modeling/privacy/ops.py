"""Gradient transformers of differentially private training (Abadi et al., 2016, arXiv:1607.00133).

As in Model Garden they act on the gradient of a whole batch, not on each example's, so they give no privacy
guarantee on their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from official_lite.modeling.privacy import configs

GradientsAndVariables = Sequence[tuple[tf.Tensor, keras.Variable]]
Transformer = Callable[[GradientsAndVariables], GradientsAndVariables]


def clip_l2_norm(grads_vars: GradientsAndVariables, l2_norm_clip: float) -> GradientsAndVariables:
    """Scales all gradients by min(1, `l2_norm_clip` / their common L2 norm)."""
    gradients, variables = zip(*grads_vars)
    clipped, _ = tf.clip_by_global_norm(list(gradients), l2_norm_clip)
    return list(zip(clipped, variables))


def add_noise(grads_vars: GradientsAndVariables, noise_stddev: float) -> GradientsAndVariables:
    """Adds normal noise with standard deviation `noise_stddev` to every gradient."""
    return [
        (g + tf.cast(keras.random.normal(tf.shape(g), stddev=noise_stddev), g.dtype), v)
        for g, v in grads_vars
    ]


def make_transformers(config: configs.DifferentialPrivacyConfig) -> list[Transformer]:
    """Clipping to `clipping_norm`, then noise of `clipping_norm * noise_multiplier`."""
    stddev = config.clipping_norm * config.noise_multiplier
    clip = functools.partial(clip_l2_norm, l2_norm_clip=config.clipping_norm)
    return [clip, functools.partial(add_noise, noise_stddev=stddev)] if stddev else [clip]
