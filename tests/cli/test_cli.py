"""The commands, in this process: exit codes, what they print, what they refuse."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from official_lite import cli, errors
from official_lite.cli import reporting, train
from official_lite.common import flags

CUSTOM = '--experiment=retinanet_custom'


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Runs `train.py`; returns exit code, standard output and standard error."""
    code = train.main(['train.py', *args])
    return (code, *capsys.readouterr())


def test_list_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, '--list_experiments')
    assert (code, err) == (0, '')
    assert re.search(r'^retinanet_custom +RetinaNet for own data', out, re.M)
    assert cli.main(['official-lite', 'experiments']) == 0
    assert capsys.readouterr().out == out


def test_print_config_is_yaml_that_gives_the_config_again(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    override = '--params_override=trainer.train_steps=7,task.class_names=["a#b", "c: d"]'
    code, out, err = run(capsys, CUSTOM, override, '--print_config')
    assert (code, err) == (0, '')
    tree = yaml.safe_load(out)
    assert tree['experiment'] == 'retinanet_custom'
    assert tree['trainer']['train_steps'] == 7
    assert tree['task']['class_names'] == ['a#b', 'c: d']
    assert '    num_classes: 0  # (from data)\n' in out
    assert '  category_ids: []  # (from data)\n' in out
    (tmp_path / 'a.yaml').write_text(out)
    assert run(capsys, f'--config_file={tmp_path / "a.yaml"}', '--print_config') == (0, out, '')


def test_print_config_tells_sources(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    (tmp_path / 'a.yaml').write_text('trainer:\n  max_to_keep: 2\n')
    code, out, _ = run(
        capsys,
        CUSTOM,
        '--print_config=sources',
        f'--config_file={tmp_path / "a.yaml"}',
        '--params_override=trainer.train_epochs=2',
        '--tpu=my-tpu',
    )
    assert code == 0
    assert f'  max_to_keep: 2  # {tmp_path / "a.yaml"}:2\n' in out
    assert '  train_epochs: 2.0  # (steps from data), --params_override\n' in out
    assert '  tpu: my-tpu  # --tpu\n' in out
    assert '  seed: 0  # default\n' in out
    assert '  steps_per_loop: 50  # factory: retinanet_custom\n' in out
    assert '    num_classes: 0  # (from data), default\n' in out
    assert yaml.safe_load(out)['runtime']['tpu'] == 'my-tpu'


def test_lists_of_configs_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    override = '--params_override=task.model.head.attribute_heads=[{name: depth, size: 2}]'
    code, out, _ = run(capsys, CUSTOM, override, '--print_config')
    assert code == 0
    assert yaml.safe_load(out)['task']['model']['head']['attribute_heads'][0]['size'] == 2


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--experimnt=x',), r'--experimnt: unknown flag; did you mean --experiment\?'),
        (('--zzz',), r'--zzz: unknown flag; --help lists all flags'),
        (
            ('--mode=trian',),
            r"--mode=trian: value should be one of <train\|.*train_and_validate>; did you mean 'train'\?",
        ),
        (('--experiment',), r'Missing value for flag --experiment'),
        (('--print_config=all', CUSTOM), r'--print_config=all: value should be one of'),
        (
            (CUSTOM, 'trainer.train_steps=5'),
            r"'trainer\.train_steps=5': stray argument; to set a value write "
            r'--params_override=trainer\.train_steps=5',
        ),
        ((CUSTOM, 'now'), r"'now': stray argument\n"),
        (('retinanet',), r"'retinanet': stray argument; write --experiment=retinanet\n"),
        (
            (CUSTOM, '--model_dir=d'),
            r'--mode: a run needs this flag, one of train, eval, .*; --print_config, --dry_run and '
            r'--list_experiments do without it',
        ),
        ((CUSTOM, '--mode=train'), r'--model_dir: a run needs this flag; --print_config'),
        (('--mode=train', '--model_dir=d'), r'--experiment: no experiment is named; give '),
        (
            ('--experiment=retinanet', '--dry_run'),
            r'6 problems in the config:\n[\s\S]*optimizer\.type',
        ),
    ],
)
def test_d15_wrong_flags_are_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], args: tuple[str, ...], message: str
) -> None:
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, '')
    assert re.match(f'error: {message}', err), err


@pytest.mark.parametrize('name', flags.REFUSED)
def test_flags_of_model_garden_without_a_meaning_are_refused(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, _, err = run(capsys, CUSTOM, f'--{name}=x')
    assert code == 2
    assert err == f'error: --{name} means nothing here; {flags.REFUSED[name]}\n'
    assert run(capsys, CUSTOM, f'--{name}')[2] == err


def test_a_folder_of_another_experiment_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    (tmp_path / 'params.yaml').write_text('experiment: retinanet\n')
    code, _, err = run(capsys, CUSTOM, '--mode=train', f'--model_dir={tmp_path}')
    assert code == 2
    assert "the folder holds a run of the experiment 'retinanet', not of 'retinanet_custom'" in err


def test_help_tells_all_flags_but_the_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, '--help')
    assert code == 0
    shown = set(re.findall(r'^  --(?:\[no\])?(\w+)$', out, re.M))
    assert shown == {
        'config_file',
        'dry_run',
        'enable_async_checkpointing',
        'experiment',
        'hparams_overrides',
        'import',
        'list_experiments',
        'mode',
        'model_dir',
        'params_override',
        'print_config',
        'tf_data_service',
        'tpu',
        'verbosity',
    }


class TestSubcommands:
    """`official-lite`."""

    def test_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(['official-lite', '--help']) == 0
        out = capsys.readouterr().out
        assert all(f'  {name} ' in out for name in cli.SUBCOMMANDS)
        assert cli.main(['official-lite']) == 2
        assert capsys.readouterr().err == out

    def test_unknown(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(['official-lite', 'trian']) == 2
        assert capsys.readouterr().err == (
            "error: there is no subcommand 'trian'; did you mean 'train'? "
            f'(known: {", ".join(cli.SUBCOMMANDS)})\n'
        )
        assert cli.main(['official-lite', CUSTOM]) == 2
        assert f'official-lite train {CUSTOM}' in capsys.readouterr().err

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(['official-lite', '--version']) == 0
        assert re.fullmatch(r'\d+\.\d+\.\d+\n', capsys.readouterr().out)

    def test_config(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(['official-lite', 'config', 'retinanet_custom']) == 0
        assert capsys.readouterr().out == run(capsys, CUSTOM, '--print_config')[1]
        assert cli.main(['official-lite', 'config', 'retinanet', CUSTOM]) == 2
        assert 'the experiment is named twice' in capsys.readouterr().err

    def test_schema(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(['official-lite', 'config', 'retinanet_custom', '--schema']) == 0
        schema = json.loads(capsys.readouterr().out)
        assert {'task', 'trainer', 'runtime'} <= set(schema['properties'])

    def test_check_eval_wants_data(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(['official-lite', 'check-eval', '--experiment=retinanet']) == 2
        assert 'task.validation_data.source.type: needed here' in capsys.readouterr().err


class TestReporting:
    """How a command ends."""

    @pytest.mark.parametrize(
        ('error', 'code'),
        [
            (errors.UsageError('oh'), 2),
            (errors.DataError('oh'), 1),
            (errors.CheckpointError('oh'), 1),
        ],
    )
    def test_errors_of_ours(
        self, capsys: pytest.CaptureFixture[str], error: Exception, code: int
    ) -> None:
        def fail(argv: list[str]) -> None:
            raise error

        assert reporting.command(fail)(['x']) == code
        assert capsys.readouterr().err == 'error: oh\n'

    def test_the_traceback_on_request(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(argv: list[str]) -> None:
            raise errors.UsageError('oh')

        reporting.command(fail)(['x', '--verbosity=1'])
        assert 'Traceback' in capsys.readouterr().err
        monkeypatch.setenv(reporting.TRACEBACK_VARIABLE, '1')
        reporting.command(fail)(['x'])
        assert capsys.readouterr().err.endswith('\nerror: oh\n')

    def test_a_bug_keeps_its_traceback(self) -> None:
        def fail(argv: list[str]) -> None:
            raise RuntimeError('a bug')

        with pytest.raises(RuntimeError, match='a bug'):
            reporting.command(fail)(['x'])

    def test_ctrl_c(self, capsys: pytest.CaptureFixture[str]) -> None:
        def interrupt(argv: list[str]) -> None:
            raise KeyboardInterrupt

        assert reporting.command(interrupt)(['x']) == 130
        assert capsys.readouterr().err == 'interrupted\n'

    def test_a_reader_of_help_that_has_gone(self) -> None:
        """As with `official-lite diff --help | head -1`."""
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, '-m', 'official_lite.cli', 'diff', '--help']
        result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert (result.returncode, result.stderr) == (0, '')


def test_flags_for_programs_of_ones_own() -> None:
    from absl import flags as absl_flags

    values = absl_flags.FlagValues()
    flags.define_flags(values)
    values(['prog', CUSTOM, '--params_override=a=1', '--params_override=b=2', '--mode=train'])
    assert values.experiment == 'retinanet_custom'
    assert values.params_override == ['a=1', 'b=2']
    assert values.print_config == 'false'
    assert values.tpu is None
