"""What a config class declares, worked out once per class."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from official_lite.modeling.hyperparams import errors
from official_lite.modeling.hyperparams.annotations import compile_checker
from official_lite.modeling.hyperparams.checkers import Checker
from official_lite.modeling.hyperparams.places import MISSING

_IMMUTABLE = frozenset({str, int, float, bool, type(None)})


class FieldSpec:
    """One field: its checker and its default.

    Attributes:
        name: The field's name.
        checker: Reads its values.
        default: The default, MISSING if it has none or is made by `factory`.
        factory: Makes the default, or None.
        is_init: Whether the constructor takes it.
        is_constant: Whether the default is an immutable value of the declared type, so that it
            can be shared without a check.
        metadata: What the declaration attached (`dataclasses.field(metadata=...)`).
    """

    __slots__ = ('checker', 'default', 'factory', 'is_constant', 'is_init', 'metadata', 'name')

    def __init__(self, field: dataclasses.Field[Any], checker: Checker) -> None:
        self.name = field.name
        self.checker = checker
        self.default = MISSING if field.default is dataclasses.MISSING else field.default
        factory: Any = field.default_factory
        self.factory: Callable[[], Any] | None = None if factory is dataclasses.MISSING else factory
        self.is_init = field.init
        self.is_constant = type(self.default) in _IMMUTABLE and type(self.default) in checker.exact
        self.metadata = field.metadata

    @property
    def is_required(self) -> bool:
        """Whether the field has no default."""
        return self.default is MISSING and self.factory is None


class Plan:
    """The fields of one config class.

    Attributes:
        fields: Every field, bases first, in the order of declaration.
        positional: Names that the constructor takes by position.
        keywords: Names that it takes by keyword only.
        init_vars: Names that go to `__post_init__` instead, with their defaults.
    """

    def __init__(self, config_class: type) -> None:
        _require_dataclass(config_class)
        declared: dict[str, dataclasses.Field[Any]] = config_class.__dataclass_fields__  # type: ignore[attr-defined]
        hints = resolve_hints(config_class)
        self.fields: dict[str, FieldSpec] = {}
        self.init_vars: dict[str, Any] = {}
        self.positional: tuple[str, ...] = tuple(
            f.name for f in declared.values() if _is_in_init(f) and not f.kw_only
        )
        self.keywords = tuple(f.name for f in declared.values() if _is_in_init(f) and f.kw_only)
        for name, field in declared.items():
            if _kind(field) == '_FIELD_INITVAR':
                default = None if field.default is dataclasses.MISSING else field.default
                self.init_vars[name] = default
            elif _kind(field) == '_FIELD':
                self.fields[name] = FieldSpec(field, _compile(config_class, name, hints[name]))


def _kind(field: dataclasses.Field[Any]) -> str:
    return str(field._field_type.name)  # type: ignore[attr-defined]


def _is_in_init(field: dataclasses.Field[Any]) -> bool:
    return field.init and _kind(field) != '_FIELD_CLASSVAR'


def _require_dataclass(config_class: type) -> None:
    """Refuses annotated fields that a forgotten decorator left undeclared."""
    for cls in config_class.__mro__:
        if '__dataclass_fields__' in cls.__dict__ or not hasattr(cls, '__dataclass_fields__'):
            continue
        lost = [n for n, a in inspect.get_annotations(cls).items() if 'ClassVar' not in str(a)]
        if lost:
            raise errors.make_error(
                [
                    errors.Problem(
                        message=f'{cls.__qualname__} declares {errors.list_names(lost)} but is no dataclass',
                        hint='decorate it with @dataclasses.dataclass',
                        kinds=(TypeError,),
                    )
                ]
            )


def _compile(config_class: type, name: str, annotation: Any) -> Checker:
    try:
        return compile_checker(annotation)
    except TypeError as error:
        raise errors.make_error(
            [
                errors.Problem(
                    path=f'{config_class.__name__}.{name}', message=str(error), kinds=(TypeError,)
                )
            ]
        ) from error


def resolve_hints(config_class: type) -> dict[str, Any]:
    """Returns the annotations of a class and its bases, strings evaluated where they were written."""
    hints: dict[str, Any] = {}
    for cls in reversed(config_class.__mro__):
        own = inspect.get_annotations(cls)
        if '__dataclass_fields__' not in cls.__dict__:
            continue
        for name, annotation in own.items():
            hints[name] = _resolve(cls, name, annotation)
    return hints


def _resolve(cls: type, name: str, annotation: Any) -> Any:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation
    if isinstance(annotation, dataclasses.InitVar):
        return annotation
    holder = type('_Holder', (), {'__annotations__': {name: annotation}})
    names = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    local = {**getattr(cls, '_local_names', {}), cls.__name__: cls}
    try:
        return typing.get_type_hints(holder, globalns=names, localns=local)[name]
    except Exception as error:
        problem = errors.Problem(
            path=f'{cls.__name__}.{name}',
            message=f'the annotation {annotation!r} cannot be evaluated: {error}',
            hint='import or define the names it uses before the class is first used',
            kinds=(TypeError, NameError),
        )
        raise errors.make_error([problem]) from error


def plan_of(config_class: type) -> Plan:
    """Returns the plan of a config class, made on the first call."""
    plan = config_class.__dict__.get('_plan')
    if plan is None:
        plan = Plan(config_class)
        type.__setattr__(config_class, '_plan', plan)
    return plan
