"""The task of image classification: losses and metrics beside Model Garden's, and whole runs."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite.cli import train
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.tasks import image_classification
from tests.vision.dataloaders import class_makers

pytestmark = pytest.mark.usefixtures('own_cache')

NUM_CLASSES = 4
RANDOM = np.random.default_rng(5)
LOGITS = RANDOM.normal(size=[6, NUM_CLASSES]).astype(np.float32)
LABELS = np.array([0, 3, 2, 2, 1, 0], np.int32)
MIXED = (0.7 * np.eye(4)[LABELS] + 0.2 * np.eye(4)[LABELS[::-1]] + 0.1 / 4).astype(np.float32)
MANY = RANDOM.integers(0, 2, [6, NUM_CLASSES]).astype(np.int32)
MIXING = {'mixup_and_cutmix': {'label_smoothing': 0.1}}


def make_task(**fields: Any) -> image_classification.ImageClassificationTask:
    config = exp_cfg.ImageClassificationTask()
    config.override({'model': {'num_classes': NUM_CLASSES}, **fields})
    config.validate()
    return image_classification.ImageClassificationTask(config)


def make_garden_task(**fields: Any) -> Any:
    from official.vision.configs import image_classification as garden_cfg
    from official.vision.tasks import image_classification as garden

    config = garden_cfg.ImageClassificationTask()
    config.override({'model': {'num_classes': NUM_CLASSES}, **fields})
    return garden.ImageClassificationTask(config)


# Fields, labels as our input makes them, and as Model Garden's train step hands them to its loss.
CASES: dict[str, tuple[dict[str, Any], np.ndarray, np.ndarray]] = {
    'one_hot': ({}, LABELS, np.eye(4, dtype=np.float32)[LABELS]),
    'smoothed': (
        {'losses': {'label_smoothing': 0.2}},
        LABELS,
        np.eye(4, dtype=np.float32)[LABELS],
    ),
    'sparse': ({'losses': {'one_hot': False}}, LABELS, LABELS),
    'soft': (
        {'losses': {'one_hot': False, 'soft_labels': True}, 'train_data': MIXING},
        MIXED,
        MIXED,
    ),
    'binary': (
        {'losses': {'use_binary_cross_entropy': True}},
        LABELS,
        np.eye(4, dtype=np.float32)[LABELS],
    ),
    'mixed_binary': (
        {'losses': {'use_binary_cross_entropy': True}, 'train_data': MIXING},
        MIXED,
        (MIXED > 0.1 / 4 + 1e-6).astype(np.float32),
    ),
    'many': ({'train_data': {'is_multilabel': True}}, MANY, MANY),
    'many_smoothed': (
        {'train_data': {'is_multilabel': True}, 'losses': {'label_smoothing': 0.2}},
        MANY,
        MANY,
    ),
    'weighted': ({'losses': {'loss_weight': 3.0}}, LABELS, np.eye(4, dtype=np.float32)[LABELS]),
}


@pytest.mark.garden
@pytest.mark.parametrize('case', CASES)
def test_losses_equal_model_gardens(case: str) -> None:
    fields, labels, garden_labels = CASES[case]
    aux = [tf.constant(0.5), tf.constant(0.25)]
    theirs = make_garden_task(**fields).build_losses(
        tf.constant(garden_labels), tf.constant(LOGITS), aux
    )
    ours = make_task(**fields).build_losses(tf.constant(labels), tf.constant(LOGITS), aux)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize('case', CASES)
def test_what_fills_a_batch_changes_no_loss(case: str) -> None:
    fields, labels, _ = CASES[case]
    task = make_task(**fields)
    expected = task.build_losses(tf.constant(labels[:4]), tf.constant(LOGITS[:4]))
    padded = {
        'label': tf.constant(labels),
        'is_valid': tf.constant([True] * 4 + [False] * 2),
    }
    assert float(task.build_losses(padded, tf.constant(LOGITS))) == pytest.approx(float(expected))


def test_soft_labels_are_for_training_only() -> None:
    """Evaluation has classes, which become vectors without smoothing."""
    fields, _, _ = CASES['soft']
    task = make_task(**fields, evaluation={'top_k': 2})
    sparse = make_task(losses={'one_hot': False})
    found, expected = (
        float(t.build_losses(tf.constant(LABELS), tf.constant(LOGITS))) for t in (task, sparse)
    )
    assert found == pytest.approx(expected)


def compute_metrics(task: Any, labels: Any, training: bool = True) -> dict[str, float]:
    results: dict[str, float] = {}
    metrics = task.build_metrics(training)
    task.process_metrics(metrics, labels, tf.constant(LOGITS))
    for metric in metrics:
        result = metric.result()
        result = result if isinstance(result, dict) else {metric.name: result}
        results |= {name: float(value) for name, value in result.items()}
    return results


@pytest.mark.garden
@pytest.mark.parametrize('case', ['one_hot', 'sparse', 'soft'])
def test_metrics_equal_model_gardens(case: str) -> None:
    fields, labels, garden_labels = CASES[case]
    fields = {**fields, 'evaluation': {'top_k': 2}}
    garden = make_garden_task(**fields)
    metrics = garden.build_metrics(True)
    garden.process_metrics(metrics, tf.constant(garden_labels), tf.constant(LOGITS))
    expected = {metric.name: float(metric.result()) for metric in metrics}
    assert compute_metrics(make_task(**fields), tf.constant(labels)) == pytest.approx(expected)


@pytest.mark.garden
def test_precision_and_recall_equal_model_gardens() -> None:
    fields: dict[str, Any] = {
        'evaluation': {
            'precision_and_recall_thresholds': [0.3, 0.6],
            'report_per_class_precision_and_recall': True,
        },
        'model': {'num_classes': NUM_CLASSES, 'output_softmax': True},
    }
    garden = make_garden_task(**fields)
    metrics = garden.build_metrics(False)
    garden.process_metrics(metrics, tf.one_hot(LABELS, 4), tf.nn.softmax(LOGITS))
    expected = {metric.name: float(metric.result()) for metric in metrics}
    assert compute_metrics(make_task(**fields), tf.constant(LABELS)) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.garden
def test_areas_under_curves_equal_model_gardens() -> None:
    fields, _, _ = CASES['many']
    garden = make_garden_task(**fields)
    metrics = garden.build_metrics(False)
    garden.process_metrics(metrics, tf.constant(MANY), tf.constant(LOGITS))
    expected = {metric.name: float(metric.result()) for metric in metrics}
    task = make_task(**fields)
    assert compute_metrics(task, tf.constant(MANY), training=False) == pytest.approx(
        expected, abs=1e-5
    )
    assert task.build_metrics(True) == []


def test_what_fills_a_batch_changes_no_metric() -> None:
    padded = {'label': tf.constant(LABELS), 'is_valid': tf.constant([True] * 5 + [False])}
    fields = {'evaluation': {'top_k': 2, 'precision_and_recall_thresholds': [0.5]}}
    found = compute_metrics(make_task(**fields), padded)
    right = LOGITS.argmax(-1) == LABELS
    assert found['accuracy'] == pytest.approx(right[:5].mean())
    many = {'label': tf.constant(MANY), 'is_valid': tf.constant([True] * 5 + [False])}
    task = make_task(train_data={'is_multilabel': True})
    masked = compute_metrics(task, many, training=False)
    metrics = task.build_metrics(False)
    task.process_metrics(metrics, tf.constant(MANY[:5]), tf.constant(LOGITS[:5]))
    assert masked == pytest.approx({m.name: float(m.result()) for m in metrics}, abs=1e-5)


def test_probabilities() -> None:
    logits = tf.constant(LOGITS)
    softmax, sigmoid = tf.nn.softmax(logits), tf.sigmoid(logits)
    binary = {'losses': {'use_binary_cross_entropy': True}}
    for fields, expected in (
        ({}, softmax),
        (binary, sigmoid),
        ({**binary, 'model': {'num_classes': 4, 'output_softmax': True}}, softmax),
        ({'train_data': {'is_multilabel': True}}, sigmoid),
    ):
        np.testing.assert_allclose(make_task(**fields).compute_probabilities(logits), expected)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (
            {'losses': {'soft_labels': True, 'one_hot': False}},
            r'losses.soft_labels: expected false, because train_data.mixup_and_cutmix is not set',
        ),
        (
            {'train_data': MIXING},
            r'losses.soft_labels: expected true, because .*set losses.one_hot=false too',
        ),
        (
            {'train_data': MIXING, 'losses': {'soft_labels': True}},
            r'losses.one_hot: expected false',
        ),
        (
            {'losses': {'one_hot': False, 'label_smoothing': 0.1}},
            r'losses.label_smoothing: expected 0, because losses.one_hot is off',
        ),
        (
            {'train_data': {'is_multilabel': True, **MIXING}},
            r'train_data.mixup_and_cutmix: expected null, because is_multilabel is on',
        ),
        (
            {'validation_data': {'label_field_key': 'x'}},
            r'validation_data.label_field_key: expected image/class/label, as in train_data',
        ),
        (
            {'evaluation': {'report_per_class_precision_and_recall': True}},
            r'report_per_class_precision_and_recall: expected false',
        ),
        ({'evaluation': {'top_k': 0}}, r'evaluation.top_k: expected 1 or more'),
        ({'class_names': ['a']}, r'class_names: expected 4 names, as model.num_classes'),
        ({'model': {'dropout_rate': 1.0}}, r'model.dropout_rate: expected at least 0'),
        ({'model': {'input_size': [32, 32]}}, r'model.input_size: expected \[height, width'),
        (
            {'train_data': {'aug_type': {'type': 'ssd_random_crop'}}},
            r'train_data.aug_type.type: expected randaug or autoaug',
        ),
        ({'train_data': {'repeated_augment': 0}}, r'repeated_augment: expected 1 or more'),
        ({'train_data': {'crop_area_range': [0.5, 0.1]}}, r'train_data.crop_area_range: expected'),
        ({'train_data': {'center_crop_fraction': 0.0}}, r'center_crop_fraction: expected more'),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(hyperparams.ConfigError, match=message):
        make_task(**fields)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    counts = {'red': 15, 'green': 15, 'blue': 15}
    return class_makers.write_folders(tmp_path_factory.mktemp('colours'), counts)


def run(model_dir: pathlib.Path, root: pathlib.Path, *overrides: str) -> list[dict[str, Any]]:
    """Trains and evaluates a tiny model; the lines of its log."""
    flags = [
        'train.py',
        '--experiment=classification_custom',
        '--mode=train_and_eval',
        f'--model_dir={model_dir}',
        f'--params_override=task.train_data.source.folder.root={root}',
        '--params_override=task.model.input_size=[16,16,3],'
        'task.model.backbone.resnet.depth_multiplier=0.125,'
        'task.train_data.global_batch_size=6,task.validation_data.global_batch_size=4,'
        'trainer.train_steps=4,trainer.steps_per_loop=2,trainer.validation_interval=2,'
        'trainer.checkpoint_interval=2,trainer.summary_interval=2,'
        'runtime.mixed_precision_dtype=float32',
        *(f'--params_override={text}' for text in overrides),
    ]
    assert train.main(flags) == 0
    lines = (model_dir / 'metrics.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_run_from_folders(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """One folder for training and validation; classes come from it."""
    lines = run(tmp_path / 'run', root, 'task.model.add_head_batch_norm=true')
    names = {name for line in lines for name in line}
    assert any(name.endswith('top_5_accuracy') for name in names), names
    assert any(name.endswith('accuracy') for name in names)
    params = (tmp_path / 'run' / 'params.yaml').read_text()
    assert 'num_classes: 3' in params
    assert 'class_names: [blue, green, red]' in params or '- blue' in params
    assert list((tmp_path / 'run' / 'best_ckpt').iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    'overrides',
    [
        (
            'task.train_data.mixup_and_cutmix.prob=1.0',
            'task.losses.one_hot=false,task.losses.soft_labels=true,task.losses.label_smoothing=0',
        ),
        ('task.losses.use_binary_cross_entropy=true,task.losses.label_smoothing=0',),
        (
            'task.evaluation.precision_and_recall_thresholds=[0.2,0.5]',
            'task.evaluation.report_per_class_precision_and_recall=true',
        ),
        (
            'runtime.mixed_precision_dtype=bfloat16',
            'task.train_data.repeated_augment=2',
            # On maps one pixel wide TensorFlow's gradients in bfloat16 are wrong.
            'task.model.input_size=[32,32,3]',
        ),
    ],
)
def test_runs_with_other_losses_and_metrics(
    root: pathlib.Path, tmp_path: pathlib.Path, overrides: tuple[str, ...]
) -> None:
    lines = run(tmp_path / 'run', root, *overrides)
    losses = [v for line in lines for name, v in line.items() if name.endswith('loss')]
    assert losses
    assert np.isfinite(losses).all()


def make_small_task(root: pathlib.Path, **fields: Any) -> Any:
    config = exp_factory.get_exp_config('classification_custom')
    config.override(
        {
            'task': {
                'train_data': {'source': {'folder': {'root': str(root)}}, 'global_batch_size': 6},
                'validation_data': {'global_batch_size': 4},
                'model': {
                    'input_size': [16, 16, 3],
                    'backbone': {'resnet': {'depth_multiplier': 0.125}},
                },
                **fields,
            }
        }
    )
    info = image_classification.ImageClassificationTask.get_data_info(config.task, True)
    image_classification.ImageClassificationTask.resolve(config, info)
    return image_classification.ImageClassificationTask(config.task)


def test_a_step_changes_the_weights_and_evaluation_does_not(root: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)
    task = make_small_task(root)
    model = task.build_model()
    optimizer = keras.optimizers.SGD(0.05)
    optimizer.build(model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    metrics = task.build_metrics(True)
    logs = task.train_step(
        next(iter(task.build_inputs(task.task_config.train_data))), model, optimizer, metrics
    )
    assert np.isfinite(float(logs['loss']))
    assert all((v.numpy() != b).any() for v, b in zip(model.trainable_variables, before))
    before = [v.numpy() for v in model.variables]
    metrics = task.build_metrics(False)
    for batch in task.build_inputs(task.task_config.validation_data):
        task.validation_step(batch, model, metrics)
    assert all((v.numpy() == b).all() for v, b in zip(model.variables, before))
    assert int(metrics[0].count.numpy()) == 9  # a fifth of 45; three only fill the batch


def test_a_frozen_backbone_keeps_its_weights(root: pathlib.Path) -> None:
    model = make_small_task(root, freeze_backbone=True).build_model()
    assert [v.path.split('/')[-1] for v in model.trainable_variables] == ['kernel', 'bias']


@pytest.mark.slow
def test_colours_are_learned(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    lines = run(
        tmp_path / 'run',
        root,
        'trainer.train_steps=200,trainer.steps_per_loop=50,trainer.validation_interval=200,'
        'trainer.checkpoint_interval=200,trainer.summary_interval=50',
    )
    found = [v for line in lines for name, v in line.items() if name == 'eval/accuracy']
    assert found[-1] == 1.0, lines


_TWO_REPLICAS = """
import json
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from official_lite.vision.configs import image_classification as exp_cfg
from official_lite.vision.tasks import image_classification
config = exp_cfg.ImageClassificationTask()
config.override({
    'model': {'num_classes': 4, 'input_size': [32, 32, 3],
              'backbone': {'resnet': {'model_id': 10, 'depth_multiplier': 0.125}}},
    'evaluation': {'top_k': 2, 'precision_and_recall_thresholds': [0.26]},
})
task = image_classification.ImageClassificationTask(config)
images = np.random.default_rng(0).integers(0, 255, [8, 32, 32, 3]).astype(np.uint8)
labels = {'label': np.array([0, 1, 2, 3, 3, 2, 1, 0]), 'is_valid': np.arange(8) != 5}
results = []
for devices in (['cpu:0'], ['cpu:0', 'cpu:1']):
    strategy = tf.distribute.MirroredStrategy(devices)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model, metrics = task.build_model(), task.build_metrics(False)
    size = 8 // len(devices)
    def part(context, values):
        first = context.replica_id_in_sync_group * size
        return tf.constant(values[first:first + size])
    def give(values):
        return strategy.experimental_distribute_values_from_function(
            lambda context: part(context, values))
    batch = (give(images), {name: give(values) for name, values in labels.items()})
    strategy.run(tf.function(lambda batch: task.validation_step(batch, model, metrics)), [batch])
    found = {}
    for metric in metrics:
        result = metric.result()
        result = result if isinstance(result, dict) else {metric.name: result}
        found.update({name: float(value) for name, value in result.items()})
    results.append(found)
assert results[0].keys() == results[1].keys() and len(results[0]) == 4, results
for name, value in results[0].items():
    np.testing.assert_allclose(results[1][name], value, rtol=1e-6, err_msg=name)
"""


@pytest.mark.slow
def test_two_replicas_measure_what_one_does() -> None:
    subprocess.run([sys.executable, '-c', _TWO_REPLICAS], check=True, timeout=300)
