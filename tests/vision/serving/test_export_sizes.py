"""Models exported at another size than they were trained at, for any number of images at a time."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from official_lite import errors
from official_lite.core import checkpoint_files, checkpoints, exp_factory, task_factory
from official_lite.vision.ops import image_normalization
from official_lite.vision.serving import export_base, export_saved_model_lib
from tests.vision.serving import test_export
from tests.vision.tasks import tiny_detection, tiny_masks

_BACKBONE = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}}
# Of the export; models are made for smaller images.
_SIZE = (128, 96)
_PIXELS = np.random.default_rng(3).integers(0, 256, [2, *_SIZE, 3]).astype(np.uint8)
_DETECTORS = ('retinanet', 'maskrcnn')
_OTHERS = ('classification', 'segmentation')


def make_params(kind: str) -> Any:
    """The experiment of a tiny model for images of 64x64 or 64x96."""
    if kind == 'retinanet':
        threshold = {'task__model__detection_generator__pre_nms_score_threshold': 0.001}
        params = tiny_detection.make_params(None, **threshold)
    elif kind == 'maskrcnn':
        params = tiny_masks.make_params(task__model__include_mask=True)
    else:
        params = exp_factory.get_exp_config(f'{kind}_custom')
        model = {'input_size': [64, 64, 3], 'backbone': _BACKBONE}
        params.override({'task': {'model': model}})
        if kind == 'classification':
            params.task.validation_data.aug_crop = False
    params.override({'task': {'model': {'num_classes': 4}}})
    return params


def _build_at(params: Any, size: tuple[int, int]) -> Any:
    """The model of the task, for images of a size."""
    task_config = params.task.replace(model={'input_size': [*size, 3]})
    return task_factory.get_task(task_config).build_model()


def write_checkpoint(params: Any, directory: pathlib.Path) -> dict[str, tf.Variable]:
    """Noisy weights, of a model of the size of the config, as a checkpoint; returns them."""
    rng = np.random.default_rng(0)
    variables = checkpoints.model_variables(task_factory.get_task(params.task).build_model())
    for key, variable in variables.items():
        if 'variance' not in key:
            variable.assign_add(rng.normal(scale=0.05, size=variable.shape))
    saved = {**variables, checkpoints.STEP_KEY: tf.Variable(1, dtype=tf.int64)}
    checkpoints.FlatCheckpoint(saved).write(str(directory / 'ckpt-1'))
    checkpoint_files.write_state(str(directory), [str(directory / 'ckpt-1')])
    return variables


def _restore_at(params: Any, size: tuple[int, int], directory: pathlib.Path) -> Any:
    model = _build_at(params, size)
    checkpoints.read_model(checkpoints.model_variables(model), str(directory / 'ckpt-1'))
    return model


def _export(params: Any, directory: pathlib.Path, **options: Any) -> Any:
    arguments = {
        'input_type': 'image_tensor',
        'batch_size': None,
        'input_image_size': _SIZE,
        'checkpoint_path': str(directory),
        'export_dir': str(directory / 'out'),
        **options,
    }
    path = export_saved_model_lib.export_inference_graph(params=params, **arguments)
    return tf.saved_model.load(path)


def _make_example(image_bytes: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_bytes]))
    features = tf.train.Features(feature={'image/encoded': feature})
    return tf.train.Example(features=features).SerializeToString()


def _make_inputs(pixels: np.ndarray) -> dict[str, tf.Tensor]:
    """Images as the input of each type, the first as `serving_default`."""
    contents = [test_export.make_png(image) for image in pixels]
    return {
        'serving_default': tf.constant(pixels),
        'image_bytes': tf.constant(contents),
        'tf_example': tf.constant([_make_example(content) for content in contents]),
        'tflite': image_normalization.normalize_images(tf.constant(pixels)),
    }


def _compute_expected(kind: str, model: Any, pixels: np.ndarray) -> dict[str, Any]:
    """What the task's model makes of images of its own size."""
    if kind not in _DETECTORS:
        outputs = model(pixels, training=False)
        if kind == 'classification':
            return {'logits': outputs}
        return {'logits': tf.image.resize(outputs['logits'], pixels.shape[1:3])}
    shape = tf.constant([pixels.shape[1:3]] * len(pixels), tf.float32)
    outputs = model(pixels, image_shape=shape, training=False)
    assert int(tf.reduce_min(outputs['num_detections'])) > 0
    names = ['detection_boxes', 'detection_scores', 'detection_classes', 'num_detections']
    return {name: outputs[name] for name in names + ['detection_masks'] * (kind == 'maskrcnn')}


def _assert_close(outputs: Any, expected: dict[str, Any], name: str) -> None:
    for key, values in expected.items():
        np.testing.assert_allclose(
            outputs[key], values, rtol=1e-3, atol=2e-3, err_msg=f'{name} {key}'
        )


@pytest.mark.parametrize('kind', [*_DETECTORS, *_OTHERS])
def test_another_size_gives_what_the_model_of_that_size_gives(
    kind: str, tmp_path: pathlib.Path
) -> None:
    """With the weights of one checkpoint, two images at a time."""
    params = make_params(kind)
    write_checkpoint(params, tmp_path)
    module = export_saved_model_lib.build_export_module(
        params, batch_size=None, input_image_size=_SIZE
    )
    checkpoints.read_model(checkpoints.model_variables(module.model), str(tmp_path / 'ckpt-1'))
    expected = _compute_expected(kind, _restore_at(params, _SIZE, tmp_path), _PIXELS)
    _assert_close(module.serve(tf.constant(_PIXELS)), expected, kind)


@pytest.mark.slow
@pytest.mark.parametrize('batch_size', [None, 1, 3])
@pytest.mark.parametrize('kind', [*_DETECTORS, *_OTHERS])
def test_every_input_of_a_saved_model_of_another_size(
    kind: str, batch_size: int | None, tmp_path: pathlib.Path
) -> None:
    params = make_params(kind)
    write_checkpoint(params, tmp_path)
    pixels = np.stack([_PIXELS[i % 2, :, :: 1 - 2 * (i // 2)] for i in range(batch_size or 2)])
    types = export_base.INPUT_TYPES
    served = _export(params, tmp_path, batch_size=batch_size, function_keys=types)
    expected = _compute_expected(kind, _restore_at(params, _SIZE, tmp_path), pixels)
    for name, value in _make_inputs(pixels).items():
        signature = served.signatures[name]
        [spec] = signature.structured_input_signature[1].values()
        assert spec.shape[0] == batch_size
        _assert_close(signature(value), expected, name)


@pytest.mark.slow
@pytest.mark.parametrize('nms_version', ['v1', 'v2', 'v3', 'batched'])
def test_any_number_of_images_whatever_the_suppression(
    nms_version: str, tmp_path: pathlib.Path
) -> None:
    params = make_params('retinanet')
    params.task.model.detection_generator.nms_version = nms_version
    write_checkpoint(params, tmp_path)
    signature = _export(params, tmp_path).signatures['serving_default']
    together = signature(tf.constant(_PIXELS))
    for index in range(2):
        alone = signature(tf.constant(_PIXELS[index : index + 1]))
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][index], values[0], rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize('kind', ['retinanet', pytest.param('maskrcnn', marks=pytest.mark.slow)])
def test_images_are_padded_to_the_strides_of_the_levels(kind: str, tmp_path: pathlib.Path) -> None:
    """100x70 in a network of 128x128 or 128x96: as from images that are padded by hand."""
    params = make_params(kind)
    write_checkpoint(params, tmp_path)
    module = export_saved_model_lib.build_export_module(
        params, batch_size=1, input_image_size=(100, 70)
    )
    checkpoints.read_model(checkpoints.model_variables(module.model), str(tmp_path / 'ckpt-1'))
    outputs = module.serve(tf.constant(_PIXELS[:1, :100, :70]))
    stride = 2**params.task.model.max_level
    padded = tuple(-(-side // stride) * stride for side in (100, 70))
    images = np.full([1, *padded, 3], np.round([123.675, 116.28, 103.53]), np.uint8)
    images[:, :100, :70] = _PIXELS[:1, :100, :70]
    model = _restore_at(params, padded, tmp_path)
    expected = model(images, image_shape=tf.constant([[100.0, 70.0]]), training=False)
    assert int(expected['num_detections'][0]) > 0
    for name in ('detection_boxes', 'detection_scores', 'num_detections'):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-3, atol=2e-3)
    np.testing.assert_array_equal(outputs['image_info'][0], [[100, 70], [100, 70], [1, 1], [0, 0]])


@pytest.mark.parametrize(
    'kind', ['segmentation', pytest.param('retinanet', marks=pytest.mark.slow)]
)
def test_sides_that_vary_for_tflite(kind: str) -> None:
    """Nothing is resized there, so a network without a fixed size takes images of any."""
    params = make_params(kind)
    module = export_saved_model_lib.build_export_module(
        params, batch_size=None, input_image_size=[None, None], input_type='tflite'
    )
    serve = module.get_inference_signatures({'tflite': 'serving_default'})['serving_default']
    for height, width in ((64, 96), (128, 96)):
        pixels = _PIXELS[:, :height, :width]
        normalised = image_normalization.normalize_images(tf.constant(pixels))
        model = _build_at(params, (height, width))
        model.set_weights(module.model.get_weights())
        _assert_close(serve(normalised), _compute_expected(kind, model, pixels), str(height))
    text = (
        r'^input_image_size: images are resized to it; expected height and width in px; received '
        r"\[None, None\]; sides may vary for detectors and segmentation with .* 'tflite'$"
    )
    with pytest.raises(errors.UsageError, match=text):
        module.get_inference_signatures({'image_tensor': 'serving_default'})
    with pytest.raises(errors.UsageError, match=text):
        export_saved_model_lib.build_export_module(
            make_params('classification'), batch_size=1, input_image_size=[None, None]
        )


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        ({'batch_size': 0}, r'^batch_size: expected 1 or more, or None for any number; received 0'),
        (
            {'input_image_size': [64]},
            r'^input_image_size: expected height and width of 1 to 32,768 px;',
        ),
        (
            {'input_image_size': [10**10, 64]},
            r'^input_image_size: expected height and width of 1 to',
        ),
        ({'input_name': 'a b'}, r"^input_name: expected a letter, then .*; received 'a b'$"),
        ({'input_image_size': [64, 0]}, r'^input_image_size: .* received \[64, 0\]'),
        (
            {'input_image_size': [100, 128]},
            r'^input_image_size: images are not padded, because task.validation_data.parser.pad is '
            r'false; expected multiples of 2\^max_level = \d+; received \[100, 128\]',
        ),
    ],
)
def test_sizes_that_are_none_are_refused(options: dict[str, Any], text: str) -> None:
    params = make_params('retinanet').replace(task={'validation_data': {'parser': {'pad': False}}})
    with pytest.raises(errors.UsageError, match=text):
        export_saved_model_lib.build_export_module(
            params, **{'batch_size': 1, 'input_image_size': _SIZE, **options}
        )


def test_a_network_with_an_embedding_of_each_place_keeps_its_size(tmp_path: pathlib.Path) -> None:
    params = make_params('classification')
    params.override(
        {'task': {'model': {'backbone': {'type': 'vit', 'vit': {'model_name': 'vit-ti16'}}}}}
    )
    write_checkpoint(params, tmp_path)
    with pytest.raises(errors.CheckpointError, match='encoder'):
        _export(params, tmp_path)
