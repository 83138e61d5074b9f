"""Semantic segmentation: Model Garden's experiment without data, and one for own data (ours)."""

from __future__ import annotations

from typing import Literal

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.vision.configs import common, decoders, own_data, recipes
from official_lite.vision.configs.semantic_segmentation_data import DataConfig, SegmentationSource
from official_lite.vision.configs.semantic_segmentation_model import (
    SegmentationHead,
    SemanticSegmentationModel,
)
from official_lite.vision.configs.semantic_segmentation_task import SemanticSegmentationTask

__all__ = ['segmentation_custom', 'semantic_segmentation']


@exp_factory.register_config_factory('semantic_segmentation')
def semantic_segmentation() -> cfg.ExperimentConfig:
    """Semantic segmentation with Model Garden's defaults; sizes, data, optimizer are not set."""
    return cfg.ExperimentConfig(task=SemanticSegmentationTask(), restrictions=recipes.RESTRICTIONS)


@exp_factory.register_config_factory('segmentation_custom')
def segmentation_custom() -> cfg.ExperimentConfig:
    """Segmentation for own data; as it stands, a small FPN that learns to find digits."""
    train_steps = 2000
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='auto'),
        task=SemanticSegmentationTask(
            model=_small_model(input_size=128),
            train_data=_embedded_data('train', batch_size=8),
            validation_data=_embedded_data('validation', batch_size=8),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=train_steps,
            validation_interval=500,
            checkpoint_interval=500,
            summary_interval=50,
            steps_per_loop=50,
            best_checkpoint_export_subdir='best_ckpt',
            best_checkpoint_eval_metric='mean_iou',
            optimizer_config=own_data.get_adamw(peak=4e-3, train_steps=train_steps),
        ),
        restrictions=recipes.RESTRICTIONS,
    )


def _small_model(input_size: int) -> SemanticSegmentationModel:
    """One basic block per stage with 32 to 256 channels; a pyramid of levels 2 to 5, joined."""
    return SemanticSegmentationModel(
        input_size=[input_size, input_size, 3],
        min_level=2,
        max_level=5,
        backbone=own_data.get_small_resnet(),
        decoder=decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=64)),
        head=SegmentationHead(
            level=2, num_convs=2, num_filters=64, feature_fusion='pyramid_fusion'
        ),
        norm_activation=common.NormActivation(norm_momentum=0.95),
    )


def _embedded_data(split: Literal['train', 'validation'], batch_size: int) -> DataConfig:
    """Scenes of handwritten digits on photographs; mirrored digits would be others."""
    return DataConfig(
        source=SegmentationSource(type='embedded', embedded=common.EmbeddedSource(split=split)),
        is_training=split == 'train',
        global_batch_size=batch_size,
        aug_rand_hflip=False,
    )
