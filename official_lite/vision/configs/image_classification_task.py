"""Image classification: configs of the task. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.modeling import hyperparams
from official_lite.vision.configs import backbones, common
from official_lite.vision.configs.image_classification_data import DataConfig

__all__ = ['Evaluation', 'ImageClassificationModel', 'ImageClassificationTask', 'Losses']


@dataclasses.dataclass
class ImageClassificationModel(hyperparams.Config):
    """Backbone, mean over all places, dropout and a dense layer.

    Attributes:
        num_classes: Number of classes. 0 means: from the data.
        input_size: Height, width and channels of images, px. [] means not set.
        backbone: The network before the mean.
        dropout_rate: Chance that a feature is left out in training.
        norm_activation: Normalisation and activation of all blocks.
        add_head_batch_norm: Whether features are normalised before the mean.
        kernel_initializer: Initialiser of the dense layer's kernel.
        output_softmax: Whether metrics are computed from probabilities, not from logits, and an
            exported model puts out probabilities.
    """

    num_classes: int = 0
    input_size: list[int] = dataclasses.field(default_factory=list)
    backbone: backbones.Backbone = dataclasses.field(
        default_factory=lambda: backbones.Backbone(type='resnet')
    )
    dropout_rate: float = 0.0
    norm_activation: common.NormActivation = dataclasses.field(
        default_factory=lambda: common.NormActivation(use_sync_bn=False)
    )
    add_head_batch_norm: bool = False
    kernel_initializer: str = 'random_uniform'
    output_softmax: bool = False

    _from_data: ClassVar[tuple[str, ...]] = ('num_classes',)
    _weight_fields: ClassVar[tuple[str, ...]] = (
        'num_classes',
        'backbone',
        'add_head_batch_norm',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_classes < 0:
            report('num_classes', expected='1 or more, or 0 to take it from the data')
        if not 0 <= self.dropout_rate < 1:
            report('dropout_rate', expected='at least 0 and less than 1')
        if self.input_size and len(self.input_size) != 3:
            report('input_size', expected='[height, width, channels]')


@dataclasses.dataclass
class Losses(hyperparams.Config):
    """What training minimises: `loss_weight * (cross entropy + l2)`.

    Attributes:
        loss_weight: Factor on everything, the l2 regularization too.
        one_hot: Whether labels become vectors, which can be smoothed and mixed.
        label_smoothing: Share of each label that is spread over all classes. Needs `one_hot` or
            several labels; Mixup has its own.
        l2_weight_decay: Twice the factor on the sum of squares of kernels. 0 means none.
        soft_labels: Whether training labels are vectors already, from Mixup or CutMix.
        use_binary_cross_entropy: Whether each class is learned by itself, with a sigmoid.
    """

    loss_weight: float = 1.0
    one_hot: bool = True
    label_smoothing: float = 0.0
    l2_weight_decay: float = 0.0
    soft_labels: bool = False
    use_binary_cross_entropy: bool = False

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('loss_weight', 'l2_weight_decay'):
            if getattr(self, name) < 0:
                report(name, expected='0 or more')
        if not 0 <= self.label_smoothing < 1:
            report('label_smoothing', expected='at least 0 and less than 1')


@dataclasses.dataclass
class Evaluation(hyperparams.Config):
    """What is reported besides accuracy.

    Attributes:
        top_k: A label among the so many best counts as right in 'top_<k>_accuracy'.
        precision_and_recall_thresholds: Thresholds at which precision and recall of the best class
            are reported. None means none.
        report_per_class_precision_and_recall: Whether they are reported for each class too. Needs
            thresholds.
    """

    top_k: int = 5
    precision_and_recall_thresholds: Optional[list[float]] = None
    report_per_class_precision_and_recall: bool = False

    def _check(self, report: hyperparams.Report) -> None:
        if self.top_k < 1:
            report('top_k', expected='1 or more')
        thresholds = self.precision_and_recall_thresholds
        if thresholds and any(not 0 <= threshold <= 1 for threshold in thresholds):
            report('precision_and_recall_thresholds', expected='numbers of 0 to 1')
        if self.report_per_class_precision_and_recall and not thresholds:
            report(
                'report_per_class_precision_and_recall',
                expected='false, because precision_and_recall_thresholds is not set',
                hint='for example precision_and_recall_thresholds=[0.5]',
            )


@dataclasses.dataclass
class ImageClassificationTask(cfg.TaskConfig):
    """Image classification.

    Attributes:
        model: The model.
        train_data: Examples to learn from.
        validation_data: Examples to evaluate on.
        losses: What training minimises.
        evaluation: What is reported besides accuracy.
        train_input_partition_dims: Not used; of Model Garden's spatial partitioning on TPUs.
        eval_input_partition_dims: Not used, likewise.
        init_checkpoint: Checkpoint, or folder of checkpoints, to start from, of ours or of Model
            Garden. None: from scratch.
        init_checkpoint_modules: Which parts of it are read: 'all', 'backbone', or patterns of
            variables' keys such as 'backbone/stem/*'.
        model_output_keys: Not used, as in Model Garden.
        freeze_backbone: Whether the backbone keeps its weights in training.
        class_names: Ours. Names of labels 0, 1, ... in this order. [] means: from the data.
    """

    model: ImageClassificationModel = dataclasses.field(default_factory=ImageClassificationModel)
    train_data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(is_training=True))
    validation_data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(is_training=False)
    )
    losses: Losses = dataclasses.field(default_factory=Losses)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
    train_input_partition_dims: Optional[list[int]] = dataclasses.field(default_factory=list)
    eval_input_partition_dims: Optional[list[int]] = dataclasses.field(default_factory=list)
    init_checkpoint: Optional[str] = None  # type: ignore[assignment]
    init_checkpoint_modules: Union[str, list[str]] = 'all'
    model_output_keys: Optional[list[int]] = dataclasses.field(default_factory=list)
    freeze_backbone: bool = False
    # Ours.
    class_names: list[str] = dataclasses.field(default_factory=list)

    _from_data: ClassVar[tuple[str, ...]] = ('class_names',)
    _class_fields: ClassVar[tuple[str, ...]] = ('class_names',)

    def list_metrics(self) -> Optional[Sequence[str]]:
        """Names of the metrics that an evaluation logs."""
        if self.train_data.is_multilabel:
            return ['globalPR-AUC', 'meanPR-AUC']
        evaluation = self.evaluation
        classes = ['', '/<class>'] if evaluation.report_per_class_precision_and_recall else ['']
        thresholds = [
            f'{kind}_at_threshold_{threshold}{suffix}'
            for threshold in evaluation.precision_and_recall_thresholds or ()
            for kind in ('precision', 'recall')
            for suffix in classes
        ]
        return ['accuracy', f'top_{evaluation.top_k}_accuracy', *thresholds]

    def _check(self, report: hyperparams.Report) -> None:
        losses, data = self.losses, self.train_data
        if losses.soft_labels and data.mixup_and_cutmix is None:
            report(
                'losses.soft_labels',
                expected='false, because train_data.mixup_and_cutmix is not set',
            )
        is_mixed_alone = not (losses.soft_labels or losses.use_binary_cross_entropy)
        if data.mixup_and_cutmix is not None and is_mixed_alone:
            report(
                'losses.soft_labels',
                expected='true, because train_data.mixup_and_cutmix makes vectors of labels',
                hint='set losses.one_hot=false too',
            )
        if losses.soft_labels and losses.one_hot:
            report(
                'losses.one_hot',
                expected='false, because losses.soft_labels says that labels are vectors already',
            )
        if losses.label_smoothing and not (
            losses.one_hot or losses.soft_labels or data.is_multilabel
        ):
            report('losses.label_smoothing', expected='0, because losses.one_hot is off')
        for name in ('is_multilabel', 'image_field_key', 'label_field_key'):
            given, chosen = getattr(self.validation_data, name), getattr(data, name)
            if given not in (chosen, getattr(DataConfig(), name)):
                report(f'validation_data.{name}', expected=f'{chosen}, as in train_data')
        names, num_classes = self.class_names, self.model.num_classes
        if names and num_classes and len(names) != num_classes:
            report('class_names', expected=f'{num_classes} names, as model.num_classes')
