"""Every form in which Model Garden leaves weights behind, and what of them is taken."""

from __future__ import annotations

import gc
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import cli, errors
from official_lite.core import checkpoint_files, checkpoints, initialization
from tests import garden_checkpoints

pytestmark = pytest.mark.garden

SIZE = 32
MODEL: dict[str, Any] = {
    'num_classes': 5,
    'input_size': [SIZE, SIZE, 3],
    'backbone': {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.25}},
    'norm_activation': {'norm_epsilon': 1e-5},  # of the experiment
}
NUM_VARIABLES = 67


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> garden_checkpoints.Run:
    """Two steps of Model Garden's own training, and its export."""
    folder = tmp_path_factory.mktemp('garden') / 'run'
    run = garden_checkpoints.train_classifier(folder, MODEL['backbone'], size=SIZE)
    garden_checkpoints.export(run, size=SIZE)
    return run


@pytest.fixture(scope='module')
def expected(run: garden_checkpoints.Run) -> dict[str, np.ndarray]:
    """Outputs of Model Garden's model with the weights of its run, and with their averages."""
    from official.vision.tasks import image_classification

    outputs = {}
    prefixes = {'weights': run.folder / 'ckpt-2', 'averages': run.folder / 'best_ckpt/best_ckpt-2'}
    for name, prefix in prefixes.items():
        model = image_classification.ImageClassificationTask(run.params.task).build_model()
        tf.train.Checkpoint(model=model).read(str(prefix)).assert_existing_objects_matched()
        outputs[name] = model(_make_images(), training=False).numpy()
    gap = np.abs(outputs['weights'] - outputs['averages']).max()
    assert gap > 1e-3
    return outputs


def _make_images() -> np.ndarray:
    return np.random.default_rng(3).normal(size=[2, SIZE, SIZE, 3]).astype(np.float32)


def _load(path: pathlib.Path, **options: Any) -> tuple[np.ndarray, initialization.Report]:
    gc.collect()
    model = garden_checkpoints.build_ours('classification', MODEL)
    report = initialization.load_pretrained(model, str(path), **options)
    return model(_make_images(), training=False).numpy(), report


@pytest.mark.parametrize(
    ('path', 'use_averages', 'name'),
    [
        ('', False, 'weights'),
        pytest.param('ckpt-2', False, 'weights', marks=pytest.mark.slow),
        ('', True, 'averages'),
        # Written while the averages stood in the model.
        ('best_ckpt', False, 'averages'),
        pytest.param('best_ckpt', True, 'averages', marks=pytest.mark.slow),
        ('ema_checkpoints', False, 'averages'),
        pytest.param('ema_checkpoints/average_weights-2', True, 'averages', marks=pytest.mark.slow),
        ('exported/checkpoint', False, 'weights'),
        pytest.param('exported/checkpoint/ckpt-1', True, 'weights', marks=pytest.mark.slow),
        ('exported/saved_model', False, 'weights'),
        pytest.param(
            'exported/saved_model/variables/variables.index',
            False,
            'weights',
            marks=pytest.mark.slow,
        ),
    ],
)
def test_outputs_equal_model_gardens(
    run: garden_checkpoints.Run,
    expected: dict[str, np.ndarray],
    path: str,
    use_averages: bool,
    name: str,
) -> None:
    outputs, report = _load(run.folder / path, use_averages=use_averages)
    np.testing.assert_allclose(outputs, expected[name], atol=1e-4, rtol=0)
    assert len(report.matched) == NUM_VARIABLES
    assert report.is_complete
    assert report.left_over == ()
    is_said = '(of Model Garden, moving averages)' in report.describe()
    assert is_said == (name == 'averages')


def test_the_backbone_alone_goes_into_a_detector(run: garden_checkpoints.Run) -> None:
    detector = garden_checkpoints.build_ours(
        'retinanet',
        {
            'num_classes': 3,
            'input_size': [64, 64, 3],
            'min_level': 3,
            'max_level': 5,
            'backbone': MODEL['backbone'],
            'head': {'num_convs': 1, 'num_filters': 8},
            'decoder': {'type': 'fpn', 'fpn': {'num_filters': 8}},
        },
    )
    report = initialization.load_pretrained(detector, str(run.folder), modules='backbone')
    assert len(report.matched) == NUM_VARIABLES - 2
    assert report.missing == report.left_over == ()
    classifier = garden_checkpoints.build_ours('classification', MODEL)
    initialization.load_pretrained(classifier, str(run.folder))
    for one, other in zip(detector.backbone.variables, classifier.backbone.variables):
        np.testing.assert_array_equal(one, other)

    report = initialization.load_pretrained(detector, str(run.folder))
    assert 'decoder/lateral_3/kernel' in report.missing
    assert report.left_over == (
        'model/layer_with_weights-1/bias',
        'model/layer_with_weights-1/kernel',
    )
    text = report.describe()
    assert '2 left over in the checkpoint: model/layer_with_weights-1/bias' in text
    assert 'missing in the checkpoint, initialized at random' in text


def test_another_number_of_classes(run: garden_checkpoints.Run) -> None:
    model = garden_checkpoints.build_ours('classification', {**MODEL, 'num_classes': 7})
    with pytest.raises(errors.CheckpointError, match='shapes differ') as error:
        initialization.load_pretrained(model, str(run.folder))
    assert r'model/dense/bias is (5,) there and (7,) here' in str(error.value)
    assert r'model/dense/kernel is (128, 5) there and (128, 7) here' in str(error.value)
    assert 'all,-model/dense' in str(error.value)
    report = initialization.load_pretrained(model, str(run.folder), modules='all,-model/dense')
    assert len(report.matched) == NUM_VARIABLES - 2
    assert report.not_chosen == ('model/dense/bias', 'model/dense/kernel')
    assert '2 of modules that were not asked for, initialized at random' in report.describe()


def test_another_width_is_an_error(run: garden_checkpoints.Run) -> None:
    wider = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.5}}
    other = garden_checkpoints.build_ours('classification', {**MODEL, 'backbone': wider})
    with pytest.raises(errors.CheckpointError, match=r'is \(16,\) there and \(32,\) here'):
        initialization.load_pretrained(other, str(run.folder))


def test_averages_of_a_run_that_made_none(run: garden_checkpoints.Run, tmp_path: Any) -> None:
    import tf_keras

    theirs = garden_checkpoints.build_theirs('classification', MODEL)
    optimizer = tf_keras.optimizers.legacy.SGD(0.1)
    prefix = tf.train.Checkpoint(model=theirs, optimizer=optimizer).write(str(tmp_path / 'ckpt'))
    with pytest.raises(errors.CheckpointError, match='has no moving averages'):
        _load(pathlib.Path(prefix), use_averages=True)


@pytest.mark.parametrize(
    ('source', 'flags'),
    [
        ('exported/saved_model', []),
        pytest.param('', ['--averages'], marks=pytest.mark.slow),
    ],
)
def test_import_for_good(
    run: garden_checkpoints.Run,
    expected: dict[str, np.ndarray],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    flags: list[str],
) -> None:
    overrides = []
    if not source:  # the run wrote no params.yaml, as it was not started by the command line
        overrides = [f'--config_file={run.folder / "exported" / "params.yaml"}']
    arguments = [str(run.folder / source), str(tmp_path), *overrides, *flags]
    code = cli.main(['official-lite', 'import-checkpoint', *arguments])
    text = capsys.readouterr().out
    assert code == 0, text
    assert 'Experiment: resnet_imagenet, the nearest to ' in text
    assert f'{NUM_VARIABLES} variables matched' in text
    if flags:
        assert 'Outputs are not compared' in text
    else:
        assert "1 outputs are equal to Model Garden's" in text
    assert checkpoints.CheckpointSource(checkpoint_files.find_checkpoint(str(tmp_path))).is_ours
    outputs, report = _load(tmp_path)
    assert report.origin == ''
    np.testing.assert_allclose(
        outputs, expected['averages' if flags else 'weights'], atol=1e-4, rtol=0
    )
    params = (tmp_path / 'params.yaml').read_text(encoding='utf-8')
    assert 'experiment: resnet_imagenet' in params
    assert 'depth_multiplier: 0.25' in params
