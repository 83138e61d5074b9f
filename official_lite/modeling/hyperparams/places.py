"""One pass over a config: where it is, what it found, and how to undo it."""

from __future__ import annotations

from typing import Any

from official_lite.modeling.hyperparams import errors
from official_lite.modeling.hyperparams.sources import Source


class Invalid:
    """What a checker returns for a value that it has reported."""

    def __repr__(self) -> str:
        return 'INVALID'

    def __bool__(self) -> bool:
        return False


INVALID = Invalid()
MISSING = type('Missing', (), {'__repr__': lambda self: '(absent)'})()


class Pass:
    """Collects the problems and the changes of one assignment, construction, override or check.

    Args:
        is_strict: Unknown keys are problems; otherwise they become new keys.
        is_whole: The mapping is a whole config, not a change to one: free-form values and lists
            are replaced, and a nested config may be of a subclass that has the mapping's keys.
        replaces_dicts: A mapping for a `Dict` field replaces the old one instead of updating it.
        adopts: Config objects are checked and kept as they are, neither copied nor merged.
    """

    __slots__ = (
        'adopts',
        'is_strict',
        'is_whole',
        'journal',
        'notices',
        'problems',
        'replaces_dicts',
    )

    def __init__(
        self,
        *,
        is_strict: bool = True,
        is_whole: bool = False,
        replaces_dicts: bool = False,
        adopts: bool = False,
    ) -> None:
        self.is_strict = is_strict
        self.is_whole = is_whole
        self.replaces_dicts = replaces_dicts or is_whole
        self.adopts = adopts
        self.problems: list[errors.Problem] = []
        self.notices: list[str] = []
        self.journal: list[tuple[dict[Any, Any], Any, Any]] = []

    def put(self, target: dict[Any, Any], key: Any, value: Any) -> None:
        """Sets `target[key]` in a way that `undo` can take back."""
        self.journal.append((target, key, target.get(key, MISSING)))
        target[key] = value

    def drop(self, target: dict[Any, Any], key: Any) -> None:
        """Removes `target[key]`, if there, in a way that `undo` can take back."""
        if key in target:
            self.journal.append((target, key, target[key]))
            del target[key]

    def undo(self, mark: int = 0) -> None:
        """Takes back the changes made since the journal had `mark` entries."""
        while len(self.journal) > mark:
            target, key, old = self.journal.pop()
            if old is MISSING:
                target.pop(key, None)
            else:
                target[key] = old

    def finish(self) -> None:
        """Raises what was found, after taking every change back; else logs the notices."""
        if self.problems:
            self.undo()
            raise errors.make_error(self.problems)
        if self.notices:
            import logging

            for notice in self.notices:
                logging.getLogger('official_lite').warning('%s', notice)


class Place:
    """A dotted path within one pass, and who wrote the value that is being read there."""

    __slots__ = ('path', 'run', 'source')

    def __init__(self, run: Pass, path: str = '', source: Source | None = None) -> None:
        self.run = run
        self.path = path
        self.source = source

    def child(self, name: object, source: Source | None = None) -> Place:
        """Returns the place of a field."""
        path = f'{self.path}.{name}' if self.path else str(name)
        return Place(self.run, path, source or self.source)

    def item(self, index: int, source: Source | None = None) -> Place:
        """Returns the place of a list element."""
        return Place(self.run, f'{self.path}[{index}]', source or self.source)

    def scratch(self) -> Place:
        """Returns the same place in a pass of its own, for a trial."""
        run = Pass(
            is_strict=self.run.is_strict,
            is_whole=self.run.is_whole,
            replaces_dicts=self.run.replaces_dicts,
            adopts=self.run.adopts,
        )
        return Place(run, self.path, self.source)

    def report(
        self,
        message: str = '',
        *,
        expected: str = '',
        received: str = '',
        suggestion: str = '',
        hint: str = '',
        kinds: tuple[type[Exception], ...] = (ValueError,),
    ) -> Invalid:
        """Notes a problem here."""
        problem = errors.Problem(
            self.path, message, expected, received, self.source, suggestion, hint, kinds
        )
        self.run.problems.append(problem)
        return INVALID

    def reject(self, value: object, expected: str, hint: str = '') -> Invalid:
        """Notes that `value` is not of the expected type."""
        kinds = (TypeError, ValueError) if isinstance(value, str) else (TypeError,)
        received = errors.describe(value)
        return self.report(expected=expected, received=received, hint=hint, kinds=kinds)

    def notice(self, text: str) -> None:
        """Notes something that is accepted but worth telling."""
        origin = f' (from {self.source})' if self.source else ''
        self.run.notices.append(f'{self.path}: {text}{origin}')
