"""Assembles two-stage detectors from configs."""

from __future__ import annotations

from typing import Any, Optional

import keras

from official_lite.vision.modeling import builder_arguments, factory_checks, maskrcnn_model
from official_lite.vision.modeling.backbones import factory as backbone_factory
from official_lite.vision.modeling.decoders import factory as decoder_factory
from official_lite.vision.modeling.heads import instance_heads, mask_scoring, rpn_head
from official_lite.vision.modeling.layers import (
    mask_sampler,
    roi_aligner,
    roi_detection_generator,
    roi_generator,
    roi_sampler,
)


def build_maskrcnn(
    input_specs: keras.layers.InputSpec,
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
    backbone: Optional[keras.Model] = None,
    decoder: Optional[keras.Model] = None,
) -> maskrcnn_model.MaskRCNNModel:
    """Builds a Faster, Mask or Cascade R-CNN, with all its variables.

    Args:
        input_specs: Shape of the images, [batch, height, width, channels]; None for sides that
            vary.
        model_config: A `configs.maskrcnn.MaskRCNN`.
        l2_regularizer: Regulariser of kernels.
        backbone: A backbone in place of the config's.
        decoder: A decoder in place of the config's.

    Returns:
        The model; `checkpoint_items` names its parts.

    Raises:
        UsageError: If there are fewer than two classes, or parts do not fit together.
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
    num_stages = 1 + len(model_config.roi_sampler.cascade_iou_thresholds or ())
    with factory_checks.located('task.model'):
        return maskrcnn_model.MaskRCNNModel(
            backbone,
            decoder,
            build_rpn_head(model_config, l2_regularizer),
            [build_detection_head(model_config, i, l2_regularizer) for i in range(num_stages)],
            roi_generator.MultilevelROIGenerator(
                **model_config.roi_generator.as_dict(), name='roi_generator'
            ),
            build_roi_samplers(model_config.roi_sampler),
            roi_aligner.MultilevelROIAligner(
                **model_config.roi_aligner.as_dict(), name='roi_aligner'
            ),
            roi_detection_generator.DetectionGenerator(
                **model_config.detection_generator.as_dict(), name='detection_generator'
            ),
            **_build_mask_parts(model_config, l2_regularizer),
            class_agnostic_bbox_pred=model_config.detection_head.class_agnostic_bbox_pred,
            cascade_class_ensemble=model_config.detection_head.cascade_class_ensemble,
            min_level=model_config.min_level,
            max_level=model_config.max_level,
            **model_config.anchor.as_dict(),
            outer_boxes_scale=model_config.outer_boxes_scale,
        )


def build_rpn_head(
    model_config: Any, l2_regularizer: Optional[keras.regularizers.Regularizer] = None
) -> rpn_head.RPNHead:
    """Builds the head of the region proposal network."""
    anchor = model_config.anchor
    return rpn_head.RPNHead(
        min_level=model_config.min_level,
        max_level=model_config.max_level,
        num_anchors_per_location=len(anchor.aspect_ratios) * anchor.num_scales,
        **model_config.rpn_head.as_dict(),
        **builder_arguments.get_norm_arguments(model_config.norm_activation),
        kernel_regularizer=l2_regularizer,
        name='rpn_head',
    )


def build_detection_head(
    model_config: Any,
    stage: int = 0,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> instance_heads.DetectionHead:
    """Builds the head of a stage, from 0."""
    options = model_config.detection_head.as_dict()
    del options['cascade_class_ensemble']
    return instance_heads.DetectionHead(
        num_classes=model_config.num_classes,
        **options,
        **builder_arguments.get_norm_arguments(model_config.norm_activation),
        kernel_regularizer=l2_regularizer,
        name=f'detection_head_{stage}' if stage else 'detection_head',
    )


def build_roi_samplers(config: Any) -> list[roi_sampler.ROISampler]:
    """Builds the sampler of each stage from a `configs.maskrcnn.ROISampler`."""
    options = config.as_dict()
    cascade = options.pop('cascade_iou_thresholds') or ()
    samplers = [roi_sampler.ROISampler(**options, name='roi_sampler')]
    for stage, iou in enumerate(cascade, start=1):
        options.update(
            mix_gt_boxes=False,
            foreground_iou_threshold=iou,
            background_iou_high_threshold=iou,
            background_iou_low_threshold=0.0,
            skip_subsampling=True,
        )
        samplers.append(roi_sampler.ROISampler(**options, name=f'roi_sampler_{stage}'))
    return samplers


def _build_mask_parts(
    model_config: Any, l2_regularizer: Optional[keras.regularizers.Regularizer]
) -> dict[str, Optional[keras.layers.Layer]]:
    if not model_config.include_mask:
        return {}
    head_config, aligner_config = model_config.mask_head, model_config.mask_roi_aligner
    scoring_config = model_config.mask_scoring_head
    return {
        'mask_head': instance_heads.MaskHead(
            num_classes=model_config.num_classes,
            **head_config.as_dict(),
            **builder_arguments.get_norm_arguments(model_config.norm_activation),
            kernel_regularizer=l2_regularizer,
            name='mask_head',
        ),
        'mask_sampler': mask_sampler.MaskSampler(
            mask_target_size=aligner_config.crop_size * head_config.upsample_factor,
            num_sampled_masks=model_config.mask_sampler.num_sampled_masks,
            name='mask_sampler',
        ),
        'mask_roi_aligner': roi_aligner.MultilevelROIAligner(
            **aligner_config.as_dict(), name='mask_roi_aligner'
        ),
        'mask_scoring_head': scoring_config
        and mask_scoring.MaskScoring(
            num_classes=model_config.num_classes,
            **scoring_config.as_dict(),
            **builder_arguments.get_norm_arguments(model_config.norm_activation),
            kernel_regularizer=l2_regularizer,
            name='mask_scoring_head',
        ),
    }
