"""Typed configs: checked values, dotted overrides, sources, round trips and schemas."""

from official_lite.modeling.hyperparams import base_config, oneof, params_dict
from official_lite.modeling.hyperparams.base_config import Config, Report
from official_lite.modeling.hyperparams.binding import bind
from official_lite.modeling.hyperparams.errors import ConfigError, Problem
from official_lite.modeling.hyperparams.hparams import HParams
from official_lite.modeling.hyperparams.oneof import OneOfConfig
from official_lite.modeling.hyperparams.overrides import nested_csv_str_to_json_str, parse_override
from official_lite.modeling.hyperparams.params_dict import (
    ParamsDict,
    override_params_dict,
    read_yaml_to_params_dict,
    save_params_dict_to_yaml,
)
from official_lite.modeling.hyperparams.short_names import ShortName, override_by_names
from official_lite.modeling.hyperparams.sources import Source
from official_lite.modeling.hyperparams.tree import diff
from official_lite.modeling.hyperparams.yaml_files import dump_yaml, load_yaml, parse_yaml

__all__ = [
    'Config',
    'ConfigError',
    'HParams',
    'OneOfConfig',
    'ParamsDict',
    'Problem',
    'Report',
    'ShortName',
    'Source',
    'base_config',
    'bind',
    'diff',
    'dump_yaml',
    'json_schema',
    'load_yaml',
    'nested_csv_str_to_json_str',
    'oneof',
    'override_by_names',
    'override_params_dict',
    'params_dict',
    'parse_override',
    'parse_yaml',
    'read_yaml_to_params_dict',
    'save_params_dict_to_yaml',
]


def json_schema(config_or_class):  # type: ignore[no-untyped-def]
    """Returns a JSON Schema of what a config class, or a config's class, accepts."""
    from official_lite.modeling.hyperparams import json_schema_of

    return json_schema_of.json_schema(config_or_class)
