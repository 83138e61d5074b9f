"""Bad input ends in one clear error: exit code 2 or 1, one message, never a traceback."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import pytest

from tests import commands

EXPERIMENT = '--experiment=retinanet_custom'
FILES = {
    'fine.yaml': 'trainer:\n  train_steps: 10\n',
    'tab.yaml': 'trainer:\n\ttrain_steps: 10\n',
    'typo.yaml': 'trainer:\n  train_steps: 10\n  valdation_steps: 5\n',
    'twice.yaml': 'trainer:\n  train_steps: 10\n  train_steps: 20\n',
    'type.yaml': 'task:\n  model:\n    num_classes: ten\n',
    'list.yaml': '- 1\n- 2\n',
    'image.yaml': '\x89PNG\r\n',
    'broken_plugin.py': 'import no_such_thing_at_all\n',
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One way of being wrong.

    Attributes:
        args: The command line; `{dir}` is a folder with `FILES`.
        message: What standard error has to match, somewhere.
        exit_code: 2 is what the user wrote, 1 what happened.
    """

    args: tuple[str, ...]
    message: str
    exit_code: int = 2


def override(text: str, message: str) -> Case:
    """Returns the case of one wrong `--params_override`."""
    return Case((EXPERIMENT, f'--params_override={text}'), message)


def config_file(name: str, message: str) -> Case:
    """Returns the case of one wrong `--config_file`."""
    return Case((EXPERIMENT, f'--config_file={{dir}}/{name}'), message)


CASES = {
    'experiment misspelt': Case(
        ('--experiment=retinanet_costum',), r"'retinanet_costum'.*'retinanet_custom'"
    ),
    'experiment missing': Case(('--mode=train', '--model_dir={dir}/m'), r'--experiment'),
    'mode misspelt': Case(
        (EXPERIMENT, '--mode=trian', '--model_dir={dir}/m'), r'--mode.*trian.*train_and_eval'
    ),
    'mode missing': Case((EXPERIMENT, '--model_dir={dir}/m'), r'--mode'),
    'model_dir missing': Case((EXPERIMENT, '--mode=train'), r'--model_dir'),
    'flag misspelt': Case(('--experimnt=retinanet_custom',), r'experimnt.*experiment'),
    'flag without its value': Case(('--experiment',), r'experiment'),
    'stray argument': Case((EXPERIMENT, 'trainer.train_steps=5'), r'trainer\.train_steps=5'),
    'flag of another program': Case((EXPERIMENT, '--gin_file=x.gin'), r'gin_file.*--config_file'),
    'config file missing': config_file('missing.yaml', r'missing\.yaml'),
    'config file is a folder': Case(
        (EXPERIMENT, '--config_file={dir}'), r'--config_file|folder|dir'
    ),
    'config file with a tab': config_file('tab.yaml', r'tab\.yaml:2'),
    'config file with a typo': config_file(
        'typo.yaml', r"trainer\.valdation_steps.*typo\.yaml:3.*'validation_steps'"
    ),
    'config file with a key twice': config_file('twice.yaml', r"'train_steps'.*twice\.yaml:3"),
    'config file with a wrong type': config_file(
        'type.yaml', r"task\.model\.num_classes.*int.*'ten'.*type\.yaml:3"
    ),
    'config file that is a list': config_file('list.yaml', r'list\.yaml'),
    'config file that is an image': config_file('image.yaml', r'image\.yaml'),
    'override without a value': override(
        'trainer', r"'trainer': no `key=value`.*--params_override"
    ),
    'override not closed': override('task.model.input_size=[1,2', r'--params_override'),
    'override with a quote not closed': override("task.annotation_file='a", r'--params_override'),
    'override of a field that is not there': override(
        'trainer.trainsteps=5', r"trainer\.trainsteps.*--params_override.*'train_steps'"
    ),
    'override with a wrong type': override(
        'task.model.num_classes=ten', r"task\.model\.num_classes: expected .*int.*'ten'"
    ),
    'override of a list by a number': override(
        'task.model.input_size=224', r'task\.model\.input_size.*list.*224'
    ),
    'override of a node by a number': override('task.model=3', r'task\.model\b.*3'),
    'override with an unknown backbone': override(
        'task.model.backbone.type=resnett', r"backbone\.type.*'resnett'.*'resnet'"
    ),
    'override out of range': override('trainer.train_steps=-5', r'trainer\.train_steps.*-5'),
    'unknown strategy': override(
        'runtime.distribution_strategy=mirored', r"distribution_strategy.*'mirored'.*'mirrored'"
    ),
    'plugin missing': Case((EXPERIMENT, '--import=no_such_plugin'), r'--import.*no_such_plugin'),
    'two problems at once': override(
        'trainer.trainsteps=5,task.model.num_classes=ten',
        r'(?s)(trainer\.trainsteps.*task\.model\.num_classes|'
        r'task\.model\.num_classes.*trainer\.trainsteps)',
    ),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp('bad_input')
    for name, text in FILES.items():
        (path / name).write_text(text, encoding='latin-1')
    return path


def check_case(case: Case, folder: pathlib.Path) -> None:
    """Runs the command and checks exit code, message, and that nothing else came."""
    result = commands.run_train(*(arg.format(dir=folder) for arg in case.args))
    assert 'Traceback' not in result.stderr, result.stderr
    assert result.exit_code == case.exit_code, result.stderr
    assert re.search(case.message, result.stderr), result.stderr
    assert result.stderr.startswith('error: '), result.stderr
    assert result.stdout == ''


@pytest.mark.parametrize('name', CASES)
def test_bad_input_is_refused(name: str, folder: pathlib.Path) -> None:
    check_case(CASES[name], folder)


def test_refused_commands_write_nothing(folder: pathlib.Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
