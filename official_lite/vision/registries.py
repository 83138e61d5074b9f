"""Backbones, decoders, heads and data sources by name. None of this imports TensorFlow.

A component has a config class, which becomes a branch of its OneOf config so that
`task.model.backbone.type=my_net` and `task.model.backbone.my_net.depth=3` are valid everywhere, and
a builder, given as 'package.module:function' so that it is imported only when it builds:

    register_backbone('my_net', config=MyNetConfig, builder='my_pkg.net:build_my_net')

Or, as a decorator (without `config`, Model Garden's form):

    @register_backbone('my_net', config=MyNetConfig)
    def build_my_net(input_specs, backbone_config, norm_activation_config, l2_regularizer=None):
        ...
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from official_lite import errors, manifest
from official_lite.core.registry import Registry
from official_lite.modeling import hyperparams
from official_lite.vision.configs import (
    backbones,
    data_sources,
    decoders,
    image_classification_data,
    semantic_segmentation_data,
)

__all__ = [
    'BACKBONES',
    'CLASSIFICATION_SOURCES',
    'DATA_SOURCES',
    'DECODERS',
    'HEADS',
    'SEGMENTATION_SOURCES',
    'ComponentRegistry',
    'register_backbone',
    'register_classification_source',
    'register_data_source',
    'register_decoder',
    'register_head',
    'register_segmentation_source',
]

Builder = Callable[..., Any]


class ComponentRegistry:
    """Builders of one kind of component, by name or by class of config.

    Args:
        kind: What the components are, for messages.
        find_modules: Returns the table of built-in names: name -> module whose import registers it.
        oneof: The config of which each component is a branch. None if there is none.
    """

    def __init__(
        self,
        kind: str,
        find_modules: Callable[[], Mapping[str, str]],
        oneof: type[hyperparams.OneOfConfig] | None = None,
    ) -> None:
        self.kind = kind
        self.oneof = oneof
        self._builders: Registry[Builder | str] = Registry(kind, find_modules)
        self._names_by_config: dict[type, str] = {}

    def register(
        self,
        name: str,
        config: type[hyperparams.Config] | None = None,
        builder: Builder | str | None = None,
    ) -> Callable[[Builder], Builder]:
        """Registers a component; with `builder` at once, otherwise as a decorator of the builder.

        Args:
            name: Name of the component, and of its branch.
            config: Class of its config. None if the OneOf config has the branch already, or if the
                component has no config.
            builder: The builder, or 'package.module:function'.

        Raises:
            DuplicateNameError: If another component has the name.
        """
        if isinstance(builder, str) and ':' not in builder:
            raise errors.UsageError(
                where=f'{self.kind} {name!r}',
                expected="a builder such as 'package.module:function'",
                received=repr(builder),
            )

        def decorate(build: Builder) -> Builder:
            self._add(name, config, build)
            return build

        if builder is not None:
            self._add(name, config, builder)
        return decorate

    def _add(
        self, name: str, config: type[hyperparams.Config] | None, builder: Builder | str
    ) -> None:
        self._builders.add(name, builder)
        if config is None:
            return
        self._names_by_config[config] = name
        if self.oneof is not None:
            self.oneof.register_branch(name, config)

    def get_builder(self, name: str) -> Builder:
        """Returns the builder of a component, importing the module that has it.

        Raises:
            UnknownNameError: If there is no component of this name.
            UsageError: If 'package.module:function' does not lead to a function.
        """
        builder = self._builders.lookup(name)
        return self._import_builder(name, builder) if isinstance(builder, str) else builder

    def find_builder(self, config: hyperparams.Config) -> Builder | None:
        """Returns the builder registered for the config's class or one above it, None if none is."""
        for cls in type(config).__mro__:
            if cls in self._names_by_config:
                return self.get_builder(self._names_by_config[cls])
        return None

    def names(self) -> list[str]:
        """Names of all components."""
        return self._builders.names()

    def remove(self, name: str) -> None:
        """Forgets a builder, for tests. A branch of a OneOf config stays."""
        self._builders.remove(name)
        self._names_by_config = {c: n for c, n in self._names_by_config.items() if n != name}

    def _import_builder(self, name: str, path: str) -> Builder:
        module_name, _, attribute = path.partition(':')
        where = f'{self.kind} {name!r}: builder {path!r}'
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise errors.UsageError(f'there is no module {error.name!r}', where=where) from error
        builder = getattr(module, attribute, None)
        if not callable(builder):
            raise errors.UsageError(
                f'module {module_name!r} has no function {attribute!r}', where=where
            )
        return builder


BACKBONES = ComponentRegistry('backbone', lambda: manifest.BACKBONES, backbones.Backbone)
DECODERS = ComponentRegistry('decoder', lambda: manifest.DECODERS, decoders.Decoder)
HEADS = ComponentRegistry('head', lambda: manifest.HEADS)
DATA_SOURCES = ComponentRegistry(
    'data source', lambda: manifest.DATA_SOURCES, data_sources.DataSource
)
CLASSIFICATION_SOURCES = ComponentRegistry(
    'source of classified images',
    lambda: manifest.CLASSIFICATION_SOURCES,
    image_classification_data.ClassificationSource,
)
SEGMENTATION_SOURCES = ComponentRegistry(
    'source of segmented images',
    lambda: manifest.SEGMENTATION_SOURCES,
    semantic_segmentation_data.SegmentationSource,
)

register_backbone = BACKBONES.register
register_decoder = DECODERS.register
register_head = HEADS.register
register_data_source = DATA_SOURCES.register
register_classification_source = CLASSIFICATION_SOURCES.register
register_segmentation_source = SEGMENTATION_SOURCES.register
