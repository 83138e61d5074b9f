"""Which block each variable of a backbone belongs to, and what its rate is multiplied by."""

import keras
import numpy as np
import pytest

from official_lite.modeling.layer_overrides import (
    LayerOverrideError,
    apply_layer_overrides,
    layerwise_decay,
    selection,
)
from official_lite.modeling.optimization.configs import optimization_config
from official_lite.vision.modeling.backbones import resnet, vit
from tests.modeling.layer_overrides import models


class Holder(keras.Model):
    """A backbone and a head."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = keras.layers.Dense(1)
        self.head.build((None, 4))
        self.built = True

    @property
    def checkpoint_items(self):
        return {'backbone': self.backbone, 'head': self.head}


def number(backbone):
    return layerwise_decay.number_blocks(selection.Layers(Holder(backbone)))


def by_prefix(numbers, depth):
    """Path up to a depth to the numbers in it."""
    found = {}
    for key, value in numbers.items():
        found.setdefault('/'.join(key.split('/')[1:depth]), set()).add(value)
    return found


def test_residual_blocks_count_and_the_stem_is_before_them():
    backbone = resnet.ResNet(18, input_specs=keras.layers.InputSpec(shape=[None, 32, 32, 3]))
    found = by_prefix(number(backbone), 2)
    blocks = [f'stage_{stage}_block_{i}' for stage in (2, 3, 4, 5) for i in (0, 1)]
    assert found == {'stem_conv': {0}, 'stem_norm': {0}} | {
        name: {i + 1} for i, name in enumerate(blocks)
    }


def test_a_vision_transformer_has_the_factors_of_beit():
    backbone = vit.VisionTransformer(
        input_specs=keras.layers.InputSpec(shape=[None, 8, 8, 3]),
        patch_size=4,
        num_layers=3,
        num_heads=1,
        hidden_size=4,
        mlp_dim=4,
    )
    layers = selection.Layers(Holder(backbone))
    found = layerwise_decay.compute_multipliers(layers, 0.5)
    # get_num_layer_for_vit: patches, class token and positions are 0, block i is i + 1, of 3 + 2.
    for key, multiplier in found.items():
        if 'encoder_layers/' in key:
            block = int(key.split('encoder_layers/')[1].split('/')[0])
            assert multiplier == 0.5 ** (4 - (block + 1)), key
        elif 'norm' in key:
            assert multiplier == 0.5, key  # After the last block.
        else:
            assert multiplier == 0.5**4, key
    assert {key.split('/')[0] for key in found} == {'backbone'}
    assert len(found) == len([k for k in layers.variables if k.startswith('backbone/')])


def test_flat_networks_go_by_names_of_blocks_or_by_layers():
    inputs = keras.layers.Input((4,))
    x = inputs
    for name in ('stem', 'conv1_block1_a', 'conv1_block1_b', 'conv1_block2_a', 'top'):
        x = keras.layers.Dense(4, name=name)(x)
    found = by_prefix(number(keras.Model(inputs, x)), 2)
    assert found == {
        'stem': {1},
        **{'conv1_block1_a': {2}, 'conv1_block1_b': {2}, 'conv1_block2_a': {3}, 'top': {4}},
    }


def test_the_product_with_a_multiplier_is_the_rate():
    config = optimization_config.OptimizationConfig(layerwise_lr_decay=0.5)
    overrides = [{'pattern': 'backbone/stem|head', 'learning_rate_multiplier': 0.1}]
    settings = apply_layer_overrides(models.Detector(), overrides, optimizer_config=config)
    rates = {k: rate.learning_rate_multiplier for k, rate in settings.rates.items()}
    expected = {'backbone/stem': 0.025, 'backbone/block': 0.5, 'head/cls': 0.1}
    assert len(rates) == 6
    for key, rate in rates.items():
        np.testing.assert_allclose(rate, expected[key.rsplit('/', 1)[0]], err_msg=key)


def test_a_model_without_backbone_is_an_error():
    config = optimization_config.OptimizationConfig(layerwise_lr_decay=0.5)
    with pytest.raises(LayerOverrideError, match='layerwise_lr_decay: the model has no backbone'):
        apply_layer_overrides(models.make_mlp(), [], optimizer_config=config)
