"""Models of `keras.applications` as backbones."""

from __future__ import annotations

from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite import errors
from official_lite.vision.modeling import builder_arguments
from official_lite.vision.modeling.backbones import factory, graph_levels, zoo
from official_lite.vision.modeling.layers import image_values as image_values_lib
from official_lite.vision.modeling.layers import nn_layers
from official_lite.vision.ops import image_normalization

_WHERE = 'backbone keras_applications'
_DOWNLOAD_FAILURE = 'URL fetch failure'

# What models take, as their `preprocess_input` says: (scale, offset, blue first) of pixels from 0 to
# 255. Models that are not here take pixels and have a layer for the rest.
_CAFFE = (1.0, (-123.68, -116.779, -103.939), True)
_SIGNED = (1 / 127.5, -1.0, False)
_TORCH = (
    tuple(1 / (255.0 * value) for value in image_normalization.STDDEV_RGB),
    tuple(
        -mean / stddev
        for mean, stddev in zip(
            image_normalization.MEAN_RGB, image_normalization.STDDEV_RGB, strict=True
        )
    ),
    False,
)
PREPARATIONS: dict[str, tuple[Any, Any, bool]] = {
    **dict.fromkeys(('ResNet50', 'ResNet101', 'ResNet152', 'VGG16', 'VGG19'), _CAFFE),
    **dict.fromkeys(('ResNet50V2', 'ResNet101V2', 'ResNet152V2'), _SIGNED),
    **dict.fromkeys(('MobileNet', 'MobileNetV2', 'NASNetLarge', 'NASNetMobile'), _SIGNED),
    **dict.fromkeys(('InceptionResNetV2', 'InceptionV3', 'Xception'), _SIGNED),
    **dict.fromkeys(('DenseNet121', 'DenseNet169', 'DenseNet201'), _TORCH),
}
_PIXELS = (None, None, False)


class DownloadError(errors.UsageError):
    """The weights that Keras offers cannot be had from here."""


@keras.saving.register_keras_serializable(package='official_lite')
class KerasApplication(zoo.ZooBackbone):
    """A model of `keras.applications` without its top (https://keras.io/api/applications).

    Output: a dict from levels, '1' or coarser to '5', to feature maps [batch, height / 2^level, width
        / 2^level, channels] (less a border in models that do not pad); which map is a level's:
        `graph_levels.find_levels`.

    Args:
        model_id: Name of the function in `keras.applications`.
        input_specs: Shape of the images, [batch, height, width, channels].
        weights: None for random weights, 'imagenet', or the path of a weights file of the model
            without its top. Not kept in `get_config`, since a copy is given the original's weights.
        image_values: What the images hold: 'normalized', 'pixels' or 'prepared'.
        use_sync_bn: Whether batch normalisation uses the moments of all replicas.
        kernel_regularizer: Regulariser of convolution kernels, depthwise ones excepted.
        name: Name of the model.

    Raises:
        UsageError: If there is no such model, or its weights cannot be had (a `DownloadError`).
    """

    def __init__(
        self,
        model_id: str,
        input_specs: keras.layers.InputSpec = nn_layers.ANY_RGB_IMAGES,
        weights: Optional[str] = None,
        image_values: str = 'normalized',
        use_sync_bn: bool = False,
        kernel_regularizer: Optional[keras.regularizers.Regularizer] = None,
        name: str = 'keras_application',
    ) -> None:
        config = {
            'model_id': model_id,
            'input_specs': nn_layers.to_input_spec(input_specs),
            'weights': None,
            'image_values': image_values,
            'use_sync_bn': use_sync_bn,
            'kernel_regularizer': keras.regularizers.get(kernel_regularizer),
        }
        scale, offset, is_reversed = PREPARATIONS.get(model_id, _PIXELS)
        values_layer = image_values_lib.make_image_values_layer(
            image_values, scale, offset, is_reversed
        )
        model = _make_application(model_id, config['input_specs'].shape[1:], weights)
        levels = graph_levels.find_levels(model.output)
        super().__init__(levels, model.input, values_layer, config, name=name)


def _make_application(
    model_id: str, input_shape: tuple[Optional[int], ...], weights: Optional[str]
) -> keras.Model:
    function = getattr(keras.applications, model_id, None)
    if not callable(function):
        names = [name for name in dir(keras.applications) if name[0].isupper()]
        raise errors.UsageError(
            'this version of Keras has no such model',
            where=f'{_WHERE}: model_id',
            expected=f'one of {", ".join(names)}',
            received=repr(model_id),
        )
    if weights == 'imagenet':
        return _download(function, input_shape)
    model = function(include_top=False, weights=None, input_shape=tuple(input_shape))
    if weights is not None:
        _load_weights(model, weights)
    return model


def _download(function: Any, input_shape: tuple[Optional[int], ...]) -> keras.Model:
    try:
        return function(include_top=False, weights='imagenet', input_shape=tuple(input_shape))
    except Exception as error:  # Keras raises no class of its own when a download fails.
        if _DOWNLOAD_FAILURE not in str(error):
            raise
        raise DownloadError(
            f'the weights cannot be downloaded: {error}',
            where=f'{_WHERE}: weights',
            received="'imagenet'",
            hint='download the file elsewhere and give its path, or start from weights=null',
        ) from error


def _load_weights(model: keras.Model, path: str) -> None:
    where = f'{_WHERE}: weights'
    if not tf.io.gfile.exists(path):
        raise errors.UsageError(
            'there is no such file',
            where=where,
            expected="null, 'imagenet' or the path of a weights file",
            received=repr(path),
        )
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).splitlines()[0]
        raise errors.UsageError(
            f'the weights do not fit: {first_line}',
            where=where,
            expected=f'a file of {model.name} without its top (`include_top=False`)',
            received=repr(path),
        ) from error


@factory.register_backbone_builder('keras_applications')
def build_keras_applications(
    input_specs: keras.layers.InputSpec,
    backbone_config: Any,
    norm_activation_config: Any,
    l2_regularizer: Optional[keras.regularizers.Regularizer] = None,
) -> KerasApplication:
    """Builds a model of `keras.applications` from a config whose type is 'keras_applications'.

    Of `norm_activation_config`, `use_sync_bn` counts; the rest (of which a warning tells) is the model's own.
    """
    config = builder_arguments.get_branch(backbone_config, 'keras_applications', 'backbone')
    factory.warn_of_own_layers(
        config.model_id, norm_activation_config, 'activation', 'norm_momentum', 'norm_epsilon'
    )
    return KerasApplication(
        model_id=config.model_id,
        input_specs=input_specs,
        weights=config.weights,
        image_values=config.image_values,
        use_sync_bn=norm_activation_config.use_sync_bn,
        kernel_regularizer=l2_regularizer,
    )
