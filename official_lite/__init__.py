"""A light, typed, Model-Garden-style experiment framework on Keras 3.

`import official_lite as tfm` gives the namespace that users of `tensorflow_models` know: `tfm.core`,
`tfm.vision`, `tfm.optimization`, `tfm.hyperparams`. Nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from official_lite import _lazy

if TYPE_CHECKING:
    from official_lite import common as common
    from official_lite import core as core
    from official_lite import errors as errors
    from official_lite import modeling as modeling
    from official_lite import vision as vision
    from official_lite.core.hyperparameter_files import load_hyperparameters as load_hyperparameters
    from official_lite.core.hyperparameter_files import save_hyperparameters as save_hyperparameters
    from official_lite.core.hyperparameter_logger import (
        HyperparameterLogger as HyperparameterLogger,
    )
    from official_lite.core.hyperparameters import Hyperparameters as Hyperparameters
    from official_lite.modeling import hyperparams as hyperparams
    from official_lite.modeling import optimization as optimization

__version__ = '0.1.0'

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=('common', 'core', 'errors', 'modeling', 'vision'),
    attributes={
        'HyperparameterLogger': 'official_lite.core.hyperparameter_logger:HyperparameterLogger',
        'Hyperparameters': 'official_lite.core.hyperparameters:Hyperparameters',
        'load_hyperparameters': 'official_lite.core.hyperparameter_files:load_hyperparameters',
        'save_hyperparameters': 'official_lite.core.hyperparameter_files:save_hyperparameters',
        'hyperparams': 'official_lite.modeling.hyperparams',
        'optimization': 'official_lite.modeling.optimization',
    },
)
