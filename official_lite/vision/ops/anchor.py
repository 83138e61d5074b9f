"""Anchor boxes and their labels, under the one name that they have in Model Garden."""

from __future__ import annotations

from official_lite.vision.ops.anchor_boxes import (
    Anchor,
    AnchorGeneratorv2,
    build_anchor_generator,
    flatten_anchors,
    unpack_targets,
)
from official_lite.vision.ops.anchor_labels import (
    IGNORED,
    NEGATIVE,
    NO_CLASS,
    POSITIVE,
    AnchorLabeler,
    AnchorLabels,
    RpnAnchorLabeler,
    label_anchors_batch,
    make_matcher,
)

__all__ = [
    'IGNORED',
    'NEGATIVE',
    'NO_CLASS',
    'POSITIVE',
    'Anchor',
    'AnchorGeneratorv2',
    'AnchorLabeler',
    'AnchorLabels',
    'RpnAnchorLabeler',
    'build_anchor_generator',
    'flatten_anchors',
    'label_anchors_batch',
    'make_matcher',
    'unpack_targets',
]
