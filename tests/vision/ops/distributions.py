"""Comparisons of what is random."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np


def assert_frequencies(counts: Counter[Any], expected: dict[Any, float]) -> None:
    """Chi-square with a limit that is exceeded once in a thousand times."""
    total = sum(counts.values())
    assert set(counts) <= set(expected)
    parts = [(counts[k] - p * total) ** 2 / (p * total) for k, p in expected.items() if p]
    freedom = len(parts) - 1
    assert sum(parts) < freedom + 3.1 * np.sqrt(2 * freedom) + 6, counts


def measure_difference(first: Any, second: Any) -> float:
    """Kolmogorov's distance in units of the one that is exceeded once in a thousand times."""
    first, second = np.sort(np.ravel(first)), np.sort(np.ravel(second))
    places = np.concatenate([first, second])
    shares = [np.searchsorted(x, places, 'right') / len(x) for x in (first, second)]
    limit = 1.95 * np.sqrt(1 / len(first) + 1 / len(second))
    return float(np.abs(shares[0] - shares[1]).max() / limit)
