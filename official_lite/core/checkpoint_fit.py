"""What a checkpoint and a run may differ in: states that begin anew where there are none."""

from __future__ import annotations

from collections.abc import Collection, Iterable

SEED_STATE = 'seed_generator_state'
_OPTIMIZER = 'optimizer/'


def is_seed_state(key: str) -> bool:
    """Whether it is the state of a layer's random generator, which a layer may get later."""
    return key.rsplit('/', 1)[-1] == SEED_STATE


def slots_by_variable(keys: Iterable[str]) -> dict[str, list[str]]:
    """Key of the model's variable to keys of its slots in optimizers."""
    slots: dict[str, list[str]] = {}
    for key in keys:
        if key.startswith(_OPTIMIZER) and key.count('/') > 2:
            variable = key.split('/', 2)[2].rsplit('/', 1)[0]
            slots.setdefault(variable, []).append(key)
    return slots


def find_optional(own: Collection[str], others: Collection[str]) -> set[str]:
    """Keys of `own` that `others` may lack.

    These are states of random generators, and all slots of a variable of which `others` has none
    although it has slots of another one: that variable was not trained there.
    """
    optional = {key for key in own if is_seed_state(key)}
    theirs = slots_by_variable(others)
    ours = slots_by_variable(own)
    if theirs.keys() & ours.keys():
        for variable, slots in ours.items():
            if variable not in theirs and variable in others:
                optional.update(slots)
    return optional


def variable_of_slot(key: str, slot_names: Collection[str]) -> str | None:
    """Key of the model's variable that a slot belongs to; None for slots of other names."""
    is_wanted = key.startswith(_OPTIMIZER) and key.rsplit('/', 1)[-1] in slot_names
    return key.split('/', 2)[2].rsplit('/', 1)[0] if is_wanted else None
