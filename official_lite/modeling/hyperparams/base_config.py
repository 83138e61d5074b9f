"""`Config`: a dataclass whose fields are checked, remember who set them, and can be locked.

    @dataclasses.dataclass
    class ResNet(Config):
        depth: int = 50

Values are checked on construction, on assignment and on override. Lists and dicts are plain while
the config is unlocked, so a change inside one is seen by `validate` and by `lock`, which both check
every value again; in a locked config they are immutable.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

from official_lite.modeling.hyperparams import (
    construction,
    errors,
    freezing,
    merging,
    params_dict,
    tree,
    validation,
    values,
)
from official_lite.modeling.hyperparams.binding import bind
from official_lite.modeling.hyperparams.checkers import FreeChecker
from official_lite.modeling.hyperparams.conversion import Convertible
from official_lite.modeling.hyperparams.places import Pass, Place
from official_lite.modeling.hyperparams.plans import FieldSpec, plan_of
from official_lite.modeling.hyperparams.sources import Source, as_source, find_caller

__all__ = ['Config', 'Report', 'bind']

# What `_check` gets: report(field, expected='1 or more', hint='').
Report = Callable[..., None]


def _make_init(cls: Any) -> Callable[..., None]:
    """Returns the constructor of a config class that does not define one."""

    def __init__(self: Config, *args: Any, **kwargs: Any) -> None:
        if '__dataclass_fields__' in cls.__dict__ or inspect.get_annotations(cls):
            construction.initialize(self, args, kwargs)
        else:  # a class without fields of its own is made as its base is
            super(cls, self).__init__(*args, **kwargs)

    return __init__


@dataclasses.dataclass
class Config(params_dict.ParamsDict, Convertible):
    """The base of all configs. By itself it is free-form: a mapping with attribute access.

    Attributes:
        default_params: Constructor only: a mapping that overrides the defaults.
        restrictions: Constructor only: relations such as `'a.b <= c'`, which `validate` checks.
    """

    IMMUTABLE_TYPES: ClassVar[tuple[type, ...]] = (str, int, float, bool, type(None))
    SEQUENCE_TYPES: ClassVar[tuple[type, ...]] = (list, tuple)
    _BUILDER: ClassVar[Any] = None
    _free_checker: ClassVar[FreeChecker] = FreeChecker()

    default_params: dataclasses.InitVar[Mapping[str, Any] | None] = None
    restrictions: dataclasses.InitVar[list[str] | None] = None

    __signature__ = construction.SignatureOf()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        construction.initialize(self, args, kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Set before the decorator runs, which then leaves them alone.
        for name, method in (
            ('__init__', _make_init(cls)),
            ('__eq__', Config.__eq__),
            ('__repr__', Config.__repr__),
        ):
            if name not in cls.__dict__:
                setattr(cls, name, method)
        annotations = inspect.get_annotations(cls)
        if any(isinstance(annotation, str) for annotation in annotations.values()):
            _keep_local_names(cls)

    def __post_init__(
        self,
        default_params: Mapping[str, Any] | None = None,  # noqa: RUF033
        restrictions: list[str] | None = None,  # noqa: RUF033
    ) -> None:
        if restrictions:
            self.__dict__['_restrictions'] = list(restrictions)
        if default_params is not None:
            # Depth 1 is this construction's own; deeper ones make defaults, which nobody chose.
            source = None if construction.building.depth > 1 else find_caller()
            self._override_all(default_params, source, Pass(is_strict=not self._is_free_form))

    @property
    def BUILDER(self) -> Any:
        """What `bind` tied to this class: a class or a function."""
        return self._BUILDER

    @property
    def _is_free_form(self) -> bool:
        return type(self) is Config

    @classmethod
    def _field_names(cls) -> list[str]:
        return list(plan_of(cls).fields)

    @classmethod
    def _accepts(cls, keys: set[str]) -> bool:
        """Whether a mapping with these keys can be of this class."""
        return cls is Config or all(
            key in plan_of(cls).fields or '.' in key or '[' in key for key in keys
        )

    def _spec(self, name: str) -> FieldSpec | None:
        """Returns the declaration of a field, None if there is none."""
        return plan_of(type(self)).fields.get(name)

    def _has_key(self, name: str) -> bool:
        return self._spec(name) is not None or name in self.__dict__

    def _in_order(self, mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """Returns the mapping in the order in which its keys must be applied."""
        return mapping

    def _keys(self) -> Iterator[str]:
        for name in plan_of(type(self)).fields:
            if name in self.__dict__:
                yield name
        yield from self._extra_keys()

    def _extra_keys(self) -> Iterator[str]:
        """Yields keys that no field declares, in the order in which they were added."""
        for name in self.__dict__:
            if name not in self.RESERVED_ATTR and self._spec(name) is None:
                yield name

    def _read(self, spec: FieldSpec, value: Any, place: Place, current: Any) -> Any:
        """Reads a value for a field."""
        if type(value) in spec.checker.exact:
            return value
        return spec.checker.read(value, place, current)

    def __setattr__(self, key: str, value: Any) -> None:
        fields = self.__dict__
        if fields.get('_locked') and key not in self.RESERVED_ATTR:
            self._require_unlocked()
        spec = self._spec(key)
        if spec is not None and type(value) in spec.checker.exact:
            fields[key] = value
            if not construction.building.depth:
                fields['_sources'][key] = find_caller()
            return
        self._assign(key, value)

    def __delattr__(self, key: str) -> None:
        if self._spec(key) is not None:
            problem = errors.Problem(
                path=key, message='a declared field cannot be deleted', kinds=(AttributeError,)
            )
            self._require_unlocked()
            raise errors.make_error([problem])
        super().__delattr__(key)

    def _assign(self, key: str, value: Any) -> None:
        """Sets a field to a value that needs reading."""
        if key in ('BUILDER', '_BUILDER'):
            message = (
                '`BUILDER` is a property and `_BUILDER` is the reserved attribute of the class'
            )
            raise errors.make_error(
                [errors.Problem(message=message, hint='use `bind`', kinds=(AttributeError,))]
            )
        if key in self.RESERVED_ATTR:
            self.__dict__[key] = value
            return
        source = None if construction.building.depth else find_caller()
        run = Pass(replaces_dicts=True)
        place = Place(run, '', source)
        if not self._has_key(key) and not self._is_free_form:
            problem = merging.unknown_key(self, key, place.child(key))
            run.problems.append(dataclasses.replace(problem, kinds=(AttributeError, KeyError)))
        else:
            merging.merge_key(self, key, value, place, True, None)
        run.finish()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return values.comparable(self) == values.comparable(other)

    def __repr__(self) -> str:
        inside = ', '.join(f'{key}={self.__dict__[key]!r}' for key in self._shown_keys())
        return f'{type(self).__qualname__}({inside})'

    def _shown_keys(self) -> Iterator[str]:
        """Yields the keys that make up the value: all, or a OneOf's type and chosen branch."""
        yield from self._keys()

    def _copy_unlocked(self) -> Self:
        new = object.__new__(type(self))
        target = new.__dict__
        for key, value in self.__dict__.items():
            target[key] = value if type(value) in self._free_checker.exact else freezing.thaw(value)
        target['_locked'] = False
        return new

    def override(
        self,
        override_params: Mapping[str, Any] | params_dict.ParamsDict,
        is_strict: bool = True,
        source: Source | str | None = None,
    ) -> None:
        """Changes the fields that a nested mapping names, all of them or, after a problem, none.

        Args:
            override_params: What to change; keys may be dotted (`'a.b'`) and indexed (`'a[0].b'`).
            is_strict: Unknown keys are problems; otherwise they are added.
            source: Who asks for it, such as `'--params_override'`; by default the calling line.

        Raises:
            ConfigError: With every problem found. Also a ValueError if the config is locked, a
                KeyError for unknown keys, a TypeError for values of a wrong type.
        """
        self._require_unlocked()
        origin = as_source(source)
        if origin is None and not construction.building.depth:
            origin = find_caller()
        self._override_all(override_params, origin, Pass(is_strict=is_strict))

    def _override_all(self, given: Any, source: Source | None, run: Pass) -> None:
        if isinstance(given, params_dict.ParamsDict):
            given = given.as_dict()
        place = Place(run, '', source)
        if isinstance(given, Mapping):
            self._merge(given, place)
        else:
            place.reject(given, 'a mapping')
        run.finish()

    def _merge(self, mapping: Mapping[Any, Any], place: Place, is_new: bool = False) -> Self:
        merging.merge(self, mapping, place, is_new)
        return self

    @classmethod
    def _build(cls, mapping: Mapping[Any, Any], place: Place) -> Any:
        return merging.build(cls, mapping, place)

    def replace(self, **kwargs: Any) -> Self:
        """Returns an unlocked copy with the given fields overridden; this config stays as it is."""
        new = self._copy_unlocked()
        new._override_all(kwargs, find_caller(), Pass())
        return new

    def lock(self) -> None:
        """Makes the whole tree immutable, lists and dicts in it too.

        Raises:
            ConfigError: A value is not of its declared type.
        """
        errors.raise_problems(validation.find_type_problems(self))
        super().lock()

    def validate(self) -> None:
        """Checks types, restrictions and `_check` hooks of the whole tree.

        Of a OneOf, the chosen branch alone counts.

        Raises:
            ConfigError: With every problem found. Also a KeyError for a restriction that does not hold.
        """
        errors.raise_problems(validation.find_problems(self))

    def _check(self, report: Report) -> None:
        """Checks ranges and relations; a hook for subclasses, which `validate` calls on every node.

        Args:
            report: `report(field, expected='1 or more', hint='')` notes a problem with a field.
        """

    def leaves(self) -> Iterator[tuple[str, Any, Source]]:
        """Yields dotted path, value and source of every leaf; of a OneOf, of the chosen branch."""
        return tree.leaves(self)

    def source_of(self, path: str) -> Source | None:
        """Returns who set the value at a dotted path, None if there is no such path."""
        return tree.source_of(self, path)

    def is_set(self, path: str) -> bool:
        """Whether somebody chose the value at a dotted path, rather than a class or a factory."""
        source = tree.source_of(self, path)
        return source is not None and source.is_given

    def set_from(self, path: str, value: Any, source: Source | str) -> None:
        """Sets the value at a dotted path and names who says so, such as `'data: PATH'`."""
        self.override({path: value}, source=source)

    def reset_sources(self, source: Source | str | None = None) -> None:
        """Forgets who set the values, and names `source` for all of them, such as `'factory: NAME'`."""
        tree.reset_sources(self, as_source(source))


def _keep_local_names(cls: type) -> None:
    """Keeps the names around a class that is defined inside a function, for its annotations."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get('__name__') != cls.__module__:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is not None and frame.f_locals is not frame.f_globals:
        cls._local_names = dict(frame.f_locals)  # type: ignore[attr-defined]
