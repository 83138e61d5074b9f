"""official_lite as a library: trains a detector, exports its best checkpoint, and finds digits in an image.

    python examples/library.py --model_dir=/tmp/library [--train_steps=300]

Whoever knows Model Garden's object detection tutorial knows this: the imports have changed.
"""

from __future__ import annotations

import argparse
import os
import pathlib

import tensorflow as tf

import official_lite as tfm
from official_lite.vision.serving import export_saved_model_lib


def make_config(train_steps: int) -> tfm.core.config_definitions.ExperimentConfig:
    """An experiment by name, with a few of its fields changed."""
    exp_config = tfm.core.exp_factory.get_exp_config('retinanet_custom')
    exp_config.task.train_data.source.embedded.num_scenes = 1000
    exp_config.task.validation_data.source.embedded.num_scenes = 50
    exp_config.trainer.train_steps = train_steps
    exp_config.trainer.validation_interval = train_steps
    exp_config.trainer.checkpoint_interval = train_steps
    exp_config.trainer.optimizer_config.warmup.linear.warmup_steps = train_steps // 10
    # A mistake such as `exp_config.trainer.train_step = 5` or `train_steps = 'many'` is an error here.
    tfm.hyperparams.override_params_dict(
        exp_config, 'runtime.distribution_strategy=one_device', is_strict=True
    )
    return exp_config


def train(
    exp_config: tfm.core.config_definitions.ExperimentConfig, model_dir: str
) -> dict[str, float]:
    """Trains and evaluates; returns the metrics of the last evaluation."""
    strategy = tf.distribute.OneDeviceStrategy('cpu:0')
    with strategy.scope():
        task = tfm.core.task_factory.get_task(exp_config.task, logging_dir=model_dir)
    _, logs = tfm.core.train_lib.run_experiment(
        distribution_strategy=strategy,
        task=task,
        mode='train_and_eval',
        params=exp_config,
        model_dir=model_dir,
        run_post_eval=True,
    )
    return logs


def export(
    exp_config: tfm.core.config_definitions.ExperimentConfig, model_dir: str, export_dir: str
) -> None:
    """Writes the best checkpoint as a SavedModel that takes images and returns detections."""
    height, width = exp_config.task.model.input_size[:2]
    export_saved_model_lib.export_inference_graph(
        input_type='image_tensor',
        batch_size=1,
        input_image_size=[height, width],
        params=exp_config,
        checkpoint_path=tf.train.latest_checkpoint(os.path.join(model_dir, 'best_ckpt')),
        export_dir=export_dir,
    )


def detect(
    exp_config: tfm.core.config_definitions.ExperimentConfig, export_dir: str, num_shown: int = 5
) -> list[tuple[str, float, list[float]]]:
    """Finds digits in the first validation image with the exported model.

    Returns:
        Name, score and box (yxyx, pixels) of the best detections.
    """
    task = tfm.core.task_factory.get_task(exp_config.task)
    images, _ = next(iter(task.build_inputs(exp_config.task.validation_data)))
    serve = tf.saved_model.load(export_dir).signatures['serving_default']
    outputs = serve(images[:1])
    names = exp_config.task.class_names
    return [
        (names[int(label) - 1], float(score), [round(float(x), 1) for x in box])
        for label, score, box in zip(
            outputs['detection_classes'][0][:num_shown],
            outputs['detection_scores'][0][:num_shown],
            outputs['detection_boxes'][0][:num_shown],
        )
    ]


def main() -> None:
    """Trains, exports, detects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model_dir', required=True)
    parser.add_argument('--train_steps', type=int, default=300)
    args = parser.parse_args()
    model_dir = str(pathlib.Path(args.model_dir).absolute())
    export_dir = os.path.join(model_dir, 'saved_model')
    exp_config = make_config(args.train_steps)
    logs = train(exp_config, model_dir)
    print(f'AP {logs["AP"]:.3f}, AP50 {logs["AP50"]:.3f}')
    export(exp_config, model_dir, export_dir)
    for name, score, box in detect(exp_config, export_dir):
        print(f'{name}: {score:.2f} at {box}')


if __name__ == '__main__':
    main()
