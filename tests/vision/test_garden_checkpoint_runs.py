"""Whole runs that start from what Model Garden's trainer left, as its users type them."""

from __future__ import annotations

import gc
import pathlib
from typing import Any

import numpy as np
import pytest

from official_lite import errors
from official_lite.core import checkpoints, initialization
from tests import commands, garden_checkpoints
from tests.vision import fine_tuning
from tests.vision import test_garden_checkpoints as families

pytestmark = pytest.mark.garden

SIZE = [64, 96]
RESNET = families.MODELS['resnet'][1]
VIT = families.MODELS['vit'][1]
# train.py with two logical CPUs: there is no flag for them.
TWO_REPLICAS = """
import sys
from official_lite.common import distribute_utils
from tests.core import strategy_worker

def make_strategy(*args, **kwargs):
    strategy = strategy_worker.make_strategy('mirrored')
    print(f'{strategy.num_replicas_in_sync} replicas')
    return strategy

distribute_utils.get_distribution_strategy = make_strategy
from official_lite.cli import train
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run on five classes, with slots, averages and params.yaml."""
    folder = tmp_path_factory.mktemp('garden') / 'run'
    garden_checkpoints.train_by_hand(folder, 'resnet_imagenet', RESNET)
    return folder


def _override(backbone: dict[str, Any]) -> str:
    kind = backbone['type']
    values = ','.join(
        f'task.model.backbone.{kind}.{key}={value}' for key, value in backbone[kind].items()
    )
    return f'task.model.backbone.type={kind},{values}'


def _fine_tune(folder: pathlib.Path, *overrides: str, **options: Any) -> commands.Result:
    stem = 'task.model.backbone.resnet.stem_type=v0'  # classification_custom has another one
    backbone = _override(RESNET['backbone'])
    return fine_tuning.train(folder, SIZE, backbone, stem, *overrides, **options)


def _assert_loaded(
    folder: pathlib.Path,
    source: pathlib.Path,
    modules: str,
    *,
    model: dict[str, Any] = RESNET,
    use_averages: bool = False,
) -> None:
    """What a run saved is what Model Garden's checkpoint has, but for statistics of batches."""
    gc.collect()
    expected = garden_checkpoints.build_ours('classification', model)
    report = initialization.load_pretrained(
        expected, str(source), modules=modules, use_averages=use_averages
    )
    saved = checkpoints.CheckpointSource(str(folder / 'run' / 'ckpt-2'))
    variables = checkpoints.model_variables(expected)
    compared = [key for key in report.matched if '/moving_' not in key]
    assert len(compared) > 20
    for key in compared:
        np.testing.assert_array_equal(saved.read(key), variables[key], err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('override', 'python_args', 'words'),
    [
        ('runtime.mixed_precision_dtype=float32', (), ''),
        ('runtime.mixed_precision_dtype=bfloat16', (), ''),
        ('runtime.mixed_precision_dtype=float32', ('-c', TWO_REPLICAS), '2 replicas'),
        ('task.init_checkpoint_averages=true', (), '(of Model Garden, moving averages)'),
    ],
)
def test_the_backbone_of_a_run(
    run: pathlib.Path,
    tmp_path: pathlib.Path,
    override: str,
    python_args: tuple[str, ...],
    words: str,
) -> None:
    """Its folder is named, and the classes are others."""
    source = f'task.init_checkpoint={run},task.init_checkpoint_modules=[backbone]'
    result = _fine_tune(tmp_path, source, override, python_args=python_args)
    assert result.exit_code == 0, result.stderr
    assert f'Initialized from {run}/ckpt-1 (of Model Garden' in result.stdout
    assert ': 65 variables matched.' in result.stdout
    assert (
        '2 of modules that were not asked for, initialized at random: model/dense' in result.stdout
    )
    assert words in result.stdout
    _assert_loaded(tmp_path, run, 'backbone', use_averages='averages' in override)


@pytest.mark.slow
def test_another_number_of_classes(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The error says what to add, and that works."""
    source = f'task.init_checkpoint={run}'
    result = _fine_tune(tmp_path / 'a', source)
    assert result.exit_code == 1
    assert 'model/dense/kernel is (128, 5) there and (128, 4) here' in result.stderr
    assert 'Traceback' not in result.stderr
    advice = 'task.init_checkpoint_modules=all,-model/dense'
    assert f'leave out what does not fit: {advice} (--modules of import-check' in result.stderr
    result = _fine_tune(tmp_path / 'b', source, advice)
    assert result.exit_code == 0, result.stderr
    _assert_loaded(tmp_path / 'b', run, 'backbone')


@pytest.mark.slow
def test_a_transformer_for_images_of_another_size(tmp_path: pathlib.Path) -> None:
    """The error says what to add, and that works."""
    theirs = garden_checkpoints.build_theirs('classification', VIT)
    garden_checkpoints.save(theirs, tmp_path / 'garden' / 'ckpt-7')
    source = f'task.init_checkpoint={tmp_path}/garden,task.init_checkpoint_modules=[backbone]'
    vit = _override(VIT['backbone'])
    result = fine_tuning.train(tmp_path / 'a', SIZE, vit, source)
    assert result.exit_code == 1
    assert 'pos_embedding is (1, 17, 192) there and (1, 25, 192) here' in result.stderr
    advice = 'task.model.backbone.vit.pos_embed_shape=[4,4]'
    assert (
        f'resize position embeddings of 16 patches, as those of images of another size: {advice}'
        in (result.stderr)
    )
    result = fine_tuning.train(tmp_path / 'b', SIZE, vit, source, advice)
    assert result.exit_code == 0, result.stderr
    _assert_loaded(tmp_path / 'b', tmp_path / 'garden', 'backbone', model=VIT)


@pytest.mark.slow
def test_a_run_of_model_gardens_is_not_resumed(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Its folder as `model_dir`: an error that says what to do, and the folder as it was."""
    (tmp_path / 'run').mkdir()
    for path in run.iterdir():
        if path.is_file():
            (tmp_path / 'run' / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.read_bytes() for path in (tmp_path / 'run').iterdir()}
    result = _fine_tune(tmp_path, 'task.model.num_classes=5', experiment='resnet_imagenet')
    assert result.exit_code == 1, result.stderr
    prefix = tmp_path / 'run' / 'ckpt-1'
    assert (
        f'{prefix}: Model Garden or another program wrote the checkpoint, and a run cannot go on '
        f'from it; start in another folder from its weights: task.init_checkpoint={prefix}, or '
        f'convert it: official-lite import-checkpoint {prefix} NEW_FOLDER'
    ) in result.stderr
    after = {path.name: path.read_bytes() for path in (tmp_path / 'run').iterdir()}
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
@pytest.mark.parametrize('policy', ['float32', 'mixed_bfloat16'])
def test_layers_keep_float32_under_another_policy(run: pathlib.Path, policy: str) -> None:
    import keras

    keras.config.set_dtype_policy(policy)
    model = garden_checkpoints.build_ours('classification', RESNET)
    report = initialization.load_pretrained(model, str(run))
    assert report.is_complete
    keras.config.set_dtype_policy('float32')
    expected = garden_checkpoints.build_ours('classification', RESNET)
    initialization.load_pretrained(expected, str(run))
    for one, other in zip(model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_transformer_of_another_width(tmp_path: pathlib.Path) -> None:
    """Its position embeddings cannot be resized to fit."""
    theirs = garden_checkpoints.build_theirs('classification', VIT)
    path = garden_checkpoints.save(theirs, tmp_path / 'ckpt')
    backbone = {'type': 'vit', 'vit': {'model_name': 'vit-s16'}}
    ours = garden_checkpoints.build_ours('classification', {**VIT, 'backbone': backbone})
    with pytest.raises(errors.CheckpointError, match='shapes differ') as error:
        initialization.load_pretrained(ours, path, modules='backbone')
    assert 'pos_embed_shape' not in str(error.value)
    assert 'build the backbone that it is of: task.model.backbone as its' in str(error.value)
