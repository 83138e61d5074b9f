"""An untyped parameter dictionary with attribute access, and the functions that read and write it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from official_lite.modeling.hyperparams import errors, restrictions
from official_lite.modeling.hyperparams.overrides import (
    nested_csv_str_to_json_str,
    parse_override,
    read_overrides,
)
from official_lite.modeling.hyperparams.sources import Source, as_source
from official_lite.modeling.hyperparams.values import to_python
from official_lite.modeling.hyperparams.yaml_files import dump_yaml, load_yaml, write_text

__all__ = [
    'ParamsDict',
    'nested_csv_str_to_json_str',
    'override_params_dict',
    'parse_override',
    'read_yaml_to_params_dict',
    'save_params_dict_to_yaml',
]


class ParamsDict:
    """Parameters by name, nested, without declared types.

    Args:
        default_params: The parameters, as a dict or another ParamsDict.
        restrictions: Relations such as `'a.b <= c'`, which `validate` checks.
    """

    RESERVED_ATTR: ClassVar[list[str]] = ['_locked', '_restrictions', '_sources']

    def __init__(
        self,
        default_params: Mapping[str, Any] | ParamsDict | None = None,
        restrictions: list[str] | None = None,
    ) -> None:
        self.__dict__['_locked'] = False
        self.__dict__['_restrictions'] = list(restrictions or [])
        if default_params is not None:
            self.override(default_params, is_strict=False)

    def _keys(self) -> Iterator[str]:
        """Yields the names of the parameters."""
        for key in self.__dict__:
            if key not in self.RESERVED_ATTR:
                yield key

    def _set(self, key: str, value: Any) -> None:
        value = to_python(value)
        if isinstance(value, dict):
            value = ParamsDict(value)
        self.__dict__[key] = copy.deepcopy(value)

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in self.RESERVED_ATTR:
            if key not in self.__dict__:
                hint = '`override` with `is_strict=False` adds keys'
                raise errors.make_error([self._unknown(key, hint=hint)])
            self._require_unlocked()
        self._set(key, value)

    def __getattr__(self, key: str) -> Any:
        if key.startswith('__'):
            raise AttributeError(key)
        raise errors.make_error([self._unknown(key, kinds=(AttributeError,))])

    def __delattr__(self, key: str) -> None:
        if key in self.RESERVED_ATTR:
            message = f'The key {key!r} is internally reserved.'
            raise errors.make_error([errors.Problem(message=message, kinds=(AttributeError,))])
        if key not in self.__dict__:
            raise errors.make_error([self._unknown(key, kinds=(AttributeError,))])
        self._require_unlocked()
        del self.__dict__[key]

    def __contains__(self, key: object) -> bool:
        return key in self.__dict__ and key not in self.RESERVED_ATTR

    def __repr__(self) -> str:
        inside = ', '.join(f'{key}={self.__dict__[key]!r}' for key in self._keys())
        return f'{type(self).__name__}({inside})'

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]

    def get(self, key: str, value: Any = None) -> Any:
        """Returns the parameter, or `value` if there is none of that name."""
        return self.__dict__[key] if key in self else value

    def _unknown(
        self, key: str, hint: str = '', kinds: tuple[type[Exception], ...] = (KeyError,)
    ) -> errors.Problem:
        return errors.Problem(
            path=key,
            message=f'The key {key!r} does not exist in {type(self).__name__}',
            suggestion=errors.find_nearest(key, self._keys()),
            hint=hint,
            kinds=kinds,
        )

    def _require_unlocked(self) -> None:
        if self._locked:
            problem = errors.Problem(
                message=f'The {type(self).__name__} has been locked: no change is allowed',
                hint='change a copy: config.replace(...)',
            )
            raise errors.make_error([problem])

    def override(
        self,
        override_params: Mapping[str, Any] | ParamsDict,
        is_strict: bool = True,
        source: Source | str | None = None,
    ) -> None:
        """Changes the parameters that a nested mapping names.

        Args:
            override_params: What to change.
            is_strict: Unknown keys are errors; otherwise they are added.
            source: Who asks for it; kept by typed configs.

        Raises:
            ConfigError: The object is locked (also a ValueError), or a key is unknown (also a KeyError).
        """
        self._require_unlocked()
        if isinstance(override_params, ParamsDict):
            override_params = override_params.as_dict()
        self._override(override_params, is_strict)

    def _override(self, params: Mapping[str, Any], is_strict: bool = True) -> None:
        for key, value in params.items():
            if key in self.RESERVED_ATTR:
                message = f'The key {key!r} is internally reserved.'
                raise errors.make_error([errors.Problem(message=message, kinds=(KeyError,))])
            if isinstance(value, ParamsDict):
                value = value.as_dict()
            current = self.__dict__.get(key)
            if key not in self.__dict__ and is_strict:
                hint = '`override` with `is_strict=False` adds keys'
                raise errors.make_error([self._unknown(key, hint=hint)])
            if isinstance(value, dict) and isinstance(current, ParamsDict):
                current._override(value, is_strict)
            else:
                self._set(key, value)

    def lock(self) -> None:
        """Makes the object and everything in it immutable."""
        from official_lite.modeling.hyperparams import freezing

        # A branch that was registered since is made, and locked, when it is asked for.
        for key in [key for key in self._keys() if key in self.__dict__]:
            self.__dict__[key] = freezing.freeze(self.__dict__[key])
        self.__dict__['_locked'] = True

    @property
    def is_locked(self) -> bool:
        """Whether changes are refused."""
        return bool(self.__dict__.get('_locked', False))

    def _copy_unlocked(self) -> ParamsDict:
        from official_lite.modeling.hyperparams import freezing

        new = object.__new__(type(self))
        new.__dict__['_locked'] = False
        new.__dict__['_restrictions'] = list(self._restrictions)
        for key in self._keys():
            new.__dict__[key] = freezing.thaw(self.__dict__[key])
        return new

    def __copy__(self) -> ParamsDict:
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> ParamsDict:
        new = self._copy_unlocked()
        memo[id(self)] = new
        if self.is_locked:
            new.lock()
        return new

    def as_dict(self) -> dict[str, Any]:
        """Returns the parameters as a nested dict that shares nothing with this object."""
        from official_lite.modeling.hyperparams import values

        return {key: values.export(self.__dict__[key]) for key in self._keys()}

    def validate(self) -> None:
        """Checks the restrictions.

        Raises:
            ConfigError: A restriction does not hold or names no parameter (also a KeyError), or is
                no relation (also a ValueError). All of them are listed.
        """
        errors.raise_problems(restrictions.find_problems(self, self._restrictions))


P = TypeVar('P', bound=ParamsDict)


def override_params_dict(
    params: P,
    dict_or_string_or_yaml_file: Any,
    is_strict: bool = True,
    source: Source | str | None = None,
) -> P:
    """Changes `params` by what a mapping, a text or a file says.

    Args:
        params: The object to change, in place.
        dict_or_string_or_yaml_file: A nested mapping or ParamsDict; `'a.b=1,c=[1,2]'`; YAML or JSON
            text; or the path of a YAML or JSON file.
        is_strict: Unknown keys are errors.
        source: Who asks for it, such as `'--params_override'`.

    Returns:
        `params`.

    Raises:
        ConfigError: A problem with the input or a value. Also a FileNotFoundError for a missing
            file, a ValueError for text that is none of the above.
    """
    given = dict_or_string_or_yaml_file
    if given is None or (not isinstance(given, ParamsDict) and not given):
        return params
    origin = as_source(source)
    if not isinstance(given, (Mapping, ParamsDict)):
        given = read_overrides(given, origin)
    params.override(given, is_strict, origin)
    return params


def read_yaml_to_params_dict(file_path: str) -> ParamsDict:
    """Returns the contents of a YAML file as an untyped ParamsDict."""
    return ParamsDict(load_yaml(file_path))


def save_params_dict_to_yaml(params: ParamsDict, file_path: str) -> None:
    """Writes a config to a YAML file that any YAML reader understands."""
    tree = params.to_dict() if hasattr(params, 'to_dict') else params.as_dict()
    write_text(file_path, dump_yaml(tree))
