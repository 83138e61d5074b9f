"""Python blocks of pages that have no test of their own: they run, and do what the page says."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.examples import test_pages
from tests.vision.serving import test_export_sizes

_TIGER = """
import keras


class Tiger(keras.optimizers.SGD):
    def __init__(self, stripes, **kwargs):
        super().__init__(**kwargs)
        self.stripes = stripes
"""
_TRAIN = """
import tensorflow as tf
from official_lite.core import exp_factory
from official_lite.modeling import optimization
import my_pkg.plugin

config = exp_factory.get_exp_config('retinanet_custom').trainer.optimizer_config
config.override({
    'optimizer': {'type': 'tiger', 'tiger': {'stripes': 3.0, 'clipnorm': 1.0}},
    'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.5}},
    'warmup': {'type': None},
    'ema': None,
})
factory = optimization.OptimizerFactory(config)
optimizer = factory.build_optimizer(factory.build_learning_rate())
variable = tf.Variable([1.0, 1.0])
optimizer.build([variable])
optimizer.apply_gradients([(tf.constant([3.0, 4.0]), variable)])
names = [cls.__name__ for cls in type(optimizer).__mro__]
print('Tiger' in names, optimizer.stripes, [f'{value:.3f}' for value in variable.numpy()])
"""


def test_an_optimizer_of_ones_own(tmp_path: pathlib.Path) -> None:
    (block,) = test_pages.find_blocks('docs/optimization.md', 'python')
    package = tmp_path / 'my_pkg'
    package.mkdir()
    (package / 'plugin.py').write_text(block)
    (package / 'tiger.py').write_text(_TIGER)
    result = subprocess.run(
        [sys.executable, '-c', _TRAIN],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(test_pages.REPO)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    # A gradient of norm 5 is clipped to one of norm 1.
    assert result.stdout.splitlines()[-1] == "True 3.0 ['0.700', '0.600']", result.stdout


def test_export_of_a_segmentation_model(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = test_pages.find_blocks('docs/segmentation.md', 'python')
    monkeypatch.chdir(tmp_path)
    config = test_export_sizes.make_params('segmentation')
    checkpoint = pathlib.Path('runs/own/best_ckpt')
    checkpoint.mkdir(parents=True)
    test_export_sizes.write_checkpoint(config, checkpoint)
    exec(compile(block, 'docs/segmentation.md', 'exec'), {'config': config})
    serve = tf.saved_model.load('exported').signatures['serving_default']
    outputs = serve(inputs=np.zeros([2, 48, 100, 3], np.uint8))
    assert outputs['logits'].shape == (2, 512, 512, 4)
    assert outputs['image_info'].shape == (2, 4, 2)
