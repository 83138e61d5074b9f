"""Users' own modules: `--import`, entry points, and which of them were imported."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterable

from official_lite import errors

__all__ = ['GROUP', 'describe', 'import_modules', 'imported', 'load_entry_points']

GROUP = 'official_lite.plugins'


class _State:
    """What has been imported, in this process."""

    def __init__(self) -> None:
        self.imported: list[str] = []
        self.entry_points: list[str] = []
        self.broken: list[str] = []
        self.has_loaded_entry_points = False


_state = _State()


def import_modules(names: Iterable[str], source: str = '--import') -> None:
    """Imports modules, whose registrations then count. The current folder is searched too.

    Args:
        names: Dotted names of modules.
        source: Who asks for them, for messages.

    Raises:
        UsageError: If a module does not exist, or fails while it is imported.
    """
    for name in names:
        _import_module(name, source)
        if name not in _state.imported:
            _state.imported.append(name)


def imported() -> list[str]:
    """Names of the modules that `import_modules` has imported, in this order."""
    return list(_state.imported)


def load_entry_points() -> None:
    """Loads every entry point of the group `official_lite.plugins`, once per process.

    An entry point names a module, or a function without arguments that is called. One that fails
    gives a warning, since the run at hand may not need it.
    """
    if _state.has_loaded_entry_points:
        return
    _state.has_loaded_entry_points = True
    from importlib import metadata  # takes 10 ms

    found = metadata.entry_points(group=GROUP)
    for entry_point in sorted(found, key=lambda point: point.name):
        label = f'{entry_point.name} = {entry_point.value}'
        try:
            loaded = entry_point.load()
            if entry_point.attr:
                loaded()
        except Exception as error:  # any bug of a foreign package
            _state.broken.append(label)
            warnings.warn(f'plugin {label} failed: {_describe_error(error)}', stacklevel=2)
        else:
            _state.entry_points.append(label)


def describe() -> str:
    """One sentence on what was imported, for the end of an error."""
    parts = [
        f'Imported modules: {", ".join(_state.imported) or "none"} (--import=my_pkg.my_module)'
    ]
    if _state.entry_points:
        parts.append(f'plugins: {", ".join(_state.entry_points)}')
    if _state.broken:
        parts.append(f'plugins that failed: {", ".join(_state.broken)}')
    return '; '.join(parts) + '.'


def _import_module(name: str, source: str) -> None:
    here = os.getcwd()
    if here not in sys.path and '' not in sys.path:
        sys.path.append(
            here
        )  # `official-lite` starts with its own folder on the path, not this one
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f'{error.name}.')):
            hint = 'give the dotted name of a module, installed or in the current folder'
            raise errors.UsageError(
                f'there is no module {error.name!r}', where=f'{source}={name}', hint=hint
            ) from error
        raise errors.UsageError(
            f'the module needs {error.name!r}, which is not installed', where=f'{source}={name}'
        ) from error
    except errors.OfficialLiteError as error:
        raise errors.UsageError(str(error), where=f'{source}={name}') from error
    except Exception as error:
        raise errors.UsageError(
            f'the module failed while it was imported: {_describe_error(error)}',
            where=f'{source}={name}',
        ) from error


def _describe_error(error: BaseException) -> str:
    """Type, text, and the file and line that raised, or that cannot be read."""
    if isinstance(error, SyntaxError):
        return f'{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})'
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = ''
    if traceback is not None:
        where = f' ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})'
    return f'{type(error).__name__}: {error}{where}'
