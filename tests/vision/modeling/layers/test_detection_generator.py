"""Detections of every version: against Model Garden's generator, by hand, and as TFLite model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite.vision.modeling.layers import detection_generator
from official_lite.vision.ops import anchor, tflite_postprocess

SIZE = (96, 128)
NUM_CLASSES = 4  # with background
CASES = ('crowded', 'ties', 'nothing', 'few')


def _make_anchors() -> dict[str, tf.Tensor]:
    return anchor.Anchor(3, 5, 2, [0.5, 1.0], 4.0, SIZE).multilevel_boxes


def _make_case(name: str, batch: int = 2, seed: int = 3) -> dict[str, Any]:
    """Raw predictions; in 'ties' a third of the scores is equal, of whole regions."""
    random = np.random.default_rng(seed)
    anchors = _make_anchors()

    def make(size: int, scale: float, mean: float = 0.0) -> dict[str, tf.Tensor]:
        values = {}
        for level, boxes in anchors.items():
            shape = (batch, *boxes.shape[:2], 4 * size)
            value = random.normal(mean, scale, shape)
            values[level] = tf.constant(np.round(value) if name == 'ties' else value, tf.float32)
        return values

    mean = {'crowded': 0.5, 'ties': -1.0, 'nothing': -30.0, 'few': -5.5}[name]
    return {
        'raw_boxes': make(4, 0.6),
        'raw_scores': make(NUM_CLASSES, 1.0, mean),
        'anchor_boxes': {k: tf.tile(v[None], [batch, 1, 1, 1]) for k, v in anchors.items()},
        'image_shape': tf.constant([[90.0, 120.0], list(map(float, SIZE))])[:batch],
    }


def _make_generator(**options: Any) -> Any:
    options = {'nms_version': 'v2', 'max_num_detections': 30, **options}
    return detection_generator.MultilevelDetectionGenerator(**options)


def _run_garden(case: dict[str, Any], **options: Any) -> dict[str, Any]:
    from official.vision.modeling.layers import detection_generator as garden

    options = {'nms_version': 'v2', 'max_num_detections': 30, **options}
    return garden.MultilevelDetectionGenerator(**options)(**case)


VERSIONS: dict[str, dict[str, Any]] = {
    'v1': {'nms_version': 'v1'},
    'v1 soft': {'nms_version': 'v1', 'soft_nms_sigma': 0.3},
    'v2': {'nms_version': 'v2'},
    'v2 top k': {'nms_version': 'v2', 'pre_nms_top_k': 20},
    'v2 agnostic': {'nms_version': 'v2', 'use_class_agnostic_nms': True},
    'v2 weights': {'nms_version': 'v2', 'box_coder_weights': [10.0, 10.0, 5.0, 5.0]},
    'v3': {'nms_version': 'v3', 'pre_nms_top_k': 100},
    'v3 all': {'nms_version': 'v3'},
    'v3 rough': {'nms_version': 'v3', 'pre_nms_top_k': 60, 'nms_v3_refinements': 0},
    'v3 shards': {
        'nms_version': 'v3',
        'pre_nms_top_k': 40,
        'nms_v3_refinements': 4,
        'pre_nms_top_k_sharding_block': 20,
    },
    'batched': {'nms_version': 'batched', 'use_cpu_nms': True, 'return_decoded': True},
}


@pytest.mark.garden
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('version', VERSIONS)
def test_equals_model_garden(version: str, case: str) -> None:
    options, inputs = VERSIONS[version], _make_case(case)
    expected = _run_garden(inputs, **options)
    got = tf.function(_make_generator(**options))(**inputs)
    counts = np.asarray(expected['num_detections'])
    np.testing.assert_array_equal(got['num_detections'], counts)
    assert bool(counts.max() == 30) is (case in ('crowded', 'ties'))
    assert bool(counts.max() == 0) is (case == 'nothing')
    for image, count in enumerate(counts.astype(int)):
        keys = ['detection_scores', 'detection_classes', 'detection_boxes']
        if version == 'batched' and case == 'ties':
            keys = keys[:1]  # there, an unstable sort orders equal scores
        for key in keys:
            np.testing.assert_allclose(
                got[key][image, :count],
                expected[key][image, :count],
                rtol=1e-5,
                atol=1e-3,
                err_msg=f'{key} {image}',
            )
            assert not np.any(got[key][image, count:])
    assert ('decoded_boxes' in got) == ('decoded_boxes' in expected)


def _with_attributes(case: dict[str, Any]) -> dict[str, Any]:
    """Adds an attribute that says where its anchor lies: its flat number, and twice that."""
    attributes, start = {}, 0
    for level, boxes in case['raw_boxes'].items():
        shape = (*boxes.shape[:3], 4)
        numbers = np.arange(start, start + np.prod(shape[1:]), dtype=np.float32)
        start += len(numbers)
        numbers = np.tile(numbers.reshape(1, *shape[1:], 1), (shape[0], 1, 1, 1, 1))
        values = np.concatenate([numbers, 2 * numbers], -1)
        attributes[level] = tf.constant(values.reshape(*shape[:3], 8))
    return {**case, 'raw_attributes': {'place': attributes}}


@pytest.mark.garden
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('soft_nms_sigma', [None, 0.3])
def test_attributes_of_v1_equal_model_garden(case: str, soft_nms_sigma: float | None) -> None:
    inputs = _with_attributes(_make_case(case))
    options = {'nms_version': 'v1', 'soft_nms_sigma': soft_nms_sigma}
    expected = _run_garden(inputs, **options)
    got = _make_generator(**options)(**inputs)
    for image, count in enumerate(np.asarray(expected['num_detections'])):
        np.testing.assert_array_equal(
            got['detection_attributes']['place'][image, :count],
            expected['detection_attributes']['place'][image, :count],
        )


@pytest.mark.parametrize('is_agnostic', [False, True])
@pytest.mark.parametrize('version', ['v1', 'v1 soft', 'v2', 'v3', 'batched'])
def test_b29_attributes_and_class_agnostic_suppression_in_every_version(
    version: str, is_agnostic: bool
) -> None:
    """Attributes are those of the anchor that the box comes from; across classes, boxes that
    remain do not overlap."""
    inputs = _with_attributes(_make_case('crowded'))
    got = _make_generator(
        **{**VERSIONS[version], 'use_class_agnostic_nms': is_agnostic, 'return_decoded': True}
    )(**inputs)
    places = got['detection_attributes']['place'].numpy()
    np.testing.assert_array_equal(places[..., 1], 2 * places[..., 0])
    for image in range(2):
        count = int(got['num_detections'][image])
        assert count > 20
        numbers = places[image, :count, 0].astype(int)
        np.testing.assert_allclose(
            got['detection_boxes'][image, :count],
            got['decoded_boxes'].numpy()[image, numbers, 0],
            rtol=1e-5,
            atol=1e-3,
        )
        classes = got['detection_classes'].numpy()[image, :count]
        scores = got['decoded_box_scores'].numpy()[image, numbers]
        if is_agnostic:
            np.testing.assert_array_equal(classes - 1, scores.argmax(-1))
            assert len(set(numbers)) == count
        if 'soft' not in version:
            np.testing.assert_allclose(
                got['detection_scores'][image, :count],
                scores[np.arange(count), classes - 1],
                rtol=1e-5,
            )


@pytest.mark.parametrize('version', ['v1', 'v1 soft', 'v2', 'v2 agnostic', 'v3', 'batched'])
def test_a_batch_of_any_size_equals_its_images(version: str) -> None:
    """One trace for all batch sizes; each image has the detections it has alone."""
    generator = _make_generator(**VERSIONS[version])
    anchors = _make_anchors()
    traces = []

    @tf.function(reduce_retracing=True)
    def detect(raw_boxes: Any, raw_scores: Any, image_shape: Any) -> Any:
        traces.append(1)
        return generator(raw_boxes, raw_scores, anchors, image_shape)

    case = _make_case('crowded', batch=2)
    arguments = [case[key] for key in ('raw_boxes', 'raw_scores', 'image_shape')]
    spec = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]]), arguments)
    function = detect.get_concrete_function(*spec)
    both = function(*tf.nest.flatten(arguments))
    for image in range(2):
        one = tf.nest.map_structure(lambda x, i=image: x[i : i + 1], arguments)
        alone = function(*tf.nest.flatten(one))
        for key in ('detection_boxes', 'detection_scores', 'detection_classes', 'num_detections'):
            np.testing.assert_array_equal(both[key][image], alone[key][0])
    assert len(traces) == 1


@pytest.mark.garden
def test_without_suppression_equals_model_garden() -> None:
    inputs = _make_case('crowded')
    expected = _run_garden(inputs, apply_nms=False)
    got = _make_generator(apply_nms=False)(**inputs)
    assert set(got) == set(expected)
    for key in ('decoded_boxes', 'decoded_box_scores'):
        np.testing.assert_allclose(got[key], expected[key], rtol=1e-4, atol=1e-3)


def test_without_decoding() -> None:
    inputs = _make_case('crowded')
    got = _make_generator(apply_nms=False, decode_boxes=False)(**inputs)
    assert set(got) == {'raw_boxes', 'raw_scores'}
    finest = inputs['raw_boxes']['3'].numpy().reshape(2, -1, 4)
    np.testing.assert_array_equal(got['raw_boxes'][:, : finest.shape[1]], finest)
    logits = inputs['raw_scores']['5'].numpy().reshape(2, -1, NUM_CLASSES)
    np.testing.assert_allclose(
        got['raw_scores'][:, -logits.shape[1] :], 1 / (1 + np.exp(-logits)), rtol=1e-5
    )


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'nms_version': 'v9'}, r"one of \['v1', 'v2', 'v3', 'batched', 'tflite'\].*'v9'"),
        (
            {'nms_version': 'tflite', 'use_class_agnostic_nms': True},
            'own use_regular_nms is on. Expected use_class_agnostic_nms=False',
        ),
        ({'decode_boxes': False}, 'Expected apply_nms=False with decode_boxes=False'),
        ({'box_coder_weights': [1.0, 1.0, 0.0, 1.0]}, 'four positive numbers'),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        detection_generator.MultilevelDetectionGenerator(**options)


def test_soft_suppression_of_another_version_is_none() -> None:
    inputs = _make_case('few')
    with pytest.warns(UserWarning, match="soft_nms_sigma has no effect with nms_version='v2'"):
        layer = _make_generator(nms_version='v2', soft_nms_sigma=0.5)
    found, hard = layer(**inputs), _make_generator(nms_version='v2')(**inputs)
    np.testing.assert_array_equal(found['detection_scores'], hard['detection_scores'])


def test_shapes_that_are_refused() -> None:
    inputs = _make_case('few')
    wrong = {**inputs, 'raw_boxes': {k: v[..., :-1] for k, v in inputs['raw_boxes'].items()}}
    with pytest.raises(
        ValueError, match=r'boxes should be divisible by 4. Received: 15 at level 3'
    ):
        _make_generator()(**wrong)
    wrong = {**inputs, 'raw_scores': {k: v[..., :-1] for k, v in inputs['raw_scores'].items()}}
    with pytest.raises(ValueError, match='Received: 15 at level 3 for 4 anchors'):
        _make_generator()(**wrong)
    with pytest.raises(ValueError, match=r"no attributes.*Received: \['place'\]"):
        _make_generator(nms_version='tflite')(**_with_attributes(inputs))


def test_round_trip() -> None:
    for options in (
        {},
        {'nms_v3_refinements': 0, 'nms_version': 'v3'},
        {'box_coder_weights': [2] * 4},
    ):
        generator = _make_generator(**options)
        config = generator.get_config()
        copy = detection_generator.MultilevelDetectionGenerator.from_config(config)
        assert copy.get_config() == config
        assert config.items() >= options.items()


# TFLite's operation.

TFLITE: dict[str, dict[str, Any]] = {
    'best class': {'max_classes_per_detection': 1},
    'three classes': {'max_classes_per_detection': 3, 'max_detections': 7},
    'each class': {'use_regular_nms': True, 'detections_per_class': 100},
    'shares': {'normalize_anchor_coordinates': True, 'max_classes_per_detection': 1},
    'few': {'max_detections': 5, 'nms_score_threshold': 0.9, 'max_classes_per_detection': 1},
}


class _Module(tf.Module):
    """Detections from one tensor of each kind of predictions per level."""

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self._generator = generator

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, 12, 16, 16]),
            tf.TensorSpec([1, 6, 8, 16]),
            tf.TensorSpec([1, 3, 4, 16]),
        ]
        * 2
    )
    def detect(self, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes, scores = (dict(zip('345', part)) for part in (values[:3], values[3:]))
        return self._generator(boxes, scores, _make_anchors())


def _run_tflite(module: _Module, arguments: list[Any]) -> dict[str, np.ndarray]:
    function = module.detect.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.allow_custom_ops = True
    content = converter.convert()
    assert b'TFLite_Detection_PostProcess' in content
    interpreter = tf.lite.Interpreter(model_content=content)
    runner = interpreter.get_signature_runner()
    names = sorted(runner.get_input_details(), key=lambda name: int(name.partition('_')[2] or 0))
    return runner(**{k: np.asarray(v) for k, v in zip(names, arguments, strict=True)})


@pytest.mark.parametrize('settings', TFLITE)
def test_tflite_model_equals_the_function(settings: str) -> None:
    case = _make_case('crowded', batch=1)
    options = {
        'nms_version': 'tflite',
        'tflite_post_processing_config': TFLITE[settings],
        'box_coder_weights': [2.0, 2.0, 1.0, 1.5],
    }
    module = _Module(_make_generator(**options))
    arguments = [case[kind][level] for kind in ('raw_boxes', 'raw_scores') for level in '345']
    expected = module.detect(*arguments)
    got = _run_tflite(module, arguments)
    np.testing.assert_array_equal(got['num_detections'], expected['num_detections'])
    count = int(expected['num_detections'][0])
    assert count > 3
    if 'classes' in settings:
        count *= TFLITE[settings]['max_classes_per_detection']
    for key in ('detection_scores', 'detection_classes', 'detection_boxes'):
        np.testing.assert_allclose(
            got[key][0, :count], expected[key][0, :count], rtol=1e-4, atol=1e-3, err_msg=key
        )
    assert set(np.unique(expected['detection_classes'])) <= {0.0, 1.0, 2.0, 3.0}
    largest = expected['detection_boxes'].numpy().max()
    assert bool(largest < 5.0) is (settings == 'shares')


@pytest.mark.garden
def test_tflite_signature_is_model_gardens() -> None:
    from official.vision.modeling.layers import detection_generator as garden

    settings = {
        'max_detections': 200,
        'max_classes_per_detection': 5,
        'detections_per_class': 7,
        'use_regular_nms': True,
        'nms_score_threshold': 0.1,
        'nms_iou_threshold': 0.5,
        'y_scale': 9,
        'num_classes': 3,
    }
    assert tflite_postprocess.PostprocessOptions(**settings).to_signature() == (
        garden._generate_detections_tflite_implements_signature(settings)
    )


def test_tflite_agrees_with_batched_on_the_best_class() -> None:
    """The same boxes, classes and scores, for images in a batch."""
    case = _make_case('crowded')
    case['image_shape'] = None
    settings = {
        'max_detections': 30,
        'max_classes_per_detection': 1,
        'nms_score_threshold': 0.05,
        'nms_iou_threshold': 0.5,
    }
    got = _make_generator(nms_version='tflite', tflite_post_processing_config=settings)(**case)
    expected = _make_generator(nms_version='batched', use_class_agnostic_nms=True)(**case)
    for key in ('num_detections', 'detection_scores', 'detection_classes', 'detection_boxes'):
        np.testing.assert_allclose(got[key], expected[key], rtol=1e-4, atol=1e-3, err_msg=key)


def test_tflite_without_suppression() -> None:
    case = _make_case('few')
    generator = _make_generator(
        nms_version='tflite', tflite_post_processing_config={'omit_nms': True}
    )
    got = generator(**case)
    assert set(got) == {'detection_boxes', 'detection_scores'}
    assert got['detection_boxes'].shape == (2, 1008, 4)
    np.testing.assert_array_equal(got['detection_scores'][..., 0], np.zeros((2, 1008)))
