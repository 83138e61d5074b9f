"""Lists and dicts of a locked config: they compare, print and copy like the plain ones, but refuse changes."""

from __future__ import annotations

from typing import Any, NoReturn

from official_lite.modeling.hyperparams import errors


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    kind = 'list' if isinstance(self, list) else 'dict'
    problem = errors.Problem(
        message=f'this {kind} belongs to a locked config: no change is allowed',
        hint='change a copy: config.replace(...)',
        kinds=(TypeError, ValueError),
    )
    raise errors.make_error([problem])


class FrozenList(list[Any]):
    """A list that cannot be changed. Copies are plain lists."""

    __slots__ = ()
    append = extend = insert = remove = clear = sort = reverse = _refuse
    pop = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def copy(self) -> list[Any]:
        """Returns a plain list."""
        return list(self)

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        import copy

        return [copy.deepcopy(item, memo) for item in self]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


class FrozenDict(dict[Any, Any]):
    """A dict that cannot be changed. Copies are plain dicts."""

    __slots__ = ()
    update = setdefault = popitem = clear = _refuse
    pop = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def copy(self) -> dict[Any, Any]:
        """Returns a plain dict."""
        return dict(self)

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        import copy

        return {key: copy.deepcopy(item, memo) for key, item in self.items()}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


def freeze(value: Any) -> Any:
    """Returns `value` with every list, dict and nested config in it made immutable."""
    if isinstance(value, list):
        return FrozenList(freeze(item) for item in value)
    if isinstance(value, tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, dict):
        return FrozenDict((key, freeze(item)) for key, item in value.items())
    if hasattr(value, 'lock'):
        value.lock()
    return value


def thaw(value: Any) -> Any:
    """Returns a deep copy of `value` in which everything can be changed again."""
    if isinstance(value, list):
        return [thaw(item) for item in value]
    if isinstance(value, tuple):
        return tuple(thaw(item) for item in value)
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if hasattr(value, '_copy_unlocked'):
        return value._copy_unlocked()
    return value
