"""Plots take most of the time of a study of fake trials: only tests that look at them make them."""

from __future__ import annotations

import pytest

from official_lite.tuning import plots


@pytest.fixture
def with_plots() -> None:
    """Asks for plots."""


@pytest.fixture(autouse=True)
def _no_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if 'with_plots' not in request.fixturenames:
        monkeypatch.setattr(plots, 'save_plots', lambda *args: ([], []))
