"""Assembles semantic segmentation models from configs."""

from __future__ import annotations

from typing import Any, Optional

import keras

from official_lite import errors
from official_lite.vision import registries
from official_lite.vision.modeling import factory_checks, segmentation_model
from official_lite.vision.modeling.backbones import factory as backbone_factory
from official_lite.vision.modeling.decoders import factory as decoder_factory
from official_lite.vision.modeling.heads import segmentation_heads


def build_segmentation_model(
    input_specs: keras.layers.InputSpec,
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
    backbone: Optional[keras.Model] = None,
    decoder: Optional[keras.layers.Layer] = None,
) -> segmentation_model.SegmentationModel:
    """Builds a semantic segmentation model, with all its variables.

    A head of one's own, whose config class `register_head` knows, gets the arguments of
    `build_segmentation_head`.

    Args:
        input_specs: Shape of the images, [batch, height, width, channels]; None for sides that
            vary.
        model_config: A `configs.semantic_segmentation.SemanticSegmentationModel`.
        l2_regularizer: Regulariser of kernels.
        backbone: A backbone in place of the config's.
        decoder: A decoder in place of the config's.

    Returns:
        The model; `checkpoint_items` names its parts.

    Raises:
        UsageError: If there is no class, or parts do not fit together.
    """
    if model_config.num_classes < 1:
        raise errors.UsageError(
            'a segmentation model needs a class or more',
            where='task.model.num_classes',
            expected='1 or more',
            received=str(model_config.num_classes),
        )
    if backbone is None:
        backbone = backbone_factory.build_backbone(
            input_specs, model_config.backbone, model_config.norm_activation, l2_regularizer
        )
    shapes = backbone.output_specs
    with factory_checks.located('task.model.decoder'):
        if decoder is None:
            decoder = decoder_factory.build_decoder(shapes, model_config, l2_regularizer)
        if decoder is not None and not decoder.built:
            decoder.build(shapes)
    with factory_checks.located('task.model.head'):
        build_head = (
            registries.HEADS.find_builder(model_config.head)
            or segmentation_heads.build_segmentation_head
        )
        head = build_head(
            backbone_specs=shapes,
            decoder_specs=shapes if decoder is None else decoder.output_specs,
            model_config=model_config,
            l2_regularizer=l2_regularizer,
        )
    with factory_checks.located('task.model.mask_scoring_head'):
        scoring = segmentation_heads.build_mask_scoring_head(model_config, l2_regularizer)
    return segmentation_model.SegmentationModel(backbone, decoder, head, scoring)
