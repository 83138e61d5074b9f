"""What the factory of backbones refuses, whatever the backbone."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite import errors
from official_lite.core import exp_factory, task_factory


@pytest.mark.parametrize(
    ('experiment', 'input_size', 'received'),
    [
        ('image_classification', [], r'received \[\]'),
        ('semantic_segmentation', [], r'received \[\]'),
        ('semantic_segmentation', [64, 64, None], r'received \[64, 64, None\]'),
    ],
)
def test_images_without_a_shape(experiment: str, input_size: list[Any], received: str) -> None:
    config = exp_factory.get_exp_config(experiment).task
    config.model.override({'num_classes': 3, 'input_size': input_size})
    task = task_factory.get_task(config)
    expected = r'task.model.input_size: .*expected \[height, width, channels\]; '
    with pytest.raises(errors.UsageError, match=expected + received):
        task.build_model()
