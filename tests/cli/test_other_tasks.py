"""Commands for boxes say that a classification experiment has none."""

from __future__ import annotations

import pytest

from official_lite import cli


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (['check-eval'], 'this experiment has no boxes to evaluate'),
    ],
)
def test_boxes_are_asked_for(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(['official-lite', *command, '--experiment=classification_custom'])
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert '--experiment=classification_custom' in error
