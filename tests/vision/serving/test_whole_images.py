"""Exported classifiers and segmentation models give what the tasks themselves give."""

from __future__ import annotations

import io
import os
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from official_lite import cli, errors
from official_lite.core import (
    checkpoint_files,
    checkpoints,
    exp_factory,
    model_sizes,
    task_factory,
    train_lib,
)
from official_lite.core import config_definitions as cfg
from official_lite.vision.evaluation import segmentation_metrics
from official_lite.vision.serving import export_saved_model_lib
from tests.vision.dataloaders import mask_makers

ALL_TYPES = ['image_tensor', 'image_bytes', 'tf_example']
_BACKBONE = {'type': 'resnet', 'resnet': {'model_id': 10, 'depth_multiplier': 0.125}}
_TRAINER = {
    'train_steps': 4,
    'steps_per_loop': 2,
    'validation_interval': 2,
    'checkpoint_interval': 4,
    'summary_interval': 2,
    'optimizer_config': {'warmup': {'linear': {'warmup_steps': 1}}},
}


def _make_params(experiment: str, task: dict[str, Any]) -> cfg.ExperimentConfig:
    params = exp_factory.get_exp_config(experiment)
    params.override(
        {
            'task': task,
            'trainer': _TRAINER,
            'runtime': {'mixed_precision_dtype': 'float32', 'distribution_strategy': 'one_device'},
        }
    )
    return params


def _train(params: cfg.ExperimentConfig, model_dir: str) -> cfg.ExperimentConfig:
    """The resolved config."""
    task_cls = task_factory.get_task_cls(type(params.task))
    task_cls.resolve(params, task_cls.get_data_info(params.task, True))
    task = task_factory.get_task(params.task)
    train_lib.run_experiment(None, task, 'train_and_eval', params, model_dir)
    return params


def _export(params: Any, checkpoint: str, directory: pathlib.Path, **options: Any) -> Any:
    arguments = {
        'input_type': 'image_tensor',
        'batch_size': None,
        'input_image_size': params.task.model.input_size[:2],
        'checkpoint_path': checkpoint,
        'export_dir': str(directory),
        **options,
    }
    path = export_saved_model_lib.export_inference_graph(params=params, **arguments)
    return tf.saved_model.load(path)


def _make_example(image_bytes: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_bytes]))
    features = tf.train.Features(feature={'image/encoded': feature})
    return tf.train.Example(features=features).SerializeToString()


def _get_inputs(path: pathlib.Path) -> dict[str, tf.Tensor]:
    """An image as the input of each signature."""
    content = path.read_bytes()
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))
    return {
        'serving_default': tf.constant(pixels[None]),
        'image_bytes': tf.constant([content]),
        'tf_example': tf.constant([_make_example(content)]),
    }


# ---- classification -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str, pathlib.Path]:
    """Resolved config, folder of the run and folder of its images, of several sizes."""
    root = tmp_path_factory.mktemp('classes')
    _write_classes(root)
    source = {'type': 'folder', 'folder': {'root': str(root), 'split': ''}}
    params = _make_params(
        'classification_custom',
        {
            'model': {'input_size': [32, 48, 3], 'backbone': _BACKBONE},
            'train_data': {'source': source, 'global_batch_size': 2},
            'validation_data': {
                'source': source,
                'global_batch_size': 1,
                'aug_crop': True,
                'center_crop_fraction': 0.875,
            },
        },
    )
    model_dir = str(tmp_path_factory.mktemp('run'))
    return _train(params, model_dir), model_dir, root


def _write_classes(root: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    for number, name in enumerate(['cat', 'dog', 'fox']):
        (root / name).mkdir()
        for size in ((40, 60), (64, 50)):
            pixels = rng.integers(0, 80, [*size, 3]) + 80 * number
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(root / name / f'{size[0]}.jpg', quality=95)


def _restore(params: Any, checkpoint: str) -> Any:
    """A model with the weights of a checkpoint."""
    model = task_factory.get_task(params.task).build_model()
    variables = checkpoints.model_variables(model)
    checkpoints.read_model(variables, checkpoint_files.find_checkpoint(checkpoint))
    return model


@pytest.mark.parametrize('folder', ['', 'best_ckpt'])
def test_a_classifier_gives_the_probabilities_of_the_task(
    classifier: tuple[Any, str, pathlib.Path], tmp_path: pathlib.Path, folder: str
) -> None:
    """From the run and from its best checkpoint; images of other sizes, cropped in the centre."""
    params, model_dir, root = classifier
    checkpoint = os.path.join(model_dir, folder)
    loaded = _export(params, checkpoint, tmp_path, function_keys=ALL_TYPES)
    task, model = task_factory.get_task(params.task), _restore(params, checkpoint)
    paths = sorted(root.rglob('*.jpg'))
    for path, (images, labels) in zip(
        paths, task.build_inputs(params.task.validation_data), strict=True
    ):
        assert int(labels['label'][0]) == ['cat', 'dog', 'fox'].index(path.parent.name)
        logits = model(images, training=False)
        for name, value in _get_inputs(path).items():
            outputs = loaded.signatures[name](value)
            assert set(outputs) == {'logits', 'probs'}
            # Decoded in other ways: chroma differs by a grey level at the borders of a crop.
            np.testing.assert_allclose(outputs['logits'], logits, rtol=2e-2, atol=2e-2)
            expected = tf.nn.softmax(outputs['logits'])
            np.testing.assert_allclose(outputs['probs'], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(outputs['logits'], logits, rtol=1e-4, atol=1e-4)


def test_the_command_exports_a_run(
    classifier: tuple[Any, str, pathlib.Path],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, model_dir, root = classifier
    flags = [
        f'--config_file={model_dir}/params.yaml',
        f'--checkpoint_path={model_dir}/best_ckpt',
        f'--export_dir={tmp_path}/out',
    ]
    names = 'image_bytes:serving_default,image_tensor:pixels'
    command = ['official-lite', 'export', *flags]
    assert cli.main([*command, f'--function_keys={names}', '--log_model_flops_and_params']) == 0
    assert f'SavedModel in {tmp_path}/out/saved_model' in capsys.readouterr().out
    loaded = tf.saved_model.load(f'{tmp_path}/out/saved_model')
    inputs = _get_inputs(next(root.rglob('*.jpg')))
    first = loaded.signatures['serving_default'](inputs['image_bytes'])['probs']
    second = loaded.signatures['pixels'](inputs['serving_default'])['probs']
    np.testing.assert_allclose(first, second, atol=1e-2)
    for name in ('model_flops.txt', 'model_params.txt', 'params.yaml', 'checkpoint/checkpoint'):
        assert (tmp_path / 'out' / name).exists(), name
    for flag, text in (
        ('--input_image_size=224', '--input_image_size: expected height,width in pixels'),
        ('--function_keys=image_bytes', '--function_keys: expected TYPE:NAME'),
        ('--export_dir=', '--export_dir: not given'),
    ):
        assert cli.main([*command, flag]) == 2
        assert text in capsys.readouterr().err


def test_several_classes_of_an_image_have_probabilities_of_their_own(
    classifier: tuple[Any, str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    params, model_dir, root = classifier
    several = params.replace(task={'train_data': {'is_multilabel': True}})
    loaded = _export(several, model_dir, tmp_path)
    value = _get_inputs(next(root.rglob('*.jpg')))['serving_default']
    outputs = loaded.signatures['serving_default'](value)
    np.testing.assert_allclose(outputs['probs'], tf.sigmoid(outputs['logits']), rtol=1e-5)


def test_sizes_of_an_exported_model(
    classifier: tuple[Any, str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    params, model_dir, _ = classifier
    _export(params, model_dir, tmp_path, log_model_flops_and_params=True)
    model = _restore(params, model_dir)
    lines = (tmp_path / 'model_params.txt').read_text().splitlines()
    assert lines[-1] == f'Total params: {model.count_params()}'
    flops = (tmp_path / 'model_flops.txt').read_text().splitlines()
    counts = [float(line.split()[1]) for line in flops[:-2]]
    assert flops[-1] == f'Total FLOPs: {sum(counts):.0f}'
    # The first convolution: 3x3 of 3 channels to 4, at every second place of 32x48.
    assert 2 * 16 * 24 * 4 * 3 * 3 * 3 in counts
    # The classifier: 64 channels to 3 classes.
    assert counts[-1] == 2 * 64 * 3


def test_floating_point_operations_are_counted_by_hand(tmp_path: pathlib.Path) -> None:
    layers = [keras.Input([8, 6, 3]), keras.layers.Conv2D(4, 3, strides=2), keras.layers.Flatten()]
    model = keras.Sequential([*layers, keras.layers.Dense(5)])
    expected = 2 * (3 * 2) * 4 * 3 * 3 * 3 + 2 * (3 * 2 * 4) * 5
    path = tmp_path / 'flops.txt'
    assert model_sizes.try_count_flops(model, output_path=str(path)) == expected
    assert path.read_text().endswith(f'\n\nTotal FLOPs: {expected}\n')


# ---- segmentation -------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str, pathlib.Path]:
    """Resolved config, folder of the run and folder of the images, of several sizes."""
    root = tmp_path_factory.mktemp('pairs')
    image_dir, mask_dir = mask_makers.write_pairs(root, mask_makers.make_masks())
    pairs = {'image_dir': image_dir, 'mask_dir': mask_dir}
    source = {'type': 'png_pairs', 'png_pairs': pairs}
    params = _make_params(
        'segmentation_custom',
        {
            'model': {'input_size': [32, 64, 3], 'backbone': _BACKBONE},
            'train_data': {'source': source, 'global_batch_size': 2},
            'validation_data': {
                'source': source,
                'global_batch_size': 1,
                'resize_eval_groundtruth': False,
            },
        },
    )
    model_dir = str(tmp_path_factory.mktemp('run'))
    return _train(params, model_dir), model_dir, root


@pytest.mark.parametrize('folder', ['', 'best_ckpt'])
@pytest.mark.parametrize('keeps_ratio', [True, False])
def test_segmentation_gives_the_logits_of_the_task(
    segmenter: tuple[Any, str, pathlib.Path],
    tmp_path: pathlib.Path,
    folder: str,
    keeps_ratio: bool,
) -> None:
    """At the size of the network's input, and at that of each image."""
    params, model_dir, root = segmenter
    params = params.replace(task={'validation_data': {'preserve_aspect_ratio': keeps_ratio}})
    checkpoint = os.path.join(model_dir, folder)
    plain = _export(params, checkpoint, tmp_path / 'plain', function_keys=ALL_TYPES)
    rescaling = params.replace(task={'export_config': {'rescale_output': True}})
    rescaled = _export(rescaling, checkpoint, tmp_path / 'rescaled')
    task, model = task_factory.get_task(params.task), _restore(params, checkpoint)
    paths = sorted((root / 'image').glob('*.png'))
    for path, (images, labels) in zip(
        paths, task.build_inputs(params.task.validation_data), strict=True
    ):
        logits = tf.cast(model(images, training=False)['logits'], tf.float32)
        for name, value in _get_inputs(path).items():
            outputs = plain.signatures[name](value)
            expected = tf.image.resize(logits, [32, 64])
            np.testing.assert_allclose(outputs['logits'], expected, rtol=1e-4, atol=1e-4)
        pixels = _get_inputs(path)['serving_default']
        outputs = rescaled.signatures['serving_default'](pixels)
        assert outputs['logits'].shape[:3] == pixels.shape[:3]
        np.testing.assert_allclose(outputs['image_info'], labels['image_info'], rtol=1e-6)
        if keeps_ratio:
            height, width = pixels.shape[1:3]
            at_origin, _ = segmentation_metrics.rescale_to_original(
                logits, labels['image_info'], tf.constant([40, 40])
            )
            expected = at_origin[:, :height, :width]
            np.testing.assert_allclose(outputs['logits'], expected, rtol=1e-4, atol=1e-4)
        else:
            expected = tf.image.resize(logits, pixels.shape[1:3])
            np.testing.assert_allclose(outputs['logits'], expected, rtol=1e-4, atol=1e-3)


def test_images_of_several_sizes_in_one_call(
    segmenter: tuple[Any, str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    params, model_dir, root = segmenter
    rescaling = params.replace(task={'export_config': {'rescale_output': True}})
    serve = _export(rescaling, model_dir, tmp_path, input_type='image_bytes').signatures
    contents = [path.read_bytes() for path in sorted((root / 'image').glob('*.png'))]
    together = serve['serving_default'](tf.constant(contents))['logits']
    assert together.shape == (4, 30, 40, 3)
    for content, (height, width), found in zip(contents, mask_makers.SIZES, together):
        alone = serve['serving_default'](tf.constant([content]))['logits'][0]
        assert alone.shape[:2] == (height, width)
        np.testing.assert_allclose(found[:height, :width], alone, rtol=1e-4, atol=1e-4)
        assert (found.numpy()[height:] == 0).all()


def test_channels_of_several_features(
    segmenter: tuple[Any, str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    """Grey and colour: four channels, normalised before the model."""
    params = segmenter[0]
    extra = {'feature_name': 'image/depth', 'num_channels': 1, 'mean': [10.0], 'stddev': [2.0]}
    data = {'source': {'type': 'tfrecord', 'tfrecord': {'input_path': 'x'}}}
    data['additional_dense_features'] = [extra]
    wide = params.replace(
        task={'model': {'input_size': [32, 32, 4]}, 'train_data': data, 'validation_data': data}
    )
    with pytest.raises(errors.UsageError, match=r'^num_channels: expected 4'):
        _export(wide, '', tmp_path)
    loaded = _export(
        wide, '', tmp_path, num_channels=4, function_keys=['image_tensor', 'tf_example']
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, [32, 32, 4]).astype(np.uint8)
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(p).numpy()]))
        for key, p in {'image/encoded': pixels[..., :3], 'image/depth': pixels[..., 3:]}.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    first = loaded.signatures['serving_default'](tf.constant(pixels[None]))
    second = loaded.signatures['tf_example'](tf.constant([example]))
    np.testing.assert_allclose(first['logits'], second['logits'], rtol=1e-5, atol=1e-6)
    with pytest.raises(errors.UsageError, match='expected image_tensor or tf_example'):
        _export(wide, '', tmp_path, num_channels=4, input_type='image_bytes')


def test_a_converted_classifier_gives_the_same_in_tflite(
    classifier: tuple[Any, str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    params, model_dir, _ = classifier
    _export(params, model_dir, tmp_path, input_type='tflite', batch_size=1)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    images = np.random.default_rng(0).normal(size=[1, 32, 48, 3]).astype(np.float32)
    got = interpreter.get_signature_runner('serving_default')(inputs=images)
    expected = _restore(params, model_dir)(images, training=False)
    np.testing.assert_allclose(got['logits'], expected, rtol=1e-3, atol=1e-3)
