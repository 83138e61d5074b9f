"""Configs of the example, and its experiment. Names and defaults are Model Garden's."""

from __future__ import annotations

import dataclasses
from typing import Literal

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams, optimization

__all__ = [
    'Evaluation',
    'ExampleDataConfig',
    'ExampleModel',
    'ExampleTask',
    'Losses',
    'tf_vision_example_experiment',
]


@dataclasses.dataclass
class ExampleDataConfig(cfg.DataConfig):
    """TFRecords with the features 'image/encoded' and 'image/class/label', from 0.

    Attributes:
        dtype: Number format of the images that the parser makes.
        file_type: Whether the files are compressed by gzip.
    """

    is_training: bool = True
    shuffle_buffer_size: int = 10_000
    cycle_length: int = 10
    dtype: Literal['float32', 'float16', 'bfloat16'] = 'float32'
    file_type: Literal['tfrecord', 'tfrecord_compressed'] = 'tfrecord'


@dataclasses.dataclass
class ExampleModel(hyperparams.Config):
    """The network.

    Attributes:
        num_classes: Number of classes. 0 means: from the data.
        input_size: [height, width, channels] of the images.
    """

    num_classes: int = 0
    input_size: list[int] = dataclasses.field(default_factory=list)

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_classes < 0:
            report('num_classes', expected='0 or more')
        if len(self.input_size) != 3 or min(self.input_size) < 1:
            report('input_size', expected='[height, width, channels]')


@dataclasses.dataclass
class Losses(hyperparams.Config):
    """What training minimises besides the cross-entropy.

    Attributes:
        l2_weight_decay: Factor of half the sum of the squares of all kernels.
    """

    l2_weight_decay: float = 0.0


@dataclasses.dataclass
class Evaluation(hyperparams.Config):
    """What is reported besides accuracy.

    Attributes:
        top_k: A label among the so many best counts as right in 'top_<k>_accuracy'.
    """

    top_k: int = 5

    def _check(self, report: hyperparams.Report) -> None:
        if self.top_k < 1:
            report('top_k', expected='1 or more')


@dataclasses.dataclass
class ExampleTask(cfg.TaskConfig):
    """Everything that the task reads.

    Attributes:
        model: The network.
        train_data: Examples to learn from.
        validation_data: Examples to evaluate on.
        losses: What training minimises.
        evaluation: What is reported.
    """

    model: ExampleModel = dataclasses.field(default_factory=ExampleModel)
    train_data: ExampleDataConfig = dataclasses.field(default_factory=ExampleDataConfig)
    validation_data: ExampleDataConfig = dataclasses.field(
        default_factory=lambda: ExampleDataConfig(is_training=False)
    )
    losses: Losses = dataclasses.field(default_factory=Losses)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)


@exp_factory.register_config_factory('tf_vision_example_experiment')
@exp_factory.register_config_factory('example_experiment')
def tf_vision_example_experiment() -> cfg.ExperimentConfig:
    """The starter project: a small network on TFRecords of classified images."""
    batch_size, steps_per_epoch = 256, 10
    return cfg.ExperimentConfig(
        task=ExampleTask(
            model=ExampleModel(num_classes=10, input_size=[128, 128, 3]),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=ExampleDataConfig(
                input_path='/path/to/train*', is_training=True, global_batch_size=batch_size
            ),
            validation_data=ExampleDataConfig(
                input_path='/path/to/valid*', is_training=False, global_batch_size=batch_size
            ),
        ),
        trainer=cfg.TrainerConfig(
            steps_per_loop=steps_per_epoch,
            summary_interval=steps_per_epoch,
            checkpoint_interval=steps_per_epoch,
            train_steps=90 * steps_per_epoch,
            validation_steps=steps_per_epoch,
            validation_interval=steps_per_epoch,
            optimizer_config=optimization.OptimizationConfig(
                {
                    'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
                    'learning_rate': {
                        'type': 'cosine',
                        'cosine': {
                            'initial_learning_rate': 1.6,
                            'decay_steps': 350 * steps_per_epoch,
                        },
                    },
                    'warmup': {
                        'type': 'linear',
                        'linear': {
                            'warmup_steps': 5 * steps_per_epoch,
                            'warmup_learning_rate': 0.0,
                        },
                    },
                }
            ),
        ),
        restrictions=[
            'task.train_data.is_training != None',
            'task.validation_data.is_training != None',
        ],
    )
