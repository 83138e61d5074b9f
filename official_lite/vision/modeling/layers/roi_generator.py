"""Proposals from the predictions of a region proposal network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.vision.modeling.layers import region_layer
from official_lite.vision.ops import proposals

Levels = Mapping[str, tf.Tensor]


@keras.saving.register_keras_serializable(package='official_lite')
class MultilevelROIGenerator(region_layer.RegionLayer):
    """Decodes, clips and suppresses boxes of each level, and takes the best of all.

    Args:
        pre_nms_top_k: See `proposals.ProposalOptions`, for training; so the following.
        pre_nms_score_threshold: See there.
        pre_nms_min_size_threshold: See there.
        nms_iou_threshold: See there.
        num_proposals: See there.
        test_pre_nms_top_k: See there, for evaluation; so the following.
        test_pre_nms_score_threshold: See there.
        test_pre_nms_min_size_threshold: See there.
        test_nms_iou_threshold: See there.
        test_num_proposals: See there.
        use_batched_nms: See there, for both.
    """

    def __init__(
        self,
        pre_nms_top_k: int = 2000,
        pre_nms_score_threshold: float = 0.0,
        pre_nms_min_size_threshold: float = 0.0,
        nms_iou_threshold: float = 0.7,
        num_proposals: int = 1000,
        test_pre_nms_top_k: int = 1000,
        test_pre_nms_score_threshold: float = 0.0,
        test_pre_nms_min_size_threshold: float = 0.0,
        test_nms_iou_threshold: float = 0.7,
        test_num_proposals: int = 1000,
        use_batched_nms: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'pre_nms_top_k': pre_nms_top_k,
                'pre_nms_score_threshold': pre_nms_score_threshold,
                'pre_nms_min_size_threshold': pre_nms_min_size_threshold,
                'nms_iou_threshold': nms_iou_threshold,
                'num_proposals': num_proposals,
                'test_pre_nms_top_k': test_pre_nms_top_k,
                'test_pre_nms_score_threshold': test_pre_nms_score_threshold,
                'test_pre_nms_min_size_threshold': test_pre_nms_min_size_threshold,
                'test_nms_iou_threshold': test_nms_iou_threshold,
                'test_num_proposals': test_num_proposals,
                'use_batched_nms': use_batched_nms,
            },
            **kwargs,
        )

    def call(
        self,
        raw_boxes: Levels,
        raw_scores: Levels,
        anchor_boxes: Levels,
        image_shape: Optional[tf.Tensor],
        training: Optional[bool] = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Proposes: see `proposals.propose`."""
        prefix = '' if training else 'test_'
        options = {
            name: self._config[name if name == 'use_batched_nms' else prefix + name]
            for name in proposals.ProposalOptions._fields
        }
        return proposals.propose(
            raw_boxes, raw_scores, anchor_boxes, image_shape, proposals.ProposalOptions(**options)
        )
