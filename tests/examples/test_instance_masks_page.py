"""The blocks of docs/instance_masks.md run."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest

from official_lite.cli import data, train

_PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'instance_masks.md'


def _find_blocks(language: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', _PAGE.read_text(), re.DOTALL)


def test_python() -> None:
    (block,) = _find_blocks('python')
    exec(compile(block, str(_PAGE), 'exec'), {})


def test_data_commands(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, block = _find_blocks('bash')
    for line in block.replace('/tmp', str(tmp_path)).strip().splitlines():
        program, command, *flags = shlex.split(line)
        assert (program, command) == ('official-lite', 'data')
        assert data.main([f'{program} {command}', *flags]) == 0, line
    assert 'mask, share' in capsys.readouterr().out
    assert (tmp_path / 'masks.png').is_file()
    assert list((tmp_path / 'masks').glob('val-*.tfrecord'))


@pytest.mark.slow
def test_training_command(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    block, _ = _find_blocks('bash')
    python, program, *flags = shlex.split(block.replace('/tmp', str(tmp_path)))
    assert (python, program) == ('python', 'train.py')
    assert train.main([program, *flags]) == 0
    assert 'one step: loss ' in capsys.readouterr().out
