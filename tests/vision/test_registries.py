"""Components by name: branches of configs, builders imported when they build."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from official_lite import errors
from official_lite.core import registry
from official_lite.modeling import hyperparams
from official_lite.vision import registries
from official_lite.vision.configs import backbones, retinanet


@dataclasses.dataclass
class PlugConfig(hyperparams.Config):
    """Settings of a backbone of our own."""

    depth: int = 3


@dataclasses.dataclass
class PlugHead(retinanet.RetinaNetHead):
    """Settings of a head of our own."""

    width: int = 1


@pytest.fixture
def plug() -> Iterator[str]:
    name = 'registries_test_net'
    yield name
    registries.BACKBONES.remove(name)
    backbones.Backbone._registered.pop(name, None)


def build(*args: object) -> tuple[object, ...]:
    """Stands for a builder."""
    return args


def test_a_registered_backbone_is_a_branch_everywhere(plug: str) -> None:
    before = retinanet.retinanet()
    registries.register_backbone(plug, config=PlugConfig, builder=f'{__name__}:build')
    for config in (before, retinanet.retinanet()):
        hyperparams.override_params_dict(
            config,
            f'task.model.backbone.type={plug},task.model.backbone.{plug}.depth=5',
        )
        assert config.task.model.backbone.get() == PlugConfig(depth=5)
    with pytest.raises(hyperparams.ConfigError, match=rf'backbone\.{plug}\.dept.*depth'):
        config.override({f'task.model.backbone.{plug}.dept': 5})


def test_the_decorator_with_and_without_a_config(plug: str) -> None:
    @registries.register_backbone(plug, config=PlugConfig)
    def build_plug() -> None: ...

    assert registries.BACKBONES.get_builder(plug) is build_plug
    assert 'depth' in dataclasses.asdict(backbones.Backbone(type=plug).get())

    registries.BACKBONES.remove(plug)
    assert registries.register_backbone(plug)(build) is build
    assert registries.BACKBONES.get_builder(plug) is build


def test_the_builder_is_imported_only_when_it_builds(
    plug: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'plug_builder.py').write_text('def build(): return 7\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    registries.register_backbone(plug, config=PlugConfig, builder='plug_builder:build')
    assert 'plug_builder' not in sys.modules
    assert registries.BACKBONES.get_builder(plug)() == 7
    sys.modules.pop('plug_builder')


def test_a_builder_that_is_not_there_is_explained(plug: str) -> None:
    registries.register_backbone(plug, builder='no_such_mod.x:build')
    with pytest.raises(
        errors.UsageError,
        match=rf"^backbone '{plug}': builder 'no_such_mod\.x:build': there is no module 'no_such_mod'$",
    ):
        registries.BACKBONES.get_builder(plug)
    registries.BACKBONES.remove(plug)
    registries.register_backbone(plug, builder='json:no_such')
    with pytest.raises(errors.UsageError, match=r"module 'json' has no function 'no_such'$"):
        registries.BACKBONES.get_builder(plug)
    with pytest.raises(
        errors.UsageError,
        match=r"expected a builder such as 'package\.module:function'; received 'json'$",
    ):
        registries.register_backbone(plug, builder='json')


def test_names_are_given_once(plug: str) -> None:
    registries.register_backbone(plug, config=PlugConfig, builder=build)
    registries.register_backbone(plug, config=PlugConfig, builder=build)
    with pytest.raises(registry.DuplicateNameError, match=f"^backbone '{plug}' is registered"):
        registries.register_backbone(plug, builder=test_names_are_given_once)
    with pytest.raises(hyperparams.ConfigError, match="a branch 'resnet' of another class"):
        backbones.Backbone.register_branch('resnet', PlugConfig)


def test_an_unknown_component_is_explained() -> None:
    with pytest.raises(
        LookupError,
        match=r"^backbone 'resnt' is not registered; did you mean 'resnet'\? Known: .*mobilenet, "
        r'.*resnet, .*spinenet, spinenet_mobile.*\. Imported modules: ',
    ):
        registries.BACKBONES.get_builder('resnt')
    with pytest.raises(LookupError, match=r"^decoder 'nas' is not .* fpn, identity, nasfpn"):
        registries.DECODERS.get_builder('nas')


def test_a_head_is_found_by_the_class_of_its_config() -> None:
    registries.register_head('registries_test_head', config=PlugHead, builder=build)
    try:
        assert registries.HEADS.find_builder(PlugHead()) is build
        assert registries.HEADS.find_builder(retinanet.RetinaNetHead()) is not build
        model = retinanet.RetinaNet(head=PlugHead(width=2))
        model.override({'head': {'width': 3}})
        assert model.head == PlugHead(width=3)
    finally:
        registries.HEADS.remove('registries_test_head')


def test_every_branch_of_ours_has_a_builder_in_the_manifest() -> None:
    for components in (registries.BACKBONES, registries.DECODERS, registries.DATA_SOURCES):
        assert components.oneof is not None
        # Those of tests that ran before are not ours.
        branches = {f.name for f in dataclasses.fields(components.oneof)} - {'type'}
        assert branches
        assert branches <= set(components.names())


@pytest.mark.parametrize('name', ['resnet_3d'])
def test_backbones_that_model_garden_has_and_we_have_not_are_explained(name: str) -> None:
    config = retinanet.retinanet()
    with pytest.raises(
        hyperparams.ConfigError,
        match=rf"task\.model\.backbone\.type: Backbone has no branch '{name}', expected one of "
        r"'resnet', .*'spinenet', 'spinenet_mobile', 'mobilenet'",
    ):
        config.override({'task': {'model': {'backbone': {'type': name}}}})


def test_nothing_of_this_loads_tensorflow() -> None:
    code = (
        'import sys\n'
        'import official_lite as tfm\n'
        'from official_lite.vision import registries\n'
        "tfm.core.exp_factory.get_exp_config('retinanet_custom')\n"
        'tfm.vision.configs.retinanet.RetinaNet(), tfm.optimization.OptimizationConfig()\n'
        'tfm.hyperparams.Config, tfm.core.train_utils.parse_configuration\n'
        'tfm.core.task_factory.get_task, tfm.core.config_definitions.ExperimentConfig\n'
        "heavy = {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        'assert not heavy, heavy\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
