"""The blocks of docs/layer_overrides.md run."""

import dataclasses
import pathlib
import re

import yaml

from official_lite.core import config_definitions as cfg
from official_lite.modeling.layer_overrides import configs

PAGE = pathlib.Path(__file__).parents[3] / 'docs' / 'layer_overrides.md'


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```', PAGE.read_text(), flags=re.S | re.M)


def test_python_blocks_run():
    for block in blocks('python'):
        exec(block, {'__name__': 'block'})


def test_yaml_blocks_are_valid():
    for block in blocks('yaml'):
        config = cfg.ExperimentConfig()
        config.override(yaml.safe_load(block))
        config.validate()
        assert len(config.task.layer_overrides) == 3


def test_every_setting_is_told():
    text = PAGE.read_text()
    for name in (field.name for field in dataclasses.fields(configs.LayerOverride)):
        assert f'`{name}`' in text or f'{name}:' in text, name
