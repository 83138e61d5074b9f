"""RetinaNet (arXiv:1708.02002): configs and experiments. Model Garden's unless marked as ours."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import ClassVar, Literal, Optional, Union

from official_lite.core import config_definitions as cfg
from official_lite.core import exp_factory
from official_lite.modeling import hyperparams, optimization
from official_lite.vision.configs import backbones, common, decoders

__all__ = [
    'Anchor',
    'AttributeHead',
    'DataConfig',
    'DataDecoder',
    'DetectionGenerator',
    'ExportConfig',
    'Losses',
    'Parser',
    'RetinaNet',
    'RetinaNetHead',
    'RetinaNetTask',
    'TfExampleDecoder',
    'TfExampleDecoderLabelMap',
    'retinanet',
    'retinanet_custom',
    'retinanet_resnetfpn_coco',
]


@dataclasses.dataclass
class TfExampleDecoder(common.TfExampleDecoder):
    """How a TFRecord becomes an example; Model Garden's second name for it."""


@dataclasses.dataclass
class TfExampleDecoderLabelMap(common.TfExampleDecoderLabelMap):
    """How a TFRecord with class names becomes an example; Model Garden's second name for it."""


@dataclasses.dataclass
class DataDecoder(common.DataDecoder):
    """Which decoder of TFRecords; Model Garden's second name for it."""


@dataclasses.dataclass
class Parser(hyperparams.Config):
    """How an example becomes an input of the network.

    Attributes:
        num_channels: Channels of an image.
        match_threshold: An anchor that overlaps a box by this IoU or more is an object.
        unmatched_threshold: An anchor whose IoU is below this is background.
        aug_rand_hflip: Whether half of the images are mirrored in training.
        aug_rand_jpeg: Random JPEG compression in training. None means none.
        aug_scale_min: Smallest random scale in training; 1 just fits the image in.
        aug_scale_max: Largest random scale in training.
        skip_crowd_during_training: Whether boxes marked as crowds are left out of training.
        max_num_instances: Most boxes of an image where shapes must be fixed.
        aug_type: Further augmentation in training. None means none.
        pad: Whether images are padded to the network's input size.
        keep_aspect_ratio: Whether images keep their aspect ratio when resized.
        aug_policy: Not used; older name of `aug_type`.
    """

    num_channels: int = 3
    match_threshold: float = 0.5
    unmatched_threshold: float = 0.5
    aug_rand_hflip: bool = False
    aug_rand_jpeg: Optional[common.RandJpegQuality] = None
    aug_scale_min: float = 1.0
    aug_scale_max: float = 1.0
    skip_crowd_during_training: bool = True
    max_num_instances: int = 100
    aug_type: Optional[common.Augmentation] = None
    pad: bool = True
    keep_aspect_ratio: bool = True
    aug_policy: Optional[str] = None

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('num_channels', 'max_num_instances'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        for name in ('match_threshold', 'unmatched_threshold'):
            if not 0 <= getattr(self, name) <= 1:
                report(name, expected='0 to 1')
        if self.unmatched_threshold > self.match_threshold:
            limit = self.match_threshold
            report('unmatched_threshold', expected=f'at most match_threshold ({limit:g})')
        if not 0 < self.aug_scale_min <= self.aug_scale_max:
            limit = self.aug_scale_max
            report('aug_scale_min', expected=f'more than 0 and at most aug_scale_max ({limit:g})')


@dataclasses.dataclass
class DataConfig(cfg.DataConfig):
    """Examples for detection.

    Attributes:
        input_path: TFRecord files: a path or pattern, several joined by commas, a list of those, or
            a mapping of names to those for a mixture. '' means none; not together with `source`.
        weights: Share of each name in a mixture. None means equal shares.
        global_batch_size: Examples of one step over all replicas. 0 means not set.
        is_training: Whether examples are repeated, shuffled and augmented.
        dtype: Number format of images that are normalised on the host. Ours leave the host as
            uint8, so this counts only for a parser of your own.
        decoder: How a TFRecord becomes an example.
        parser: How an example becomes an input of the network.
        shuffle_buffer_size: Examples in the buffer from which a shuffled stream is drawn.
        file_type: 'tfrecord', or 'tfrecord_compressed' for gzip; of `input_path`.
        source: Ours. Where examples come from. Its type null means `input_path` or `tfds_name`.
    """

    input_path: Union[Sequence[str], str, hyperparams.Config] = ''
    weights: Optional[hyperparams.Config] = None
    global_batch_size: int = 0
    is_training: Optional[bool] = False
    dtype: common.Dtype = 'bfloat16'
    decoder: common.DataDecoder = dataclasses.field(default_factory=common.DataDecoder)
    parser: Parser = dataclasses.field(default_factory=Parser)
    shuffle_buffer_size: int = 10000
    file_type: common.FileType = 'tfrecord'
    # Ours.
    source: common.DataSource = dataclasses.field(default_factory=common.DataSource)

    def _check(self, report: hyperparams.Report) -> None:
        super()._check(report)
        for name in ('input_path', 'tfds_name'):
            if self.source.type is not None and getattr(self, name):
                report(
                    name,
                    expected='not set, because source.type is',
                    hint=f"choose one of them: {name}='' or source.type=null",
                )


@dataclasses.dataclass
class Anchor(hyperparams.Config):
    """The boxes that predictions start from.

    Attributes:
        num_scales: Sizes per octave: `2 ** (i / num_scales)` times the smallest.
        aspect_ratios: Width over height of the anchors.
        anchor_size: Side of the smallest square anchor, in strides of its level.
    """

    num_scales: int = 3
    aspect_ratios: list[float] = dataclasses.field(default_factory=lambda: [0.5, 1.0, 2.0])
    anchor_size: float = 4.0

    _weight_fields: ClassVar[tuple[str, ...]] = ('num_scales', 'aspect_ratios')

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_scales < 1:
            report('num_scales', expected='1 or more')
        if not self.aspect_ratios or any(ratio <= 0 for ratio in self.aspect_ratios):
            report('aspect_ratios', expected='one or more numbers, each more than 0')
        if self.anchor_size <= 0:
            report('anchor_size', expected='more than 0')


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
class AttributeHead(hyperparams.Config):
    """A further prediction for every box.

    Attributes:
        name: Name of the attribute.
        type: Whether it is a number or a class.
        size: Numbers, or classes, of the attribute.
        prediction_tower_name: Attributes with the same name share a tower. '' means one of its own.
        num_convs: Convolutions of the tower. None means as many as the head's.
        num_filters: Channels of the tower. None means as many as the head's.
    """

    name: str = ''
    type: Literal['regression', 'classification'] = 'regression'
    size: int = 1
    prediction_tower_name: str = ''
    num_convs: Optional[int] = None
    num_filters: Optional[int] = None

    def _check(self, report: hyperparams.Report) -> None:
        if not self.name:
            report('name', expected='a name')
        if self.size < 1:
            report('size', expected='1 or more')


@dataclasses.dataclass
class RetinaNetHead(hyperparams.Config):
    """Two towers of convolutions, one for classes and one for boxes, shared by all levels.

    Attributes:
        num_convs: Convolutions of each tower.
        num_filters: Channels of each tower.
        use_separable_conv: Whether convolutions are depthwise separable.
        attribute_heads: Further predictions for every box.
        share_classification_heads: Whether attributes that are classes share the class tower.
        share_level_convs: Whether the levels share convolutions. BatchNorm is never shared.
    """

    num_convs: int = 4
    num_filters: int = 256
    use_separable_conv: bool = False
    attribute_heads: list[AttributeHead] = dataclasses.field(default_factory=list)
    share_classification_heads: bool = False
    share_level_convs: Optional[bool] = True

    _weight_fields: ClassVar[tuple[str, ...]] = (
        'num_convs',
        'num_filters',
        'use_separable_conv',
        'attribute_heads',
        'share_classification_heads',
        'share_level_convs',
    )

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_convs < 0:
            report('num_convs', expected='0 or more')
        if self.num_filters < 1:
            report('num_filters', expected='1 or more')


@dataclasses.dataclass
class DetectionGenerator(hyperparams.Config):
    """How scores and box codes become detections.

    Attributes:
        apply_nms: Whether boxes that overlap better ones are dropped. If not, all come out.
        decode_boxes: Whether box codes become boxes.
        pre_nms_top_k: Best boxes of each class, or of the image, that go into suppression.
        pre_nms_score_threshold: Boxes below this score are dropped.
        nms_iou_threshold: A box that overlaps a better one by more than this is dropped.
        max_num_detections: Most detections of an image.
        nms_version: 'v1', 'v2' and 'batched' differ in how they suppress; 'tflite' is for export.
        use_cpu_nms: Whether suppression is placed on the CPU.
        soft_nms_sigma: Overlap lowers scores instead of dropping boxes (arXiv:1704.04503); with
            'v1' only. None means no.
        tflite_post_processing: Settings of 'tflite', which replace those above.
        return_decoded: Whether all boxes come out besides the detections. None means no.
        use_class_agnostic_nms: Whether boxes of different classes suppress each other; 'v2' only.
        box_coder_weights: Weights of y, x, height and width in box codes. None means 1 each.
    """

    apply_nms: bool = True
    decode_boxes: bool = True
    pre_nms_top_k: int = 5000
    pre_nms_score_threshold: float = 0.05
    nms_iou_threshold: float = 0.5
    max_num_detections: int = 100
    nms_version: Literal['v1', 'v2', 'batched', 'tflite'] = 'v2'
    use_cpu_nms: bool = False
    soft_nms_sigma: Optional[float] = None
    tflite_post_processing: common.TFLitePostProcessingConfig = dataclasses.field(
        default_factory=common.TFLitePostProcessingConfig
    )
    return_decoded: Optional[bool] = None
    use_class_agnostic_nms: Optional[bool] = False
    box_coder_weights: Optional[list[float]] = None

    def _check(self, report: hyperparams.Report) -> None:
        for name in ('pre_nms_top_k', 'max_num_detections'):
            if getattr(self, name) < 1:
                report(name, expected='1 or more')
        for name in ('pre_nms_score_threshold', 'nms_iou_threshold'):
            if not 0 <= getattr(self, name) <= 1:
                report(name, expected='0 to 1')
        if self.box_coder_weights is not None and len(self.box_coder_weights) != 4:
            report('box_coder_weights', expected='4 numbers: y, x, height, width')
        self._check_unavailable(report)
        if self.soft_nms_sigma is not None and self.nms_version != 'v1':
            report('soft_nms_sigma', expected=f'null with nms_version={self.nms_version}')
        if self.use_class_agnostic_nms and self.nms_version != 'v2':
            report('use_class_agnostic_nms', expected=f'false with nms_version={self.nms_version}')

    def _check_unavailable(self, report: hyperparams.Report) -> None:
        """Reports what would have no effect."""
        if not self.decode_boxes:
            report('decode_boxes', expected='true: detections are boxes')
        if self.nms_version == 'tflite':
            report(
                'nms_version', expected="'v1', 'v2' or 'batched'", hint="'tflite' is not there yet"
            )
        elif self.tflite_post_processing != common.TFLitePostProcessingConfig():
            report(
                'tflite_post_processing',
                expected=f'the defaults, because nms_version is {self.nms_version!r}',
            )


@dataclasses.dataclass
class RetinaNet(hyperparams.Config):
    """The model.

    Attributes:
        num_classes: Number of classes, background (label 0) among them. 0 means: from the data.
        input_size: Height and width, in px, and channels of the network's input. [] means not set.
        min_level: Finest level of the pyramid; level l has a stride of 2**l px.
        max_level: Coarsest level of the pyramid.
        anchor: The boxes that predictions start from.
        backbone: What turns an image into features.
        decoder: What turns features into a pyramid.
        head: What turns the pyramid into scores and box codes.
        detection_generator: What turns those into detections.
        norm_activation: Normalisation and activation of all blocks.
    """

    num_classes: int = 0
    input_size: list[Optional[int]] = dataclasses.field(default_factory=list)
    min_level: int = 3
    max_level: int = 7
    anchor: Anchor = dataclasses.field(default_factory=Anchor)
    backbone: backbones.Backbone = dataclasses.field(
        default_factory=lambda: backbones.Backbone(type='resnet')
    )
    decoder: decoders.Decoder = dataclasses.field(
        default_factory=lambda: decoders.Decoder(type='fpn')
    )
    head: RetinaNetHead = dataclasses.field(default_factory=RetinaNetHead)
    detection_generator: DetectionGenerator = dataclasses.field(default_factory=DetectionGenerator)
    norm_activation: common.NormActivation = dataclasses.field(
        default_factory=common.NormActivation
    )

    _from_data: ClassVar[tuple[str, ...]] = ('num_classes',)
    _weight_fields: ClassVar[tuple[str, ...]] = ('num_classes', 'min_level', 'max_level')

    def _check(self, report: hyperparams.Report) -> None:
        if self.num_classes < 0 or self.num_classes == 1:
            report(
                'num_classes',
                expected='2 or more, background included, or 0: from the data',
            )
        if not 1 <= self.min_level <= self.max_level:
            report('min_level', expected=f'1 to max_level ({self.max_level})')
        self._check_input_size(report)

    def _check_input_size(self, report: hyperparams.Report) -> None:
        if not self.input_size:
            return
        if len(self.input_size) != 3:
            report('input_size', expected='[height, width, channels]')
            return
        if any(size is not None and size < 1 for size in self.input_size):
            report('input_size', expected='numbers of 1 or more')
            return
        grain = 2 ** max(self.max_level, 0)
        sides = [size for size in self.input_size[:2] if size is not None]
        if any(side % grain for side in sides):
            near = [max(grain, round(side / grain) * grain) for side in sides]
            report(
                'input_size',
                expected=f'height and width that are multiples of {grain} (2 ** max_level)',
                hint=f'the nearest are {near}',
            )


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
        init_checkpoint: Checkpoint, or folder of checkpoints, to start from. None: from scratch.
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


# A config whose training data or validation data does not say what it is for is refused.
_RESTRICTIONS = [
    'task.train_data.is_training != None',
    'task.validation_data.is_training != None',
]


@exp_factory.register_config_factory('retinanet')
def retinanet() -> cfg.ExperimentConfig:
    """RetinaNet with Model Garden's defaults; sizes, data and optimizer are not set."""
    return cfg.ExperimentConfig(task=RetinaNetTask(), restrictions=_RESTRICTIONS)


COCO_INPUT_PATH_BASE = 'coco'
COCO_TRAIN_EXAMPLES = 118287
COCO_VAL_EXAMPLES = 5000


@exp_factory.register_config_factory('retinanet_resnetfpn_coco')
def retinanet_resnetfpn_coco() -> cfg.ExperimentConfig:
    """RetinaNet with ResNet-50-FPN on COCO at 640 px for 72 epochs."""
    train_batch_size = 256
    eval_batch_size = 8
    steps_per_epoch = COCO_TRAIN_EXAMPLES // train_batch_size
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='bfloat16'),
        task=RetinaNetTask(
            init_checkpoint='gs://cloud-tpu-checkpoints/vision-2.0/resnet50_imagenet/ckpt-28080',
            init_checkpoint_modules='backbone',
            annotation_file=os.path.join(COCO_INPUT_PATH_BASE, 'instances_val2017.json'),
            model=RetinaNet(
                num_classes=91,
                input_size=[640, 640, 3],
                norm_activation=common.NormActivation(use_sync_bn=False),
                min_level=3,
                max_level=7,
            ),
            losses=Losses(l2_weight_decay=1e-4),
            train_data=DataConfig(
                input_path=os.path.join(COCO_INPUT_PATH_BASE, 'train*'),
                is_training=True,
                global_batch_size=train_batch_size,
                parser=Parser(aug_rand_hflip=True, aug_scale_min=0.8, aug_scale_max=1.2),
            ),
            validation_data=DataConfig(
                input_path=os.path.join(COCO_INPUT_PATH_BASE, 'val*'),
                is_training=False,
                global_batch_size=eval_batch_size,
            ),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=72 * steps_per_epoch,
            validation_steps=COCO_VAL_EXAMPLES // eval_batch_size,
            validation_interval=steps_per_epoch,
            steps_per_loop=steps_per_epoch,
            summary_interval=steps_per_epoch,
            checkpoint_interval=steps_per_epoch,
            optimizer_config=optimization.OptimizationConfig(
                {
                    'optimizer': {'type': 'sgd', 'sgd': {'momentum': 0.9}},
                    'learning_rate': {
                        'type': 'stepwise',
                        'stepwise': {
                            'boundaries': [57 * steps_per_epoch, 67 * steps_per_epoch],
                            'values': [
                                0.32 * train_batch_size / 256.0,
                                0.032 * train_batch_size / 256.0,
                                0.0032 * train_batch_size / 256.0,
                            ],
                        },
                    },
                    'warmup': {
                        'type': 'linear',
                        'linear': {'warmup_steps': 500, 'warmup_learning_rate': 0.0067},
                    },
                }
            ),
        ),
        restrictions=_RESTRICTIONS,
    )


@exp_factory.register_config_factory('retinanet_custom')
def retinanet_custom() -> cfg.ExperimentConfig:
    """RetinaNet for own data; as it stands, a small one that learns to find handwritten digits."""
    train_steps = 3000
    return cfg.ExperimentConfig(
        runtime=cfg.RuntimeConfig(mixed_precision_dtype='auto'),
        task=RetinaNetTask(
            model=_small_model(input_size=128),
            train_data=_embedded_data('train', batch_size=8),
            validation_data=_embedded_data('validation', batch_size=8),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=train_steps,
            validation_interval=1000,
            checkpoint_interval=500,
            summary_interval=50,
            steps_per_loop=50,
            best_checkpoint_export_subdir='best_ckpt',
            best_checkpoint_eval_metric='AP',
            optimizer_config=_adamw(peak=8e-3, train_steps=train_steps),
        ),
        restrictions=_RESTRICTIONS,
    )


def _small_model(input_size: int) -> RetinaNet:
    """One basic block per stage with 32 to 256 channels; pyramid of levels 3 to 5."""
    return RetinaNet(
        input_size=[input_size, input_size, 3],
        min_level=3,
        max_level=5,
        anchor=Anchor(num_scales=3, aspect_ratios=[0.7], anchor_size=2.0),
        backbone=backbones.Backbone(
            type='resnet',
            resnet=backbones.ResNet(
                model_id=10, depth_multiplier=0.5, stem_type='v1', stem_pool=False
            ),
        ),
        decoder=decoders.Decoder(type='fpn', fpn=decoders.FPN(num_filters=64)),
        head=RetinaNetHead(num_convs=2, num_filters=64),
        detection_generator=DetectionGenerator(pre_nms_score_threshold=0.02, nms_iou_threshold=0.5),
        norm_activation=common.NormActivation(norm_momentum=0.95),
    )


def _embedded_data(split: Literal['train', 'validation'], batch_size: int) -> DataConfig:
    """Scenes of handwritten digits on photographs."""
    return DataConfig(
        source=common.DataSource(type='embedded', embedded=common.EmbeddedSource(split=split)),
        is_training=split == 'train',
        global_batch_size=batch_size,
    )


def _adamw(peak: float, train_steps: int) -> optimization.OptimizationConfig:
    """AdamW on a cosine over all of training, with 5% warm-up; decay on kernels only."""
    return optimization.OptimizationConfig(
        {
            'optimizer': {
                'type': 'adamw',
                'adamw': {
                    'weight_decay_rate': 1e-4,
                    'exclude_from_weight_decay': ['bias$', 'gamma$', 'beta$'],
                    'gradient_clip_norm': 10.0,
                },
            },
            'learning_rate': {'type': 'cosine', 'cosine': {'initial_learning_rate': peak}},
            'warmup': {'type': 'linear', 'linear': {'warmup_steps': train_steps // 20}},
        }
    )
