"""The blocks of docs/checkpoints.md run."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest

from official_lite import cli
from tests import garden_checkpoints

_PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'checkpoints.md'
_SIZE = 32


def _find_block(language: str) -> str:
    (block,) = re.findall(rf'```{language}\n(.*?)```', _PAGE.read_text(), re.DOTALL)
    return block


@pytest.mark.garden
@pytest.mark.slow
def test_blocks(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.25}}
    run = garden_checkpoints.train_classifier(tmp_path / 'garden_run', backbone, size=_SIZE)
    garden_checkpoints.export(run, size=_SIZE)
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(_find_block('bash'))) == 0
    assert (tmp_path / 'imported' / 'params.yaml').is_file()
    assert "are equal to Model Garden's" in capsys.readouterr().out
    exec(compile(_find_block('python'), str(_PAGE), 'exec'), {})
    assert '(of Model Garden, moving averages): 65 variables matched' in capsys.readouterr().out
