"""Fields, ranges and relations of the configs of an experiment."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

from official_lite.common import flags
from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams, optimization
from official_lite.modeling.optimization.configs import (
    learning_rate_config,
    optimization_config,
    optimizer_config,
)
from official_lite.vision.configs import backbones, common, data_sources, decoders, retinanet

MODULES = (
    cfg,
    learning_rate_config,
    optimization_config,
    optimizer_config,
    backbones,
    common,
    data_sources,
    decoders,
    retinanet,
)
CLASSES = sorted(
    {
        cls
        for module in MODULES
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, hyperparams.Config) and cls.__module__.startswith('official_lite')
        if cls.__module__ == module.__name__ and not cls.__name__.startswith('_')
    },
    key=lambda cls: (cls.__module__, cls.__name__),
)


@pytest.mark.parametrize('cls', CLASSES, ids=lambda cls: cls.__name__)
def test_d1_every_field_is_documented(cls: type) -> None:
    documented = set()
    for parent in cls.__mro__:
        if issubclass(parent, hyperparams.Config) and parent is not hyperparams.Config:
            documented |= set(re.findall(r'^        (\w+): \S', inspect.getdoc(parent) or '', re.M))
            documented |= set(re.findall(r'^    (\w+): \S', inspect.getdoc(parent) or '', re.M))
    fields = {field.name for field in dataclasses.fields(cls) if not field.name.startswith('_')}
    assert fields - documented == set()


@pytest.mark.parametrize('cls', CLASSES, ids=lambda cls: cls.__name__)
def test_d1_what_none_means_is_documented(cls: type) -> None:
    text = ' '.join(
        (inspect.getdoc(parent) or '')
        for parent in cls.__mro__
        if issubclass(parent, hyperparams.Config)
    )
    for field in dataclasses.fields(cls):
        if field.default is None and 'Optional' in str(field.type):
            entry = re.search(rf'\b{field.name}: (.*?)(?=\n\s+\w+: |\Z)', text, re.S)
            assert entry, field.name
            assert re.search(r'None|null|Not used|not used', entry[1]), field.name


@pytest.mark.parametrize('cls', CLASSES, ids=lambda cls: cls.__name__)
def test_defaults_are_valid(cls: type) -> None:
    if cls.__name__ not in ('AttributeHead', 'MixturePart'):  # They need a name.
        cls().validate()


def problems_of(config: hyperparams.Config) -> list[str]:
    with pytest.raises(hyperparams.ConfigError) as caught:
        config.validate()
    return [str(problem) for problem in caught.value.problems]


TRAINER = [
    ('train_steps', -5, 'train_steps: expected 0 or more, received -5'),
    ('steps_per_loop', 0, 'steps_per_loop: expected 1 or more, received 0'),
    ('validation_steps', 0, 'validation_steps: expected 1 or more, or -1 for all of the data'),
    ('max_to_keep', 0, 'max_to_keep: expected 1 or more'),
    ('loss_upper_bound', 0.0, 'loss_upper_bound: expected more than 0'),
    ('train_epochs', 0.0, 'train_epochs: expected more than 0'),
    ('continuous_eval_timeout', -1, 'continuous_eval_timeout: expected 0 or more seconds'),
]


@pytest.mark.parametrize(('field', 'value', 'message'), TRAINER)
def test_d1_trainer_ranges(field: str, value: Any, message: str) -> None:
    assert problems_of(cfg.TrainerConfig(**{field: value}))[0].startswith(message)


def test_d1_all_problems_come_at_once() -> None:
    config = cfg.ExperimentConfig(
        trainer=cfg.TrainerConfig(train_steps=-1, steps_per_loop=0),
        runtime=cfg.RuntimeConfig(num_gpus=-1),
        task=cfg.TaskConfig(train_data=cfg.DataConfig(global_batch_size=-8)),
    )
    assert [problem.partition(':')[0] for problem in problems_of(config)] == [
        'task.train_data.global_batch_size',
        'trainer.train_steps',
        'trainer.steps_per_loop',
        'runtime.num_gpus',
    ]


RELATIONS = [
    (cfg.TrainerConfig(eval_tf_while_loop=True), 'validation_steps: expected a number, because'),
    (
        cfg.TrainerConfig(train_tf_function=False),
        'train_tf_function: expected true, because train_tf_while_loop is on',
    ),
    (
        cfg.TrainerConfig(best_checkpoint_export_subdir='best'),
        'best_checkpoint_eval_metric: expected a metric, because best_checkpoint_export_subdir',
    ),
    (
        cfg.RuntimeConfig(distribution_strategy='parameter_server'),
        'distribution_strategy: expected a strategy other than parameter_server, which Keras 3',
    ),
    (
        cfg.RuntimeConfig(distribution_strategy='mirrored', all_reduce_alg='ring'),
        'all_reduce_alg: expected nccl or hierarchical_copy with mirrored',
    ),
    (
        cfg.RuntimeConfig(distribution_strategy='one_device', num_gpus=2),
        'num_gpus: expected 0 or 1 with one_device',
    ),
    (cfg.RuntimeConfig(loss_scale=-1.0), "loss_scale: expected 'dynamic' or more than 0"),
    (
        cfg.DataConfig(input_path='a', tfds_name='b', tfds_split='train'),
        'tfds_name: expected not set, because input_path is',
    ),
    (cfg.DataConfig(tfds_name='coco'), 'tfds_split: expected a split, because tfds_name is set'),
]


@pytest.mark.parametrize(('config', 'message'), RELATIONS, ids=[m for _, m in RELATIONS])
def test_relations(config: hyperparams.Config, message: str) -> None:
    (problem,) = problems_of(config)
    assert problem.startswith(message)


ENUMERATIONS = [
    ('distribution_strategy', 'mirored', "'mirrored'"),
    ('mixed_precision_dtype', 'float17', "'float16'"),
    ('gpu_thread_mode', 'gpu', "'gpu_private'"),
    ('all_reduce_alg', 'ncl', "'nccl'"),
]


@pytest.mark.parametrize(('field', 'value', 'choice'), ENUMERATIONS)
def test_d1_enumerations(field: str, value: str, choice: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=f'^{field}: expected .*{choice}'):
        cfg.RuntimeConfig(**{field: value})


def test_yaml_off_is_the_strategy_off() -> None:
    config = cfg.ExperimentConfig()
    hyperparams.override_params_dict(config, 'runtime: {distribution_strategy: off}')
    assert config.runtime.distribution_strategy == 'off'


def test_auto_precision_is_a_choice() -> None:
    assert cfg.RuntimeConfig(mixed_precision_dtype='auto').mixed_precision_dtype == 'auto'


@pytest.mark.parametrize('scale', ['dynamic', 128.0, None])
def test_loss_scale(scale: Any) -> None:
    assert cfg.RuntimeConfig(loss_scale=scale).loss_scale == scale


def test_d15_the_flag_offers_the_modes_that_exist() -> None:
    assert cfg.MODES == (
        'train',
        'eval',
        'train_and_eval',
        'continuous_eval',
        'continuous_train_and_eval',
        'train_and_post_eval',
    )
    assert (*cfg.MODES, 'train_and_validate') == flags.MODES


def test_d15_the_trainer_runs_every_mode() -> None:
    train_lib = pytest.importorskip('official_lite.core.train_lib')
    assert {train_lib.check_mode(mode) for mode in flags.MODES} == set(cfg.MODES)


class TestOptimization:
    """The configs of optimizers and schedules."""

    def test_no_choice_is_the_default(self) -> None:
        config = optimization.OptimizationConfig({})
        assert config.optimizer.get() is None
        assert config.learning_rate.get() is None
        assert config.warmup.get() is None
        assert config.ema is None

    def test_a_choice_has_its_defaults(self) -> None:
        config = optimization.OptimizationConfig({'optimizer': {'type': 'sgd'}})
        assert config.optimizer.get() == optimization.SGDConfig()

    def test_b8_an_optimizer_that_does_not_exist_is_refused(self) -> None:
        config = optimization.OptimizationConfig({'optimizer': {'type': 'slide'}})
        (problem,) = problems_of(config)
        assert problem.startswith(
            'optimizer.type: expected an optimizer that is implemented; SLIDE has never been '
            'published'
        )
        assert problem.endswith('use lamb')
        config = optimization.OptimizationConfig({'optimizer': {'type': 'adafactor'}})
        config.validate()

    def test_a_moving_average_is_checked_when_built_from_null(self) -> None:
        with pytest.raises(hyperparams.ConfigError, match=r"ema\.avg_decay.*'average_decay'"):
            optimization.OptimizationConfig().override({'ema': {'avg_decay': 0.999}})

    @pytest.mark.parametrize(
        ('values', 'message'),
        [
            (
                {'optimizer': {'type': 'adam', 'adam': {'beta_1': 1.0}}},
                'optimizer.adam.beta_1: expected 0 or more and less than 1',
            ),
            (
                {'optimizer': {'type': 'sgd', 'sgd': {'global_clipnorm': 0.0}}},
                'optimizer.sgd.global_clipnorm: expected more than 0, or null for no clipping',
            ),
            (
                {
                    'learning_rate': {
                        'type': 'stepwise',
                        'stepwise': {'boundaries': [10, 20], 'values': [1.0, 0.1]},
                    }
                },
                'learning_rate.stepwise.values: expected 3 values for 2 boundaries',
            ),
            (
                {'learning_rate': {'type': 'stepwise', 'stepwise': {'boundaries': [20, 10]}}},
                'learning_rate.stepwise.boundaries: expected rising numbers',
            ),
            (
                {'learning_rate': {'type': 'cosine', 'cosine': {'decay_steps': 0}}},
                'learning_rate.cosine.decay_steps: expected 1 or more',
            ),
            (
                {'warmup': {'type': 'linear', 'linear': {'warmup_steps': -1}}},
                'warmup.linear.warmup_steps: expected 0 or more',
            ),
            ({'ema': {'average_decay': 1.5}}, 'ema.average_decay: expected 0 to 1'),
        ],
    )
    def test_ranges(self, values: dict[str, Any], message: str) -> None:
        (problem,) = problems_of(optimization.OptimizationConfig(values))
        assert problem.startswith(message)

    def test_b6_step_cosine_needs_as_many_values_as_boundaries(self) -> None:
        cosine = optimization.StepCosineLrConfig(boundaries=[10, 20], values=[1.0, 0.5, 0.1])
        assert problems_of(cosine)[0].startswith('values: expected 2 values for 2 boundaries')
