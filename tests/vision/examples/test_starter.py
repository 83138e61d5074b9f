"""The example project: it learns, takes Model Garden's YAML, and all of its own fields count."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.cli import train
from official_lite.core import exp_factory, parsing, task_factory
from official_lite.vision.examples.starter import example_config as exp_cfg
from official_lite.vision.examples.starter import example_input, example_model
from tests.vision.dataloaders import class_makers

# As in Model Garden's examples/starter/example_config_local.yaml.
YAML = """
task:
  model:
    num_classes: 1001
    input_size: [128, 128, 3]
  train_data:
    input_path: 'gs://bucket/train*'
    is_training: true
    global_batch_size: 64
    dtype: 'bfloat16'
  validation_data:
    input_path: 'gs://bucket/valid*'
    is_training: false
    global_batch_size: 64
    dtype: 'bfloat16'
    drop_remainder: false
trainer:
  train_steps: 62400
  optimizer_config:
    optimizer: {type: 'sgd', sgd: {momentum: 0.9}}
    learning_rate:
      type: 'stepwise'
      stepwise: {boundaries: [18750, 37500, 50000], values: [0.1, 0.01, 0.001, 0.0001]}
"""


@pytest.fixture
def records(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Twelve images in the colours of three classes."""
    monkeypatch.setenv('OFFICIAL_LITE_CACHE', str(tmp_path / 'cache'))
    images = [
        class_makers.make_record(class_makers.make_image(n, label=n % 3), [n % 3])
        for n in range(12)
    ]
    return class_makers.write_records(tmp_path / 'a.tfrecord', images)


def _make_config(records: str, **fields: Any) -> Any:
    data = {'input_path': records, 'global_batch_size': 8}
    config = exp_factory.get_exp_config('example_experiment').task
    return config.replace(
        model={'num_classes': 3, 'input_size': [16, 24, 3]},
        train_data=data,
        validation_data=data,
        **fields,
    )


def test_it_learns_from_the_command_line(records: str, tmp_path: pathlib.Path) -> None:
    flags = [
        'train.py',
        '--experiment=example_experiment',
        '--mode=train_and_eval',
        f'--model_dir={tmp_path}/run',
        f"--params_override=task.train_data.input_path='{records}',"
        f"task.validation_data.input_path='{records}',task.model.num_classes=0,"
        'task.model.input_size=[16,24,3],task.train_data.global_batch_size=8,'
        'task.validation_data.global_batch_size=8,task.evaluation.top_k=2',
        '--params_override=trainer.train_steps=60,trainer.validation_steps=-1,'
        'trainer.validation_interval=60,trainer.checkpoint_interval=60,'
        'trainer.optimizer_config.learning_rate.cosine.initial_learning_rate=0.1',
    ]
    assert train.main(flags) == 0
    lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
    metrics = {name: value for line in map(json.loads, lines) for name, value in line.items()}
    assert metrics['eval/accuracy'] == 1.0
    assert metrics['eval/top_2_accuracy'] == 1.0
    assert 'num_classes: 3\n' in (tmp_path / 'run' / 'params.yaml').read_text()


def test_model_gardens_yaml_loads(tmp_path: pathlib.Path) -> None:
    (tmp_path / 'a.yaml').write_text(YAML)
    options = parsing.ParseConfigOptions(
        'tf_vision_example_experiment', config_file=[str(tmp_path / 'a.yaml')]
    )
    config = parsing.ExperimentParser(options).parse()
    config.validate()
    assert config.task.model.num_classes == 1001
    assert config.task.validation_data.dtype == 'bfloat16'
    assert config.trainer.optimizer_config.learning_rate.get().boundaries == [18750, 37500, 50000]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('is_compressed', [False, True])
def test_batches(records: str, tmp_path: pathlib.Path, dtype: str, is_compressed: bool) -> None:
    fields = {'dtype': dtype, 'global_batch_size': 8, 'is_training': False}
    if is_compressed:
        raw = [r.numpy() for r in tf.data.TFRecordDataset(records)]
        records = class_makers.write_records(tmp_path / 'b.tfrecord', raw, 'GZIP')
        fields['file_type'] = 'tfrecord_compressed'
    data = exp_cfg.ExampleDataConfig(input_path=records, **fields)
    reader = example_input.build_reader(data, output_size=[16, 24], where='data')
    (images, labels), (last_images, last_labels) = reader.read()
    assert images.shape == last_images.shape == [8, 16, 24, 3]
    assert images.dtype == dtype
    assert labels['label'].numpy().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert last_labels['is_valid'].numpy().tolist() == [True] * 4 + [False] * 4
    # The middle of the first class's colour, (230, 30, 30), normalised by hand.
    mean = tf.reduce_mean(tf.cast(images[0], tf.float32), [0, 1]).numpy()
    expected = (np.array([230, 30, 30]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(mean, expected, atol=0.1)


def test_half_of_the_training_images_are_mirrored(records: str) -> None:
    parser = example_input.Parser([16, 24])
    record = {
        'image/encoded': tf.constant(class_makers.make_image(1)),
        'image/class/label': tf.constant([2], tf.int64),
    }
    plain, labels = parser.parse_fn(False)(record)
    assert int(labels['label']) == 2
    found = [
        bool(np.array_equal(parser.parse_fn(True)(record, tf.constant([0, n]))[0], plain))
        for n in range(20)
    ]
    assert 4 <= sum(found) <= 16
    mirrored = parser.parse_fn(True)(record, tf.constant([0, found.index(False)]))[0]
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_the_loss_is_the_mean_of_what_counts(records: str) -> None:
    task = task_factory.get_task(_make_config(records, losses={'l2_weight_decay': 0.5}))
    logits = np.random.default_rng(0).normal(size=[3, 3]).astype(np.float32)
    labels = {'label': np.array([0, 2, 1]), 'is_valid': np.array([True, True, False])}
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(log_softmax[0, 0] + log_softmax[1, 2]) / 2
    assert float(task.build_losses(labels, logits)) == pytest.approx(expected, rel=1e-5)
    model = task.build_model()
    kernels = [v for v in model.trainable_variables if v.name == 'kernel']
    decay = 0.25 * sum(float(tf.reduce_sum(v.value**2)) for v in kernels)
    assert float(task.build_losses(labels, logits, model.losses)) == pytest.approx(
        expected + decay, rel=1e-5
    )
    assert (
        not task_factory.get_task(_make_config(records, losses={'l2_weight_decay': 0.0}))
        .build_model()
        .losses
    )


def test_config_round_trip_and_names() -> None:
    spec = keras.layers.InputSpec(shape=[None, 16, 24, 3])
    model = example_model.ExampleModel(3, spec, keras.regularizers.L2(0.1))
    copy = example_model.ExampleModel.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert copy(np.zeros([2, 16, 24, 3], np.float32)).shape == [2, 3]
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_class'"):
        example_model.ExampleModel(num_class=3)


@pytest.mark.parametrize(
    ('fields', 'text'),
    [
        ({'model': {'input_size': [16, 16]}}, r'model\.input_size: expected \[height, width, ch'),
        ({'model': {'num_classes': -1}}, r'model\.num_classes: expected 0 or more'),
        ({'evaluation': {'top_k': 0}}, r'evaluation\.top_k: expected 1 or more'),
    ],
)
def test_values_out_of_range(fields: dict[str, Any], text: str) -> None:
    config = exp_factory.get_exp_config('example_experiment')
    config.task.override(fields)
    with pytest.raises(errors.UsageError, match=text):
        config.validate()
