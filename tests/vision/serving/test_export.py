"""An exported detector gives what the task itself gives."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite import errors
from official_lite.core import checkpoint_files, checkpoints, task_factory, train_lib
from official_lite.vision.modeling import factory
from official_lite.vision.ops import anchor, box_ops, image_normalization
from official_lite.vision.serving import detection, export_saved_model_lib
from official_lite.vision.tasks import retinanet
from tests.vision.tasks import tiny_detection


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, str]:
    """Config, model and checkpoint folder of a run of ten steps."""
    annotations = tiny_detection.make_dataset(tmp_path_factory.mktemp('data'))
    params = tiny_detection.make_params(
        annotations, task__model__detection_generator__pre_nms_score_threshold=0.001
    )
    model_dir = str(tmp_path_factory.mktemp('run'))
    task = task_factory.get_task(params.task)
    model, _ = train_lib.run_experiment(None, task, 'train', params, model_dir)
    return params, model, model_dir


def export(params: Any, model_dir: str, export_dir: pathlib.Path, **options: Any) -> Any:
    arguments = {
        'input_type': 'image_tensor',
        'batch_size': 1,
        'input_image_size': params.task.model.input_size[:2],
        'checkpoint_path': model_dir,
        'export_dir': str(export_dir),
        **options,
    }
    directory = export_saved_model_lib.export_inference_graph(params=params, **arguments)
    return tf.saved_model.load(directory)


def make_png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG')
    return stream.getvalue()


def test_signatures_equal_the_task(trained: tuple[Any, Any, str], tmp_path: pathlib.Path):
    params, model, model_dir = trained
    loaded = export(
        params,
        model_dir,
        tmp_path,
        function_keys=['image_tensor', 'image_bytes', 'tf_example'],
    )
    task = retinanet.RetinaNetTask(params.task)
    validation = params.task.replace(validation_data={'global_batch_size': 1}).validation_data
    compared = 0
    for images, labels in task.build_inputs(validation):
        expected = task.detect(images, labels, model)
        # The parser's own input: the image before it is resized and padded.
        [path] = pathlib.Path(validation.source.coco.annotation_file).parent.glob(
            f'{int(labels["groundtruths"]["source_id"][0])}.png'
        )
        pixels = np.asarray(Image.open(path))
        png = make_png(pixels)
        example = tf.train.Example(
            features=tf.train.Features(
                feature={
                    'image/encoded': tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))
                }
            )
        )
        for name, value in {
            'serving_default': pixels[None],
            'image_bytes': np.array([png], object),
            'tf_example': np.array([example.SerializeToString()], object),
        }.items():
            outputs = loaded.signatures[name](tf.constant(value))
            assert int(outputs['num_detections'][0]) == int(expected['num_detections'][0]) > 0
            for key in ('detection_boxes', 'detection_scores', 'detection_classes'):
                np.testing.assert_allclose(
                    outputs[key], expected[key], rtol=1e-4, atol=1e-3, err_msg=f'{name} {key}'
                )
            np.testing.assert_array_equal(outputs['image_info'], labels['image_info'])
            compared += 1
    assert compared == 3 * len(tiny_detection.SIZES)
    assert (tmp_path / 'params.yaml').exists()


def test_any_batch_size_and_normalized_boxes(trained: tuple[Any, Any, str], tmp_path: pathlib.Path):
    params, _, model_dir = trained
    pixels = np.random.default_rng(0).integers(0, 255, [3, 50, 70, 3]).astype(np.uint8)
    plain = export(params, model_dir, tmp_path / 'plain', batch_size=None)
    normalizing = params.replace(task={'export_config': {'output_normalized_coordinates': True}})
    scaled = export(normalizing, model_dir, tmp_path / 'scaled', batch_size=None)
    expected = plain.signatures['serving_default'](tf.constant(pixels))
    received = scaled.signatures['serving_default'](tf.constant(pixels))
    info = tf.tile(
        [[[50.0, 70], [64, 96], [1.5, 2], [3, 4]], [[20, 10], [64, 96], [2, 4], [0, 0]]], [1, 1, 1]
    )
    decoded = tf.reshape(tf.range(16.0), [2, 2, 1, 4])
    by_hand = [
        [(0 + 3) / 75, (1 + 4) / 140, (2 + 3) / 75, (3 + 4) / 140],
        [8 / 40, 9 / 40, 10 / 40, 11 / 40],
    ]
    shares = detection.normalize_boxes(decoded, info)
    np.testing.assert_allclose(shares[:, 0, 0], by_hand, rtol=1e-6)
    boxes = expected['detection_boxes'] / tf.tile(expected['image_info'][:, 2:3], [1, 1, 2])
    np.testing.assert_allclose(
        received['detection_boxes'],
        np.clip(boxes / [50, 70, 50, 70], 0, 1),
        atol=1e-5,
    )


def test_what_cannot_be_exported_is_refused(trained: tuple[Any, Any, str], tmp_path: pathlib.Path):
    params, _, model_dir = trained
    with pytest.raises(errors.UsageError, match=r'^input_type: expected image_tensor or '):
        export(params, model_dir, tmp_path, input_type='picture')
    with pytest.raises(errors.CheckpointError, match='no_such'):
        export(params, str(tmp_path / 'no_such'), tmp_path)
    larger = params.replace(
        task={'model': {'num_classes': 9}, 'class_names': [], 'category_ids': []}
    )
    with pytest.raises(errors.CheckpointError, match='classifier'):
        export(larger, model_dir, tmp_path)


def test_an_exported_checkpoint_is_one_of_ours(
    trained: tuple[Any, Any, str], tmp_path: pathlib.Path
):
    params, model, model_dir = trained
    export(params, model_dir, tmp_path, export_checkpoint_subdir='checkpoint')
    path = checkpoint_files.find_checkpoint(str(tmp_path / 'checkpoint'))
    again = retinanet.RetinaNetTask(params.task).build_model()
    assert checkpoints.read_model(checkpoints.model_variables(again), path) == 10
    for a, b in zip(again.variables, model.variables):
        np.testing.assert_array_equal(a, b)


def test_b30_a_run_with_moving_averages_is_exported_with_these(
    trained: tuple[Any, Any, str], tmp_path: pathlib.Path
):
    params, model, _ = trained
    variables = checkpoints.model_variables(model)
    averages = {
        f'optimizer/default/{key}/average': tf.Variable(tf.identity(v) * 0.5)
        for key, v in variables.items()
        if v.dtype.is_floating
    }
    saved = {**variables, **averages, checkpoints.STEP_KEY: tf.Variable(7, dtype=tf.int64)}
    checkpoints.FlatCheckpoint(saved).write(str(tmp_path / 'run' / 'ckpt-7'))
    checkpoint_files.write_state(str(tmp_path / 'run'), [str(tmp_path / 'run' / 'ckpt-7')])
    loaded = export(
        params, str(tmp_path / 'run'), tmp_path / 'out', export_checkpoint_subdir='checkpoint'
    )
    exported = checkpoints.CheckpointSource(str(tmp_path / 'out' / 'checkpoint' / 'ckpt-7'))
    for key, variable in variables.items():
        np.testing.assert_array_equal(exported.read(key), 0.5 * variable.numpy(), err_msg=key)
    served = {float(tf.reduce_sum(v)) for v in loaded.signatures['serving_default'].variables}
    assert {float(tf.reduce_sum(v)) for v in averages.values()} >= served
    assert len(served) > 10


def test_predictions_as_they_are(trained: tuple[Any, Any, str], tmp_path: pathlib.Path):
    """Without suppression and decoding; decoding them by hand gives the decoded boxes."""
    params, model, model_dir = trained
    pixels = np.random.default_rng(0).integers(0, 255, [1, 64, 96, 3]).astype(np.uint8)
    results = []
    for decode_boxes in (False, True):
        options = {'apply_nms': False, 'decode_boxes': decode_boxes}
        config = params.replace(task={'model': {'detection_generator': options}})
        loaded = export(config, model_dir, tmp_path / str(decode_boxes))
        results.append(loaded.signatures['serving_default'](tf.constant(pixels)))
    raw, decoded = results
    assert set(raw) == {'raw_boxes', 'raw_scores', 'image_info'}
    assert set(decoded) == {'decoded_boxes', 'decoded_box_scores', 'image_info'}
    np.testing.assert_allclose(raw['raw_scores'][..., 1:], decoded['decoded_box_scores'], rtol=1e-5)
    anchors = anchor.flatten_anchors(model.make_anchor_boxes(tf.constant(pixels)))
    boxes = box_ops.clip_boxes(box_ops.decode_boxes(raw['raw_boxes'][0], anchors), [64, 96])
    np.testing.assert_allclose(decoded['decoded_boxes'][0, :, 0], boxes, rtol=1e-4, atol=1e-3)


def test_a_tflite_model_gives_the_detections_of_the_task(
    trained: tuple[Any, Any, str], tmp_path: pathlib.Path
):
    params, model, model_dir = trained
    generator = {
        'nms_version': 'tflite',
        'tflite_post_processing': {
            'max_detections': 20,
            'max_classes_per_detection': 1,
            'nms_score_threshold': 0.001,
        },
    }
    config = params.replace(task={'model': {'detection_generator': generator}})
    export(config, model_dir, tmp_path, input_type='tflite')
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.allow_custom_ops = True
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    pixels = np.random.default_rng(0).integers(0, 255, [1, 64, 96, 3]).astype(np.uint8)
    normalized = image_normalization.normalize_images(tf.constant(pixels)).numpy()
    got = interpreter.get_signature_runner('serving_default')(inputs=normalized)
    model.detection_generator, previous = (
        factory.build_detection_generator(config.task.model.detection_generator),
        model.detection_generator,
    )
    try:
        expected = model(pixels, training=False)
    finally:
        model.detection_generator = previous
    count = int(expected['num_detections'][0])
    assert int(got['num_detections'][0]) == count > 0
    for key in ('detection_scores', 'detection_classes', 'detection_boxes'):
        np.testing.assert_allclose(
            got[key][0, :count], expected[key][0, :count], rtol=1e-3, atol=1e-2, err_msg=key
        )
