"""Semantic segmentation: configs of the task. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs.checks import check_share
from official_lite.vision.configs.semantic_segmentation_data import DataConfig
from official_lite.vision.configs.semantic_segmentation_model import SemanticSegmentationModel

__all__ = ['Evaluation', 'ExportConfig', 'Losses', 'SemanticSegmentationTask']


@dataclasses.dataclass
class Losses(hyperparams.Config):
    """What training minimises.

    That is `loss_weight * (cross entropy + mask_scoring_weight * mask scoring + l2)`.

    Attributes:
        loss_weight: Factor on everything, the l2 regularization too.
        label_smoothing: Share of each label that is spread over all classes.
        ignore_label: Pixels with this label count nowhere; padding gets it.
        gt_is_matting_map: Whether masks are opacities, 0 to 255, of class 1 of two.
        class_weights: Weight of each class. [] means 1 for each.
        l2_weight_decay: Twice the factor on the sum of squares of kernels. 0 means none.
        use_groundtruth_dimension: Whether logits are enlarged to the masks. If not, masks are
            reduced to the logits.
        use_binary_cross_entropy: Whether each class is learned by itself, with a sigmoid.
        top_k_percent_pixels: Share of the pixels that counts, those with the largest losses.
        mask_scoring_weight: Factor on the loss of `model.mask_scoring_head`.
    """

    loss_weight: float = 1.0
    label_smoothing: float = 0.0
    ignore_label: int = 255
    gt_is_matting_map: bool = False
    class_weights: list[float] = dataclasses.field(default_factory=list)
    l2_weight_decay: float = 0.0
    use_groundtruth_dimension: bool = True
    use_binary_cross_entropy: bool = False
    top_k_percent_pixels: float = 1.0
    mask_scoring_weight: float = 1.0

    def _check(self, report: hyperparams.Report) -> None:
        check_share(self, report, 'label_smoothing')
        for name in ('loss_weight', 'l2_weight_decay', 'mask_scoring_weight'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')
        if any(weight < 0 for weight in self.class_weights):
            report('class_weights', expected='numbers of 0 or more')
        if not 0 < self.top_k_percent_pixels <= 1:
            report('top_k_percent_pixels', expected='a share: more than 0 and at most 1')


@dataclasses.dataclass
class Evaluation(hyperparams.Config):
    """What is reported.

    Attributes:
        report_per_class_iou: Whether evaluation reports the IoU of each class.
        report_train_mean_iou: Whether training reports the mean IoU. Without it, it is faster.
    """

    report_per_class_iou: bool = True
    report_train_mean_iou: bool = True


@dataclasses.dataclass
class ExportConfig(hyperparams.Config):
    """What an exported model puts out.

    Attributes:
        rescale_output: Whether masks have the size of the original image.
    """

    rescale_output: bool = False


@dataclasses.dataclass
class SemanticSegmentationTask(cfg.TaskConfig):
    """Semantic segmentation.

    Attributes:
        model: The model.
        train_data: Examples to learn from.
        validation_data: Examples to evaluate on.
        losses: What training minimises.
        evaluation: What is reported.
        train_input_partition_dims: Not used; of Model Garden's spatial partitioning on TPUs.
        eval_input_partition_dims: Not used, likewise.
        init_checkpoint: Checkpoint, or folder of checkpoints, to start from, of ours or of Model
            Garden. None: from scratch.
        init_checkpoint_modules: Which parts of it are read: 'all', or one or more of 'backbone',
            'decoder' and 'head', or patterns of variables' keys such as 'backbone/stem/*'.
        export_config: What an exported model puts out.
        allow_image_summary: Whether a picture of masks is made at the end of a run.
        class_names: Ours. Names of labels 0, 1, ... in this order. [] means: from the data.
    """

    model: SemanticSegmentationModel = dataclasses.field(default_factory=SemanticSegmentationModel)
    train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=False)
    )
    losses: Losses = dataclasses.field(default_factory=Losses)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    train_input_partition_dims: list[int] = dataclasses.field(default_factory=list)
    eval_input_partition_dims: list[int] = dataclasses.field(default_factory=list)
    init_checkpoint: Optional[str] = None  # type: ignore[assignment]
    init_checkpoint_modules: Union[str, list[str]] = 'all'
    export_config: ExportConfig = dataclasses.field(default_factory=ExportConfig)
    allow_image_summary: bool = True
    # Ours.
    class_names: list[str] = dataclasses.field(default_factory=list)

    _from_data: ClassVar[tuple[str, ...]] = ('class_names',)
    _class_fields: ClassVar[tuple[str, ...]] = ('class_names',)

    def list_metrics(self) -> Optional[Sequence[str]]:
        """Names of the metrics that an evaluation logs."""
        classes = ['iou/<class>'] * self.evaluation.report_per_class_iou
        scores = ['mask_scores_mse'] * (self.model.mask_scoring_head is not None)
        return ['mean_iou', 'mean_iou_all_classes', *classes, *scores]

    def _check(self, report: hyperparams.Report) -> None:
        losses, num_classes = self.losses, self.model.num_classes
        if losses.gt_is_matting_map and num_classes not in (0, 2):
            report('model.num_classes', expected='2, because losses.gt_is_matting_map is on')
        for name in ('losses.class_weights', 'class_names'):
            values = losses.class_weights if name.startswith('losses') else self.class_names
            if values and num_classes and len(values) != num_classes:
                report(name, expected=f'{num_classes}, as model.num_classes')
        if num_classes == 1 and not losses.use_binary_cross_entropy:
            report(
                'model.num_classes',
                expected='2 or more: with softmax, one class has nothing to learn',
                hint='the background is a class too; or losses.use_binary_cross_entropy=true',
            )
