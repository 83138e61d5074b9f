"""The checker of nested configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from official_lite.modeling.hyperparams.checkers import Checker
from official_lite.modeling.hyperparams.places import Place
from official_lite.modeling.hyperparams.sources import Elements, SourcedDict, source_in

CLASS_KEY = '_class'


class ConfigChecker(Checker):
    """A nested config: an object of the annotated class, or a mapping that changes or builds one.

    Objects are copied, so that two configs never share one.
    """

    def __init__(self, config_class: Any) -> None:
        self.config_class = config_class
        self.expected = config_class.__name__

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if isinstance(value, self.config_class):
            return value if place.run.adopts else value._copy_unlocked()
        is_config = hasattr(value, 'as_dict') and not isinstance(value, type)
        if is_config and getattr(value, '_is_free_form', True):
            value = value.as_dict()
        if not isinstance(value, Mapping) or isinstance(value, Elements):
            return place.reject(value, f'{self.expected} (a mapping)')
        if CLASS_KEY in value:
            return self._read_named(value, place, current)
        if place.run.is_whole:
            default = type(current) if isinstance(current, self.config_class) else None
            return infer_class(self.config_class, default, value)._build(value, place)
        if isinstance(current, self.config_class):
            return current._merge(value, place)
        return self.config_class._build(value, place)

    def _read_named(self, value: Mapping[Any, Any], place: Place, current: Any) -> Any:
        """Reads a mapping that names its class, as `to_dict` writes it where the keys do not tell."""
        name = str(value[CLASS_KEY])
        rest = without_class(value)
        found = find_class(self.config_class, name)
        if found is None:
            return place.child(CLASS_KEY, source_in(value, CLASS_KEY)).report(
                f'no config class {name!r} is known',
                expected=f'{self.expected} or an imported subclass of it',
                hint='import the module that defines it',
                kinds=(LookupError, TypeError),
            )
        if type(current) is found and not place.run.is_whole:
            return current._merge(rest, place)
        return found._build(rest, place)


def without_class(value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Returns the mapping without the name of its class, sources kept."""
    rest = SourcedDict()
    for key, item in value.items():
        if key != CLASS_KEY:
            rest.put(key, item, source_in(value, key))
    return rest


def class_name(config_class: type) -> str:
    """Returns the name that `find_class` looks up."""
    return f'{config_class.__module__}:{config_class.__qualname__}'


def find_class(base: Any, name: str) -> Any:
    """Returns `base` or the imported subclass of it that is called `name`, else None."""
    for candidate in (base, *all_subclasses(base)):
        if class_name(candidate) == name:
            return candidate
    return None


def all_subclasses(base: type) -> list[Any]:
    """Returns every imported subclass, nearest first, in the order of their definition."""
    found: list[Any] = []
    level: list[Any] = [base]
    while level:
        level = [sub for cls in level for sub in cls.__subclasses__()]
        found += [cls for cls in level if cls not in found]
    return found


def infer_class(base: Any, default: Any, value: Mapping[Any, Any]) -> Any:
    """Returns the class that a whole mapping without a class name was written from.

    That is the present object's class or the annotated one, if it has all the keys; else the
    subclass with the fewest other fields that has them; else the first again, so that the unknown
    keys are reported.
    """
    first = default or base
    keys = {key for key in value if isinstance(key, str)}
    for candidate in (first, base):
        if candidate._accepts(keys):
            return candidate
    fitting = [cls for cls in all_subclasses(base) if cls._accepts(keys)]
    if not fitting:
        return first
    return min(fitting, key=lambda cls: len(cls._field_names()))
