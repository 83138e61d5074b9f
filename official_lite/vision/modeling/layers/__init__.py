"""Blocks and layers that models are made of."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=('detection_generator', 'nn_blocks', 'nn_layers'),
    attributes={
        'BottleneckBlock': f'{__name__}.bottleneck:BottleneckBlock',
        'BottleneckResidualInner': f'{__name__}.residual_inner:BottleneckResidualInner',
        'DepthwiseSeparableConvBlock': f'{__name__}.conv_norm:DepthwiseSeparableConvBlock',
        'InvertedBottleneckBlock': f'{__name__}.inverted_bottleneck:InvertedBottleneckBlock',
        'MultilevelDetectionGenerator': (
            f'{__name__}.detection_generator:MultilevelDetectionGenerator'
        ),
        'PanopticFPNFusion': f'{__name__}.feature_fusion:PanopticFPNFusion',
        'ResidualBlock': f'{__name__}.residual:ResidualBlock',
        'ResidualInner': f'{__name__}.residual_inner:ResidualInner',
        'ReversibleLayer': f'{__name__}.reversible:ReversibleLayer',
        'SpatialPyramidPooling': f'{__name__}.deeplab:SpatialPyramidPooling',
        'SqueezeExcitation': f'{__name__}.nn_layers:SqueezeExcitation',
        'StochasticDepth': f'{__name__}.nn_layers:StochasticDepth',
        'TransformerEncoderBlock': (
            f'{__name__}.transformer_encoder_block:TransformerEncoderBlock'
        ),
    },
)
