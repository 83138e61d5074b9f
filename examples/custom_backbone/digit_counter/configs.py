"""Typed configs of the new parts, and an experiment that uses them all."""

from __future__ import annotations

import dataclasses

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams
from official_lite.vision.configs import backbones, decoders, retinanet


@dataclasses.dataclass
class PlainNet(hyperparams.Config):
    """A plain stack of convolutions.

    Attributes:
        num_filters: Channels of the first stage; each further stage has twice as many.
        convs_per_stage: Convolutions of a stage; the first one halves the resolution.
    """

    num_filters: int = 32
    convs_per_stage: int = 1

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('num_filters', 'convs_per_stage'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')


@dataclasses.dataclass
class TopDown(hyperparams.Config):
    """Adds each level to the finer one below it, and nothing more.

    Attributes:
        num_filters: Channels of every level.
    """

    num_filters: int = 64


@dataclasses.dataclass
class SingleTowerHead(retinanet.RetinaNetHead):
    """One tower of convolutions that classes and boxes share."""


@dataclasses.dataclass
class CountingModel(retinanet.RetinaNet):
    """RetinaNet with the head above.

    Attributes:
        head: What turns the pyramid into scores and box codes.
    """

    head: SingleTowerHead = dataclasses.field(default_factory=SingleTowerHead)


@dataclasses.dataclass
class CountingTask(retinanet.RetinaNetTask):
    """Detection, and how many objects an image shows.

    Attributes:
        model: The detector.
        count_threshold: Detections of this score or more are counted.
    """

    model: CountingModel = dataclasses.field(default_factory=CountingModel)
    count_threshold: float = 0.3


def counting_digits() -> cfg.ExperimentConfig:
    """The embedded digits, with this package's parts, for a minute or two on a CPU."""
    config = exp_factory.get_exp_config('retinanet_custom')
    base = config.task
    task = CountingTask(
        model=CountingModel(
            input_size=base.model.input_size,
            min_level=base.model.min_level,
            max_level=base.model.max_level,
            anchor=base.model.anchor,
            backbone=backbones.Backbone(type='plainnet'),
            decoder=decoders.Decoder(type='topdown'),
            head=SingleTowerHead(num_convs=2, num_filters=64),
            detection_generator=base.model.detection_generator,
            norm_activation=base.model.norm_activation,
        ),
        train_data=base.train_data,
        validation_data=base.validation_data,
    )
    task.train_data.source.embedded.num_scenes = 1000
    task.validation_data.source.embedded.num_scenes = 50
    config = cfg.ExperimentConfig(task=task, trainer=config.trainer, runtime=config.runtime)
    config.override(
        {
            'trainer': {
                'train_steps': 200,
                'validation_interval': 200,
                'checkpoint_interval': 200,
                'optimizer_config': {
                    'warmup': {'linear': {'warmup_steps': 20}},
                },
            }
        }
    )
    return config
