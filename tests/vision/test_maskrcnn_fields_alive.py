"""Every field of the R-CNNs' parser, losses and task changes what comes out, or is listed here."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import task_factory
from official_lite.vision.configs import maskrcnn as configs
from official_lite.vision.dataloaders import maskrcnn_input
from official_lite.vision.ops import rpn_labels
from tests.vision.tasks import tiny_masks

_PARSER_VALUES: dict[str, Any] = {
    'aug_rand_hflip': True,
    'aug_rand_vflip': True,
    'aug_scale_min': 0.5,
    'aug_scale_max': 2.0,
    'aug_type': {'type': 'randaug'},
    'skip_crowd_during_training': False,
    'max_num_instances': 9,
    'mask_crop_size': 9,
    'keep_aspect_ratio': False,
    'aug_rand_jpeg': {'prob_to_apply': 1.0, 'max_quality': 30},
    'random_erasing': {'probability': 1.0},
    'copy_paste': {'prob': 1.0, 'object_prob': 1.0},
}
# Of the labels of proposals, which are made on the device.
_RPN_VALUES = {
    'rpn_match_threshold': ('match_threshold', 0.4),
    'rpn_unmatched_threshold': ('unmatched_threshold', 0.05),
    'rpn_batch_size_per_im': ('batch_size_per_im', 16),
    'rpn_fg_fraction': ('fg_fraction', 0.01),
}
_NOT_ALIVE = {
    'num_channels': 'other numbers than 3 are refused',
    'match_threshold': 'not used, as in Model Garden: model.roi_sampler has thresholds',
    'unmatched_threshold': 'as match_threshold',
    'pad': 'an input size that is padded already stays; other sizes are refused without it',
}


def test_all_fields_of_the_parser_are_listed() -> None:
    names = {field.name for field in dataclasses.fields(configs.Parser)}
    listed = {*_PARSER_VALUES, *_RPN_VALUES, *_NOT_ALIVE, 'default_params', 'restrictions'}
    assert names <= listed
    assert listed - {'default_params', 'restrictions'} <= names


def _make_records() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    records = []
    for index in range(2):
        corners = rng.uniform(0, 0.4, [3, 2])
        boxes = np.concatenate([corners, corners + rng.uniform(0.2, 0.6, [3, 2])], 1)
        records.append(
            {
                'image': tf.constant(rng.integers(0, 256, [40, 56, 3]), tf.uint8),
                'source_id': tf.constant(index, tf.int64),
                'height': tf.constant(40, tf.int64),
                'width': tf.constant(56, tf.int64),
                'groundtruth_boxes': tf.constant(boxes, tf.float32),
                'groundtruth_classes': tf.constant([1, 2, 3], tf.int64),
                'groundtruth_is_crowd': tf.constant([False, True, False]),
                'groundtruth_area': tf.ones([3]),
                'groundtruth_instance_masks': tf.constant(rng.random([3, 40, 56]) > 0.3, tf.uint8),
            }
        )
    return records


def _run_parser(fields: dict[str, Any]) -> list[Any]:
    """Arrays of a training batch, and the shape of padded evaluation data."""
    config = configs.Parser(**{'mask_crop_size': 7, 'max_num_instances': 5})
    config.override(fields)
    parser = maskrcnn_input.build_parser(
        [64, 64], max_level=4, parser_config=config, include_mask=True
    )
    records = _make_records()
    parsed = [
        parser._parse_train_data(record, tf.constant([3, index]))
        for index, record in enumerate(records)
    ]
    if config.copy_paste is not None:
        images = tf.stack([image for image, _ in parsed])
        labels = {name: tf.stack([label[name] for _, label in parsed]) for name in parsed[0][1]}
        parsed = [parser.process_train_batch(images, labels)]
    evaluated = parser._parse_eval_data(records[0])[1]['groundtruths']['boxes']
    return [*(array.numpy() for array in tf.nest.flatten(parsed)), evaluated.shape]


def _is_equal(first: Any, second: Any) -> bool:
    return np.shape(first) == np.shape(second) and bool(np.all(np.equal(first, second)))


@pytest.mark.parametrize('name', _PARSER_VALUES)
def test_a_field_of_the_parser_changes_its_output(name: str) -> None:
    base = {'copy_paste': {'prob': 0.0}} if name == 'copy_paste' else {}
    plain, changed = _run_parser(base), _run_parser({name: _PARSER_VALUES[name]})
    is_same = len(plain) == len(changed) and all(map(_is_equal, plain, changed))
    assert not is_same


@pytest.mark.parametrize('name', _RPN_VALUES)
def test_a_field_changes_the_labels_of_proposals(name: str) -> None:
    params = tiny_masks.make_params()
    params.task.model.num_classes = 11
    model_config = params.task.model
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 30, [1, 4, 2])
    boxes = np.concatenate([corners, corners + rng.uniform(8, 30, [1, 4, 2])], -1)
    labels = {'gt_boxes': tf.constant(boxes, tf.float32), 'sampling_key': tf.constant([[1, 2]])}
    outputs = {'rpn_boxes': {str(model_config.min_level): tf.zeros([1, 16, 16, 4])}}
    found = []
    for value in (getattr(params.task.train_data.parser, name), _RPN_VALUES[name][1]):
        setattr(params.task.train_data.parser, name, value)
        task = task_factory.get_task(params.task)
        targets = task.label_anchors(outputs, labels)
        found.append([*targets['rpn_score_targets'].values(), *targets['rpn_box_targets'].values()])
    assert not all(_is_equal(a, b) for a, b in zip(*found, strict=True))
    assert _RPN_VALUES[name][0] in rpn_labels.label_rpn_anchors_batch.__annotations__


_LOSS_VALUES: dict[str, Any] = {
    'frcnn_class_use_binary_cross_entropy': True,
    'frcnn_class_loss_top_k_percent': 0.5,
    'class_weights': [0.5] + [2.0] * 10,
    'rpn_huber_loss_delta': 0.001,
    'frcnn_huber_loss_delta': 0.001,
}


def test_fields_of_losses_change_the_loss() -> None:
    params = tiny_masks.make_params()
    scoring = {'num_convs': 1, 'num_filters': 8, 'fc_dims': 16}
    params.task.model.override({'num_classes': 11, 'mask_scoring_head': scoring})
    task = task_factory.get_task(params.task)
    model = task.build_model()
    images, labels = next(iter(task.build_inputs(params.task.train_data)))
    outputs = task.run(images, labels, model, training=True)
    outputs = {**outputs, 'box_outputs': outputs['box_outputs'] + 1.0}
    plain = float(task.build_losses(outputs, labels)['total_loss'])
    for field in dataclasses.fields(configs.Losses):
        if field.name in ('default_params', 'restrictions', 'l2_weight_decay'):
            continue  # the last acts on the model
        changed = configs.Losses()
        setattr(changed, field.name, _LOSS_VALUES.get(field.name, 3.0))
        params.task.losses = changed
        loss = task_factory.get_task(params.task).build_losses(outputs, labels)['total_loss']
        assert float(loss) != pytest.approx(plain, rel=1e-6), field.name
    params.task.losses = configs.Losses(l2_weight_decay=0.1)
    assert task_factory.get_task(params.task).build_model().losses
    params.task.freeze_backbone = True
    frozen = task_factory.get_task(params.task).build_model()
    assert len(frozen.trainable_variables) < len(model.trainable_variables)
