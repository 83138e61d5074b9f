"""Whether an imported model puts out what Model Garden's does."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.garden import model_outputs

TOLERANCE = 1e-4
_NUM_IMAGES = 2
_OPEN_SIDE_PX = 256


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The largest differences between two models.

    Attributes:
        differences: By output: the largest difference, relative to its largest value, or to 1 if that
            is smaller.
    """

    differences: dict[str, float]

    @property
    def is_equal(self) -> bool:
        """Whether no difference is above `TOLERANCE`."""
        return max(self.differences.values()) <= TOLERANCE

    def __str__(self) -> str:
        name = max(self.differences, key=lambda key: self.differences[key])
        verdict = 'equal' if self.is_equal else 'DIFFERENT'
        return (
            f"{len(self.differences)} outputs are {verdict} to Model Garden's: the largest difference "
            f'is {self.differences[name]:.1e} ({name}; tolerance {TOLERANCE:.0e})'
        )


def is_available() -> bool:
    """Whether tf-models-official is installed."""
    return importlib.util.find_spec('official') is not None


def has_experiment(name: str) -> bool:
    """Whether Model Garden has an experiment of that name."""
    try:
        _get_config(name)
    except (LookupError, ValueError):
        return False
    return True


def build_garden_model(experiment: str, overrides: Sequence[str] = ()) -> Any:
    """Builds the model of an experiment of Model Garden's.

    Args:
        experiment: Name of the experiment.
        overrides: What it changes: config files, and texts as those of `--params_override`.

    Raises:
        LookupError: Model Garden has no such experiment.
    """
    from official.core import task_factory
    from official.modeling import hyperparams

    params = _get_config(experiment)
    for source in overrides:
        params = hyperparams.override_params_dict(params, source, is_strict=False)
    return task_factory.get_task(params.task).build_model()


def _get_config(experiment: str) -> Any:
    from official.core import exp_factory
    from official.vision import registry_imports  # noqa: F401  # registers the experiments

    return exp_factory.get_exp_config(experiment)


def compare_models(
    garden_model: Any, path: str, model: keras.Model, image_shape: Sequence[int | None]
) -> Comparison:
    """Restores Model Garden's model from its checkpoint and compares outputs on random images.

    Args:
        garden_model: The model, built.
        path: Prefix of the checkpoint.
        model: Ours, with the imported weights.
        image_shape: Height, width and channels; sides that are open are some pixels.
    """
    shape = [_NUM_IMAGES, *(side or _OPEN_SIDE_PX for side in image_shape)]
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    # Some of its heads are made when they are called.
    model_outputs.compute_outputs(garden_model, images)
    items = getattr(garden_model, 'checkpoint_items', {})
    reader = tf.train.Checkpoint(model=garden_model, **items)
    reader.read(path).assert_existing_objects_matched().expect_partial()
    return compare_outputs(
        model_outputs.compute_outputs(garden_model, images),
        model_outputs.compute_outputs(model, images),
    )


def compare_outputs(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> Comparison:
    """Compares outputs by name.

    Raises:
        CheckpointError: The models have different outputs.
    """
    if expected.keys() != found.keys():
        raise errors.CheckpointError(
            "the models' outputs have different names",
            expected=', '.join(sorted(expected)),
            received=', '.join(sorted(found)),
        )
    return Comparison(
        {
            key: float(np.abs(found[key] - value).max() / max(1.0, np.abs(value).max()))
            for key, value in expected.items()
        }
    )
