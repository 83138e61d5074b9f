"""Assembles models from configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.vision.modeling import classification_model, factory_checks, retinanet_model
from official_lite.vision.modeling.backbones import factory as backbone_factory
from official_lite.vision.modeling.decoders import factory as decoder_factory
from official_lite.vision.modeling.heads import factory as head_factory
from official_lite.vision.modeling.layers import detection_generator
from official_lite.vision.modeling.maskrcnn_factory import build_maskrcnn as build_maskrcnn
from official_lite.vision.modeling.segmentation_factory import (
    build_segmentation_model as build_segmentation_model,
)


def build_classification_model(
    input_specs: keras.layers.InputSpec,
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
    skip_logits_layer: bool = False,
    backbone: Optional[keras.Model] = None,
) -> classification_model.ClassificationModel:
    """Builds an image classifier, with all its variables.

    Args:
        input_specs: Shape of the images, [batch, height, width, channels]; None for sides that
            vary.
        model_config: A `configs.image_classification.ImageClassificationModel`.
        l2_regularizer: Regulariser of the kernels of convolutions and of the dense layer.
        skip_logits_layer: Whether the averaged features are the output.
        backbone: A backbone in place of the config's.

    Raises:
        UsageError: If there is no class.
    """
    if model_config.num_classes < 1 and not skip_logits_layer:
        raise errors.UsageError(
            'a classifier needs a class or more',
            where='task.model.num_classes',
            expected='1 or more',
            received=str(model_config.num_classes),
        )
    norm_activation = model_config.norm_activation
    if backbone is None:
        backbone = backbone_factory.build_backbone(
            input_specs, model_config.backbone, norm_activation, l2_regularizer
        )
    return classification_model.ClassificationModel(
        backbone,
        num_classes=model_config.num_classes,
        input_specs=input_specs,
        dropout_rate=model_config.dropout_rate,
        kernel_initializer=model_config.kernel_initializer,
        kernel_regularizer=l2_regularizer,
        add_head_batch_norm=model_config.add_head_batch_norm,
        use_sync_bn=norm_activation.use_sync_bn,
        norm_momentum=norm_activation.norm_momentum,
        norm_epsilon=norm_activation.norm_epsilon,
        skip_logits_layer=skip_logits_layer,
    )


def build_retinanet(
    input_specs: keras.layers.InputSpec,
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
    backbone: Optional[keras.Model] = None,
    decoder: Optional[keras.Model] = None,
    num_anchors_per_location: Union[int, dict[str, int], None] = None,
    anchor_boxes: Optional[Mapping[str, tf.Tensor]] = None,
) -> retinanet_model.RetinaNetModel:
    """Builds a RetinaNet, with all its variables.

    Args:
        input_specs: Shape of the images, [batch, height, width, channels]; None for sides that
            vary.
        model_config: A `configs.retinanet.RetinaNet`.
        l2_regularizer: Regulariser of convolution kernels.
        backbone: A backbone in place of the config's.
        decoder: A decoder in place of the config's.
        num_anchors_per_location: Number of anchors, by level if need be, in place of the config's.
        anchor_boxes: Anchors by level for detections, in place of the config's.

    Returns:
        The model; `checkpoint_items` names its parts.

    Raises:
        UsageError: If there are fewer than two classes, or the image size does not fit the levels.
    """
    factory_checks.check_num_classes(model_config.num_classes)
    factory_checks.check_input_size(input_specs.shape[1:3], model_config.max_level)
    if backbone is None:
        backbone = backbone_factory.build_backbone(
            input_specs, model_config.backbone, model_config.norm_activation, l2_regularizer
        )
    if decoder is None:
        decoder = decoder_factory.build_decoder(backbone.output_specs, model_config, l2_regularizer)
    features = backbone.output_specs if decoder is None else decoder.output_specs
    factory_checks.check_levels(features, model_config)
    anchor_config = model_config.anchor
    head = head_factory.build_head(
        features,
        model_config,
        num_anchors_per_location or len(anchor_config.aspect_ratios) * anchor_config.num_scales,
        l2_regularizer,
    )
    return retinanet_model.RetinaNetModel(
        backbone,
        decoder,
        head,
        build_detection_generator(model_config.detection_generator),
        anchor_boxes=anchor_boxes,
        min_level=model_config.min_level,
        max_level=model_config.max_level,
        num_scales=anchor_config.num_scales,
        aspect_ratios=anchor_config.aspect_ratios,
        anchor_size=anchor_config.anchor_size,
    )


def build_detection_generator(config: Any) -> detection_generator.MultilevelDetectionGenerator:
    """Builds a detection generator from a `configs.retinanet.DetectionGenerator`."""
    with factory_checks.located('task.model.detection_generator'):
        return detection_generator.MultilevelDetectionGenerator(
            apply_nms=config.apply_nms,
            pre_nms_top_k=config.pre_nms_top_k,
            pre_nms_score_threshold=config.pre_nms_score_threshold,
            nms_iou_threshold=config.nms_iou_threshold,
            max_num_detections=config.max_num_detections,
            nms_version=config.nms_version,
            use_cpu_nms=config.use_cpu_nms,
            soft_nms_sigma=config.soft_nms_sigma,
            tflite_post_processing_config=config.tflite_post_processing.as_dict(),
            return_decoded=config.return_decoded,
            use_class_agnostic_nms=config.use_class_agnostic_nms,
            box_coder_weights=config.box_coder_weights,
            decode_boxes=config.decode_boxes,
            pre_nms_top_k_sharding_block=config.pre_nms_top_k_sharding_block,
            nms_v3_refinements=config.nms_v3_refinements,
            name='detection_generator',
        )
