"""Backbones: images in, a dict of feature maps by level out."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=(
        'efficientnet',
        'factory',
        'keras_applications',
        'keras_hub_backbone',
        'mobiledet',
        'mobilenet',
        'resnet',
        'resnet_deeplab',
        'resnet_unet',
        'revnet',
        'spinenet',
        'spinenet_mobile',
        'vit',
    ),
    attributes={
        'DilatedResNet': f'{__name__}.resnet_deeplab:DilatedResNet',
        'EfficientNet': f'{__name__}.efficientnet:EfficientNet',
        'KerasApplication': f'{__name__}.keras_applications:KerasApplication',
        'KerasHubBackbone': f'{__name__}.keras_hub_backbone:KerasHubBackbone',
        'MobileDet': f'{__name__}.mobiledet:MobileDet',
        'MobileNet': f'{__name__}.mobilenet:MobileNet',
        'ResNet': f'{__name__}.resnet:ResNet',
        'ResNetUNet': f'{__name__}.resnet_unet:ResNetUNet',
        'RevNet': f'{__name__}.revnet:RevNet',
        'SpineNet': f'{__name__}.spinenet:SpineNet',
        'SpineNetMobile': f'{__name__}.spinenet_mobile:SpineNetMobile',
        'VisionTransformer': f'{__name__}.vit:VisionTransformer',
    },
)
