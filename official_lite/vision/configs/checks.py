"""Checks that several configs share."""

from __future__ import annotations

from official_lite.modeling import hyperparams

__all__ = ['check_range', 'check_share']


def check_share(config: hyperparams.Config, report: hyperparams.Report, *names: str) -> None:
    """Reports fields that are set and not within 0 and 1."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1:
            report(name, expected='0 to 1')


def check_range(
    config: hyperparams.Config,
    report: hyperparams.Report,
    *names: str,
    largest: float | None = None,
) -> None:
    """Reports pairs that are not a smallest and a largest number above 0, up to `largest`."""
    limit = '' if largest is None else f' and at most {largest:g}'
    for name in names:
        low, high = getattr(config, name)
        if not 0 < low <= high or (largest is not None and high > largest):
            report(name, expected=f'the smallest and the largest, more than 0{limit}')
