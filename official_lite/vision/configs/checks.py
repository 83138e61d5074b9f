"""Checks that several configs share."""

from __future__ import annotations

from typing import Protocol

from official_lite.modeling import hyperparams

__all__ = [
    'check_detector',
    'check_least',
    'check_one_source',
    'check_range',
    'check_scales',
    'check_share',
]


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


def check_least(
    config: hyperparams.Config, report: hyperparams.Report, least: float, *names: str
) -> None:
    """Reports fields that are below `least`."""
    for name in names:
        if getattr(config, name) < least:
            report(name, expected=f'{least:g} or more')


def check_scales(config: hyperparams.Config, report: hyperparams.Report) -> None:
    """Reports random scales, `aug_scale_min` to `aug_scale_max`, that are no range above 0."""
    if not 0 < config.aug_scale_min <= config.aug_scale_max:
        limit = config.aug_scale_max
        report('aug_scale_min', expected=f'more than 0 and at most aug_scale_max ({limit:g})')


def check_one_source(
    config: hyperparams.Config, report: hyperparams.Report, *, empty: str = "''"
) -> None:
    """Reports data that are named twice, by `source` and by Model Garden's fields.

    Args:
        config: A config of data.
        report: What takes a field that is wrong.
        empty: How such a field says that it names none.
    """
    for name in ('input_path', 'tfds_name'):
        if config.source.type is not None and getattr(config, name):
            report(
                name,
                expected='not set, because source.type is',
                hint=f'choose one of them: {name}={empty} or source.type=null',
            )


class _Detector(Protocol):
    num_classes: int
    input_size: list[int | None]
    min_level: int
    max_level: int


def check_detector(config: _Detector, report: hyperparams.Report) -> None:
    """Reports a detector's classes, levels and input size that fit nothing."""
    if config.num_classes < 0 or config.num_classes == 1:
        report(
            'num_classes',
            expected='2 or more, background included, or 0: from the data',
        )
    if not 1 <= config.min_level <= config.max_level:
        report('min_level', expected=f'1 to max_level ({config.max_level})')
    if config.input_size:
        _check_input_size(config, report)


def _check_input_size(config: _Detector, report: hyperparams.Report) -> None:
    if len(config.input_size) != 3:
        report('input_size', expected='[height, width, channels]')
        return
    if any(size is not None and size < 1 for size in config.input_size):
        report('input_size', expected='numbers of 1 or more')
        return
    grain = 2 ** max(config.max_level, 0)
    sides = [size for size in config.input_size[:2] if size is not None]
    if any(side % grain for side in sides):
        near = [max(grain, round(side / grain) * grain) for side in sides]
        report(
            'input_size',
            expected=f'height and width that are multiples of {grain} (2 ** max_level)',
            hint=f'the nearest are {near}',
        )
