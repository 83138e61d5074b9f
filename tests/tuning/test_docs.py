"""The blocks of docs/tuning.md do what they say."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest

from official_lite import tuning
from official_lite.cli import tune as tune_command
from official_lite.core import exp_factory, parsing
from official_lite.modeling import hyperparams
from official_lite.tuning import space_checks, space_files, study
from tests import commands
from tests.tuning import studies

pytest.importorskip('optuna')

PAGE = (commands.REPO / 'docs' / 'tuning.md').read_text()


def find_blocks(language: str) -> list[str]:
    """The code blocks of the page in this language."""
    return re.findall(rf'```{language}\n(.*?)```', PAGE, re.DOTALL)


def test_the_search_space_of_the_page_fits() -> None:
    (text,) = find_blocks('yaml')
    contents = hyperparams.parse_yaml(text)
    problems: list[hyperparams.Problem] = []
    parameters = space_files.parse_space(contents.pop('space'), problems)
    config = exp_factory.get_exp_config('retinanet_custom')
    space = space_checks.check_space(config, parameters, problems)
    assert [p.path for p in space.list_conditional()] == [studies.MOMENTUM]
    settings = tuning.StudyConfig()
    settings.override(contents)
    settings.validate()


def test_the_python_of_the_page_runs(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = find_blocks('python')
    real = tuning.tune

    def tune(*args: Any, study_dir: str, n_trials: int, **kwargs: Any) -> tuning.StudyResult:
        command = studies.make_command()
        return real(*args, study_dir=tmp_path, n_trials=2, make_command=command, **kwargs)

    monkeypatch.setattr(tuning, 'tune', tune)
    exec(text, {})
    assert 'initial_learning_rate' in capsys.readouterr().out


def test_the_command_of_the_page_is_understood(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = find_blocks('bash')
    program, name, *flags = text.split()
    assert (program, name) == ('official-lite', 'tune')
    seen: dict[str, Any] = {}

    def run_study(config: Any, parameters: Any, study_dir: Any, **kwargs: Any) -> Any:
        seen.update(kwargs, study_dir=study_dir, paths=[p.path for p in parameters])
        return study.StudyResult([], [], study_dir, None)  # type: ignore[arg-type]

    monkeypatch.setattr(study, 'run_study', run_study)
    assert tune_command.main(['tune', *flags]) == 1  # no trial is complete
    assert str(seen['study_dir']) == 'runs/study'
    assert seen['settings'].sampler.type == 'random'
    assert studies.BATCH in seen['paths']


@pytest.mark.parametrize('name', ['retinanet.yaml', 'retinanet_grid.yaml', 'retinanet_random.yaml'])
def test_files_that_the_page_names_are_there(name: str) -> None:
    assert f'`{name}`' in PAGE
    assert parsing.find_config_file(name, 'tuning')
