"""Where the layers of keras.applications and of KerasHub are in our backbones, by their names.

A place is the path of a layer in the backbone (`stage_2_block_0/conv1`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

_RESNET_STEM = {'conv1_conv': 'stem_conv', 'conv1_bn': 'stem_norm'}
# conv2_block1_0_bn of keras.applications counts from 2 and 1, stack0_block0_0_bn of KerasHub from 0.
_RESNET_BLOCK = re.compile(r'(conv|stack)(\d+)_block(\d+)_(\d)_(conv|bn)')

_MOBILENET_STEM = {'Conv1': 'conv0', 'bn_Conv1': 'norm0'}
_MOBILENET_LAST = {'Conv_1': 'conv0', 'Conv_1_bn': 'norm0'}
_MOBILENET_BLOCK = re.compile(r'(expanded_conv|block_(\d+))_(expand|depthwise|project)(_BN)?')
_MOBILENET_PARTS = {'expand': '0', 'depthwise': '1', 'project': '2'}

_EFFICIENTNET_ENDS = {
    'stem_conv': 'stem_conv',
    'stem_bn': 'stem_norm',
    'top_conv': 'last_conv',
    'top_bn': 'last_norm',
}
_EFFICIENTNET_BLOCK = re.compile(r'block(\d+)([a-z])_(.+)')
_EFFICIENTNET_PARTS = {
    'expand_conv': 'conv0',
    'expand_bn': 'norm0',
    'dwconv': 'conv1',
    'bn': 'norm1',
    'dwconv_bn': 'norm1',  # of KerasHub
    'se_reduce': 'squeeze_excitation/se_reduce',
    'se_expand': 'squeeze_excitation/se_expand',
    'project_conv': 'conv2',
    'project': 'conv2',  # of KerasHub
    'project_bn': 'norm2',
}


def find_resnet_place(name: str, layers: Sequence[str]) -> Optional[str]:
    """Place of a ResNet's layer, or None; `layers` are the names of the backbone's."""
    del layers
    match = _RESNET_BLOCK.fullmatch(name)
    if match is None:
        return _RESNET_STEM.get(name)
    is_hub = match[1] == 'stack'
    stage = int(match[2]) + (2 if is_hub else 0)
    block = int(match[3]) - (0 if is_hub else 1)
    kind = 'norm' if match[5] == 'bn' else 'conv'
    part = 'shortcut' if (match[4], kind) == ('0', 'conv') else f'{kind}{match[4]}'
    return f'stage_{stage}_block_{block}/{part}'


def find_mobilenet_v2_place(name: str, layers: Sequence[str]) -> Optional[str]:
    """Place of a MobileNet V2's layer, or None; blocks are counted over the whole network."""
    blocks = [layer for layer in layers if layer.startswith('block_')]
    if name in _MOBILENET_STEM:
        return f'{blocks[0]}/{_MOBILENET_STEM[name]}'
    if name in _MOBILENET_LAST:
        return f'{blocks[-1]}/{_MOBILENET_LAST[name]}'
    match = _MOBILENET_BLOCK.fullmatch(name)
    if match is None:
        return None
    index = 1 + int(match[2] or 0)
    if index >= len(blocks):
        return None
    kind = 'norm' if match[4] else 'conv'
    return f'{blocks[index]}/{kind}{_MOBILENET_PARTS[match[3]]}'


def find_efficientnet_place(name: str, layers: Sequence[str]) -> Optional[str]:
    """Place of an EfficientNet's layer, or None."""
    del layers
    match = _EFFICIENTNET_BLOCK.fullmatch(name)
    if match is None:
        return _EFFICIENTNET_ENDS.get(name)
    part = _EFFICIENTNET_PARTS.get(match[3])
    repeat = ord(match[2]) - ord('a')
    return None if part is None else f'group_{int(match[1]) - 1}_block_{repeat}/{part}'
