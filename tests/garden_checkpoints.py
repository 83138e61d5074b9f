"""Checkpoints that tf-models-official writes on the spot, in every form that it has.

Its own trainer, best-checkpoint export, moving averages and SavedModel export write them; only the
data is made up.
"""

from __future__ import annotations

import dataclasses
import importlib
import pathlib
from typing import Any

import numpy as np

from official_lite.garden import model_outputs
from tests import garden_weights


@dataclasses.dataclass(frozen=True)
class Run:
    """What a short training of Model Garden's left behind.

    Attributes:
        folder: Its `model_dir`.
        params: The `ExperimentConfig`, of Model Garden's.
        model: The trained model.
    """

    folder: pathlib.Path
    params: Any
    model: Any


def train_classifier(
    folder: pathlib.Path, backbone: dict[str, Any], *, size: int = 32, num_classes: int = 5
) -> Run:
    """Trains a classifier for two steps, with momentum, moving averages and a best export.

    Args:
        folder: Where to.
        backbone: `task.model.backbone`.
        size: Side of the images, px.
        num_classes: Number of classes.
    """
    import tensorflow as tf
    from official.core import exp_factory, train_lib
    from official.vision.tasks import image_classification

    params = exp_factory.get_exp_config('resnet_imagenet')
    params.override(
        {
            'task': {
                'model': {
                    'num_classes': num_classes,
                    'input_size': [size, size, 3],
                    'backbone': backbone,
                },
                'train_data': {'global_batch_size': 4},
                'validation_data': {'global_batch_size': 4},
                'evaluation': {'top_k': 2},
            },
            'runtime': {'distribution_strategy': 'off', 'mixed_precision_dtype': 'float32'},
            'trainer': {
                'train_steps': 2,
                'validation_steps': 1,
                'validation_interval': 2,
                'steps_per_loop': 1,
                'summary_interval': 1,
                'checkpoint_interval': 2,
                'best_checkpoint_export_subdir': 'best_ckpt',
                'best_checkpoint_eval_metric': 'accuracy',
                'optimizer_config': {
                    'ema': {'average_decay': 0.5, 'trainable_weights_only': False}
                },
            },
        }
    )

    class _Task(image_classification.ImageClassificationTask):
        def build_inputs(self, params: Any, input_context: Any = None) -> Any:
            del params, input_context
            generator = np.random.default_rng(1)
            images = generator.normal(size=(4, size, size, 3)).astype(np.float32)
            labels = generator.integers(0, num_classes, 4).astype(np.int32)
            return tf.data.Dataset.from_tensors((images, labels)).repeat()

    strategy = tf.distribute.OneDeviceStrategy('cpu:0')  # its moving averages need one
    with strategy.scope():
        task = _Task(params.task, logging_dir=str(folder))
    model, _ = train_lib.run_experiment(strategy, task, 'train_and_eval', params, str(folder))
    return Run(folder, params, model)


def export(run: Run, *, size: int | list[int] = 32) -> pathlib.Path:
    """Exports a run: `checkpoint/ckpt-1` and `saved_model` in the folder that is returned."""
    from official.vision.serving import export_saved_model_lib

    target = run.folder / 'exported'
    export_saved_model_lib.export_inference_graph(
        input_type='image_tensor',
        batch_size=1,
        input_image_size=size if isinstance(size, list) else [size, size],
        params=run.params,
        checkpoint_path=str(run.folder),
        export_dir=str(target),
        export_checkpoint_subdir='checkpoint',
        export_saved_model_subdir='saved_model',
    )
    return target


# Task -> (module, class), the same under `official.vision` and `official_lite.vision`.
TASKS = {
    'classification': ('image_classification', 'ImageClassificationTask'),
    'retinanet': ('retinanet', 'RetinaNetTask'),
    'segmentation': ('semantic_segmentation', 'SemanticSegmentationTask'),
    'maskrcnn': ('maskrcnn', 'MaskRCNNTask'),
}


def build_theirs(task: str, model: dict[str, Any]) -> Any:
    """Model Garden's model of a task, with random weights by which errors show.

    Args:
        task: One of `TASKS`.
        model: Overrides of `task.model`.
    """
    return _randomize(_build('official.vision', task, model), model['input_size'])


def _randomize(garden_model: Any, input_size: list[int]) -> Any:
    import tensorflow as tf

    # Some of its heads are made when they are called.
    model_outputs.compute_outputs(garden_model, tf.zeros([1, *input_size]))
    for part in {**getattr(garden_model, 'checkpoint_items', {}), 'model': garden_model}.values():
        for inner in part if isinstance(part, list) else [part]:
            garden_weights.randomize_weights(inner)
    return garden_model


def build_ours(task: str, model: dict[str, Any]) -> Any:
    """Our model of a task with fresh weights; arguments as those of `build_theirs`."""
    return _build('official_lite.vision', task, model)


def _build(package: str, task: str, model: dict[str, Any]) -> Any:
    module, name = TASKS[task]
    config = getattr(importlib.import_module(f'{package}.configs.{module}'), name)()
    config.override({'model': model})
    return getattr(importlib.import_module(f'{package}.tasks.{module}'), name)(config).build_model()


def save(model: Any, prefix: pathlib.Path) -> str:
    """Writes a model as Model Garden's trainer does, without the optimizer."""
    import tensorflow as tf

    items = getattr(model, 'checkpoint_items', {})
    return str(tf.train.Checkpoint(model=model, **items).write(str(prefix)))


def write_run(folder: pathlib.Path, experiment: str, model: dict[str, Any]) -> Any:
    """Writes `ckpt-3` and params.yaml as Model Garden's trainer does, of random weights.

    Args:
        folder: Where to.
        experiment: Name of the experiment.
        model: Overrides of `task.model`.

    Returns:
        The model, of Model Garden's.
    """
    from official.core import exp_factory, task_factory, train_utils
    from official.vision import registry_imports  # noqa: F401  # registers the experiments

    params = exp_factory.get_exp_config(experiment)
    params.override({'task': {'model': model}})
    train_utils.serialize_config(params, str(folder))
    built = task_factory.get_task(params.task).build_model()
    garden_model = _randomize(built, model['input_size'])
    save(garden_model, folder / 'ckpt-3')
    return garden_model


def train_by_hand(folder: pathlib.Path, experiment: str, model: dict[str, Any]) -> Run:
    """What Model Garden's trainer leaves after one update with made-up gradients.

    Its own trainer, exporter of the best checkpoint and action for moving averages write: `ckpt-1`
    (weights, optimizer slots and averages), `best_ckpt/` and
    `ema_checkpoints/` (with the averages as weights), and params.yaml.

    Args:
        folder: Where to.
        experiment: Name of the experiment.
        model: Overrides of `task.model`.
    """
    import tensorflow as tf
    from official.core import actions, base_trainer, exp_factory, task_factory, train_utils
    from official.vision import registry_imports  # noqa: F401  # registers the experiments

    params = exp_factory.get_exp_config(experiment)
    params.override({'task': {'model': model}})
    ema = {'average_decay': 0.5, 'trainable_weights_only': False, 'dynamic_decay': False}
    params.override({'trainer': {'optimizer_config': {'ema': ema}}})
    params.override({'runtime': {'mixed_precision_dtype': 'float32'}})
    train_utils.serialize_config(params, str(folder))
    strategy = tf.distribute.OneDeviceStrategy('cpu:0')  # moving averages need one
    with strategy.scope():
        task = task_factory.get_task(params.task)
        built = _randomize(task.build_model(), model['input_size'])
        optimizer = task.create_optimizer(params.trainer.optimizer_config, params.runtime)
        trainer = base_trainer.Trainer(
            params, task, model=built, optimizer=optimizer, train=False, evaluate=False
        )
        _apply_random_gradients(strategy, optimizer, built)
        tf.train.CheckpointManager(trainer.checkpoint, str(folder), 1).save()
        optimizer.swap_weights()
        exporter = train_utils.BestCheckpointExporter(str(folder / 'best_ckpt'), 'AP', 'higher')
        exporter.maybe_export_checkpoint(trainer.checkpoint, {'AP': tf.constant(0.5)}, 1)
        optimizer.swap_weights()
        actions.EMACheckpointing(str(folder), optimizer, trainer.checkpoint)({})
    return Run(folder, params, built)


def _apply_random_gradients(strategy: Any, optimizer: Any, model: Any) -> None:
    generator = np.random.default_rng(5)
    variables = model.trainable_variables
    gradients = [generator.normal(size=v.shape).astype(np.float32) for v in variables]

    def step() -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    strategy.run(step)
