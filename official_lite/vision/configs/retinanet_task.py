"""RetinaNet (arXiv:1708.02002): configs of the task. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs import detection_names, evaluation_names
from official_lite.vision.configs.retinanet_data import DataConfig
from official_lite.vision.configs.retinanet_model import RetinaNet

__all__ = ['ExportConfig', 'Losses', 'RetinaNetTask']


@dataclasses.dataclass
class Losses(hyperparams.Config):
    """What training minimises: `loss_weight * (focal + box_loss_weight * huber + l2)`.

    Attributes:
        loss_weight: Factor on everything, the l2 regularization too.
        focal_loss_alpha: Weight of objects against background, 0 to 1.
        focal_loss_gamma: How much easy anchors are played down. 0 is plain cross entropy.
        huber_loss_delta: Error, in box codes, from which the box loss grows in a straight line.
        box_loss_weight: Factor on the box loss.
        l2_weight_decay: Twice the factor on the sum of squares of kernels. 0 means none.
    """

    loss_weight: float = 1.0
    focal_loss_alpha: float = 0.25
    focal_loss_gamma: float = 1.5
    huber_loss_delta: float = 0.1
    box_loss_weight: float = 50
    l2_weight_decay: float = 0.0

    def _check(self, report: hyperparams.Report) -> None:
        if not 0 <= self.focal_loss_alpha <= 1:
            report('focal_loss_alpha', expected='0 to 1')
        if self.huber_loss_delta <= 0:
            report('huber_loss_delta', expected='more than 0')
        for name in ('loss_weight', 'focal_loss_gamma', 'box_loss_weight', 'l2_weight_decay'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')


@dataclasses.dataclass
class ExportConfig(hyperparams.Config):
    """What an exported model puts out.

    Attributes:
        output_normalized_coordinates: Whether boxes are in shares of the image, not in px.
        cast_num_detections_to_float: Whether the number of detections is a float.
        cast_detection_classes_to_float: Whether classes are floats.
        output_intermediate_features: Whether the backbone's and decoder's features come out too.
    """

    output_normalized_coordinates: bool = False
    cast_num_detections_to_float: bool = False
    cast_detection_classes_to_float: bool = False
    output_intermediate_features: bool = False


@dataclasses.dataclass
class RetinaNetTask(cfg.TaskConfig):
    """Object detection with RetinaNet.

    Attributes:
        model: The model.
        train_data: Examples to learn from.
        validation_data: Examples to evaluate on.
        losses: What training minimises.
        init_checkpoint: Checkpoint, or folder of checkpoints, to start from, of ours or of Model
            Garden. None: from scratch.
        init_checkpoint_modules: Which parts of it are read: 'all', or one or more of 'backbone',
            'decoder' and 'head', or patterns of variables' keys such as 'backbone/stem/*'.
        annotation_file: COCO JSON with the ground truth of the validation data. None means that it
            comes from the data itself.
        per_category_metrics: Whether AP of every class is reported.
        export_config: What an exported model puts out.
        use_coco_metrics: Whether evaluation computes COCO's metrics.
        use_wod_metrics: Whether evaluation computes the Waymo Open Dataset's. Not available.
        freeze_backbone: Whether the backbone keeps its weights in training.
        max_num_eval_detections: Most detections of an image that evaluation counts.
        class_names: Ours. Names of labels 1, 2, ... in this order. [] means: from the data.
        category_ids: Ours. The data's ids of labels 1, 2, ... in this order. [] means: from the
            data, and if that has none, the labels themselves.
    """

    model: RetinaNet = dataclasses.field(default_factory=RetinaNet)
    train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=False)
    )
    losses: Losses = dataclasses.field(default_factory=Losses)
    init_checkpoint: Optional[str] = None  # type: ignore[assignment]
    init_checkpoint_modules: Union[str, list[str]] = 'all'
    annotation_file: Optional[str] = None
    per_category_metrics: bool = False
    export_config: ExportConfig = dataclasses.field(default_factory=ExportConfig)
    use_coco_metrics: bool = True
    use_wod_metrics: bool = False
    freeze_backbone: bool = False
    max_num_eval_detections: int = 100
    # Ours.
    class_names: list[str] = dataclasses.field(default_factory=list)
    category_ids: list[int] = dataclasses.field(default_factory=list)

    _from_data: ClassVar[tuple[str, ...]] = ('class_names', 'category_ids')
    _class_fields: ClassVar[tuple[str, ...]] = ('class_names', 'category_ids')
    _short_names: ClassVar[dict[str, hyperparams.ShortName]] = detection_names.DETECTION_NAMES

    def list_metrics(self) -> Optional[Sequence[str]]:
        """Names of the metrics that an evaluation logs."""
        heads = self.model.head.attribute_heads
        losses = ['total_loss', 'cls_loss', 'box_loss', 'model_loss']
        losses += [f'attribute_loss/{head.name}' for head in heads]
        if not self.use_coco_metrics:
            return losses
        coco = evaluation_names.list_coco_metrics(
            self.max_num_eval_detections, per_category=self.per_category_metrics
        )
        return [*coco, *losses]

    def _check(self, report: hyperparams.Report) -> None:
        if self.use_wod_metrics:
            report(
                'use_wod_metrics',
                expected='false: the Waymo Open Dataset metrics are not available here',
                hint='use_coco_metrics=true gives COCO metrics',
            )
        if self.max_num_eval_detections < 1:
            report('max_num_eval_detections', expected='1 or more')
        names, ids, num_classes = self.class_names, self.category_ids, self.model.num_classes
        if names and num_classes and len(names) != num_classes - 1:
            report(
                'class_names',
                expected=f'{num_classes - 1} names, because model.num_classes is {num_classes} '
                'with background',
            )
        if names and ids and len(names) != len(ids):
            report('category_ids', expected=f'{len(names)} ids, one for each of class_names')
