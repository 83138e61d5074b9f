"""The universal inverted bottleneck of MobileNet V4."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import activations
from official_lite.vision.modeling.layers import conv_block, layer_scale, nn_layers

Shape = nn_layers.Shape


@keras.saving.register_keras_serializable(package='official_lite')
class UniversalInvertedBottleneckBlock(conv_block.ConvBlock):
    """An inverted bottleneck with depthwise convolutions where they are asked for
    (https://arxiv.org/abs/2404.10518, section 4): before the expansion, in the middle, after the
    projection. Only the one in the middle is followed by an activation.

    With a start and a middle it is an ExtraDW block, with a middle alone an inverted bottleneck,
    with a start alone a ConvNeXt block, and with neither a feed-forward network.

    Args:
        in_filters: Number of channels of the input.
        out_filters: Number of channels of the output.
        expand_ratio: Width of the middle as a multiple of `in_filters`.
        strides: Stride of the middle depthwise convolution, or of the one at the start.
        middle_dw_downsample: Whether the stride is the middle's rather than the start's.
        start_dw_kernel_size: Side of the kernel before the expansion; 0 for none.
        middle_dw_kernel_size: Side of the kernel in the middle; 0 for none.
        end_dw_kernel_size: Side of the kernel after the projection; 0 for none.
        stochastic_depth_drop_rate: Drop rate of the branch; None or 0 for none.
        depthwise_activation: Activation after the middle; None means `activation`.
        dilation_rate: Dilation of the depthwise convolutions.
        divisible_by: What the expanded width is a multiple of.
        regularize_depthwise: Whether the regulariser acts on depthwise kernels too.
        use_residual: Whether there is a shortcut where shapes allow one.
        use_layer_scale: Whether the branch's channels have learned factors.
        layer_scale_init_value: What these start from.
        output_intermediate_endpoints: Whether to return also an empty dict, for callers that treat
            all inverted bottlenecks alike.
        **kwargs: Arguments of `ConvBlock` and of `keras.layers.Layer`.

    Raises:
        ValueError: If the convolution that is to have the stride is not there.
    """

    def __init__(
        self,
        in_filters: int,
        out_filters: int,
        expand_ratio: float,
        strides: int,
        middle_dw_downsample: bool = True,
        start_dw_kernel_size: int = 0,
        middle_dw_kernel_size: int = 3,
        end_dw_kernel_size: int = 0,
        stochastic_depth_drop_rate: Optional[float] = None,
        *,
        depthwise_activation: Optional[str] = None,
        dilation_rate: int = 1,
        divisible_by: int = 1,
        regularize_depthwise: bool = False,
        use_residual: bool = True,
        use_layer_scale: bool = False,
        layer_scale_init_value: float = 1e-5,
        output_intermediate_endpoints: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {
                'in_filters': in_filters,
                'out_filters': out_filters,
                'expand_ratio': expand_ratio,
                'strides': strides,
                'middle_dw_downsample': middle_dw_downsample,
                'start_dw_kernel_size': start_dw_kernel_size,
                'middle_dw_kernel_size': middle_dw_kernel_size,
                'end_dw_kernel_size': end_dw_kernel_size,
                'stochastic_depth_drop_rate': stochastic_depth_drop_rate,
                'depthwise_activation': depthwise_activation,
                'dilation_rate': dilation_rate,
                'divisible_by': divisible_by,
                'regularize_depthwise': regularize_depthwise,
                'use_residual': use_residual,
                'use_layer_scale': use_layer_scale,
                'layer_scale_init_value': layer_scale_init_value,
                'output_intermediate_endpoints': output_intermediate_endpoints,
            },
            **kwargs,
        )
        self._check_strides()
        self._has_shortcut = use_residual and in_filters == out_filters and strides == 1
        self._depthwise_activation = activations.get_activation(
            depthwise_activation or self._config['activation']
        )
        self._make_layers()

    def _check_strides(self) -> None:
        place = 'middle' if self._config['middle_dw_downsample'] else 'start'
        if self._config['strides'] > 1 and not self._config[f'{place}_dw_kernel_size']:
            raise ValueError(
                f'The stride is that of the depthwise convolution at the {place}, which is not '
                f'there. Expected {place}_dw_kernel_size above 0, or '
                f'middle_dw_downsample={not self._config["middle_dw_downsample"]}. '
                f'Received: strides={self._config["strides"]}'
            )

    def _make_layers(self) -> None:
        config = self._config
        in_middle = config['middle_dw_downsample']
        expanded = nn_layers.make_divisible(
            config['in_filters'] * config['expand_ratio'], config['divisible_by']
        )
        self.start_dw_conv = self._optional_depthwise('start', not in_middle)
        self.start_dw_norm = self._optional_norm('start')
        self.expand_conv = self._conv('expand_conv', expanded)
        self.expand_norm = self._norm('expand_norm')
        self.middle_dw_conv = self._optional_depthwise('middle', in_middle)
        self.middle_dw_norm = self._optional_norm('middle')
        self.proj_conv = self._conv('proj_conv', config['out_filters'])
        self.proj_norm = self._norm('proj_norm')
        self.end_dw_conv = self._optional_depthwise('end', False)
        self.end_dw_norm = self._optional_norm('end')
        self.layer_scale = None
        if config['use_layer_scale']:
            self.layer_scale = layer_scale.MNV4LayerScale(
                config['layer_scale_init_value'], dtype=self.dtype_policy, name='layer_scale'
            )
        self.stochastic_depth = self._stochastic_depth() if self._has_shortcut else None

    def _optional_depthwise(
        self, place: str, is_strided: bool
    ) -> Optional[keras.layers.DepthwiseConv2D]:
        kernel_size = self._config[f'{place}_dw_kernel_size']
        if not kernel_size:
            return None
        return self._depthwise_conv(
            f'{place}_dw_conv',
            kernel_size,
            self._config['strides'] if is_strided else 1,
            self._config['dilation_rate'],
            is_regularized=self._config['regularize_depthwise'],
        )

    def _optional_norm(self, place: str) -> Optional[keras.layers.Layer]:
        return self._norm(f'{place}_dw_norm') if self._config[f'{place}_dw_kernel_size'] else None

    def build(self, input_shape: Shape) -> None:
        self._build_chain(
            input_shape,
            self.start_dw_conv,
            self.start_dw_norm,
            self.expand_conv,
            self.expand_norm,
            self.middle_dw_conv,
            self.middle_dw_norm,
            self.proj_conv,
            self.proj_norm,
            self.end_dw_conv,
            self.end_dw_norm,
            self.layer_scale,
        )

    def compute_output_shape(self, input_shape: Shape) -> Any:
        shape = conv_block.strided_shape(
            input_shape, self._config['strides'], self._config['out_filters']
        )
        return (shape, {}) if self._config['output_intermediate_endpoints'] else shape

    def call(self, inputs: tf.Tensor, training: Optional[bool] = None) -> Any:
        x = inputs
        if self.start_dw_conv is not None and self.start_dw_norm is not None:
            x = self.start_dw_norm(self.start_dw_conv(x), training=training)
        x = self._activation(self.expand_norm(self.expand_conv(x), training=training))
        if self.middle_dw_conv is not None and self.middle_dw_norm is not None:
            x = self.middle_dw_norm(self.middle_dw_conv(x), training=training)
            x = self._depthwise_activation(x)
        x = self.proj_norm(self.proj_conv(x), training=training)
        if self.end_dw_conv is not None and self.end_dw_norm is not None:
            x = self.end_dw_norm(self.end_dw_conv(x), training=training)
        if self.layer_scale is not None:
            x = self.layer_scale(x)
        if self._has_shortcut:
            if self.stochastic_depth is not None:
                x = self.stochastic_depth(x, training=training)
            x = x + inputs
        return (x, {}) if self._config['output_intermediate_endpoints'] else x
