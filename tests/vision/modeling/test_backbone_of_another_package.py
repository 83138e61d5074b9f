"""`--backbone=module:name` tests a backbone of a module outside of this package, and finds its faults."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[3]
MODULE = """
import dataclasses

import keras

from official_lite.modeling import hyperparams
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory
from official_lite.vision.modeling.layers import feature_model, nn_blocks, nn_layers


@keras.saving.register_keras_serializable(package='leaf')
class LeafNet(feature_model.FeatureModel):
    def __init__(self, num_filters=8, input_specs=nn_layers.ANY_RGB_IMAGES, name='leaf_net', **norm):
        config = {
            'num_filters': num_filters,
            'input_specs': nn_layers.to_input_spec(input_specs),
            **norm,
        }
        images = x = keras.Input(config['input_specs'].shape[1:], name='images')
        levels = {}
        for level in range(1, 6):
            x = nn_blocks.ResidualBlock(
                num_filters, strides=2, use_projection=True, name=f'block_{level}', **norm
            )(x)
            levels[str(level)] = x
        super().__init__(images, levels, config, name=name)


@dataclasses.dataclass
class LeafNetConfig(hyperparams.Config):
    '''Attributes:
    num_filters: Channels of all levels.
    '''

    num_filters: int = 4


@factory.register_backbone_builder('leaf_net', config=LeafNetConfig)
def build_leaf_net(input_specs, backbone_config, norm_activation_config, l2_regularizer=None):
    config = builder_arguments.get_branch(backbone_config, 'leaf_net', 'backbone')
    norm = builder_arguments.get_norm_arguments(norm_activation_config)
    return LeafNet(config.num_filters, input_specs, **norm)
"""


def _run(folder: pathlib.Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / 'leaf.py').write_text(text)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get('PYTHONPATH')]))
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--color=no']
    return subprocess.run(
        [*command, 'tests/vision/modeling/test_every_backbone.py', *arguments],
        cwd=REPO,
        env={**os.environ, 'PYTHONPATH': path, 'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_backbone_of_another_module_passes(tmp_path: pathlib.Path) -> None:
    """Every test of the harness, that of two replicas too."""
    done = _run(tmp_path, MODULE, '--backbone=leaf:leaf_net')
    assert done.returncode == 0, done.stdout[-4000:]
    assert '7 passed' in done.stdout


@pytest.mark.slow
def test_the_harness_finds_a_config_without_an_argument(tmp_path: pathlib.Path) -> None:
    text = MODULE.replace("'num_filters': num_filters,", '')
    done = _run(tmp_path, text, '--backbone=leaf:leaf_net', '-k', 'copy')
    assert done.returncode == 1
    # The copy has the 8 channels of the default, the original the config's 4.
    assert '1 failed' in done.stdout
    assert 'is not compatible with provided weight shape' in done.stdout, done.stdout[-4000:]


@pytest.mark.slow
def test_a_name_that_the_module_does_not_register_is_an_error(tmp_path: pathlib.Path) -> None:
    done = _run(tmp_path, MODULE, '--backbone=leaf:laef_net', '-k', 'copy')
    assert done.returncode == 1
    assert "Backbone has no branch 'laef_net'" in done.stdout, done.stdout[-4000:]
    assert "did you mean 'leaf_net'?" in done.stdout
