"""Heads that give each place of the image logits of classes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Optional, Union

import keras
import tensorflow as tf

from official_lite.modeling import activations
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.heads import conv_head
from official_lite.vision.modeling.heads.mask_scoring import MaskScoring
from official_lite.vision.modeling.layers import feature_fusion as fusion_layers
from official_lite.vision.modeling.layers import nn_layers, resizing

__all__ = [
    'FEATURE_FUSIONS',
    'MaskScoring',
    'SegmentationHead',
    'build_mask_scoring_head',
    'build_segmentation_head',
]

Shape = nn_layers.Shape
# A feature map, or feature maps by level.
Features = Union[tf.Tensor, Mapping[str, tf.Tensor]]

LOW_LEVEL_FUSIONS = ('deeplabv3plus', 'deeplabv3plus_sum_to_merge')
FEATURE_FUSIONS = (*LOW_LEVEL_FUSIONS, 'pyramid_fusion', 'panoptic_fpn_fusion')


@keras.saving.register_keras_serializable(package='official_lite')
class SegmentationHead(conv_head.NormalizedHead):
    """Feature fusion, convolutions and a classifier of every place.

    Input: a pair of the backbone's and the decoder's features, each a dict of feature maps by level
        or one map.
    Output: logits [batch, height, width, num_classes], in the size of `level` (`low_level` where
        that is fused) times `upsample_factor`.

    Args:
        num_classes: Number of classes.
        level: Level of the decoder's features that is read.
        num_convs: Number of convolutions, each with batch normalisation and activation.
        num_filters: Their channels.
        use_depthwise_convolution: Whether they are depthwise separable, with batch normalisation
            and activation after either part.
        prediction_kernel_size: Side of the classifier's kernel.
        upsample_factor: How often pixels are repeated before the classifier.
        feature_fusion: None, or how further levels come in, one of `FEATURE_FUSIONS`:
            'deeplabv3plus' (https://arxiv.org/abs/1802.02611) resizes the decoder's map to a finer
            one of the backbone, which is projected, and concatenates the two;
            'deeplabv3plus_sum_to_merge' adds them; 'pyramid_fusion' resizes all of the decoder's
            levels and adds them; 'panoptic_fpn_fusion' (https://arxiv.org/abs/1901.02446) enlarges
            them by convolutions first.
        decoder_min_level: Finest level of 'panoptic_fpn_fusion'.
        decoder_max_level: Coarsest level of 'panoptic_fpn_fusion'.
        low_level: Level of the backbone that 'deeplabv3plus' joins, or the name of an endpoint such
            as '2/depthwise'.
        low_level_num_filters: Channels that it is projected to.
        num_decoder_filters: Channels of the decoder's maps, for 'panoptic_fpn_fusion'.
        activation: Name of the activation function.
        logit_activation: Activation of the output; None for none.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        norm_momentum: Momentum of the moving statistics.
        norm_epsilon: Added to variances.
        kernel_regularizer: Regulariser of kernels.
        bias_regularizer: Regulariser of biases.

    Raises:
        ValueError: If the fusion is unknown, its levels or channels do not fit, or a level is not
            there.
    """

    def __init__(
        self,
        num_classes: int,
        level: Union[int, str],
        num_convs: int = 2,
        num_filters: int = 256,
        use_depthwise_convolution: bool = False,
        prediction_kernel_size: int = 1,
        upsample_factor: int = 1,
        feature_fusion: Optional[str] = None,
        decoder_min_level: Union[int, str, None] = None,
        decoder_max_level: Union[int, str, None] = None,
        low_level: Union[int, str] = 2,
        low_level_num_filters: int = 48,
        num_decoder_filters: int = 256,
        activation: str = 'relu',
        logit_activation: Optional[str] = None,
        use_sync_bn: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        bias_regularizer: Optional[keras.regularizers.Regularizer] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'num_classes': num_classes,
                'level': level,
                'num_convs': num_convs,
                'num_filters': num_filters,
                'use_depthwise_convolution': use_depthwise_convolution,
                'prediction_kernel_size': prediction_kernel_size,
                'upsample_factor': upsample_factor,
                'feature_fusion': feature_fusion,
                'decoder_min_level': decoder_min_level,
                'decoder_max_level': decoder_max_level,
                'low_level': low_level,
                'low_level_num_filters': low_level_num_filters,
                'num_decoder_filters': num_decoder_filters,
                'logit_activation': logit_activation,
            },
            activation=activation,
            use_sync_bn=use_sync_bn,
            norm_momentum=norm_momentum,
            norm_epsilon=norm_epsilon,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            **{'name': 'segmentation_head', **kwargs},
        )
        _check_fusion(self._config)
        self._pyramid: tuple[str, ...] = ()
        self._make_fusion()
        self._make_convs()
        self._make_classifier()

    # Parts

    def _make_conv(
        self, name: str, filters: int, kernel_size: int, **kwargs: Any
    ) -> keras.layers.Conv2D:
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            padding='same',
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            kernel_regularizer=self._config['kernel_regularizer'],
            dtype=self.dtype_policy,
            name=name,
            **{'use_bias': False, **kwargs},
        )

    def _make_fusion(self) -> None:
        """Creates `dlv3p_conv` and `dlv3p_norm`, or `panoptic_fpn_fusion`, if need be."""
        config = self._config
        fusion = config['feature_fusion']
        self.dlv3p_conv = self.dlv3p_norm = self.panoptic_fpn_fusion = None
        if fusion in LOW_LEVEL_FUSIONS:
            self.dlv3p_conv = self._make_conv('dlv3p_conv', config['low_level_num_filters'], 1)
            self.dlv3p_norm = self._make_norm('dlv3p_norm')
        if fusion == 'panoptic_fpn_fusion':
            self.panoptic_fpn_fusion = fusion_layers.PanopticFPNFusion(
                min_level=config['decoder_min_level'],
                max_level=config['decoder_max_level'],
                target_level=config['level'],
                num_filters=config['num_filters'],
                num_fpn_filters=config['num_decoder_filters'],
                activation=config['activation'],
                kernel_regularizer=config['kernel_regularizer'],
                bias_regularizer=config['bias_regularizer'],
            )

    def _make_convs(self) -> None:
        """Creates `convs`, and `norms` with one for each of them."""
        config = self._config
        self.convs: list[keras.layers.Layer] = []
        is_separable = config['use_depthwise_convolution']
        for index in range(config['num_convs']):
            if is_separable:
                self.convs.append(self._make_depthwise_conv(f'depthwise_conv_{index}'))
            kernel_size = 1 if is_separable else 3
            self.convs.append(self._make_conv(f'conv_{index}', config['num_filters'], kernel_size))
        self.norms = [self._make_norm(f'norm_{index}') for index in range(len(self.convs))]

    def _make_classifier(self) -> None:
        """Creates `upsampling`, None where nothing is enlarged, and `classifier`."""
        config = self._config
        factor, activation = config['upsample_factor'], config['logit_activation']
        self.upsampling = None
        if factor > 1:
            self.upsampling = nn_layers.NearestUpsampling(
                factor, dtype=self.dtype_policy, name='upsampling'
            )
        self.classifier = self._make_conv(
            'classifier',
            config['num_classes'],
            config['prediction_kernel_size'],
            use_bias=True,
            bias_regularizer=config['bias_regularizer'],
            activation=activations.get_activation(activation) if activation else None,
        )

    # Levels

    def _select(self, values: Any, level: Union[int, str], *, source: str) -> Any:
        """The map, or shape, of a level; `values` itself if it is not by level."""
        if not isinstance(values, Mapping):
            return values
        if str(level) not in values:
            raise ValueError(
                f'The {source} has no features of level {level}, which the segmentation head reads. '
                f'Expected one of {sorted(values)}. Received: {level}'
            )
        return values[str(level)]

    def build(self, input_shape: Any) -> None:
        """Creates the variables.

        Args:
            input_shape: Shapes of the backbone's and of the decoder's features, each a dict of
                shapes by level or one shape.
        """
        shape = self._build_fusion(*input_shape)
        self.classifier.build(conv_head.build_pairs(self.convs, self.norms, shape))

    def _build_fusion(self, backbone_shapes: Any, decoder_shapes: Any) -> Shape:
        """Builds what fuses; returns the shape of fused features, their size left open."""
        config = self._config
        fusion = config['feature_fusion']
        if fusion == 'panoptic_fpn_fusion':
            first, last = int(config['decoder_min_level']), int(config['decoder_max_level'])
            for level in range(first, last + 1):
                self._select(decoder_shapes, level, source='decoder')
            return (None, None, None, config['num_filters'])
        if fusion == 'pyramid_fusion':
            return (None, None, None, self._find_pyramid(decoder_shapes))
        channels = self._select(decoder_shapes, config['level'], source='decoder')[-1]
        if self.dlv3p_conv is None or self.dlv3p_norm is None:
            return (None, None, None, channels)
        low_channels = self._select(backbone_shapes, config['low_level'], source='backbone')[-1]
        width = config['low_level_num_filters']
        self.dlv3p_conv.build((None, None, None, low_channels))
        self.dlv3p_norm.build((None, None, None, width))
        if fusion == 'deeplabv3plus':
            return (None, None, None, channels + width)
        if channels != width:
            raise ValueError(
                'deeplabv3plus_sum_to_merge adds features of the decoder and of the backbone. '
                f"Expected low_level_num_filters to be the decoder's {channels} channels. "
                f'Received: low_level_num_filters={width}'
            )
        return (None, None, None, width)

    def _find_pyramid(self, decoder_shapes: Any) -> int:
        """Notes the levels that 'pyramid_fusion' adds; returns their number of channels."""
        if not isinstance(decoder_shapes, Mapping):
            raise ValueError(
                'pyramid_fusion adds several levels. Expected a dict of features by level from the '
                'decoder. Received: one feature map'
            )
        # Others are not of a level: '2/depthwise'.
        self._pyramid = tuple(level for level in decoder_shapes if level.isdecimal())
        channels = {level: decoder_shapes[level][-1] for level in self._pyramid}
        if len(set(channels.values())) != 1:
            raise ValueError(
                'pyramid_fusion adds levels. Expected the same number of channels at each, as a '
                f'decoder such as FPN gives them. Received by level: {channels}'
            )
        return channels[self._pyramid[0]]

    # Computation

    def call(self, inputs: tuple[Features, Features], training: Optional[bool] = None) -> tf.Tensor:
        x = self._fuse(*inputs, training=training)
        for conv, norm_layer in zip(self.convs, self.norms, strict=True):
            x = self._activation(norm_layer(conv(x), training=training))
        if self.upsampling is not None:
            x = self.upsampling(x)
        return self.classifier(x)

    def _fuse(
        self, backbone_features: Features, decoder_features: Features, *, training: Optional[bool]
    ) -> tf.Tensor:
        config = self._config
        if config['feature_fusion'] == 'pyramid_fusion':
            pyramid = {level: decoder_features[level] for level in self._pyramid}
            return fusion_layers.pyramid_feature_fusion(pyramid, int(config['level']))
        if self.panoptic_fpn_fusion is not None:
            return self.panoptic_fpn_fusion(decoder_features, training=training)
        x = self._select(decoder_features, config['level'], source='decoder')
        if self.dlv3p_conv is None or self.dlv3p_norm is None:
            return x
        low = self._select(backbone_features, config['low_level'], source='backbone')
        low = self._activation(self.dlv3p_norm(self.dlv3p_conv(low), training=training))
        x = resizing.resize(tf.cast(x, low.dtype), resizing.get_size(low))
        return tf.concat([x, low], -1) if config['feature_fusion'] == 'deeplabv3plus' else x + low


def _check_fusion(config: Mapping[str, Any]) -> None:
    fusion = config['feature_fusion']
    if fusion is not None and fusion not in FEATURE_FUSIONS:
        nearest = difflib.get_close_matches(str(fusion), FEATURE_FUSIONS, n=1)
        hint = f' Did you mean {nearest[0]!r}?' if nearest else ''
        raise ValueError(
            f'Unknown feature fusion. Expected None or one of {list(FEATURE_FUSIONS)}. '
            f'Received: feature_fusion={fusion!r}.{hint}'
        )
    levels = (config['decoder_min_level'], config['decoder_max_level'])
    if fusion == 'panoptic_fpn_fusion' and None in levels:
        raise ValueError(
            'panoptic_fpn_fusion adds a range of levels. Expected decoder_min_level and '
            f'decoder_max_level. Received: {levels[0]} and {levels[1]}'
        )


def build_segmentation_head(
    backbone_specs: Mapping[str, Any],
    decoder_specs: Mapping[str, Any],
    model_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> SegmentationHead:
    """Builds a segmentation head, with its variables.

    Args:
        backbone_specs: Shapes of the backbone's features by level.
        decoder_specs: Shapes of the decoder's features by level.
        model_config: A semantic segmentation model config.
        l2_regularizer: Regulariser of kernels.

    Returns:
        The head.

    Raises:
        ValueError: See `SegmentationHead`.
    """
    config = model_config.head
    first, last = config.decoder_min_level, config.decoder_max_level
    channels = next(iter(decoder_specs.values()))[-1]
    head = SegmentationHead(
        num_classes=model_config.num_classes,
        level=config.level,
        num_convs=config.num_convs,
        num_filters=config.num_filters,
        use_depthwise_convolution=config.use_depthwise_convolution,
        prediction_kernel_size=config.prediction_kernel_size,
        upsample_factor=config.upsample_factor,
        feature_fusion=config.feature_fusion,
        decoder_min_level=model_config.min_level if first is None else int(first),
        decoder_max_level=model_config.max_level if last is None else int(last),
        low_level=config.low_level,
        low_level_num_filters=config.low_level_num_filters,
        num_decoder_filters=channels,
        logit_activation=config.logit_activation,
        kernel_regularizer=l2_regularizer,
        **builder_arguments.get_norm_arguments(model_config.norm_activation),
    )
    head.build((backbone_specs, decoder_specs))
    return head


def build_mask_scoring_head(
    model_config: Any, l2_regularizer: Optional[keras.regularizers.Regularizer] = None
) -> Optional[MaskScoring]:
    """Builds the mask scoring head of a semantic segmentation model config, if it has one.

    Args:
        model_config: A semantic segmentation model config.
        l2_regularizer: Regulariser of kernels.

    Raises:
        ValueError: See `MaskScoring`.
    """
    config = model_config.mask_scoring_head
    if config is None:
        return None
    head = MaskScoring(
        num_classes=model_config.num_classes,
        fc_input_size=config.fc_input_size,
        num_convs=config.num_convs,
        num_filters=config.num_filters,
        use_depthwise_convolution=config.use_depthwise_convolution,
        fc_dims=config.fc_dims,
        num_fcs=config.num_fcs,
        kernel_regularizer=l2_regularizer,
        **builder_arguments.get_norm_arguments(model_config.norm_activation),
    )
    head.build((None, None, None, model_config.num_classes))
    return head
