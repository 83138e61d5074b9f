"""`--hparams_overrides`: short names for fields, in every experiment."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from official_lite import cli
from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory, parsing
from official_lite.modeling import hyperparams
from official_lite.modeling.hyperparams import tree
from official_lite.modeling.optimization.configs import optimization_config, peak_learning_rate

EXAMPLE = 'learning_rate=0.001,global_batch_size=32,nms_iou_threshold=0.6'
EXPERIMENTS = exp_factory.list_experiments()


def _parse(experiment: str, text: str | list[str], override: str = '') -> cfg.ExperimentConfig:
    options = parsing.ParseConfigOptions(
        experiment, [], params_override=override, hparams_overrides=text
    )
    return parsing.ExperimentParser(options).parse()


def _get_generator(config: cfg.ExperimentConfig) -> Any:
    return getattr(config.task.model, 'detection_generator', None)


DETECTORS = [
    name for name in EXPERIMENTS if _get_generator(exp_factory.get_exp_config(name)) is not None
]


def test_detectors_are_found_in_the_registry() -> None:
    assert {'retinanet', 'retinanet_custom', 'retinanet_resnetfpn_coco'} <= set(DETECTORS)
    rcnn = {name for name in EXPERIMENTS if 'rcnn' in name}
    assert rcnn <= set(DETECTORS)


@pytest.mark.parametrize('name', DETECTORS)
def test_the_example_works_on_every_detector(name: str) -> None:
    config = _parse(name, EXAMPLE)
    assert peak_learning_rate.find_peak(config.trainer.optimizer_config.learning_rate) == 0.001
    assert config.task.train_data.global_batch_size == 32
    assert _get_generator(config).nms_iou_threshold == 0.6
    changed = {path for path, _, _ in hyperparams.diff(exp_factory.get_exp_config(name), config)}
    allowed = ('trainer.optimizer_config.learning_rate.', 'trainer.optimizer_config.warmup.')
    others = {path for path in changed if not path.startswith(allowed)}
    assert others <= {
        'task.train_data.global_batch_size',
        'task.model.detection_generator.nms_iou_threshold',
    }


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_learning_rate_and_batch_size_work_on_every_experiment(name: str) -> None:
    config = _parse(name, 'learning_rate=0.0125,batch_size=6')
    assert peak_learning_rate.find_peak(config.trainer.optimizer_config.learning_rate) == 0.0125
    assert config.task.train_data.global_batch_size == 6


SCHEDULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # Type -> fields before, fields after `learning_rate=0.2`, worked out by hand.
    'constant': ({'learning_rate': 0.1}, {'learning_rate': 0.2}),
    'stepwise': (
        {'boundaries': [3, 6], 'values': [0.4, 0.8, 0.04]},
        {'values': [0.1, 0.2, 0.01]},
    ),
    'exponential': (
        {'initial_learning_rate': 0.5, 'decay_rate': 0.9, 'decay_steps': 2},
        {'initial_learning_rate': 0.2, 'decay_rate': 0.9},
    ),
    'polynomial': (
        {'initial_learning_rate': 0.5, 'end_learning_rate': 0.05, 'decay_steps': 10},
        {'initial_learning_rate': 0.2, 'end_learning_rate': 0.02},
    ),
    'cosine': (
        {'initial_learning_rate': 0.5, 'alpha': 0.1, 'decay_steps': 10},
        {'initial_learning_rate': 0.2, 'alpha': 0.1},
    ),
    'power': ({'initial_learning_rate': 0.5}, {'initial_learning_rate': 0.2, 'power': -0.5}),
    'power_linear': (
        {'initial_learning_rate': 0.5, 'total_decay_steps': 10},
        {'initial_learning_rate': 0.2},
    ),
    'power_with_offset': (
        {'initial_learning_rate': 0.5, 'offset': 3, 'pre_offset_learning_rate': 0.25},
        {'initial_learning_rate': 0.4, 'pre_offset_learning_rate': 0.2},
    ),
    'step_cosine_with_offset': (
        {'boundaries': [0, 5], 'values': [0.05, 0.5]},
        {'values': [0.02, 0.2]},
    ),
}


def _make_schedule(kind: str, fields: dict[str, Any]) -> optimization_config.OptimizationConfig:
    return optimization_config.OptimizationConfig.from_dict(
        {
            'learning_rate': {'type': kind, kind: fields},
            'warmup': {'type': 'linear', 'linear': {'warmup_steps': 2}},
        }
    )


def test_every_schedule_has_a_case() -> None:
    # What other tests register stays in this process.
    names = {
        name for name in optimization_config.LrConfig.branches() if not name.startswith('test_')
    }
    assert set(SCHEDULES) == names


@pytest.mark.parametrize('kind', SCHEDULES)
def test_learning_rate_scales_all_values_of_a_schedule(kind: str) -> None:
    before, after = SCHEDULES[kind]
    config = _make_schedule(kind, before)
    peak = peak_learning_rate.find_peak(config.learning_rate)
    assert peak is not None
    config.warmup.linear.warmup_learning_rate = peak / 10
    config.override(peak_learning_rate.scale_to_peak(config, 0.2))
    branch = config.learning_rate.get().as_dict()
    assert {name: branch[name] for name in after} == after
    assert config.warmup.linear.warmup_learning_rate == pytest.approx(0.02, rel=1e-14)
    assert peak_learning_rate.find_peak(config.learning_rate) == 0.2


@pytest.mark.parametrize('kind', SCHEDULES)
def test_the_curve_itself_is_scaled_at_every_step(kind: str) -> None:
    from official_lite.modeling.optimization import optimizer_factory

    config = _make_schedule(kind, SCHEDULES[kind][0])
    config.optimizer.type = 'sgd'
    peak = peak_learning_rate.find_peak(config.learning_rate)
    scaled = config.replace()
    scaled.override(peak_learning_rate.scale_to_peak(config, 0.2))
    rates = []
    for one in (config, scaled):
        schedule = optimizer_factory.OptimizerFactory(one).build_learning_rate()
        rates.append([float(schedule(step)) for step in range(12)])
    assert rates[1] == pytest.approx([rate * 0.2 / peak for rate in rates[0]], rel=1e-5)
    # After the warm-up of two steps, nothing is above the peak.
    assert max(rates[1]) <= 0.2 * (1 + 1e-6)


def test_peaks_that_need_thought() -> None:
    def find(kind: str, **fields: Any) -> float | None:
        return peak_learning_rate.find_peak(_make_schedule(kind, fields).learning_rate)

    assert find('cosine', initial_learning_rate=0.1, alpha=2.0) == pytest.approx(0.2)
    assert find('polynomial', initial_learning_rate=0.1, end_learning_rate=0.3) == 0.3
    assert find('power_with_offset', initial_learning_rate=0.1) == 0.1  # 1e6 is no limit
    assert find('polynomial') is None
    assert find('stepwise') is None


def test_a_schedule_without_rates() -> None:
    config = _make_schedule('polynomial', {})
    config.override(peak_learning_rate.scale_to_peak(config, 0.2))
    assert config.learning_rate.polynomial.initial_learning_rate == 0.2
    with pytest.raises(hyperparams.ConfigError, match='no rate above 0 that could be scaled'):
        peak_learning_rate.scale_to_peak(_make_schedule('stepwise', {}), 0.2)


def test_a_registered_schedule_is_scaled_by_the_names_of_its_fields() -> None:
    @dataclasses.dataclass
    class SawConfig(hyperparams.Config):
        initial_learning_rate: float = 0.5
        lowest_learning_rate: float = 0.05
        teeth: int = 3

    @dataclasses.dataclass
    class OwnLrConfig(optimization_config.LrConfig):
        saw: SawConfig = dataclasses.field(default_factory=SawConfig)

    config = optimization_config.OptimizationConfig(learning_rate=OwnLrConfig(type='saw'))
    changed = peak_learning_rate.scale_to_peak(config, 0.2)
    assert changed == {
        'learning_rate.saw.initial_learning_rate': 0.2,
        'learning_rate.saw.lowest_learning_rate': 0.02,
    }


def test_the_threshold_of_the_suppression_in_use_is_set() -> None:
    config = _parse('retinanet_custom', ['nms_version=tflite', 'nms_iou_threshold=0.3'])
    generator = _get_generator(config)
    assert generator.tflite_post_processing.nms_iou_threshold == 0.3
    assert generator.nms_iou_threshold == 0.5


def test_sources_and_precedence() -> None:
    config = _parse('retinanet_custom', ['batch_size=4,train_steps=9', 'batch_size=5'])
    assert config.task.train_data.global_batch_size == 5
    assert str(config.source_of('trainer.train_steps')) == '--hparams_overrides'
    config = _parse('retinanet_custom', 'train_steps=9', 'trainer.train_steps=10')
    assert config.trainer.train_steps == 10


def test_paths_endings_indices_and_what_is_inside_of_free_values() -> None:
    config = _parse(
        'retinanet_custom',
        'aspect_ratios[0]=2,anchor.num_scales=1,ema.average_decay=0.5,runtime.seed=3,'
        "backbone.type=mobilenet,mobilenet.model_id='MobileNetV2'",
    )
    assert config.task.model.anchor.aspect_ratios == [2.0]
    assert config.task.model.anchor.num_scales == 1
    assert config.trainer.optimizer_config.ema.average_decay == 0.5
    assert config.runtime.seed == 3
    assert config.task.model.backbone.type == 'mobilenet'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            'seed=1',
            r"seed: several fields end in this: 'task\.train_data\.seed', "
            r"'task\.validation_data\.seed', 'runtime\.seed' \(from --hparams_overrides\); "
            r'write more of the path, such as task\.train_data\.seed=',
        ),
        ('lerning_rate=1', r"no path ends in it .*; did you mean 'learning_rate'\?"),
        ('focal_alpha=1', r"focal_alpha: no field .* did you mean 'focal_loss_alpha'\?"),
        (
            'momentum=0.5',
            r'momentum: no field .* branches that are not chosen have it: '
            r"'trainer\.optimizer_config\.optimizer\.type=sgd'",
        ),
        ('learning_rate=fast', r"learning_rate: expected float, received 'fast' \(from --hparams"),
        ('batch_size=1.5', r"batch_size: expected int, received '1.5'"),
        ('train_steps=x', r"trainer\.train_steps: expected int, received 'x'"),
        (
            'batch_size=8,global_batch_size=16',
            r"it sets task\.train_data\.global_batch_size, which 'batch_size' has set already",
        ),
        (
            'task.model.backbone.mobilenet.model_id=MobileNetV1',
            r"the branch 'mobilenet' is not chosen",
        ),
        ('task.model.num_clases=3', r"did you mean 'num_classes'\?"),
        ('learning_rate', r'no `key=value` is there'),
    ],
)
def test_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(hyperparams.ConfigError, match=message):
        _parse('retinanet_custom', text)


def test_problems_come_together_and_change_nothing() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    with pytest.raises(hyperparams.ConfigError, match='2 problems') as caught:
        hyperparams.override_by_names(config, 'train_steps=5,seed=1,nme=2', '--hparams_overrides')
    assert [problem.path for problem in caught.value.problems] == ['seed', 'nme']
    assert config == exp_factory.get_exp_config('retinanet_custom')


def test_a_later_flag_must_not_leave_a_name_without_effect() -> None:
    override = 'trainer.optimizer_config.learning_rate.type=constant'
    with pytest.raises(hyperparams.ConfigError, match='but --params_override chooses another'):
        _parse('retinanet_custom', 'learning_rate=0.1', override)


def test_every_unique_ending_is_accepted() -> None:
    config = exp_factory.get_exp_config('retinanet_custom')
    values = {path: value for path, value, _ in tree.leaves(config)}
    names = [path.rpartition('.')[2] for path in values]
    unique = {path: name for path, name in zip(values, names) if names.count(name) == 1}
    assert len(unique) > 50
    declared = hyperparams.short_names.declared_names(config)
    for path, name in unique.items():
        if name not in declared:
            assert hyperparams.short_names.find_path(config, name) == path


def test_a_task_can_declare_names_of_its_own() -> None:
    @dataclasses.dataclass
    class OwnTask(cfg.TaskConfig):
        depth: int = 3
        _short_names = {  # noqa: RUF012
            'size': hyperparams.ShortName(int, lambda config, value: {'task.depth': value * 2})
        }

    config = cfg.ExperimentConfig(task=OwnTask())
    assert hyperparams.override_by_names(config, 'size=4,batch_size=2') == [
        'task.depth',
        'task.train_data.global_batch_size',
    ]
    assert config.task.depth == 8


def test_the_flag(capsys: Any) -> None:
    command = ['official-lite', 'config', 'retinanet_custom']
    assert cli.main([*command, f'--hparams_overrides={EXAMPLE}', '--sources']) == 0
    assert 'nms_iou_threshold: 0.6  # --hparams_overrides' in capsys.readouterr().out
    assert cli.main([*command, '--hparams_overrides=lerning_rate=1']) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: lerning_rate: no field has this name')
    assert 'Traceback' not in error
