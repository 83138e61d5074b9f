"""Names of the features of a `tf.train.Example`, with an optional prefix for all of them."""

from __future__ import annotations

import dataclasses
import functools

# For subclasses: the constructor is the base class's, which adds the prefix.
dataclass = functools.partial(dataclasses.dataclass, init=False)


@dataclasses.dataclass(init=False)
class TfExampleFeatureKeyBase:
    """Holds feature names as fields; a subclass declares them with their names as defaults.

    `EncodedImageFeatureKey('left').encoded` is `left/image/encoded`.

    Args:
        prefix: Put before each name, with a slash. None or '' leaves the names as declared.
    """

    def __init__(self, prefix: str | None = None) -> None:
        if not prefix:
            return
        for field in dataclasses.fields(self):
            setattr(self, field.name, f'{prefix}/{getattr(self, field.name)}')


@dataclasses.dataclass(init=False)
class EncodedImageFeatureKey(TfExampleFeatureKeyBase):
    """The features of one encoded image, as Model Garden's image datasets name them."""

    encoded: str = 'image/encoded'
    format: str = 'image/format'
    source: str = 'image/source_id'
    height: str = 'image/height'
    width: str = 'image/width'
