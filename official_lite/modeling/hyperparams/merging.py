"""Changes a config by a nested mapping, and builds one from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from official_lite.modeling.hyperparams import construction, errors
from official_lite.modeling.hyperparams.overrides import expand_keys
from official_lite.modeling.hyperparams.places import INVALID, Place
from official_lite.modeling.hyperparams.plans import plan_of
from official_lite.modeling.hyperparams.sources import source_in


def build(cls: Any, mapping: Mapping[Any, Any], place: Place) -> Any:
    """Returns a new config of class `cls` from a mapping, or INVALID if there was a problem."""
    before = len(place.run.problems)
    config = construction.make_blank(cls)
    config._merge(mapping, place, is_new=True)
    if len(place.run.problems) == before:
        construction.report_missing(config, plan_of(cls), place)
    return INVALID if len(place.run.problems) > before else config


def merge(config: Any, mapping: Mapping[Any, Any], place: Place, is_new: bool = False) -> Any:
    """Changes the fields that `mapping` names; returns the config.

    Args:
        config: What to change.
        mapping: Nested, with dotted or indexed keys or without.
        place: Where, and the pass that collects problems and changes.
        is_new: The config is being built: a free-form one takes any key.
    """
    if config.is_locked:
        place.report(
            'the config is locked: no change is allowed', hint='change a copy: config.replace(...)'
        )
        return config
    for key, value in config._in_order(expand_keys(mapping, config._has_key)).items():
        merge_key(config, key, value, place, is_new, source_in(mapping, key))
    return config


def merge_key(config: Any, key: Any, value: Any, place: Place, is_new: bool, source: Any) -> None:
    """Changes one field."""
    name = key if isinstance(key, str) else str(key)
    here = place.child(name, source)
    if name in config.RESERVED_ATTR:
        here.report(f'The key {name!r} is internally reserved.', kinds=(KeyError,))
        return
    spec = config._spec(name)
    if spec is None:
        is_known = name in config.__dict__
        may_add = not place.run.is_strict or (is_new and config._is_free_form)
        if not is_known and not may_add:
            here.run.problems.append(unknown_key(config, name, here))
            return
    new = _read_value(config, name, value, here)
    if new is INVALID:
        return
    if new is not config.__dict__.get(name) or not hasattr(new, '_merge'):
        place.run.put(config.__dict__, name, new)
    if here.source is not None:
        place.run.put(config.__dict__['_sources'], name, here.source)


def _read_value(config: Any, name: str, value: Any, place: Place) -> Any:
    """Reads a value for a field, or for a key that no field declares."""
    spec, current = config._spec(name), config.__dict__.get(name)
    try:
        if spec is None:
            return config._free_checker.read(value, place, current)
        return config._read(spec, value, place, current)
    except RecursionError:
        return place.report('the value is nested too deeply', kinds=(ValueError, TypeError))


def unknown_key(config: Any, name: str, place: Place) -> errors.Problem:
    """Returns the problem of a key that the config does not have."""
    valid = list(config._keys())
    suggestion = errors.find_nearest(name, valid)
    hint = '' if suggestion else f'it has {errors.list_names(valid)}' if valid else 'it has no keys'
    return errors.Problem(
        path=place.path,
        message=f'The key {name!r} does not exist in {type(config).__name__}',
        source=place.source,
        suggestion=suggestion,
        hint=hint,
        kinds=(KeyError,),
    )
