"""What the parts of a model put out, the same for Model Garden's and ours.

Only what is continuous: no choice, such as that of non-maximum suppression, that rounding could
change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_NUM_REGIONS = 3
_SEED = 7


def compute_outputs(model: Any, images: Any) -> dict[str, np.ndarray]:
    """Runs the parts of a model one after the other, in inference mode.

    Args:
        model: A model of `tf_keras` or Keras 3: a classifier, a RetinaNet, an R-CNN or a segmenter.
        images: [batch, height, width, 3] float32, normalised.

    Returns:
        Outputs by names such as `decoder/3`; float32. The heads of an R-CNN are given random features
        of regions.
    """
    if not hasattr(model, 'backbone') or not hasattr(model, 'decoder'):
        return dict(_flatten(model(images, training=False), 'model'))
    features = decoded = model.backbone(images, training=False)
    if model.decoder is not None:
        decoded = model.decoder(features, training=False)
    outputs: dict[str, Any] = {'decoder': decoded}
    if hasattr(model, 'rpn_head'):
        outputs |= _run_region_heads(model, decoded)
    elif hasattr(model, 'detection_generator'):
        outputs['head'] = model.head(decoded, training=False)
    else:
        outputs['model'] = model(images, training=False)
    return {k: v for name, value in outputs.items() for k, v in _flatten(value, name)}


def _run_region_heads(model: Any, decoded: Mapping[str, Any]) -> dict[str, Any]:
    outputs = {'rpn_head': model.rpn_head(decoded, training=False)}
    channels = int(next(iter(decoded.values())).shape[-1])
    heads = model.detection_head
    for stage, head in enumerate(heads if isinstance(heads, list | tuple) else [heads]):
        regions = _make_regions(model.roi_aligner, channels)
        outputs[f'detection_head/{stage}'] = head(regions, training=False)
    if model.mask_head is not None:
        regions = _make_regions(model.mask_roi_aligner, channels)
        classes = np.ones([len(regions), _NUM_REGIONS], np.int32)
        outputs['mask_head'] = model.mask_head([regions, classes], training=False)
    return outputs


def _make_regions(aligner: Any, channels: int) -> np.ndarray:
    """Random features of regions, [1, regions, size, size, channels]."""
    size = int(aligner.get_config()['crop_size'])
    shape = [1, _NUM_REGIONS, size, size, channels]
    return np.random.default_rng(_SEED).normal(size=shape).astype(np.float32)


def _flatten(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _flatten(value[key], f'{path}/{key}')
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _flatten(part, f'{path}/{index}')
    else:
        yield path, np.asarray(value, np.float32)
