"""What `maskrcnn_custom` comes with learns to cut out digits, in the time that it may take."""

from __future__ import annotations

import pathlib

import pytest

from tests import commands
from tests.core import tiny_runs

LEAST_MASK_AP = 0.40
# Ten minutes of two cores, from the start of the command to its end.
MOST_CPU_SECS = 2 * 600.0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_recipe_learns_to_cut_out_digits(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default command of the documentation, in a process of its own, as a user runs it."""
    pytest.importorskip('sklearn', reason='the embedded data needs scikit-learn (the extra `demo`)')
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))
    run_dir = tmp_path / 'run'
    result = commands.run_train(
        '--experiment=maskrcnn_custom',
        '--mode=train_and_eval',
        f'--model_dir={run_dir}',
        timeout_secs=None,
    )
    assert result.exit_code == 0, result.stderr[-3000:]
    evaluations = [line for line in tiny_runs.read_lines(run_dir) if 'eval/mask_AP' in line]
    last = evaluations[-1]
    aps = f'mask AP {last["eval/mask_AP"]:.3f}, AP {last["eval/AP"]:.3f}'
    print(f'{aps}, {result.cpu_secs:.0f} s of CPU')
    assert last['eval/mask_AP'] >= LEAST_MASK_AP
    assert last['eval/mask_AP'] <= last['eval/mask_AP50'] <= 1.0
    assert result.cpu_secs <= MOST_CPU_SECS
