"""Domain-free building blocks: configs, optimization, normalisation, activations."""

from official_lite import _lazy

__getattr__, __dir__ = _lazy.attach(
    __name__,
    submodules=(
        'activations',
        'hyperparams',
        'initializers',
        'norm',
        'optimization',
        'performance',
        'privacy',
        'tf_utils',
        'variable_keys',
    ),
)
