"""A typed config, seen as `HParams`: every leaf is a hyperparameter by its dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, Self

from official_lite.modeling.hyperparams import errors, hparams, short_names, tree
from official_lite.modeling.hyperparams.sources import Source, find_caller

__all__ = ['ConfigHParams']


class ConfigHParams(hparams.HParams):
    """An HParams view of a copy of a config, which `to_config` gives back.

    Names are dotted paths, their unique endings, and the short names of the task; values are checked
    by the declared types of the fields. Attributes are those of the config:
    `view.task.model.num_classes`.

    Args:
        config: The config. It stays as it is.
    """

    def __init__(self, config: Any) -> None:
        self.__dict__['_config'] = config.replace()

    def to_config(self) -> Any:
        """Returns the config, with all changes, of the class that it was made from."""
        return self._config.replace()

    def values(self) -> dict[str, Any]:
        """Returns path and value of every leaf; of a OneOf, of the chosen branch."""
        from official_lite.modeling.hyperparams import values

        return {path: values.export(value) for path, value, _ in tree.leaves(self._config)}

    def add_hparam(self, name: str, value: Any) -> None:
        """Refused: the fields of a config are those that its class declares."""
        self._refuse(name, 'added')

    def del_hparam(self, name: str) -> None:
        """Refused, as `add_hparam` is."""
        self._refuse(name, 'deleted')

    def parse(self, values: str) -> Self:
        """Sets what a text says, by paths or short names; see `short_names.override_by_names`."""
        short_names.override_by_names(self._config, values, find_caller())
        return self

    def override_from_dict(self, values_dict: Mapping[str, Any]) -> Self:
        """Sets what a mapping of paths, nested or not, says. `values()` of such a config fits."""
        self._config.override(values_dict, source=find_caller())
        return self

    def set_hparam(self, name: str, value: Any) -> None:
        """Sets one field, by its path or a short name."""
        short_names.override_by_names(self._config, {name: value}, find_caller())

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value at a path, or `default` if there is no such leaf."""
        return self.values().get(key, default)

    def source_of(self, path: str) -> Source | None:
        """Returns who set the value at a path."""
        return tree.source_of(self._config, path)

    def __contains__(self, key: object) -> bool:
        return key in self.values()

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or '_config' not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._config, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.set_hparam(name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse(name, 'deleted')

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._config._keys()})

    def __repr__(self) -> str:
        inside = ', '.join(f'{path}={value!r}' for path, value in self.values().items())
        return f'{type(self).__name__}({inside})'

    def _refuse(self, name: str, what: str) -> NoReturn:
        message = f'a field of a {type(self._config).__name__} cannot be {what}'
        raise errors.make_error([errors.Problem(path=name, message=message)])
