"""`OneOfConfig`: a choice between branches, each with a config of its own.

    @dataclasses.dataclass
    class Backbone(OneOfConfig):
        type: Optional[str] = None
        resnet: ResNet = dataclasses.field(default_factory=ResNet)

    Backbone.register_branch('my_net', MyNetConfig)

A registered branch is as good as a declared one, in objects built before the registration too.
Changing `type` puts the branch that is left back to its defaults, so nothing is carried over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from official_lite.modeling.hyperparams import base_config, construction, errors
from official_lite.modeling.hyperparams.config_checker import ConfigChecker
from official_lite.modeling.hyperparams.places import INVALID, Pass, Place
from official_lite.modeling.hyperparams.plans import FieldSpec, plan_of

__all__ = ['OneOfConfig']

_ConfigClass = type[base_config.Config]


@dataclasses.dataclass
class OneOfConfig(base_config.Config):
    """A choice between branches.

    Attributes:
        type: Name of the chosen branch; None chooses nothing.
    """

    type: Optional[str] = None

    @classmethod
    def register_branch(cls, name: str, config_cls: _ConfigClass) -> None:
        """Adds a branch to this class and its subclasses.

        Args:
            name: Its name, a Python identifier.
            config_cls: The class of its config. The same class again changes nothing.

        Raises:
            ConfigError: The name is taken or no identifier (also a ValueError).
        """
        known = cls._branch_specs().get(name)
        if known is not None and getattr(known.checker, 'config_class', None) is config_cls:
            return
        reason = cls._why_not(name, known, config_cls)
        if reason:
            problem = errors.Problem(path=f'{cls.__name__}.{name}', message=reason)
            raise errors.make_error([problem])
        field: Any = dataclasses.field(default_factory=config_cls)
        field.name = name
        if '_registered' not in cls.__dict__:
            cls._registered = {}  # type: ignore[attr-defined]
        cls._registered[name] = FieldSpec(field, ConfigChecker(config_cls))  # type: ignore[attr-defined]

    @classmethod
    def _why_not(cls, name: str, known: FieldSpec | None, config_cls: Any) -> str:
        """Returns why a branch cannot have this name, '' if it can."""
        if known is not None:
            return f'a branch {name!r} of another class exists already ({known.checker.expected})'
        if not name.isidentifier() or name.startswith('_'):
            return f'{name!r} is no name for a branch'
        if name == 'type' or hasattr(base_config.Config, name):
            return f'{name!r} is reserved'
        if not (isinstance(config_cls, type) and issubclass(config_cls, base_config.Config)):
            return f'a branch needs a config class, received {config_cls!r}'
        return ''

    @classmethod
    def branches(cls) -> dict[str, Any]:
        """Returns the name and the config class (or type in words) of every branch."""
        return {
            name: getattr(spec.checker, 'config_class', spec.checker.expected)
            for name, spec in cls._branch_specs().items()
        }

    @classmethod
    def _branch_specs(cls) -> dict[str, FieldSpec]:
        specs = {n: spec for n, spec in plan_of(cls).fields.items() if n != 'type'}
        for base in reversed(cls.__mro__):
            for name, spec in base.__dict__.get('_registered', {}).items():
                specs.setdefault(name, spec)
        return specs

    @classmethod
    def _field_names(cls) -> list[str]:
        return ['type', *cls._branch_specs()]

    @classmethod
    def _accepts(cls, keys: set[str]) -> bool:
        names = cls._branch_specs()
        return all(key == 'type' or key in names or '.' in key for key in keys)

    def _spec(self, name: str) -> FieldSpec | None:
        spec = plan_of(type(self)).fields.get(name)
        if spec is not None:
            return spec
        for base in type(self).__mro__:
            registered = base.__dict__.get('_registered')
            if registered and name in registered:
                return registered[name]
        return None

    def _keys(self) -> Iterator[str]:
        yield 'type'
        yield from self._branch_specs()
        yield from self._extra_keys()

    def _shown_keys(self) -> Iterator[str]:
        yield 'type'
        if self.type is not None and self._spec(self.type) is not None:
            yield self.type

    def _require_known_type(self) -> None:
        run = Pass()
        if self.type is not None:
            self._read_type(self.type, Place(run, 'type'))
        run.finish()

    def _is_unchosen(self, name: str) -> bool:
        """Whether `name` is a branch other than the chosen one."""
        return name != 'type' and name != self.type and self._spec(name) is not None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and (super().__contains__(key) or self._spec(key) is not None)

    def __getattr__(self, key: str) -> Any:
        """Makes the branch that was registered after this object was built."""
        spec = None if key.startswith('__') else self._spec(key)
        if spec is None or key == 'type':
            return super().__getattr__(key)
        branch = construction.make_default(type(self), spec)
        if self.is_locked:
            branch.lock()
        self.__dict__[key] = branch
        return branch

    def __setattr__(self, key: str, value: Any) -> None:
        if key == 'type':
            self._require_unlocked()
            self._assign(key, value)
        else:
            super().__setattr__(key, value)

    def _read(self, spec: FieldSpec, value: Any, place: Place, current: Any) -> Any:
        new = super()._read(spec, value, place, current)
        if spec.name != 'type' or new is INVALID or new is None:
            read = new
        else:
            read = self._read_type(new, place)
        if spec.name == 'type' and read is not INVALID:
            self._leave(current, read, place)
        return read

    def _read_type(self, name: str, place: Place) -> Any:
        names = list(self._branch_specs())
        if name in names:
            return name
        return place.report(
            f'{type(self).__name__} has no branch {name!r}',
            expected=f'one of {errors.list_names(names, most=40)}'
            if names
            else 'None: there are none',
            suggestion=errors.find_nearest(name, names),
        )

    def _leave(self, old: str | None, new: str | None, place: Place) -> None:
        """Puts the branch that is left back to its defaults."""
        if old is None or old == new or place.run.adopts or old not in self.__dict__:
            return
        spec = self._spec(old)
        if spec is not None:
            place.run.put(self.__dict__, old, construction.make_default(type(self), spec))
            place.run.drop(self.__dict__['_sources'], old)

    def _in_order(self, mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Returns the mapping with `type` first, since it decides what the rest may say."""
        if 'type' not in mapping or next(iter(mapping)) == 'type':
            return mapping
        return {'type': mapping['type'], **mapping}

    def _merge(self, mapping: Mapping[Any, Any], place: Place, is_new: bool = False) -> Any:
        before = len(place.run.problems)
        super()._merge(mapping, place, is_new)
        if len(place.run.problems) == before:
            self._report_unchosen(mapping, place)
        return self

    def _report_unchosen(self, mapping: Mapping[Any, Any], place: Place) -> None:
        """Reports values for a branch that is not chosen: they would have no effect."""
        from official_lite.modeling.hyperparams.overrides import expand_keys
        from official_lite.modeling.hyperparams.sources import source_in

        expanded = expand_keys(mapping, self._has_key)
        for key in expanded:
            if isinstance(key, str) and self._is_unchosen(key):
                chosen = f'type is {self.type!r}' if self.type else 'no type is chosen'
                path = f'{place.path}.type' if place.path else 'type'
                place.child(key, source_in(expanded, key)).report(
                    f'the branch {key!r} is not chosen ({chosen}), so this has no effect',
                    hint=f'set {path}={key} as well',
                )

    def as_dict(self) -> dict[str, Any]:
        """Returns the type and the chosen branch.

        Raises:
            ConfigError: The type names no branch (also a ValueError).
        """
        from official_lite.modeling.hyperparams import values

        self._require_known_type()
        return {key: values.export(getattr(self, key)) for key in self._shown_keys()}

    def get(self, *default: Any) -> Any:
        """Returns the chosen branch, None if there is none; with a name, that attribute.

        Raises:
            ConfigError: The type names no branch (also a ValueError).
        """
        if default:
            return getattr(self, default[0]) if default[0] in self else (*default, None)[1]
        if self.type is None:
            return None
        self._require_known_type()
        return getattr(self, self.type)
