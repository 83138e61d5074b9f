"""Settings of single layers: rates, training, regularizers, activations, precision and more.

The configs need no TensorFlow; what does is imported on first use.
"""

from official_lite import _lazy
from official_lite.modeling.layer_overrides.configs import *  # noqa: F403

_PACKAGE = 'official_lite.modeling.layer_overrides'

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=('application', 'configs', 'layer_table', 'layerwise_decay'),
    attributes={
        'LayerOverrideError': f'{_PACKAGE}.selection:LayerOverrideError',
        'LayerSettings': f'{_PACKAGE}.application:LayerSettings',
        'RATE_SETTINGS': f'{_PACKAGE}.plan:RATE_SETTINGS',
        'apply_layer_overrides': f'{_PACKAGE}.application:apply_layer_overrides',
    },
)
