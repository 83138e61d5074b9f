"""Decoders: feature maps by level in, a pyramid of feature maps by level out."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=('aspp', 'factory', 'fpn', 'nasfpn'),
    attributes={
        'ASPP': f'{__name__}.aspp:ASPP',
        'FPN': f'{__name__}.fpn:FPN',
        'NASFPN': f'{__name__}.nasfpn:NASFPN',
    },
)
