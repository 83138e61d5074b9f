"""Attributes of objects: from TFRecords through labels, losses and logs to detections."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import task_factory, train_lib
from official_lite.modeling import hyperparams
from official_lite.vision.configs import retinanet as retinanet_cfg
from official_lite.vision.tasks import attribute_labels, detection_anchors, retinanet
from tests.vision.dataloaders import data_makers
from tests.vision.tasks import tiny_detection

HEADS = [
    {'name': 'age', 'type': 'regression', 'size': 2},
    {'name': 'colour', 'type': 'classification', 'size': 3, 'prediction_tower_name': 'looks'},
    {'name': 'shape', 'type': 'classification', 'size': 2, 'prediction_tower_name': 'looks'},
]
AGES = [[3, 30], [4, 40], [5, 50]]
COLOURS = [2, 0, 1]


def _make_example(number: int, num_objects: int, **extra: list[int]) -> bytes:
    """One image with objects in a row, the first 40 x 24 px, and their attributes."""
    features = {
        'image/encoded': [data_makers.make_image(64, 96, number)],
        'image/source_id': [str(number).encode()],
        'image/height': [64],
        'image/width': [96],
        'image/object/class/label': [1, 2, 1][:num_objects],
        'image/object/attribute/age': [v for pair in AGES[:num_objects] for v in pair],
        'image/object/attribute/colour': COLOURS[:num_objects],
        'image/object/attribute/shape': [1, 0, 1][:num_objects],
        **extra,
    }
    corners = {'ymin': 10 / 64, 'ymax': 50 / 64}
    lefts = [0.1, 0.4, 0.7][:num_objects]
    floats = {edge: [value] * num_objects for edge, value in corners.items()}
    floats |= {'xmin': lefts, 'xmax': [left + 0.25 for left in lefts]}
    example = tf.train.Example()
    for name, values in features.items():
        kind = 'bytes_list' if values and isinstance(values[0], bytes) else 'int64_list'
        getattr(example.features.feature[name], kind).value.extend(values)
    for edge, values in floats.items():
        example.features.feature[f'image/object/bbox/{edge}'].float_list.value.extend(values)
    return example.SerializeToString()


def _write(directory: pathlib.Path, examples: list[bytes]) -> str:
    path = str(directory / 'data.tfrecord')
    with tf.io.TFRecordWriter(path) as writer:
        for example in examples:
            writer.write(example)
    return path


def _make_params(path: str, **overrides: Any) -> Any:
    params = tiny_detection.make_params(None, **overrides)
    for data in (params.task.train_data, params.task.validation_data):
        data.override(
            {
                'source': {'type': None},
                'input_path': path,
                'decoder': {'simple_decoder': {'attribute_names': ['age', 'colour', 'shape']}},
            }
        )
    params.task.model.override({'num_classes': 3, 'head': {'attribute_heads': HEADS}})
    return params


def _make_task(path: str, **overrides: Any) -> Any:
    params = _make_params(path, **overrides)
    train_lib.resolve(params, retinanet.RetinaNetTask)
    return task_factory.get_task(params.task)


@pytest.fixture(scope='module')
def task(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp('attributes')
    return _make_task(_write(directory, [_make_example(1, 3), _make_example(2, 0)]))


def test_batches_carry_attributes_of_each_object(task: Any) -> None:
    images, labels = next(iter(task.build_inputs(task.task_config.validation_data)))
    assert images.shape == (2, 64, 96, 3)
    attributes = labels['attributes']
    assert {name: tuple(v.shape) for name, v in attributes.items()} == {
        'age': (2, 8, 2),
        'colour': (2, 8, 1),
        'shape': (2, 8, 1),
    }
    np.testing.assert_array_equal(attributes['age'][0, :3], AGES)
    np.testing.assert_array_equal(attributes['colour'][0, :3, 0], COLOURS)
    assert not np.any(attributes['age'][0, 3:])
    assert not np.any(attributes['age'][1])
    _, labels = next(iter(task.build_inputs(task.task_config.train_data)))
    assert set(labels['attributes']) == {'age', 'colour', 'shape'}


def test_b29_a_step_learns_attributes_and_detections_have_them(task: Any) -> None:
    """Losses by attribute are in the logs, and the towers that are shared get gradients."""
    model = task.build_model()
    assert set(model.head.att_convs) == {'age', 'colour'}  # 'shape' reads the tower of 'colour'
    images, labels = next(iter(task.build_inputs(task.task_config.validation_data)))
    metrics = task.build_metrics(training=True)
    losses = [f'attribute_loss/{head["name"]}' for head in HEADS]
    assert [m.name for m in metrics][4:] == losses
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        values = task.compute_losses(model, labels, outputs)
    parts = [values['cls_loss'], 50.0 * values['box_loss'], *(values[name] for name in losses)]
    np.testing.assert_allclose(values['model_loss'], sum(map(float, parts)), rtol=1e-5)
    gradients = tape.gradient(values['total_loss'], [v.value for v in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    task.update_metrics(model, metrics, labels, outputs, values)
    assert float(metrics[4].result()) == pytest.approx(float(values[losses[0]]))
    detected = task.detect(images, labels, model)
    assert {k: v.shape for k, v in detected['detection_attributes'].items()} == {
        'age': (2, 20, 2),
        'colour': (2, 20, 3),
        'shape': (2, 20, 2),
    }


def test_first_losses_of_attributes_by_hand(task: Any) -> None:
    """Predictions of 0: Huber's |v| - 1/2, a mean over two values; focal loss of even odds."""
    _, labels = next(iter(task.build_inputs(task.task_config.validation_data)))
    sizes = {'3': (8, 12), '4': (4, 6), '5': (2, 3)}

    def make(size: int) -> dict[str, tf.Tensor]:
        return {level: tf.zeros([2, *shape, 3 * size]) for level, shape in sizes.items()}

    outputs = {
        'cls_outputs': make(3),
        'box_outputs': make(4),
        'attribute_outputs': {'age': make(2), 'colour': make(3), 'shape': make(2)},
    }
    labelled = task.label_anchors(outputs, labels)
    found = task._compute_losses(outputs, labelled).attribute_losses
    colours = [labelled['attribute_targets']['colour'][k].numpy().ravel() for k in sizes]
    ages = [labelled['attribute_targets']['age'][k].numpy().reshape(-1, 2) for k in sizes]
    is_positive = labelled['box_weights'].numpy().ravel() > 0
    count = is_positive.sum()
    colours, ages = (
        np.concatenate([np.concatenate([np.split(v, 2)[i] for v in x]) for i in range(2)])
        for x in (colours, ages)
    )
    assert set(map(tuple, ages[is_positive])) == set(map(tuple, AGES))
    assert {(a[0], c) for a, c in zip(ages[is_positive], colours[is_positive], strict=True)} == {
        (a[0], c) for a, c in zip(AGES, COLOURS, strict=True)
    }
    expected = (ages[is_positive] - 0.5).mean(-1).sum() / (count + 1)
    np.testing.assert_allclose(found['age'], expected, rtol=1e-5)
    focal = 0.5**1.5 * np.log(2.0)
    for name, size in (('colour', 3), ('shape', 2)):
        expected = count * (0.25 + (size - 1) * 0.75) * focal / (count + 1)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)


@pytest.mark.garden
def test_losses_with_attributes_equal_model_garden(task: Any) -> None:
    """Its labeler, its build_losses, and ours on the same predictions and boxes."""
    from official.vision.configs import retinanet as garden_cfg
    from official.vision.ops import anchor as garden_anchor
    from official.vision.tasks import retinanet as garden_task

    config = garden_cfg.RetinaNetTask()
    config.model.override({'num_classes': 3, 'head': {'attribute_heads': HEADS}})
    theirs = garden_task.RetinaNetTask(config)
    random = np.random.default_rng(4)
    _, labels = next(iter(task.build_inputs(task.task_config.validation_data)))
    sizes = {'3': (8, 12), '4': (4, 6), '5': (2, 3)}

    def make(size: int) -> dict[str, tf.Tensor]:
        return {
            k: tf.constant(random.normal(size=(2, *s, 3 * size)), tf.float32)
            for k, s in sizes.items()
        }

    outputs = {
        'cls_outputs': make(3),
        'box_outputs': make(4),
        'attribute_outputs': {'age': make(2), 'colour': make(3), 'shape': make(2)},
    }
    anchors = detection_anchors.make_anchors(task.task_config.model, outputs['box_outputs'])
    labeler = garden_anchor.AnchorLabeler()
    images = []
    for image, count in enumerate((3, 0)):
        attributes = {
            name: tf.cast(v[image, :count], tf.float32 if name == 'age' else tf.int64)
            for name, v in labels['attributes'].items()
        }
        images.append(
            labeler.label_anchors(
                anchors,
                labels['boxes'][image, :count],
                labels['classes'][image, :count, None],
                attributes,
            )
        )
    names = ('cls_targets', 'box_targets', 'attribute_targets', 'cls_weights', 'box_weights')
    batch = tf.nest.map_structure(lambda *values: tf.stack(values), *images)
    expected = theirs.build_losses(outputs, dict(zip(names, batch, strict=True)))
    got = task.build_losses(outputs, labels)
    for value, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5)


def test_what_does_not_fit_is_refused(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path, [_make_example(1, 3), _make_example(2, 2)])
    heads = [retinanet_cfg.AttributeHead(**HEADS[0])]
    labels = {'classes': tf.constant([[1, -1]]), 'attributes': {'age': tf.ones([1, 2, 3])}}
    with pytest.raises(errors.UsageError, match=r"has no attribute 'age'.*attribute_names"):
        attribute_labels.get_attribute_labels(heads, {**labels, 'attributes': {}})
    with pytest.raises(errors.UsageError, match=r"expected 3 values of 'age'.*; received 2"):
        attribute_labels.get_attribute_labels(heads, labels)
    wrong = [{**HEADS[0], 'size': 3}]
    params = _make_params(path)
    params.task.model.head.override({'attribute_heads': wrong})
    train_lib.resolve(params, retinanet.RetinaNetTask)
    task = task_factory.get_task(params.task)
    _, batch = next(iter(task.build_inputs(params.task.validation_data)))
    with pytest.raises(errors.UsageError, match=r"expected 2 values of 'age'.*; received 3"):
        attribute_labels.get_attribute_labels(task.task_config.model.head.attribute_heads, batch)
    narrow = [retinanet_cfg.AttributeHead(**{**HEADS[1], 'size': 2})]
    with pytest.raises(tf.errors.InvalidArgumentError, match="classes of 'colour' are 0 to 1"):
        attribute_labels.get_attribute_labels(narrow, batch)


def test_records_without_an_attribute_are_refused(tmp_path: pathlib.Path) -> None:
    missing = _make_example(1, 3, **{'image/object/attribute/age': []})
    task = _make_task(_write(tmp_path, [missing, missing]))
    with pytest.raises(Exception, match='image/object/attribute/age has not as many values'):
        next(iter(task.build_inputs(task.task_config.validation_data)))


@pytest.mark.parametrize(
    ('head', 'text'),
    [
        ({'attribute_heads': [HEADS[0], HEADS[0]]}, r'attribute_heads\[1\].name: .*no other'),
        (
            {'attribute_heads': HEADS, 'share_classification_heads': True},
            r"attribute_heads\[1\].prediction_tower_name: .*'', because share_classification",
        ),
        (
            {'attribute_heads': [HEADS[1], {**HEADS[2], 'num_convs': 3}]},
            r"attribute_heads\[1\].num_convs: .*'colour' says it for the tower 'looks'",
        ),
        ({'attribute_heads': [{**HEADS[0], 'num_filters': 0}]}, 'num_filters: .*1 or more'),
    ],
)
def test_attribute_heads_that_contradict_are_refused(head: dict[str, Any], text: str) -> None:
    config = retinanet_cfg.RetinaNet(num_classes=3)
    config.head.override(head)
    with pytest.raises(hyperparams.ConfigError, match=text):
        config.validate()


def test_metrics_need_detections_in_pixels(task: Any) -> None:
    for generator, text in (
        ({'apply_nms': False}, 'detection_generator.apply_nms: .*detections in pixels'),
        (
            {'nms_version': 'tflite', 'tflite_post_processing': {'omit_nms': True}},
            'tflite_post_processing.omit_nms: .*expected false',
        ),
    ):
        config = task.task_config.replace()
        config.model.detection_generator.override(generator)
        with pytest.raises(errors.UsageError, match=text):
            task_factory.get_task(config).build_metrics(training=False)
