"""Models for images of other numbers of channels than those of the data are refused."""

from __future__ import annotations

from typing import Any

import pytest

from official_lite import errors
from official_lite.core import exp_factory, task_factory


@pytest.mark.parametrize('kind', ['classification', 'segmentation', 'retinanet', 'maskrcnn'])
def test_models_of_other_channels(kind: str) -> None:
    params = exp_factory.get_exp_config(f'{kind}_custom')
    params.override({'task': {'model': {'input_size': [64, 64, 1]}}})
    task = task_factory.get_task(params.task)
    message = (
        r'^task\.model\.input_size: expected 3 channels, as images of the data have; '
        r'received \[64, 64, 1\]$'
    )
    with pytest.raises(errors.UsageError, match=message):
        task.build_inputs(params.task.validation_data)
    with pytest.raises(errors.UsageError, match=message):
        task.build_inputs_at(params.task.train_data, None, 0)


def test_features_of_segmentation_have_channels_of_their_own() -> None:
    extra: dict[str, Any] = {'feature_name': 'depth', 'num_channels': 1, 'mean': [0], 'stddev': [1]}
    params = exp_factory.get_exp_config('segmentation_custom')
    params.override({'task': {'validation_data': {'additional_dense_features': [extra]}}})
    task = task_factory.get_task(params.task)
    with pytest.raises(errors.UsageError, match=r'input_size: expected 4 channels, as images of'):
        task.build_inputs(params.task.validation_data)


@pytest.mark.parametrize('kind', ['retinanet', 'maskrcnn'])
def test_data_needs_a_size(kind: str) -> None:
    params = exp_factory.get_exp_config(f'{kind}_custom')
    params.override({'task': {'model': {'input_size': [None, None, 3], 'num_classes': 11}}})
    params.task.validation_data.source.embedded.num_scenes = 2
    task = task_factory.get_task(params.task)
    message = r'^task\.model\.input_size: nothing says how large images become; expected height and'
    with pytest.raises(errors.UsageError, match=message):
        task.build_inputs(params.task.validation_data)
