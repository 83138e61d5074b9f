"""How config objects are made: bind arguments, fill defaults, check."""

from __future__ import annotations

import inspect
import threading
from typing import Any

from official_lite.modeling.hyperparams import errors
from official_lite.modeling.hyperparams.places import INVALID, Pass, Place
from official_lite.modeling.hyperparams.plans import FieldSpec, Plan, plan_of
from official_lite.modeling.hyperparams.sources import Source, find_caller


class _Building(threading.local):
    """How many constructions of defaults are under way; what they set has no source of its own."""

    depth = 0


building = _Building()


def initialize(config: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Does what a dataclass's `__init__` does, with every argument and default checked."""
    cls = type(config)
    plan = plan_of(cls)
    run = Pass(replaces_dicts=True)
    source = None if building.depth else find_caller()
    place = Place(run, '', source)
    given = _bind(cls, plan, args, kwargs, place)
    start(config)
    _take_given(config, plan, given, place)
    run.finish()
    fill_defaults(config, plan)
    _report_missing(config, plan, place)
    run.finish()
    init_vars = {name: given.get(name, default) for name, default in plan.init_vars.items()}
    _post_init(config, init_vars)


def start(config: Any) -> None:
    """Gives an object the state that every config has."""
    config.__dict__['_locked'] = False
    config.__dict__['_restrictions'] = []
    config.__dict__['_sources'] = {}


def make_blank(cls: Any) -> Any:
    """Returns an object with every default; fields without one are left out."""
    config = object.__new__(cls)
    plan = plan_of(cls)
    start(config)
    fill_defaults(config, plan)
    _post_init(config, dict(plan.init_vars))
    return config


def _post_init(config: Any, init_vars: dict[str, Any]) -> None:
    building.depth += 1
    try:
        config.__post_init__(**init_vars)
    finally:
        building.depth -= 1


def _bind(
    cls: type, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place
) -> dict[str, Any]:
    if len(args) > len(plan.positional):
        place.report(
            f'{cls.__name__} takes {len(plan.positional)} arguments by position',
            received=str(len(args)),
            kinds=(TypeError,),
        )
    given = dict(zip(plan.positional, args))
    for name in given.keys() & kwargs.keys():
        place.child(name).report('given both by position and by name', kinds=(TypeError,))
    given.update(kwargs)
    return given


def _take_given(config: Any, plan: Plan, given: dict[str, Any], place: Place) -> None:
    """Checks the arguments; puts them at the places of their fields, defaults of the rest follow."""
    target, sources = config.__dict__, config.__dict__['_sources']
    for name, value in given.items():
        if name in plan.init_vars:
            continue
        spec = config._spec(name)
        if spec is None or not spec.is_init:
            place.child(name).report(
                f'{type(config).__name__} takes no argument {name!r}',
                suggestion=errors.find_nearest(name, config._keys()),
                kinds=(TypeError, KeyError),
            )
            continue
        new = config._read(spec, value, place.child(name), None)
        if new is not INVALID:
            target[name] = new
            if place.source is not None:
                sources[name] = place.source


def fill_defaults(config: Any, plan: Plan) -> None:
    """Sets the fields that are not set, in the order of declaration."""
    old = config.__dict__
    new = {name: old[name] for name in ('_locked', '_restrictions', '_sources')}
    for name, spec in plan.fields.items():
        if name in old:
            new[name] = old[name]
        elif spec.is_constant:
            new[name] = spec.default
        elif not spec.is_required:
            new[name] = make_default(type(config), spec)
    for name in old.keys() - new.keys():
        new[name] = old[name]
    old.clear()
    old.update(new)


def make_default(cls: type, spec: FieldSpec) -> Any:
    """Returns a checked default that nothing else shares."""
    if spec.is_constant:
        return spec.default
    is_fresh = isinstance(spec.factory, type)
    run = Pass(replaces_dicts=True, adopts=is_fresh)
    building.depth += 1
    try:
        value = spec.default if spec.factory is None else spec.factory()
        if type(value) not in spec.checker.exact:
            place = Place(run, f'{cls.__name__}.{spec.name}', Source('default', 'its default'))
            value = spec.checker.read(value, place)
    finally:
        building.depth -= 1
    run.finish()
    return value


def _report_missing(config: Any, plan: Plan, place: Place) -> None:
    for name, spec in plan.fields.items():
        if spec.is_required and name not in config.__dict__:
            place.child(name).report(
                f'{type(config).__name__} needs a value for {name!r}',
                expected=spec.checker.expected,
                kinds=(TypeError,),
            )


report_missing = _report_missing


class SignatureOf:
    """The constructor's signature, worked out when somebody asks for it."""

    def __get__(self, config: object, owner: type) -> inspect.Signature:
        plan = plan_of(owner)
        parameters = [
            self._parameter(plan, name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in plan.positional
        ]
        parameters += [
            self._parameter(plan, name, inspect.Parameter.KEYWORD_ONLY) for name in plan.keywords
        ]
        return inspect.Signature(parameters)

    @staticmethod
    def _parameter(plan: Plan, name: str, kind: Any) -> inspect.Parameter:
        spec = plan.fields.get(name)
        if spec is None:
            return inspect.Parameter(name, kind, default=plan.init_vars[name])
        if spec.is_required:
            # Fields of ours follow the defaults of the two hidden arguments, hence by keyword only.
            return inspect.Parameter(name, kind, default=inspect.Parameter.empty)
        default = spec.default if spec.factory is None else '<made by a factory>'
        return inspect.Parameter(name, kind, default=default)
