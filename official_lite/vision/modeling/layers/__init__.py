"""Blocks and layers that models are made of."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=('detection_generator', 'nn_blocks', 'nn_layers'),
    attributes={
        'BottleneckBlock': f'{__name__}.bottleneck:BottleneckBlock',
        'BottleneckResidualInner': f'{__name__}.residual_inner:BottleneckResidualInner',
        'BoxSampler': f'{__name__}.box_sampler:BoxSampler',
        'DepthwiseSeparableConvBlock': f'{__name__}.conv_norm:DepthwiseSeparableConvBlock',
        'DetectionGenerator': f'{__name__}.roi_detection_generator:DetectionGenerator',
        'InvertedBottleneckBlock': f'{__name__}.inverted_bottleneck:InvertedBottleneckBlock',
        'MaskSampler': f'{__name__}.mask_sampler:MaskSampler',
        'MultilevelDetectionGenerator': (
            f'{__name__}.detection_generator:MultilevelDetectionGenerator'
        ),
        'MultilevelROIAligner': f'{__name__}.roi_aligner:MultilevelROIAligner',
        'MultilevelROIGenerator': f'{__name__}.roi_generator:MultilevelROIGenerator',
        'PanopticFPNFusion': f'{__name__}.feature_fusion:PanopticFPNFusion',
        'ROISampler': f'{__name__}.roi_sampler:ROISampler',
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
