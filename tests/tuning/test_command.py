"""`official-lite tune`: flags, precedence and errors, without trials."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from official_lite import cli
from official_lite.tuning import study
from tests.tuning import studies

pytest.importorskip('optuna')

SPACE = f"""\
sampler: {{type: random}}
n_trials: 3
space:
  {studies.RATE}: {{log_uniform: [1.0e-5, 1.0e-3]}}
"""


@pytest.fixture
def space_file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / 'space.yaml'
    path.write_text(SPACE)
    return path


def run(space: pathlib.Path, *flags: str) -> int:
    """Runs the command."""
    study_dir = f'--study_dir={space.parent}/study'
    own = ['--experiment=retinanet_custom', f'--search_space={space}', study_dir]
    return cli.main(['official-lite', 'tune', *own, *flags])


def test_flags_win_over_overrides_and_those_over_the_file(
    space_file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def run_study(config: Any, parameters: Any, study_dir: Any, **kwargs: Any) -> Any:
        seen.update(kwargs, config=config)
        return study.StudyResult([], [], study_dir, None)  # type: ignore[arg-type]

    monkeypatch.setattr(study, 'run_study', run_study)
    flags = ('--sampler=tpe', '--objective=AP50:max', '--objective=loss:min', '--timeout_mins=2')
    override = '--study_override=sampler.type=nsga2,n_trials=7,max_failures_in_a_row=2'
    assert run(space_file, override, *flags, '--params_override=trainer.train_steps=9') == 1
    settings = seen['settings']
    assert (settings.sampler.type, settings.n_trials, settings.timeout_mins) == ('tpe', 7, 2.0)
    assert settings.objectives == ['AP50:max', 'loss:min']
    assert settings.max_failures_in_a_row == 2
    assert seen['config'].trainer.train_steps == 9
    assert (seen['experiment'], seen['storage_url']) == ('retinanet_custom', None)


def test_problems_of_settings_and_space_are_told_together(
    space_file: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space_file.write_text(
        SPACE.replace('random', 'randm').replace('n_trials: 3', 'n_trails: 3')
        + '  task.model.min_levl: {choice: [3, 4]}\n'
    )
    assert run(space_file, '--workers=0') == 2
    said = capsys.readouterr().err
    assert "did you mean 'random'?" in said
    assert "did you mean 'n_trials'?" in said
    assert "did you mean 'min_level'?" in said
    assert f'{space_file}:5' in said
    assert 'workers: expected 1 or more' in said
    assert not (space_file.parent / 'study').exists()


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['--study_dir=x'], 'error: --search_space: a study needs this flag'),
        (['--search_space=retinanet.yaml'], 'error: --study_dir: a study needs this flag'),
        (
            ['--study_dir=x', '--search_space=retinanet_gird.yaml'],
            "--search_space=retinanet_gird.yaml: no such file, .*did you mean 'retinanet_grid.yaml'",
        ),
    ],
)
def test_what_is_missing(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    import re

    assert cli.main(['official-lite', 'tune', '--experiment=retinanet_custom', *argv]) == 2
    assert re.search(message, capsys.readouterr().err)
