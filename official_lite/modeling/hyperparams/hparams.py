"""`HParams`: hyperparameters by name, with the behaviour of `tf.contrib.training.HParams`.

    hparams = HParams(learning_rate=0.0003, load_pretrained=True, layers=[1, 2])
    hparams.parse('load_pretrained=false,learning_rate=0.001,layers=[1,2],layers[0]=3')
    hparams.layers  # [3, 2]

A value keeps the type of its default: what is set later is cast to it where nothing is lost, and
refused otherwise. Beyond what contrib's class does, an index sets one element (the one after the last
appends), text may be quoted, several problems are reported at once and then nothing is changed, and an
attribute that is no hyperparameter cannot be set by mistake.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Self

from official_lite.modeling.hyperparams import errors, hparam_types, overrides
from official_lite.modeling.hyperparams.hparam_types import HParamType

__all__ = ['HParams']


class HParams:
    """Hyperparameters with types. Those of one name are one value, or a list of one type.

    Args:
        defaults: Names and values; for names that are no Python identifiers.
        **kwargs: Names and values.

    Raises:
        ConfigError: A name is taken or a list is empty (also a ValueError).
    """

    def __init__(self, defaults: Mapping[str, Any] | None = None, /, **kwargs: Any) -> None:
        self.__dict__['_types'] = {}
        self.__dict__['_values'] = {}
        for name, value in {**(defaults or {}), **kwargs}.items():
            self.add_hparam(name, value)

    def add_hparam(self, name: str, value: Any) -> None:
        """Adds a hyperparameter; its type is that of the value.

        Args:
            name: Its name, which no other one and no method has.
            value: Its default. A list must not be empty, and its first element decides the type.

        Raises:
            ConfigError: The name is taken, or the list is empty (also a ValueError).
        """
        if name in self._types or name.startswith('_') or hasattr(type(self), name):
            _fail(name, 'Hyperparameter name is reserved')
        if isinstance(value, (list, tuple)) and not value:
            _fail(name, 'Multi-valued hyperparameters cannot be empty')
        self._types[name] = HParamType.of(value)
        self._values[name] = list(value) if isinstance(value, tuple) else value

    def set_hparam(self, name: str, value: Any) -> None:
        """Sets a hyperparameter to a value of its type.

        Raises:
            ConfigError: There is none of this name (also a KeyError), or the value is not of its
                type (also a ValueError).
        """
        self._change([(name, value)])

    def del_hparam(self, name: str) -> None:
        """Removes a hyperparameter; without one of this name, nothing happens."""
        self._types.pop(name, None)
        self._values.pop(name, None)

    def parse(self, values: str) -> Self:
        """Sets what a text says: `'rate=0.1,layers=[1,2],layers[0]=3,name=resnet'`.

        Values are read as the types of the defaults; a hyperparameter whose default is None takes
        any value.

        Returns:
            This object.

        Raises:
            ConfigError: With every problem found: unknown names (also a KeyError), values that do
                not fit, names set twice, malformed text (also a ValueError).
        """
        self._change(_read_pairs(values), is_text=True)
        return self

    def parse_json(self, values_json: str) -> Self:
        """Sets what a JSON object says; see `override_from_dict`."""
        try:
            values = json.loads(values_json)
        except ValueError as error:
            _fail('', f'malformed JSON: {error}')
        return self.override_from_dict(values)

    def override_from_dict(self, values_dict: Mapping[str, Any]) -> Self:
        """Sets what a mapping says.

        Returns:
            This object.

        Raises:
            ConfigError: With every problem found; nothing is changed then.
        """
        if not isinstance(values_dict, Mapping):
            _fail('', expected='a mapping', received=errors.describe(values_dict))
        self._change(values_dict.items())
        return self

    def values(self) -> dict[str, Any]:
        """Returns all names and values; changing the dict changes nothing here."""
        return {name: list(v) if isinstance(v, list) else v for name, v in self._values.items()}

    def to_json(
        self,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """Returns `values()` as JSON; the arguments are those of `json.dumps`."""
        return json.dumps(self.values(), indent=indent, separators=separators, sort_keys=sort_keys)

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a hyperparameter, or `default` if there is none of this name.

        Raises:
            ConfigError: The default is not of the hyperparameter's type (also a ValueError).
        """
        if key not in self._types:
            return default
        if default is not None:
            kind = self._types[key]
            try:
                kind.cast(default)
            except ValueError:
                _fail(key, f'type {kind} is incompatible with default={default!r}')
        return self._values[key]

    def __contains__(self, key: object) -> bool:
        return key in self._types

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or '_values' not in self.__dict__:
            raise AttributeError(name)
        if name not in self._values:
            raise errors.make_error([self._unknown(name, kinds=(AttributeError,))])
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._types:
            raise errors.make_error(
                [self._unknown(name, kinds=(AttributeError, KeyError), hint='add_hparam adds one')]
            )
        self.set_hparam(name, value)

    def __delattr__(self, name: str) -> None:
        if name not in self._types:
            raise errors.make_error([self._unknown(name, kinds=(AttributeError, KeyError))])
        self.del_hparam(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._types})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HParams):
            return NotImplemented
        return self.values() == other.values()

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return str(sorted(self.values().items()))

    def __repr__(self) -> str:
        inside = ', '.join(f'{name}={value!r}' for name, value in self.values().items())
        return f'{type(self).__name__}({inside})'

    def _unknown(
        self,
        name: str,
        kinds: tuple[type[Exception], ...] = (KeyError, ValueError),
        hint: str = '',
    ) -> errors.Problem:
        return errors.Problem(
            path=name,
            message='Unknown hyperparameter',
            suggestion=errors.find_nearest(name, self._types),
            hint=hint,
            kinds=kinds,
        )

    def _change(self, pairs: Iterable[tuple[str, Any]], is_text: bool = False) -> None:
        """Sets names, or elements such as `layers[0]`, in order: all of them, or after a problem none."""
        new = self.values()
        problems = []
        for key, value in pairs:
            name, index = hparam_types.split_index(key) if is_text else (key, None)
            if name not in self._types:
                problems.append(self._unknown(name))
                continue
            kind = self._types[name]
            try:
                if index is not None:
                    new[name] = kind.replace_element(new[name], index, value)
                else:
                    new[name] = kind.read(value) if is_text else kind.cast(value)
            except ValueError as error:
                problems.append(errors.Problem(path=key, message=str(error)))
        errors.raise_problems(problems)
        self.__dict__['_values'] = new


def _read_pairs(text: str) -> list[tuple[str, Any]]:
    """Returns names (with an index, if one is given) and parsed values in order.

    Raises:
        ConfigError: The text is malformed, or sets something twice.
    """
    if not isinstance(text, str):
        _fail('', expected='a text such as a=1,b=2', received=errors.describe(text))
    pairs: dict[str, Any] = {}
    for key, value in overrides.iterate_pairs(text):
        is_late = any(hparam_types.split_index(known)[0] == key for known in pairs)
        if key in pairs or is_late:
            _fail(key, 'Multiple assignment to variable')
        pairs[key] = value
    return list(pairs.items())


def _fail(path: str, message: str = '', *, expected: str = '', received: str = '') -> NoReturn:
    problem = errors.Problem(path=path, message=message, expected=expected, received=received)
    raise errors.make_error([problem])
