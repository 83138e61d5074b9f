"""Model Garden's names for parsing, saving and choosing; the work is done elsewhere."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

from official_lite import _lazy
from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory, run_files
from official_lite.core.parsing import ExperimentParser, ParseConfigOptions
from official_lite.modeling.hyperparams import yaml_files

__all__ = [
    'BEST_CHECKPOINT_NAME',
    'ExperimentParser',
    'ParseConfigOptions',
    'cast_leaf_nested_dict',
    'get_leaf_nested_dict',
    'parse_configuration',
    'serialize_config',
    'try_count_params',
    'write_model_params',
]

BEST_CHECKPOINT_NAME = 'best_ckpt'

__getattr__, __dir__ = _lazy.attach(
    __name__,
    attributes={
        'BestCheckpointExporter': 'official_lite.core.best_checkpoint:BestCheckpointExporter',
        'maybe_create_best_ckpt_exporter': (
            'official_lite.core.best_checkpoint:maybe_create_best_ckpt_exporter'
        ),
    },
)


def parse_configuration(
    flags_obj: Any, lock_return: bool = True, print_return: bool = True
) -> cfg.ExperimentConfig:
    """Returns the config that flags describe, checked.

    Args:
        flags_obj: Flags, or a `ParseConfigOptions`.
        lock_return: Whether the config is locked.
        print_return: Whether it is logged.

    Raises:
        UsageError: If a flag, a file or a value is wrong.
    """
    config = ExperimentParser(flags_obj).parse()
    config.validate()
    if lock_return:
        config.lock()
    if print_return:
        text = yaml_files.dump_yaml(config.as_dict())
        logging.getLogger(__name__).info('Final experiment parameters:\n%s', text)
    return config


def serialize_config(params: cfg.ExperimentConfig, model_dir: str | None) -> None:
    """Writes params.yaml into model_dir.

    Raises:
        ValueError: If model_dir is None.
    """
    if model_dir is None:
        raise ValueError('model_dir must be a folder, received None')
    run_files.save_params(params, model_dir, exp_factory.find_experiment(params))


def get_leaf_nested_dict(d: dict[str, Any], keys: list[str]) -> Any:
    """Returns the value under a list of keys.

    Raises:
        KeyError: If there is none, or if it is a dict.
    """
    leaf: Any = d
    for key in keys:
        if not isinstance(leaf, dict) or key not in leaf:
            raise KeyError(f'Path not exist while traversing the dictionary: {keys} at {key!r}')
        leaf = leaf[key]
    if isinstance(leaf, dict):
        raise KeyError(f'The value extracted with keys: {keys} is not a leaf')
    return leaf


def cast_leaf_nested_dict(d: dict[str, Any], cast_fn: Callable[[Any], Any]) -> dict[str, Any]:
    """Applies a function to every value of a nested dict, in place, and returns it."""
    for key, value in d.items():
        d[key] = (
            cast_leaf_nested_dict(value, cast_fn) if isinstance(value, dict) else cast_fn(value)
        )
    return d


def write_model_params(model: Any, output_path: str) -> None:
    """Writes name and shape of each variable of a model, and the number of parameters.

    Args:
        model: A Keras model or layer, built, or a `tf.Module`.
        output_path: The file, local or remote.
    """
    variables = list(model.variables)
    lines = [f'{_variable_name(variable)} {list(variable.shape)}' for variable in variables]
    text = '\n'.join([*lines, '', f'Total params: {_count(variables)}', ''])
    yaml_files.write_text(output_path, text)


def try_count_params(model: Any, trainable_only: bool = False) -> int | None:
    """Returns the number of parameters of a model, None if it has not been built.

    Args:
        model: A Keras model or layer, or a `tf.Module`.
        trainable_only: Whether parameters that are not trained are left out.
    """
    if not getattr(model, 'built', True):
        return None
    return _count(model.trainable_variables if trainable_only else model.variables)


def _variable_name(variable: Any) -> str:
    """The name as TensorFlow writes it; Keras 3 keeps it in `path`, without the output's number."""
    path = getattr(variable, 'path', None)
    return f'{path}:0' if path else str(variable.name)


def _count(variables: Iterable[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
