"""Every form of checkpoint that Model Garden writes, of every family but resnet."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import initialization
from official_lite.garden import model_outputs
from tests import garden_checkpoints
from tests.vision import test_garden_checkpoints as families

pytestmark = [pytest.mark.garden, pytest.mark.slow]

# Family -> experiment that Model Garden trains it with.
EXPERIMENTS = {
    'dilated_resnet': 'resnet_imagenet',
    'mobilenet_v2': 'mobilenet_imagenet',
    'efficientnet': 'resnet_imagenet',
    'spinenet': 'resnet_imagenet',
    'mobiledet': 'resnet_imagenet',
    'vit': 'deit_imagenet_pretrain',
    'retinanet': 'retinanet_resnetfpn_coco',
    'mask_rcnn': 'maskrcnn_resnetfpn_coco',
    'cascade_rcnn': 'maskrcnn_resnetfpn_coco',
    'deeplab_v3_plus': 'seg_deeplabv3plus_pascal',
}
# Form -> whether averages are asked for, and whether averages are what comes.
FORMS = {
    '': (False, False),
    'ckpt-1': (True, True),
    'best_ckpt': (False, True),
    'ema_checkpoints': (False, True),
    'exported/checkpoint': (False, False),
    'exported/saved_model': (False, False),
}


@pytest.fixture(scope='module', params=EXPERIMENTS)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, garden_checkpoints.Run]]:
    gc.collect()
    family = request.param
    _, model = families.MODELS[family]
    folder = tmp_path_factory.mktemp('garden') / family
    made = garden_checkpoints.train_by_hand(folder, EXPERIMENTS[family], model)
    garden_checkpoints.export(made, size=model['input_size'][:2])
    yield family, made
    del made


@pytest.fixture(scope='module')
def expected(run: tuple[str, garden_checkpoints.Run]) -> dict[bool, dict[str, np.ndarray]]:
    """Outputs of Model Garden's model with its weights (False), and with their averages (True)."""
    family, made = run
    items = getattr(made.model, 'checkpoint_items', {})
    reader = tf.train.Checkpoint(model=made.model, **items)
    outputs = {}
    for is_average, name in ((False, ''), (True, 'ema_checkpoints')):
        reader.read(
            tf.train.latest_checkpoint(str(made.folder / name))
        ).assert_existing_objects_matched().expect_partial()
        outputs[is_average] = model_outputs.compute_outputs(made.model, _make_images(family))
    assert any(
        np.abs(outputs[True][key] - outputs[False][key]).max() > 1e-3 for key in outputs[True]
    )
    return outputs


def _make_images(family: str) -> np.ndarray:
    shape = [2, *families.MODELS[family][1]['input_size']]
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def _build_ours(made: garden_checkpoints.Run, family: str) -> Any:
    """Ours, from Model Garden's params.yaml."""
    from official_lite.core import exp_factory, task_factory
    from official_lite.modeling import hyperparams

    config = exp_factory.get_exp_config(EXPERIMENTS[family])
    config.override(hyperparams.load_yaml(str(made.folder / 'params.yaml')))
    return task_factory.get_task(config.task).build_model()


@pytest.mark.parametrize('form', FORMS)
def test_outputs_equal_model_gardens(
    run: tuple[str, garden_checkpoints.Run],
    expected: dict[bool, dict[str, np.ndarray]],
    form: str,
) -> None:
    gc.collect()
    family, made = run
    use_averages, is_average = FORMS[form]
    ours = _build_ours(made, family)
    path = str(made.folder / form)
    report = initialization.load_pretrained(ours, path, use_averages=use_averages)
    assert report.is_complete
    assert report.left_over == ()
    assert ('moving averages' in report.describe()) == is_average
    found = model_outputs.compute_outputs(ours, _make_images(family))
    for key, value in expected[is_average].items():
        largest = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(
            found[key], value, atol=1e-4 * largest, rtol=0, err_msg=f'{family}: {key}'
        )
