"""Commands for boxes say that a classification experiment has none."""

from __future__ import annotations

import pathlib

import pytest

from official_lite import cli


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (['check-eval'], 'this experiment has no boxes to evaluate'),
    ],
)
def test_boxes_are_asked_for(
    command: list[str],
    message: str,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / 'params.yaml'
    config.write_text('experiment: classification_custom\n')
    for flag in ('--experiment=classification_custom', f'--config_file={config}'):
        assert cli.main(['official-lite', *command, flag]) == 2
        error = capsys.readouterr().err
        assert error == f'error: --experiment=classification_custom: {message}\n'
