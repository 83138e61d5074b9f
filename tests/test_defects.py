"""What is wrong in tf-models-official 2.20 and right here: which tests show it, and the last of them.

A test whose name begins with `test_<id>_` shows that ours is right. The ids are those of an
inventory of tf-models-official 2.20: D for weak points of its design, B for confirmed defects.
"""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import re
import types
from typing import Any

import pytest
import tensorflow as tf

from official_lite.modeling import optimization
from official_lite.vision.configs import augmentation as augmentation_cfg
from official_lite.vision.configs import data_sources
from official_lite.vision.dataloaders import detection_augmentation, retinanet_input

TESTS = pathlib.Path(__file__).parent
_NAME = re.compile(r'test_([bd]\d+)_')

# Those of the parts that are here; the rest are of Mask R-CNN, videos, and packaging.
DEFECTS = {
    'D2': 'A change of the batch size leaves steps, warm-up and boundaries as they were.',
    'D3': 'Configured fields are ignored without a warning.',
    'D4': 'Restrictions forbid another backbone.',
    'D5': 'To extend a train step means to copy it.',
    'D6': 'Each task adds the regularization by hand.',
    'D7': 'No gradient accumulation, no norm of the gradients, no frozen variables by pattern.',
    'D8': 'Metrics are in event files only.',
    'D9': 'No early stopping, no time limit, no seed.',
    'D10': 'A resumed run does not go on in the data where it was.',
    'D11': 'A mirrored run with num_gpus=0 leaves GPUs idle.',
    'D12': 'Evaluation leaves out the last batch.',
    'D13': 'Evaluation without a checkpoint scores random weights.',
    'D14': 'NaN can be the best metric.',
    'D15': 'Modes can be chosen that do not exist.',
    'D16': 'Data must be TFRecords; each batch carries the anchors.',
    'D17': 'All flips and crops share one seed.',
    'D18': 'Classes of augmentations and their configs have different defaults.',
    'D19': 'An exported model sees other pixels than evaluation does.',
    'D20': 'A checkpoint from which nothing fits loads without an error.',
    'D21': 'A name that is not registered is answered without those that are.',
    'D22': 'Operations are counted on a frozen graph of TensorFlow 1.',
    'B1': 'seg_resnetfpn_pascal cannot train: it has no output size.',
    'B4': 'One string given for a list of patterns is read letter by letter.',
    'B5': "AdamW's include_in_weight_decay is no allow-list.",
    'B6': 'step_cosine_with_offset is NaN after its last boundary.',
    'B7': 'Before its offset a schedule is extrapolated.',
    'B8': 'Optimizers can be chosen that are not implemented.',
    'B9': 'The RPN score loss is divided by the number of regions instead of anchors.',
    'B11': 'AutoAugment rotates and moves images without their boxes.',
    'B12': 'CutMix mixes labels by another area than it pastes.',
    'B13': 'Gaussian noise is a blur, whose sigma is fixed.',
    'B14': "RandAugment's probabilities and deviation have no effect.",
    'B15': 'Panoptic FPN fusion cannot be built from a config.',
    'B16': 'An unknown feature fusion is none.',
    'B17': 'Batch normalisation of mask heads is never synchronised.',
    'B18': 'Kernels of separable convolutions get neither initialiser nor regularizer.',
    'B19': "ViT's position embeddings cannot be resized; it has no feature specification.",
    'B20': "Settings of normalisation and ResNet-D's shortcut do not reach inner blocks.",
    'B21': 'A detector with no class can be built.',
    'B22': 'Training and validation compute different means of IoU under one name.',
    'B23': 'Metrics per category are silently empty.',
    'B24': 'The validation loss of segmentation at original size is 0.',
    'B25': 'Areas are in normalised units where a record has no size.',
    'B27': 'Image sizes that do not fit the pyramid fail inside of an addition.',
    'B29': 'Options of the detection generator work in one version only.',
    'B30': 'A moving average begins at zero, and its swap spreads NaN.',
    'B31': 'runtime.tpu of a YAML file is overwritten.',
    'B32': 'params.yaml needs an unsafe YAML loader.',
}
# Shown by a test that has another name.
ELSEWHERE = {'D19': 'vision/serving/test_export.py::test_signatures_equal_the_task'}


def _find_tests() -> dict[str, list[str]]:
    """Id of a defect -> `path::name` of its tests."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob('test_*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            match = _NAME.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if match:
                name = f'{path.relative_to(TESTS).as_posix()}::{node.name}'
                found.setdefault(match[1].upper(), []).append(name)
    return found


def test_every_defect_has_a_test() -> None:
    found = _find_tests()
    for defect, test in ELSEWHERE.items():
        path, name = test.split('::')
        assert f'def {name}(' in (TESTS / path).read_text(encoding='utf-8'), test
        found.setdefault(defect, []).append(test)
    assert {defect: text for defect, text in DEFECTS.items() if defect not in found} == {}


# Data.


def test_d16_sources_read_what_users_have() -> None:
    sources = {field.name for field in dataclasses.fields(data_sources.DataSource)}
    assert sources >= {'tfrecord', 'coco', 'voc', 'yolo', 'tfds', 'embedded'}


def test_d16_batches_carry_no_anchors() -> None:
    record = {
        'image': tf.zeros([20, 30, 3], tf.uint8),
        'source_id': tf.constant(1, tf.int64),
        'height': tf.constant(20, tf.int64),
        'width': tf.constant(30, tf.int64),
        'groundtruth_boxes': tf.constant([[0.0, 0.0, 0.5, 0.5]]),
        'groundtruth_classes': tf.constant([1], tf.int64),
        'groundtruth_is_crowd': tf.constant([False]),
        'groundtruth_area': tf.constant([150.0]),
    }
    parser = retinanet_input.Parser([32, 32], 4)
    image, labels = parser.parse_fn(True)(record)
    assert image.dtype == tf.uint8
    num_values = sum(int(tf.size(value)) for value in tf.nest.flatten(labels))
    assert num_values < 200  # The anchors of this image alone are some thousands of numbers.
    assert not any('anchor' in name for name in labels)


@pytest.mark.parametrize('kind', ['autoaug', 'randaug'])
def test_d18_an_augmentation_has_the_values_of_its_config(kind: str) -> None:
    config = augmentation_cfg.Augmentation(type=kind)
    policy: Any = detection_augmentation._build_policy(config, 'aug_type')
    for field in dataclasses.fields(config.get()):
        if field.name in vars(policy):
            expected = getattr(config.get(), field.name)
            assert getattr(policy, field.name) == (expected or getattr(policy, field.name))
    for name in ('translate_const', 'cutout_const'):
        assert getattr(policy, name) == getattr(config.get(), name)


# Optimization, beside Model Garden's own.


def _decayed(module: Any, patterns: Any) -> list[str]:
    """Which of two variables decay in a step without gradients."""
    params = {
        'optimizer': {
            'type': 'adamw',
            'adamw': {'weight_decay_rate': 0.5, 'include_in_weight_decay': patterns},
        },
        'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.1}},
    }
    optimizer = module.OptimizerFactory(module.OptimizationConfig(params)).build_optimizer(0.1)
    variables = [tf.Variable([2.0], name=name) for name in ('head/kernel', 'head/bias')]
    optimizer.apply_gradients([(tf.constant([0.0]), v) for v in variables])
    return [v.name.removesuffix(':0') for v in variables if v.numpy()[0] != 2.0]


@pytest.mark.garden
def test_b4_a_string_of_a_pattern_decays_everything_there_and_its_matches_here() -> None:
    from official.modeling import optimization as theirs

    pattern = '.*(kernel|weight):0$'
    assert _decayed(theirs, pattern) == ['head/kernel', 'head/bias']
    assert _decayed(optimization, pattern) == ['head/kernel']


@pytest.mark.garden
def test_b5_include_decays_everything_there_and_its_matches_here() -> None:
    from official.modeling import optimization as theirs

    assert _decayed(theirs, ['kernel']) == ['head/kernel', 'head/bias']
    assert _decayed(optimization, ['kernel']) == ['head/kernel']


@pytest.mark.garden
@pytest.mark.parametrize('name', ['adafactor', 'slide'])
def test_b8_names_without_an_optimizer_fail_late_there(name: str) -> None:
    from official.modeling import optimization as theirs

    params = {
        'optimizer': {'type': name},
        'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.1}},
    }
    config = theirs.OptimizationConfig(params)
    config.validate()
    with pytest.raises(TypeError, match="'str' object is not callable"):
        theirs.OptimizerFactory(config).build_optimizer(0.1)
    config = optimization.OptimizationConfig(params)
    if name == 'slide':
        with pytest.raises(ValueError, match='SLIDE has never been published'):
            config.validate()
        return
    variable = tf.Variable([3.0, 4.0])
    optimizer = optimization.OptimizerFactory(config).build_optimizer(0.1)
    optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
    assert (variable.numpy() < [3.0, 4.0]).all()


@pytest.mark.garden
def test_b30_a_static_average_begins_at_zero_there_and_at_the_weights_here() -> None:
    from official.modeling import optimization as theirs

    params = {
        'optimizer': {'type': 'sgd'},
        'learning_rate': {'type': 'constant', 'constant': {'learning_rate': 0.0}},
        'ema': {'average_decay': 0.99, 'dynamic_decay': False},
    }
    averages = []
    for module in (theirs, optimization):
        factory = module.OptimizerFactory(module.OptimizationConfig(params))
        optimizer = factory.build_optimizer(factory.build_learning_rate())
        variable = tf.Variable([5.0])
        optimizer.shadow_copy(types.SimpleNamespace(trainable_variables=[variable]))
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
        optimizer.assign_average_vars([variable])
        averages.append(float(variable.numpy()[0]))
    assert averages == pytest.approx([0.05, 5.0])
