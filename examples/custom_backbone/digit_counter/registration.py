"""Names for what this package adds. Imported by `--import` or as an entry point; free of TensorFlow."""

from __future__ import annotations

from digit_counter import configs
from official_lite.core import exp_factory, task_factory
from official_lite.vision import registries

registries.register_backbone(
    'plainnet', config=configs.PlainNet, builder='digit_counter.plainnet:build_plainnet'
)
registries.register_decoder(
    'topdown', config=configs.TopDown, builder='digit_counter.topdown:build_topdown'
)
registries.register_head(
    'single_tower',
    config=configs.SingleTowerHead,
    builder='digit_counter.single_tower:build_single_tower',
)
exp_factory.register_config_factory('counting_digits')(configs.counting_digits)
task_factory.register_task_module(configs.CountingTask, 'digit_counter.task')
