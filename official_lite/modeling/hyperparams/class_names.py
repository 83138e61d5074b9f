"""Dicts that tell the class of every nested config in them, by its keys or by its name."""

from __future__ import annotations

from typing import Any

from official_lite.modeling.hyperparams import (
    config_checker,
    construction,
    containers,
    tree,
    values,
)
from official_lite.modeling.hyperparams.checkers import FreeChecker
from official_lite.modeling.hyperparams.plans import plan_of


def to_named_dict(config: Any) -> dict[str, Any]:
    """Returns `config.as_dict()` with a class name wherever `from_dict` would build another class."""
    named = {}
    for key in config._shown_keys():
        spec = config._spec(key)
        checker = config._free_checker if spec is None else spec.checker
        default = None if spec is None else _default_class(type(config), spec)
        named[key] = _name(getattr(config, key), checker, default)
    return named


def _default_class(cls: Any, spec: Any) -> Any:
    """Returns the class of a field's default if it is a config."""
    known = plan_of(cls).__dict__.setdefault('default_classes', {})
    if spec.name not in known:
        default = (
            None if spec.is_required or spec.is_constant else construction.make_default(cls, spec)
        )
        known[spec.name] = type(default) if tree.is_config(default) else None
    return known[spec.name]


def _name(value: Any, checker: Any, default: Any) -> Any:
    if tree.is_config(value):
        return _name_config(value, checker, default)
    if isinstance(value, (list, tuple)):
        inside = _inside(checker)
        kind = tuple if isinstance(value, tuple) else list
        return kind(_name(item, inside, None) for item in value)
    if isinstance(value, dict):
        inside = _inside(checker)
        return {key: _name(item, inside, None) for key, item in value.items()}
    return values.export(value)


def _inside(checker: Any) -> Any:
    """Returns the checker of what a container holds, None if there are several."""
    if isinstance(checker, containers.UnionChecker):
        found = [inner for member in checker.members if (inner := _inside(member)) is not None]
        return found[0] if len(found) == 1 else None
    if isinstance(checker, FreeChecker):
        return checker
    return getattr(checker, 'item', None) or getattr(checker, 'value', None)


def _name_config(config: Any, checker: Any, default: Any) -> dict[str, Any]:
    named = to_named_dict(config)
    if _inferred(checker, default, named, config) is not type(config):
        named = {config_checker.CLASS_KEY: config_checker.class_name(type(config)), **named}
    return named


def _inferred(checker: Any, default: Any, named: dict[str, Any], config: Any) -> Any:
    """Returns the class that `from_dict` would build, None if that is not certain."""
    members = checker.members if isinstance(checker, containers.UnionChecker) else [checker]
    bases = [member.config_class for member in members if hasattr(member, 'config_class')]
    if isinstance(checker, FreeChecker):
        return type(config) if config._is_free_form else None
    if len(bases) != 1 or any(isinstance(m, containers.DictChecker) for m in members):
        return None
    if default is not None and not issubclass(default, bases[0]):
        default = None
    return config_checker.infer_class(bases[0], default, named)
