"""Models that know which hyperparameters made them, and take these along into their files.

Works without TensorFlow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from official_lite.core import hyperparameter_files, hyperparameters, run_files

__all__ = ['attach', 'remember_config']


def attach(model: Any, config: Any) -> None:
    """Gives a model the attribute `hyperparameters`, which its files then have with them.

    These are what `model.save` writes as `.keras`, and SavedModels of `model.export`.

    Args:
        model: The model. What is none, and one that has a property of this name, stay as they are.
        config: As in `Hyperparameters.of`. Anything that holds no values is ignored.
    """
    has_values = isinstance(config, Mapping) or hasattr(config, 'as_dict')
    if not hasattr(model, '__dict__') or not has_values:
        return
    if isinstance(getattr(type(model), 'hyperparameters', None), property):
        return
    is_new = not hasattr(model, 'hyperparameters')
    model.hyperparameters = hyperparameters.Hyperparameters.of(config)
    if is_new and hasattr(model, 'save_own_variables') and hasattr(model, 'export'):
        _carry_into_files(model)


def _carry_into_files(model: Any) -> None:
    """Makes Keras put the hyperparameters into every `.keras` file and SavedModel of a model."""
    save_others, export_model = getattr(model, 'save_assets', None), model.export

    def save_assets(folder: str) -> None:
        if save_others is not None:
            save_others(folder)
        path = run_files.join(folder, hyperparameter_files.ASSET_NAME)
        run_files.write_text(path, model.hyperparameters.to_yaml())

    @functools.wraps(export_model)
    def export(filepath: Any, *args: Any, **kwargs: Any) -> Any:
        result = export_model(filepath, *args, **kwargs)
        if hyperparameter_files.is_saved_model(str(filepath)):
            hyperparameter_files.save_hyperparameters(model, str(filepath))
        return result

    model.save_assets = save_assets
    model.export = export


def remember_config(build: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps `Task.build_model` so that the model knows the config that it was built from."""

    @functools.wraps(build)
    def build_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        model = build(self, *args, **kwargs)
        attach(model, self.task_config)
        return model

    return build_model
