"""Every block of docs/hyperparameters.md runs."""

from __future__ import annotations

import pathlib
import re
import shlex
from typing import Any

import pytest

from official_lite import cli
from official_lite.cli import train
from official_lite.core import train_lib
from tests.core import tiny_task

_BLOCK = re.compile(r'^```(\w+)\n(.*?)^```', flags=re.S | re.M)


@pytest.fixture(name='blocks', scope='module')
def _blocks(repo: pathlib.Path) -> list[tuple[str, str]]:
    """(language, text) of all blocks of the page."""
    page = (repo / 'docs' / 'hyperparameters.md').read_text(encoding='utf-8')
    return _BLOCK.findall(page)


def test_all_blocks_are_python_or_commands(blocks: list[tuple[str, str]]) -> None:
    assert {language for language, _ in blocks} == {'python', 'bash'}
    assert sum('def create_hparams' in text for _, text in blocks) == 2


def test_blocks_of_python(
    blocks: list[tuple[str, str]], tmp_path: pathlib.Path, capsys: Any
) -> None:
    run_dir = tmp_path / 'run'

    def run_tiny() -> Any:
        config = tiny_task.make_config()
        task = tiny_task.TinyTask(config.task)
        return train_lib.run_experiment(None, task, 'train', config, str(run_dir))

    names = {'train': run_tiny, 'model_dir': str(run_dir), 'log_dir': str(tmp_path / 'fit')}
    for number, (language, text) in enumerate(blocks):
        if language == 'python':
            scope = {'__name__': f'block_{number}', **names}
            exec(compile(text, f'block {number}', 'exec', dont_inherit=True), scope)
    assert 'trainer.train_steps  ' in capsys.readouterr().out
    assert (tmp_path / 'fit' / 'hyperparameters.csv').is_file()


def test_commands(
    blocks: list[tuple[str, str]],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rate in (('a', 0.1), ('b', 0.01)):
        rates = {'type': 'constant', 'constant': {'learning_rate': rate}}
        config = tiny_task.make_config(trainer__optimizer_config={'learning_rate': rates})
        task = tiny_task.TinyTask(config.task)
        train_lib.run_experiment(None, task, 'train', config, str(tmp_path / 'runs' / name))
    capsys.readouterr()
    commands = [text for language, text in blocks if language == 'bash']
    for command in filter(None, '\n'.join(commands).replace('\\\n', ' ').splitlines()):
        words = shlex.split(command)
        if words[0] == 'python':
            assert train.main([*words[1:], '--print_config']) == 0
        else:
            assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert 'nms_iou_threshold: 0.6' in out
    assert re.search(r'^trainer\.optimizer_config.*learning_rate +0\.1 +0\.01$', out, re.M)
