"""The examples do what their READMEs and docstrings say."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import PIL.Image
import pytest

pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')


def run(command: str, cwd: pathlib.Path) -> str:
    """Runs a shell command with `python` being this interpreter; returns what it printed."""
    bin_dir = pathlib.Path(sys.executable).parent
    environment = {
        **os.environ,
        'PATH': f'{bin_dir}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': os.pathsep.join([str(cwd), os.environ.get('PYTHONPATH', '')]),
    }
    done = subprocess.run(
        ['bash', '-ec', command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
    return done.stdout


def bash_blocks(readme: pathlib.Path) -> list[str]:
    return re.findall(r'```bash\n(.*?)```', readme.read_text(), flags=re.S)


def test_custom_backbone_as_its_readme_says(repo: pathlib.Path, tmp_path: pathlib.Path):
    train, print_config = bash_blocks(repo / 'examples/custom_backbone/README.md')
    model_dir = tmp_path / 'counting'
    run(train.replace('/tmp/counting_digits', str(model_dir)), repo)
    metrics = json.loads((model_dir / 'metrics.jsonl').read_text().splitlines()[-1])
    # Untrained, nothing is counted: the error would be the 3.5 digits of a scene.
    assert metrics['eval/AP'] >= 0.0
    assert 0.0 <= metrics['eval/count_error'] < 50
    losses = [
        row['loss/total']
        for row in map(json.loads, (model_dir / 'metrics.jsonl').read_text().splitlines())
        if 'loss/total' in row
    ]
    assert losses[-1] < 0.8 * losses[0]
    keys = (model_dir / 'params.yaml').read_text()
    assert 'plainnet' in keys
    assert 'digit_counter.registration' in keys

    printed = run(print_config, repo)
    assert re.search(r'plainnet:\s+num_filters: 24', printed)


def test_library(repo: pathlib.Path, tmp_path: pathlib.Path):
    printed = run(f'python examples/library.py --model_dir={tmp_path} --train_steps=150', repo)
    assert re.search(r'AP 0\.\d+, AP50 0\.\d+', printed)
    found = re.findall(r'^(\w+): 0\.\d\d at \[(.*)\]$', printed, flags=re.M)
    assert found, printed
    for _, box in found:
        ymin, xmin, ymax, xmax = map(float, box.split(','))
        assert 0 <= ymin < ymax <= 128
        assert 0 <= xmin < xmax <= 128
    assert (tmp_path / 'saved_model' / 'saved_model.pb').exists()


@pytest.mark.slow
def test_augmentation(repo: pathlib.Path, tmp_path: pathlib.Path):
    picture = tmp_path / 'augmentation.png'
    run(f'python examples/augmentation.py --picture={picture}', repo)
    with PIL.Image.open(picture) as drawn, PIL.Image.open(repo / 'docs/augmentation.png') as shown:
        assert drawn.size == shown.size
        # Scenes, and not one colour: all that the palette has is used.
        assert len(drawn.getcolors()) > 32
