"""Typed configs and experiment factories. None of these modules imports TensorFlow."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=(
        'backbones',
        'common',
        'data_sources',
        'decoders',
        'retinanet',
        'semantic_segmentation',
    ),
)
