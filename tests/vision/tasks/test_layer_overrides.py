"""Overrides on a whole detector: half of it in bfloat16, a backbone that is not trained, one step."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import checkpoints, layer_control
from official_lite.modeling import layer_overrides
from official_lite.vision.configs import retinanet as exp_cfg
from official_lite.vision.tasks import retinanet

MODEL = {
    'num_classes': 3,
    'input_size': [64, 64, 3],
    'min_level': 3,
    'max_level': 5,
    'anchor': {'num_scales': 1, 'aspect_ratios': [1.0]},
    'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}},
    'decoder': {'type': 'fpn', 'fpn': {'num_filters': 8}},
    'head': {'num_convs': 1, 'num_filters': 8},
    'norm_activation': {'use_sync_bn': False},
}
OVERRIDES = [
    {'pattern': 'backbone', 'dtype': 'bfloat16', 'trainable': False, 'activation': 'swish'},
    {'pattern': 'decoder', 'kernel_regularizer': {'l2': 0.1}, 'norm_momentum': 0.5},
    {'pattern': 'head', 'activation': 'tanh'},
]


def test_a_detector_trains_as_overrides_say() -> None:
    config = exp_cfg.RetinaNetTask()
    config.override({'model': MODEL, 'layer_overrides': OVERRIDES, 'losses.l2_weight_decay': 0.0})
    task = retinanet.RetinaNetTask(config)
    model = layer_control.apply_to_served_model(task.build_model(), config)
    keys = checkpoints.model_variables(model)
    assert {v.dtype for k, v in keys.items() if 'seed' not in k} == {tf.float32}
    layer_overrides.apply_layer_overrides(model, [{'pattern': 'backbone', 'trainable': False}])
    assert not any(k.startswith('backbone') for k in _trained(model, keys))
    kernels = [v.numpy() for k, v in keys.items() if k.startswith('decoder') and 'kernel' in k]
    statistics = {k: v.numpy() for k, v in keys.items() if 'moving_mean' in k}

    @tf.function
    def step(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = model.backbone(images, training=True)
        outputs = model(images, training=True)
        return features['3'], tf.add_n(
            [*model.losses, 0.0 * tf.reduce_sum(outputs['box_outputs']['3'])]
        )

    features, loss = step(tf.random.stateless_normal([2, 64, 64, 3], [0, 1]))
    assert features.dtype == tf.bfloat16
    np.testing.assert_allclose(loss, 0.1 * sum(np.square(k).sum() for k in kernels), rtol=1e-4)
    for key, before in statistics.items():
        moved = np.abs(keys[key].numpy() - before).max() > 0
        assert moved != key.startswith('backbone'), key


def _trained(model: object, keys: dict[str, tf.Variable]) -> list[str]:
    trained = {id(v.value) for v in model.trainable_variables}  # type: ignore[attr-defined]
    return [key for key, v in keys.items() if id(v) in trained]


def test_a_name_that_is_nearly_right() -> None:
    config = exp_cfg.RetinaNetTask()
    config.override(
        {'model': MODEL, 'layer_overrides': [{'pattern': 'bakbone', 'dtype': 'bfloat16'}]}
    )
    task = retinanet.RetinaNetTask(config)
    with pytest.raises(layer_overrides.LayerOverrideError, match='the nearest are backbone'):
        layer_control.apply_to_served_model(task.build_model(), config)
