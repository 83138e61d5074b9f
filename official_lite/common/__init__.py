"""Flags and the choice of a distribution strategy."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__, submodules=('distribute_utils', 'flags', 'registry_imports')
)
