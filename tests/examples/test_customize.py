"""Every block of docs/customize.md runs, as one who reads it would run it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

_BLOCK = re.compile(r'^```(\w+)\n(.*?)^```', flags=re.S | re.M)


@pytest.fixture(scope='module')
def blocks(repo: pathlib.Path) -> list[tuple[str, str]]:
    """(language, text) of all blocks of the page."""
    return _BLOCK.findall((repo / 'docs' / 'customize.md').read_text())


@pytest.fixture
def project(blocks: list[tuple[str, str]], tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with the page's module and its YAML file."""
    for suffix in ('py', 'yaml'):
        parts = [text for _, text in blocks if text.startswith(f'# stripes.{suffix}\n')]
        (tmp_path / f'stripes.{suffix}').write_text('\n\n'.join(parts))
    return tmp_path


# Runs the blocks in one process, in which TensorFlow is imported once.
_DRIVER = """
import json, shlex, sys
from official_lite.cli import train

for language, text in json.load(open('blocks.json')):
    if language == 'python':
        exec(text, {'__name__': 'block'})
        continue
    for command in filter(None, text.replace('\\\\\\n', ' ').splitlines()):
        program, script, *flags = shlex.split(command)
        assert (program, script) == ('python', 'train.py'), command
        print('$', command, flush=True)
        assert train.main(['train.py', *flags]) == 0, command
"""


@pytest.mark.slow  # A minute and more: it trains.
def test_all_blocks_run(
    blocks: list[tuple[str, str]], project: pathlib.Path, repo: pathlib.Path
) -> None:
    assert {language for language, _ in blocks} == {'python', 'bash', 'yaml'}
    model_dir = project / 'run'
    commands = [
        (language, text.replace('/tmp/stripes', str(model_dir)))
        for language, text in blocks
        if not text.startswith('# stripes.')
    ]
    (project / 'blocks.json').write_text(json.dumps(commands))
    (project / 'driver.py').write_text(_DRIVER)
    paths = [str(project), str(repo), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [sys.executable, 'driver.py'],
        cwd=project,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f'{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
    lines = [json.loads(line) for line in (model_dir / 'metrics.jsonl').read_text().splitlines()]
    metrics = {name: value for line in lines for name, value in line.items()}
    assert metrics['eval/accuracy'] > 0.8  # chance: 0.25
    assert metrics['eval/top_3_accuracy'] > metrics['eval/accuracy'] - 1e-6
    params = (model_dir / 'params.yaml').read_text()
    assert 'imports: [stripes]' in params
    # What the page says of the keys of checkpoints, of copies and of errors.
    check = subprocess.run(
        [sys.executable, '-c', _CHECKS],
        cwd=project,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert check.returncode == 0, check.stderr[-4000:]


_CHECKS = """
import keras, numpy as np
import stripes
from official_lite import errors
from official_lite.core import checkpoints, exp_factory, task_factory

config = exp_factory.get_exp_config('stripes')
model = task_factory.get_task(config.task).build_model()
parts = {key.split('/')[0] for key in checkpoints.model_variables(model)}
assert parts == {'backbone', 'decoder', 'head'}, parts
copy = stripes.StripesModel.from_config(model.get_config())
assert copy.get_config() == model.get_config()
copy.set_weights(model.get_weights())
images = np.random.default_rng(0).normal(size=[2, 32, 32, 3]).astype(np.float32)
np.testing.assert_array_equal(copy(images), model(images))
config.task.model.backbone.stripe_net.num_levels = 0
try:
    config.validate()
except errors.UsageError as error:
    assert 'task.model.backbone.stripe_net.num_levels: expected 1 or more' in str(error), error
else:
    raise AssertionError('accepted')
"""
