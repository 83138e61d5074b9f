"""What `build_*` functions have in common: they read a config, and make arguments of it."""

from __future__ import annotations

from typing import Any

from official_lite import errors


def get_branch(one_of: Any, kind: str, component: str) -> Any:
    """The chosen branch of a OneOf config, for the builder of `kind`.

    Args:
        one_of: A OneOf config.
        kind: What its `type` must be.
        component: What is built, such as 'backbone', for the text.

    Raises:
        UsageError: another type is chosen.
    """
    if one_of.type != kind:
        raise errors.UsageError(
            f'this builder makes another {component}',
            expected=f'type {kind!r}',
            received=repr(one_of.type),
        )
    return one_of.get()


def get_norm_arguments(norm_activation: Any) -> dict[str, Any]:
    """Activation and batch normalisation, as arguments of networks and heads."""
    names = ('activation', 'use_sync_bn', 'norm_momentum', 'norm_epsilon')
    return {name: getattr(norm_activation, name) for name in names}
