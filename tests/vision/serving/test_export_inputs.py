"""`build_inputs` of an exported module: images as TFLite's signature takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import exp_factory
from official_lite.vision.ops import image_normalization
from official_lite.vision.serving import export_saved_model_lib

_BACKBONE = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}}
_MODELS: dict[str, dict[str, Any]] = {
    'classification_custom': {'num_classes': 3, 'backbone': _BACKBONE},
    'segmentation_custom': {'num_classes': 3, 'backbone': _BACKBONE},
    'retinanet_custom': {'num_classes': 3, 'backbone': _BACKBONE},
}


def _make_module(experiment: str) -> Any:
    params = exp_factory.get_exp_config(experiment)
    params.override({'task': {'model': {**_MODELS[experiment], 'input_size': [64, 96, 3]}}})
    return export_saved_model_lib.build_export_module(
        params, batch_size=None, input_image_size=[64, 96]
    )


@pytest.mark.parametrize('experiment', _MODELS)
def test_the_network_takes_what_is_served(experiment: str) -> None:
    module = _make_module(experiment)
    pixels = np.random.default_rng(0).integers(0, 256, [40, 70, 3]).astype(np.uint8)
    image, info = module.build_inputs(tf.constant(pixels))
    assert image.dtype == tf.float32
    assert image.shape == (64, 96, 3)
    np.testing.assert_array_equal(info[1], [64, 96])
    expected = module.serve(tf.constant(pixels[None]))
    got = module.run_model(image[None], info[None])
    assert set(got) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize('experiment', _MODELS)
def test_normalised_as_imagenet(experiment: str) -> None:
    """An image of the network's size with one value everywhere."""
    grey = tf.fill([64, 96, 3], tf.constant(51, tf.uint8))
    image, _ = _make_module(experiment).build_inputs(grey)
    mean, stddev = image_normalization.MEAN_RGB, image_normalization.STDDEV_RGB
    expected = [(0.2 - m) / s for m, s in zip(mean, stddev, strict=True)]
    np.testing.assert_allclose(image[30, 40], expected, rtol=1e-5)
    if experiment == 'classification_custom':  # Model Garden's name gives the image alone.
        np.testing.assert_array_equal(_make_module(experiment)._build_inputs(grey), image)
