"""Mappings where no annotation says what they hold."""

from __future__ import annotations

from typing import Any

from official_lite.modeling.hyperparams import base_config, containers
from official_lite.modeling.hyperparams.config_checker import CLASS_KEY, ConfigChecker
from official_lite.modeling.hyperparams.params_dict import ParamsDict
from official_lite.modeling.hyperparams.places import INVALID, Place
from official_lite.modeling.hyperparams.sources import Elements, source_in
from official_lite.modeling.hyperparams.values import to_python


def read_mapping(value: Any, place: Place, current: Any, checker: Any) -> Any:
    """Reads a mapping (or a config object) for a free-form field or a value of a `Dict` field."""
    if isinstance(value, Elements):
        return _read_elements(value, place, current, checker)
    if isinstance(value, base_config.Config) or CLASS_KEY in value:
        return _CONFIG.read(value, place, None)
    if isinstance(value, ParamsDict):
        value = value.as_dict()
    if checker.makes_configs:
        return _CONFIG.read(value, place, current)
    read = {}
    for key, item in value.items():
        read[to_python(key)] = checker.read(item, place.child(key, source_in(value, key)))
    if any(item is INVALID for item in read.values()):
        return INVALID
    is_same = place.run.adopts and all(read[key] is value.get(key) for key in read)
    return value if is_same else read


def _read_elements(value: Elements, place: Place, current: Any, checker: Any) -> Any:
    if not isinstance(current, (list, tuple)) and current is not None:
        return place.report('an index is given, but the value is no list', kinds=(TypeError,))
    return containers.read_indexed(value, place, checker, current)


_CONFIG = ConfigChecker(base_config.Config)

__all__ = ['ParamsDict', 'read_mapping']
