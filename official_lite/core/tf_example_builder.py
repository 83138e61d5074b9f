"""Builds a `tf.train.Example` feature by feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import tensorflow as tf

BytesValue = bytes | str | Iterable[bytes | str]
IntValue = int | Iterable[int]
FloatValue = float | Iterable[float]


def _as_bytes(value: bytes | str) -> bytes:
    return value.encode('utf-8') if isinstance(value, str) else value


class TfExampleBuilder:
    """Collects features; each method returns the builder, so that calls can be chained.

    Example:
        `TfExampleBuilder().add_ints_feature('image/height', 480).serialized_example`
    """

    def __init__(self) -> None:
        self._example = tf.train.Example()

    @property
    def example(self) -> tf.train.Example:
        """A copy of the example so far: adding to the builder later does not change it."""
        result = tf.train.Example()
        result.CopyFrom(self._example)
        return result

    @property
    def serialized_example(self) -> bytes:
        """The example so far, with its features in a fixed order: equal examples, equal bytes."""
        return self._example.SerializeToString(deterministic=True)

    def set(self, example: tf.train.Example) -> TfExampleBuilder:
        """Starts over from a copy of `example`."""
        self._example.CopyFrom(example)
        return self

    def reset(self) -> TfExampleBuilder:
        """Starts over without features."""
        self._example.Clear()
        return self

    def add_feature(self, key: str, feature: tf.train.Feature) -> TfExampleBuilder:
        """Sets the feature `key`, replacing an earlier one of that name."""
        self._example.features.feature[key].CopyFrom(feature)
        return self

    def add_feature_dict(self, features: Mapping[str, tf.train.Feature]) -> TfExampleBuilder:
        """Sets each of these features."""
        for key, feature in features.items():
            self.add_feature(key, feature)
        return self

    def add_bytes_feature(self, key: str, value: BytesValue) -> TfExampleBuilder:
        """Sets a feature of one or more byte strings; texts are encoded as UTF-8."""
        # A text is one value, not its characters.
        items = [value] if isinstance(value, bytes | str) else value
        values = [_as_bytes(item) for item in items]
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        return self.add_feature(key, feature)

    def add_ints_feature(self, key: str, value: IntValue) -> TfExampleBuilder:
        """Sets a feature of one or more int64."""
        values = value if isinstance(value, Iterable) else [value]
        feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return self.add_feature(key, feature)

    def add_floats_feature(self, key: str, value: FloatValue) -> TfExampleBuilder:
        """Sets a feature of one or more float32."""
        values = value if isinstance(value, Iterable) else [value]
        feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return self.add_feature(key, feature)
