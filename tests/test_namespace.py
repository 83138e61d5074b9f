"""`import official_lite as tfm` has the namespaces of `tensorflow_models`, and every name in them leads somewhere."""

from __future__ import annotations

import types

import pytest

import official_lite as tfm
from official_lite import manifest
from official_lite.core import task_factory
from official_lite.vision import registries
from official_lite.vision.configs import retinanet

PACKAGES = {
    'tfm': lambda: tfm,
    'core': lambda: tfm.core,
    'common': lambda: tfm.common,
    'modeling': lambda: tfm.modeling,
    'optimization': lambda: tfm.optimization,
    'vision': lambda: tfm.vision,
    'vision.configs': lambda: tfm.vision.configs,
    'vision.backbones': lambda: tfm.vision.backbones,
    'vision.layers': lambda: tfm.vision.layers,
}


@pytest.mark.parametrize('name', PACKAGES)
def test_every_name_leads_somewhere(name: str) -> None:
    package = PACKAGES[name]()
    names = dir(package)
    assert names
    for attribute in names:
        assert getattr(package, attribute) is not None, attribute


@pytest.mark.parametrize('name', ['core', 'vision', 'optimization'])
def test_a_name_that_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'no_such_name'"):
        PACKAGES[name]().no_such_name  # noqa: B018
    near = r"has no attribute 'train_libb'; did you mean 'train_lib'\?$"
    with pytest.raises(AttributeError, match=near):
        tfm.core.train_libb  # noqa: B018


def test_what_a_tutorial_of_model_garden_uses() -> None:
    config = tfm.core.exp_factory.get_exp_config('retinanet_resnetfpn_coco')
    assert isinstance(config, tfm.core.config_definitions.ExperimentConfig)
    backbone = tfm.vision.configs.backbones.Backbone(type='resnet')
    assert isinstance(backbone, tfm.hyperparams.OneOfConfig)
    assert isinstance(tfm.optimization.OptimizationConfig(), tfm.hyperparams.Config)
    assert callable(tfm.core.task_factory.get_task)
    assert callable(tfm.core.train_lib.run_experiment)
    assert callable(tfm.optimization.OptimizerFactory)
    assert isinstance(tfm.vision.serving, types.ModuleType)


def test_the_manifest_is_true() -> None:
    components = (
        (registries.BACKBONES, manifest.BACKBONES),
        (registries.DECODERS, manifest.DECODERS),
        (registries.HEADS, manifest.HEADS),
        (registries.DATA_SOURCES, manifest.DATA_SOURCES),
        (registries.CLASSIFICATION_SOURCES, manifest.CLASSIFICATION_SOURCES),
        (registries.SEGMENTATION_SOURCES, manifest.SEGMENTATION_SOURCES),
    )
    for registry, names in components:
        for name in names:
            assert callable(registry.get_builder(name)), name
    for name in manifest.EXPERIMENTS:
        tfm.core.exp_factory.get_exp_config(name).validate()
    assert task_factory.get_task_cls(retinanet.RetinaNetTask) is tfm.vision.RetinaNetTask
