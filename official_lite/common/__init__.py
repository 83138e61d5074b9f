"""Flags and the choice of a distribution strategy."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=('distribute_utils', 'flags', 'registry_imports'),
    absent={
        'dataset_fn': 'sources of data open the files, see "Data" in docs/from_model_garden.md',
        'streamz_counters': 'leave it out',
    },
)
