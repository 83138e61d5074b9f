"""Which code AutoGraph converts: that of users, who may write `if tensor:`; ours needs none of it.

Conversion reads and rewrites the source of every function on the way to the loss, which takes
seconds at the start of each run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

Result = TypeVar('Result')

# Packages that are written for plain tracing, and what every class inherits.
_PLAIN = frozenset(
    {'official_lite', 'tensorflow', 'keras', 'builtins', 'abc', 'typing', 'collections'}
)


def has_foreign_code(*objects: Any) -> bool:
    """Whether the class of one of the objects, or one it inherits from, is not of this package."""
    modules = {cls.__module__ for o in objects for cls in type(o).__mro__}
    return any(module.partition('.')[0] not in _PLAIN for module in modules)


def call_plainly(function: Callable[[], Result], *participants: Any) -> Result:
    """Calls a function that traces others (datasets do) without AutoGraph.

    Args:
        function: What to call.
        *participants: Objects whose methods it traces. If one has foreign code, AutoGraph converts
            as TensorFlow's default is.
    """
    if has_foreign_code(*participants):
        return function()
    return tf.autograph.experimental.do_not_convert(function)()


def has_accelerator() -> bool:
    """Whether there is a device that is no CPU."""
    return len(tf.config.list_logical_devices()) > len(tf.config.list_logical_devices('CPU'))


@contextlib.contextmanager
def fast_start() -> Iterator[None]:
    """A context in which compiled functions are run as they were traced, on CPUs.

    There Grappler's passes over a training step take longer than a step, and make it no faster
    (benchmarks/README.md); oneDNN fuses by itself. On other devices nothing changes. All calls of a
    function must be in this context, or none: TensorFlow compiles it again for other options.
    """
    if has_accelerator():
        yield
        return
    before = tf.config.optimizer.get_experimental_options().get('disable_meta_optimizer', False)
    tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': before})


def repeat(function: Callable[[tf.Tensor], object], num_times: tf.Tensor) -> None:
    """Calls a function with 0, 1, ... `num_times` - 1, int32 scalars, in the graph."""

    def body(i: tf.Tensor) -> tuple[tf.Tensor]:
        function(i)
        return (i + 1,)

    # One after the other: a step reads what the one before it wrote.
    tf.while_loop(lambda i: i < num_times, body, (tf.constant(0),), parallel_iterations=1)
