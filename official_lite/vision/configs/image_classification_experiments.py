"""Image classification: experiments for any data. Model Garden's unless marked as ours."""

from __future__ import annotations

from typing import Literal

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.vision.configs import common, own_data, recipes
from official_lite.vision.configs.image_classification_data import (
    ClassificationSource,
    DataConfig,
    FolderSource,
)
from official_lite.vision.configs.image_classification_task import (
    ImageClassificationModel,
    ImageClassificationTask,
    Losses,
)

__all__ = ['classification_custom', 'image_classification']


@exp_factory.register_config_factory('image_classification')
def image_classification() -> cfg.ExperimentConfig:
    """Image classification with Model Garden's defaults; sizes, data and optimizer are not set."""
    return cfg.ExperimentConfig(task=ImageClassificationTask(), restrictions=recipes.RESTRICTIONS)


@exp_factory.register_config_factory('classification_custom')
def classification_custom() -> cfg.ExperimentConfig:
    """Ours. Classification of own images, a folder for each class: a small ResNet at 64 px."""
    train_steps = 1000
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='auto'),
        task=ImageClassificationTask(
            model=ImageClassificationModel(
                input_size=[64, 64, 3],
                backbone=own_data.get_small_resnet(),
                dropout_rate=0.2,
                norm_activation=common.NormActivation(use_sync_bn=False, norm_momentum=0.95),
            ),
            losses=Losses(label_smoothing=0.1),
            train_data=_folder_data('train', batch_size=32),
            validation_data=_folder_data('validation', batch_size=32),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=train_steps,
            validation_interval=250,
            checkpoint_interval=250,
            summary_interval=50,
            steps_per_loop=50,
            best_checkpoint_export_subdir='best_ckpt',
            best_checkpoint_eval_metric='accuracy',
            optimizer_config=own_data.get_adamw(
                peak=4e-3, train_steps=train_steps, weight_decay_rate=0.02
            ),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _folder_data(split: Literal['train', 'validation'], batch_size: int) -> DataConfig:
    """Crops of half of the image or more: what there is to see stays in sight."""
    return DataConfig(
        source=ClassificationSource(type='folder', folder=FolderSource(split=split)),
        is_training=split == 'train',
        global_batch_size=batch_size,
        crop_area_range=(0.5, 1.0),
        center_crop_fraction=1.0,
    )
