"""Weights of keras.applications and KerasHub in our own backbones.

`task.init_checkpoint=keras_applications:ResNet50` or `keras_hub:resnet_50_imagenet`. Layers correspond
by their names. What ours do not have is moved into what they have, so that numbers stay: biases of
convolutions and other epsilons go into batch normalisation, and what the network expects of its input
(blue first, -1 to 1, ...) into the first convolution. What cannot be moved, such as a stride at another
convolution, is in the report's notes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import keras
import numpy as np

from official_lite import errors
from official_lite.core import checkpoints
from official_lite.modeling import variable_keys
from official_lite.vision.modeling import zoo_differences, zoo_layer_names
from official_lite.vision.modeling.backbones import (
    efficientnet,
    keras_applications,
    keras_hub_backbone,
    mobilenet,
    resnet,
    zoo,
)

Values = dict[str, np.ndarray]
_BACKBONE = 'backbone'
_PLACES: dict[type, Callable[[str, Sequence[str]], Optional[str]]] = {
    resnet.ResNet: zoo_layer_names.find_resnet_place,
    mobilenet.MobileNet: zoo_layer_names.find_mobilenet_v2_place,
    efficientnet.EfficientNet: zoo_layer_names.find_efficientnet_place,
}
_ORIGINS = {'keras_applications': 'keras.applications', 'keras_hub': 'KerasHub'}
_MAX_MISFITS = 8
_DOWNLOAD_HINT = (
    'download that file where there is a network and put it into ~/.keras/models (the folder models '
    'of KERAS_HOME), where Keras looks first'
)


class ZooSource:
    """A pretrained network as the weights of a model of ours whose backbone is the same network.

    Attributes:
        path: What was asked for, such as `keras_applications:ResNet50`.
        origin: Where it comes from.
        shapes: Shape of every variable, by the key of the model's variable that it is for, or by its
            name in the network.
        notes: Where ours computes something else with the same weights.
    """

    def __init__(
        self, path: str, origin: str, values: Mapping[str, np.ndarray], notes: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.origin = origin
        self.notes = tuple(notes)
        self.shapes = {key: tuple(value.shape) for key, value in values.items()}
        self._values = dict(values)

    def read(self, key: str) -> np.ndarray:
        """The value under `key`."""
        return self._values[key]


def open_source(model: keras.Model, path: str) -> ZooSource:
    """Builds the network that `path` names, with its weights, which may be downloaded.

    Args:
        model: A model of ours, built, with a `backbone`.
        path: `keras_applications:NAME` or `keras_hub:PRESET`.

    Raises:
        UsageError: There is no such network, it cannot be downloaded, or the backbone is of another
            kind.
        CheckpointError: The backbone is of another depth.
    """
    backbone = getattr(model, 'backbone', model)
    _get_table(backbone)  # refuses before anything is downloaded
    specs = keras.layers.InputSpec(shape=[None, *_to_size(backbone.input_shape[1:3]), 3])
    with _float32():
        return make_source(_build_network(path, specs), backbone, path)


def _build_network(path: str, specs: keras.layers.InputSpec) -> zoo.ZooBackbone:
    scheme, _, name = path.partition(':')
    try:
        if scheme == 'keras_applications':
            return keras_applications.KerasApplication(name, specs, weights='imagenet')
        return keras_hub_backbone.KerasHubBackbone(name, specs)
    except errors.UsageError as error:
        is_download = isinstance(error, keras_applications.DownloadError)
        raise errors.UsageError(
            error.message,
            where=f'task.init_checkpoint={path}',
            expected=error.expected,
            received='' if is_download else error.received,
            hint=_DOWNLOAD_HINT if is_download else error.hint,
        ) from error


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    """A network made inside computes in float32, whatever the run does: what it makes of images counts."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy('float32')
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def make_source(network: zoo.ZooBackbone, backbone: keras.Model, path: str) -> ZooSource:
    """The weights of a network for a backbone, and what the backbone does otherwise.

    Args:
        network: The network, as a backbone that takes what ours takes.
        backbone: Ours.
        path: What the network is called, as for `open_source`.
    """
    values = convert(network, backbone)
    pairs = [
        (layer, _get_layer(backbone, place))
        for layer, place in _find_places(network, backbone)
        if place
    ]
    notes = zoo_differences.find_differences(network, backbone, pairs)
    return ZooSource(path, _ORIGINS[path.split(':')[0]], values, notes)


def convert(network: zoo.ZooBackbone, backbone: keras.Model) -> Values:
    """The weights of a network as those of a backbone in a model.

    Args:
        network: The network, as a backbone that takes what ours takes.
        backbone: Ours.

    Returns:
        Value by the model's variable key.

    Raises:
        UsageError: The backbone is not of a kind whose names are known.
        CheckpointError: One of the two has layers that the other one has not.
    """
    targets = {
        key: tuple(variable.shape)
        for key, variable in variable_keys.variable_keys({_BACKBONE: backbone}).items()
        if 'seed_generator' not in key
    }
    placed = _find_places(network, backbone)
    values: Values = {}
    biases: Values = {}
    for layer, place in placed:
        for variable in layer.weights:
            key, value = f'{_BACKBONE}/{place or layer.name}/{variable.name}', np.array(variable)
            if variable.name == 'bias' and place and key not in targets:
                biases[_norm_of(place)] = value
            else:
                values[key] = value
    _check_architecture(values, targets, network.name)
    _move_input(values, network, *placed[0])
    for place, bias in biases.items():
        values[f'{_BACKBONE}/{place}/moving_mean'] -= bias
    _move_epsilons(values, placed, backbone)
    return values


def _find_places(
    network: zoo.ZooBackbone, backbone: keras.Model
) -> list[tuple[keras.layers.Layer, Optional[str]]]:
    """The network's layers with weights, the first convolution first, and where ours has them."""
    find_place = _get_table(backbone)
    names = [layer.name for layer in backbone.layers]
    return [
        (layer, find_place(layer.name, names))
        for layer in network.get_layer('network').layers
        # What is normalised by fixed numbers goes into the first convolution.
        if layer.weights and not isinstance(layer, keras.layers.Normalization)
    ]


def _get_table(backbone: Any) -> Callable[[str, Sequence[str]], Optional[str]]:
    for kind, table in _PLACES.items():
        if isinstance(backbone, kind):
            return table
    raise errors.UsageError(
        'the weights of another library go into some backbones only',
        where='task.init_checkpoint',
        expected=f'a backbone of type {", ".join(sorted(kind.__name__.lower() for kind in _PLACES))}',
        received=type(backbone).__name__,
        hint='with task.model.backbone.type=keras_applications or keras_hub any network can be used',
    )


def _check_architecture(
    values: Values, targets: Mapping[str, tuple[Optional[int], ...]], where: str
) -> None:
    misfits = [
        *(f'{key} {tuple(targets[key])} is not there' for key in sorted(targets.keys() - values)),
        *(f'{key} {values[key].shape} is not here' for key in sorted(values.keys() - targets)),
    ]
    if misfits:
        raise errors.CheckpointError(
            'the network is not of the same architecture',
            where=where,
            received=checkpoints.shorten(misfits, _MAX_MISFITS),
            hint='choose the backbone with the same blocks, e.g. model_id=50 for ResNet50 and '
            'se_ratio=0.25 for EfficientNet',
        )


def _norm_of(place: str) -> str:
    """The batch normalisation that follows a convolution."""
    head, _, part = place.rpartition('/')
    part = 'norm0' if part == 'shortcut' else part.replace('conv', 'norm')
    return f'{head}/{part}' if head else part


def _move_epsilons(
    values: Values,
    placed: Sequence[tuple[keras.layers.Layer, Optional[str]]],
    backbone: keras.Model,
) -> None:
    """Scales by which a normalisation with our epsilon gives the same numbers."""
    for layer, place in placed:
        if place is None or not hasattr(layer, 'moving_mean'):
            continue
        ours = _get_layer(backbone, place).epsilon
        if ours != layer.epsilon:
            variance = values[f'{_BACKBONE}/{place}/moving_variance']
            factor = np.sqrt((variance + ours) / (variance + layer.epsilon))
            values[f'{_BACKBONE}/{place}/gamma'] *= factor


def _get_layer(backbone: keras.Model, place: str) -> Any:
    name, *parts = place.split('/')
    layer = backbone.get_layer(name)
    for part in parts:
        layer = getattr(layer, part)
    return layer


def _move_input(
    values: Values, network: zoo.ZooBackbone, stem: keras.layers.Layer, place: Optional[str]
) -> None:
    """Gives the first convolution the images that ours gets.

    What comes before it there is linear, `x @ matrix + shift` for the colours of a pixel. The shift
    becomes a part of the moving mean, which is not exact at the border, where ours pads with another
    grey.
    """
    matrix, shift = _find_input_map(network, stem)
    kernel_key = f'{_BACKBONE}/{place}/kernel'
    kernel = values[kernel_key]  # [height, width, colours, filters]
    values[f'{_BACKBONE}/{_norm_of(str(place))}/moving_mean'] -= np.einsum(
        'hwcf,c->f', kernel, shift
    )
    values[kernel_key] = np.einsum('hwcf,ic->hwif', kernel, matrix).astype(kernel.dtype)


def _find_input_map(
    network: zoo.ZooBackbone, stem: keras.layers.Layer
) -> tuple[np.ndarray, np.ndarray]:
    """`matrix` [3, 3] and `shift` [3] of what the first convolution gets of an image."""
    # The last call of the layer: it is also part of the network with stock batch normalisation.
    before = stem._inbound_nodes[-1].input_tensors[0]
    features = network.get_layer('network')
    inner = keras.Model(features.input, before)
    size = _to_size(features.input.shape[1:3])
    images = np.zeros([4, *size, 3], np.float32)
    for colour in range(3):
        images[colour + 1, ..., colour] = 1.0
    for layer in network.layers:
        if layer.name == 'image_values':
            images = layer(images)
    pixels = np.array(inner(images, training=False))[:, size[0] // 2, size[1] // 2]  # [4, 3]
    return pixels[1:] - pixels[0], pixels[0]


def _to_size(sides: Sequence[Optional[int]]) -> list[int]:
    """A size for a network whose own may be open; it changes no weights."""
    return [int(side or 224) for side in sides]
