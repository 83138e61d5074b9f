"""Checkers of lists, tuples, dicts and unions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from official_lite.modeling.hyperparams import errors, scalars
from official_lite.modeling.hyperparams.checkers import Checker, is_none
from official_lite.modeling.hyperparams.places import INVALID, Place
from official_lite.modeling.hyperparams.sources import Elements, Plain, source_in


def read_elements(
    values: Any, place: Place, checkers: list[Checker], kind: type, current: Any = None
) -> Any:
    """Reads each element; returns `values` itself if nothing changed in a pass that adopts.

    Mappings change the present elements where their number is the same, as in Model Garden.
    """
    merges = (
        isinstance(current, (list, tuple))
        and len(current) == len(values)
        and not place.run.is_whole
        and not place.run.adopts
    )
    read = []
    for index, (value, checker) in enumerate(zip(values, checkers)):
        if type(value) in checker.exact:
            read.append(value)
            continue
        old = current[index] if merges else None
        read.append(checker.read(value, place.item(index, source_in(values, index)), old))
    if any(value is INVALID for value in read):
        return INVALID
    if place.run.adopts and isinstance(values, kind) and _same_objects(read, values):
        return values
    return kind(read)


def _same_objects(left: Any, right: Any) -> bool:
    return all(a is b for a, b in zip(left, right))


def read_indexed(elements: Elements, place: Place, item: Checker, current: Any) -> Any:
    """Replaces single elements of the present list; the index after the last one appends."""
    values = list(current or ())
    is_valid = True
    for index in sorted(elements):
        here = place.item(index, source_in(elements, index))
        if index > len(values):
            here.report(
                f'there is no element {index}',
                expected=f'an index up to {len(values)}, which appends',
                kinds=(IndexError, ValueError),
            )
            is_valid = False
            continue
        old = values[index] if index < len(values) else None
        value = item.read(elements[index], here, old)
        is_valid = is_valid and value is not INVALID
        values[index : index + 1] = [value]
    return values if is_valid else INVALID


class SequenceChecker(Checker):
    """`list[X]`, `tuple[X, ...]` and `Sequence[X]`.

    Args:
        item: Reads each element.
        kind: list or tuple; None keeps what was given.
    """

    def __init__(self, item: Checker, kind: type | None) -> None:
        self.item = item
        self.kind = kind
        self.expected = f'{"tuple" if kind is tuple else "list"} of {item.expected}'

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if isinstance(value, Elements):
            values = read_indexed(value, place, self.item, current)
            kind = self.kind or (tuple if isinstance(current, tuple) else list)
            return values if values is INVALID else kind(values)
        if isinstance(value, (list, tuple)):
            kind = self.kind or (tuple if isinstance(value, tuple) else list)
            return read_elements(value, place, [self.item] * len(value), kind, current)
        if isinstance(value, str) and str in self.item.exact and not _is_nothing(value):
            place.notice(f'one string where a list is expected; taken as [{str(value)!r}]')
            return (self.kind or list)([str(value)])
        hint = (
            'write it in brackets, such as [1, 2]' if isinstance(value, (str, int, float)) else ''
        )
        return place.reject(value, self.expected, hint)


def _is_nothing(value: str) -> bool:
    return isinstance(value, Plain) and scalars.is_null(value)


class TupleChecker(Checker):
    """`tuple[X, Y]`: a fixed number of elements, each of its own type."""

    def __init__(self, items: list[Checker]) -> None:
        self.items = items
        inside = ', '.join(item.expected for item in items)
        self.expected = f'tuple of {len(items)} ({inside})'

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if isinstance(value, Elements):
            return self._read_indexed(value, place, current)
        if not isinstance(value, (list, tuple)):
            return place.reject(value, self.expected)
        if len(value) != len(self.items):
            received = f'{len(value)} elements: {errors.describe(value)}'
            return place.report(
                expected=self.expected, received=received, kinds=(TypeError, ValueError)
            )
        return read_elements(value, place, self.items, tuple, current)

    def _read_indexed(self, elements: Elements, place: Place, current: Any) -> Any:
        values = list(current or ())
        for index in sorted(elements):
            here = place.item(index, source_in(elements, index))
            if index >= len(values):
                return here.report(
                    f'there is no element {index}',
                    expected=self.expected,
                    kinds=(IndexError, ValueError),
                )
            values[index] = self.items[index].read(elements[index], here, values[index])
        return INVALID if any(value is INVALID for value in values) else tuple(values)


class DictChecker(Checker):
    """`dict[K, V]`: stays a dict; an override updates it key by key."""

    def __init__(self, key: Checker, value: Checker) -> None:
        self.key = key
        self.value = value
        self.expected = f'dict of {key.expected} to {value.expected}'

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if hasattr(value, 'as_dict'):
            value = value.as_dict()
        if not isinstance(value, Mapping) or isinstance(value, Elements):
            return place.reject(value, self.expected)
        old = current if isinstance(current, dict) and not place.run.replaces_dicts else {}
        read = dict(old)
        is_same, is_valid = True, True
        for key, item in value.items():
            here = place.child(key, source_in(value, key))
            new_key = key if type(key) in self.key.exact else self._read_key(key, here)
            new = item
            if type(item) not in self.value.exact:
                new = self.value.read(item, here, old.get(new_key))
            is_same = is_same and new is item and new_key is key
            is_valid = is_valid and new is not INVALID and new_key is not INVALID
            if is_valid:
                read[new_key] = new
        if not is_valid:
            return INVALID
        return value if place.run.adopts and is_same and isinstance(value, dict) else read

    def _read_key(self, key: Any, place: Place) -> Any:
        """Reads a key; text is a name where names are keys, and else what it looks like (JSON)."""
        if not isinstance(key, str):
            return self.key.read(key, place)
        return str(key) if str in self.key.exact else self.key.read(Plain(key), place)


class UnionChecker(Checker):
    """`Optional[X]` and `Union[...]`: the member that the value fits exactly, else the first that reads it."""

    def __init__(self, members: list[Checker]) -> None:
        self.members = members
        self.exact = frozenset().union(*(member.exact for member in members))
        self.allows_none = type(None) in self.exact
        names = [m.expected for m in members if type(None) not in m.exact]
        if self.allows_none:
            names.append('None')
        self.expected = ' or '.join(names)

    def read(self, value: Any, place: Place, current: Any = None) -> Any:
        if type(value) in self.exact:
            return value
        if isinstance(value, Plain):
            if self.allows_none and is_none(value):
                return None
            free = scalars.parse_free(value)
            if type(free) in self.exact and not isinstance(free, str):
                return free
        return self._read_first(value, place, current)

    def _read_first(self, value: Any, place: Place, current: Any) -> Any:
        candidates = [m for m in self._by_kind(value) if type(None) not in m.exact]
        if len(candidates) == 1:
            return self._read_single(candidates[0], value, place, current)
        for member in candidates:
            trial = place.scratch()
            read = member.read(value, trial, current)
            if read is not INVALID and not trial.run.problems:
                place.run.journal += trial.run.journal
                place.run.notices += trial.run.notices
                return read
            trial.run.undo()
        return place.reject(value, self.expected)

    def _read_single(self, member: Checker, value: Any, place: Place, current: Any) -> Any:
        """Reads with the only member that can, so that the problems name the place inside it."""
        before = len(place.run.problems)
        read = member.read(value, place, current)
        found = place.run.problems[before:]
        if read is INVALID and len(found) == 1 and found[0].path == place.path:
            same = found[0].expected == member.expected
            if same and member.expected != self.expected:
                del place.run.problems[before:]
                return place.reject(value, self.expected, found[0].hint)
        return read

    def _by_kind(self, value: Any) -> list[Checker]:
        """Returns the members that could read this kind of value, text last."""
        mappings = [m for m in self.members if reads_mappings(m)]
        sequences: list[Checker] = [
            m for m in self.members if isinstance(m, (SequenceChecker, TupleChecker))
        ]
        if isinstance(value, (Elements, list, tuple)):
            return sequences or self.members
        if isinstance(value, Mapping) or hasattr(value, 'as_dict'):
            return mappings or self.members
        members = self.members
        if isinstance(value, str) and str in self.exact:
            members = [
                m for m in members if m not in sequences
            ]  # text is itself, not a list of one
        return sorted(members, key=lambda member: str in member.exact)


def reads_mappings(checker: Checker) -> bool:
    """Whether the checker takes mappings (a nested config, or a dict)."""
    return isinstance(checker, DictChecker) or hasattr(checker, 'config_class')
