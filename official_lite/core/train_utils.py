"""Model Garden's names for parsing, saving and choosing; the work is done elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
]

BEST_CHECKPOINT_NAME = 'best_ckpt'

__getattr__, __dir__ = _lazy.attach(
    __name__,
    attributes={
        'BestCheckpointExporter': 'official_lite.core.best_checkpoint:BestCheckpointExporter',
        'maybe_create_best_ckpt_exporter': (
            'official_lite.core.best_checkpoint:maybe_create_best_ckpt_exporter'
        ),
        'try_count_flops': 'official_lite.core.model_sizes:try_count_flops',
        'try_count_params': 'official_lite.core.model_sizes:try_count_params',
        'write_model_params': 'official_lite.core.model_sizes:write_model_params',
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
