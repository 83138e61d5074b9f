"""Faster, Mask and Cascade R-CNN: configs of the task. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs import checks, detection_names, evaluation_names
from official_lite.vision.configs.maskrcnn_data import DataConfig
from official_lite.vision.configs.maskrcnn_model import MaskRCNN

__all__ = ['Losses', 'MaskRCNNTask']


@dataclasses.dataclass
class Losses(hyperparams.Config):
    """What training minimises: `loss_weight` times the sum of its losses and the l2 regularization.

    Attributes:
        loss_weight: Factor on everything, the l2 regularization too.
        rpn_huber_loss_delta: Error, in box codes, from which the loss of proposals' boxes grows in a
            straight line.
        frcnn_huber_loss_delta: The same of detections' boxes.
        frcnn_class_use_binary_cross_entropy: Whether each class is learnt by itself (sigmoid)
            instead of against the others (softmax).
        frcnn_class_loss_top_k_percent: Share of the proposals, the hardest ones, whose class loss
            counts; 1 means all.
        l2_weight_decay: Twice the factor on the sum of squares of kernels. 0 means none.
        rpn_score_weight: Factor on the loss of proposals' scores.
        rpn_box_weight: Factor on the loss of proposals' boxes.
        frcnn_class_weight: Factor on the loss of classes.
        frcnn_box_weight: Factor on the loss of detections' boxes.
        mask_weight: Factor on the loss of masks.
        class_weights: Factor on the class loss for each class, background first. None means 1.
        mask_scoring_weight: Ours. Factor on the loss of `model.mask_scoring_head`.
    """

    loss_weight: float = 1.0
    rpn_huber_loss_delta: float = 1.0 / 9.0
    frcnn_huber_loss_delta: float = 1.0
    frcnn_class_use_binary_cross_entropy: bool = False
    frcnn_class_loss_top_k_percent: float = 1.0
    l2_weight_decay: float = 0.0
    rpn_score_weight: float = 1.0
    rpn_box_weight: float = 1.0
    frcnn_class_weight: float = 1.0
    frcnn_box_weight: float = 1.0
    mask_weight: float = 1.0
    class_weights: Optional[list[float]] = None
    # Ours.
    mask_scoring_weight: float = 1.0

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('rpn_huber_loss_delta', 'frcnn_huber_loss_delta'):
            if getattr(self, name) <= 0:
                report(name, expected='more than 0')
        if not 0 < self.frcnn_class_loss_top_k_percent <= 1:
            report('frcnn_class_loss_top_k_percent', expected='more than 0 and at most 1')
        weights = [f.name for f in dataclasses.fields(self) if f.name.endswith('_weight')]
        checks.check_least(self, report, 0, *weights, 'l2_weight_decay')
        if any(weight < 0 for weight in self.class_weights or ()):
            report('class_weights', expected='numbers of 0 or more')


@dataclasses.dataclass
class MaskRCNNTask(cfg.TaskConfig):
    """Boxes and masks of objects in images, found in two stages.

    Attributes:
        model: The network.
        train_data: Examples to train on.
        validation_data: Examples to evaluate on.
        losses: What training minimises.
        init_checkpoint: Checkpoint, or folder of checkpoints, to start from. None: from scratch.
        init_checkpoint_modules: Which parts of it are read: 'all', or one or more of 'backbone' and
            'decoder', or patterns of variables' keys such as 'backbone/stem/*'.
        annotation_file: COCO JSON with the ground truth of the validation data. None means that it
            comes from the data itself.
        per_category_metrics: Whether AP of every class is reported, of boxes and of masks.
        allowed_mask_class_ids: Labels of the classes whose masks are learnt. None means all.
        use_coco_metrics: Whether evaluation computes COCO's metrics.
        use_wod_metrics: Whether evaluation computes the Waymo Open Dataset's. Not available.
        use_approx_instance_metrics: Whether evaluation computes an approximation on the device. Not
            available: `use_coco_metrics` gives exact ones.
        freeze_backbone: Whether the backbone keeps its weights in training.
        max_num_eval_detections: Ours. Most detections of an image that evaluation counts.
        class_names: Ours. Names of labels 1, 2, ... in this order. [] means: from the data.
        category_ids: Ours. The data's ids of labels 1, 2, ... in this order. [] means: from the
            data, and if that has none, the labels themselves.
    """

    model: MaskRCNN = dataclasses.field(default_factory=MaskRCNN)
    train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=False, drop_remainder=False)
    )
    losses: Losses = dataclasses.field(default_factory=Losses)
    init_checkpoint: Optional[str] = None  # type: ignore[assignment]
    init_checkpoint_modules: Union[str, list[str]] = 'all'
    annotation_file: Optional[str] = None
    per_category_metrics: bool = False
    allowed_mask_class_ids: Optional[list[int]] = None
    use_coco_metrics: bool = True
    use_wod_metrics: bool = False
    use_approx_instance_metrics: bool = False
    freeze_backbone: bool = False
    # Ours.
    max_num_eval_detections: int = 100
    class_names: list[str] = dataclasses.field(default_factory=list)
    category_ids: list[int] = dataclasses.field(default_factory=list)

    _from_data: ClassVar[tuple[str, ...]] = ('class_names', 'category_ids')
    _class_fields: ClassVar[tuple[str, ...]] = ('class_names', 'category_ids')
    _short_names: ClassVar[dict[str, hyperparams.ShortName]] = detection_names.DETECTION_NAMES

    def list_metrics(self) -> Optional[Sequence[str]]:
        """Names of the metrics that an evaluation logs."""
        names = ('total', 'rpn_score', 'rpn_box', 'frcnn_cls', 'frcnn_box', 'mask', 'model')
        losses = [f'{name}_loss' for name in names]
        if self.model.mask_scoring_head is not None:
            losses.append('mask_score_loss')
        if not self.use_coco_metrics:
            return losses
        coco = [
            name
            for is_mask in ((False, True) if self.model.include_mask else (False,))
            for name in evaluation_names.list_coco_metrics(
                self.max_num_eval_detections,
                per_category=self.per_category_metrics,
                is_mask=is_mask,
            )
        ]
        return [*coco, *losses]

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('use_wod_metrics', 'use_approx_instance_metrics'):
            if getattr(self, name):
                report(
                    name,
                    expected='false: these metrics are not available here',
                    hint='use_coco_metrics=true gives COCO metrics',
                )
        checks.check_least(self, report, 1, 'max_num_eval_detections')
        self._check_classes(report)
        if self.train_data.parser.copy_paste is not None and not self.model.include_mask:
            report(
                'train_data.parser.copy_paste',
                expected='null, because model.include_mask is false and it needs masks',
            )

    def _check_classes(self, report: hyperparams.Report) -> None:
        names, ids, num_classes = self.class_names, self.category_ids, self.model.num_classes
        if names and num_classes and len(names) != num_classes - 1:
            report(
                'class_names',
                expected=f'{num_classes - 1} names, because model.num_classes is {num_classes} '
                'with background',
            )
        if names and ids and len(names) != len(ids):
            report('category_ids', expected=f'{len(names)} ids, one for each of class_names')
        weights = self.losses.class_weights
        if weights is not None and num_classes and len(weights) != num_classes:
            report(
                'losses.class_weights',
                expected=f'{num_classes} numbers, because model.num_classes is {num_classes}',
            )
        wrong = [i for i in self.allowed_mask_class_ids or () if not 1 <= i < max(num_classes, 2)]
        if num_classes and wrong:
            report('allowed_mask_class_ids', expected=f'labels of 1 to {num_classes - 1}')
