"""Building examples, naming their features, writing them to a file and reading them back."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official_lite.core import file_writers, tf_example_builder, tf_example_feature_key


def _build() -> tf_example_builder.TfExampleBuilder:
    builder = tf_example_builder.TfExampleBuilder()
    builder.add_bytes_feature('text', 'é').add_bytes_feature('texts', [b'a', 'b'])
    return builder.add_ints_feature('int', 3).add_floats_feature('floats', [0.5, 1.5])


def test_features_are_read_back_as_they_were_added() -> None:
    parsed = tf.io.parse_single_example(
        _build().serialized_example,
        {
            'text': tf.io.FixedLenFeature([], tf.string),
            'texts': tf.io.FixedLenFeature([2], tf.string),
            'int': tf.io.FixedLenFeature([], tf.int64),
            'floats': tf.io.FixedLenFeature([2], tf.float32),
        },
    )
    assert parsed['text'].numpy() == 'é'.encode()
    assert parsed['texts'].numpy().tolist() == [b'a', b'b']
    assert parsed['int'].numpy() == 3
    np.testing.assert_array_equal(parsed['floats'], [0.5, 1.5])


def test_any_iterable_of_values_will_do() -> None:
    builder = tf_example_builder.TfExampleBuilder()
    builder.add_ints_feature('ints', np.arange(3)).add_floats_feature('floats', (x for x in [1.0]))
    features = builder.example.features.feature
    assert list(features['ints'].int64_list.value) == [0, 1, 2]
    assert list(features['floats'].float_list.value) == [1.0]


def test_a_feature_added_again_replaces_the_first() -> None:
    builder = _build().add_ints_feature('int', [4, 5])
    assert list(builder.example.features.feature['int'].int64_list.value) == [4, 5]


def test_an_example_taken_out_is_a_copy() -> None:
    builder = _build()
    example = builder.example
    builder.reset()
    assert builder.serialized_example == b''
    assert sorted(example.features.feature) == ['floats', 'int', 'text', 'texts']
    assert builder.set(example).example == example


def test_a_prefix_goes_before_every_name() -> None:
    keys = tf_example_feature_key.EncodedImageFeatureKey('left')
    assert (keys.encoded, keys.source) == ('left/image/encoded', 'left/image/source_id')
    assert tf_example_feature_key.EncodedImageFeatureKey().width == 'image/width'


@pytest.mark.parametrize(
    ('file_type', 'compression'), [('TFRecord', ''), ('tfrecords_gzip', 'GZIP')]
)
def test_written_files_hold_the_examples(
    file_type: str, compression: str, tmp_path: pathlib.Path
) -> None:
    path = str(tmp_path / 'a.tfrecord')
    builders = [tf_example_builder.TfExampleBuilder().add_ints_feature('i', i) for i in range(3)]
    examples = [builder.example for builder in builders]
    file_writers.write_small_dataset(examples, path, file_type)
    records = tf.data.TFRecordDataset(path, compression_type=compression)
    assert [tf.train.Example.FromString(r.numpy()) for r in records] == examples


def test_an_unknown_file_type_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"file_type: expected one of 'tfrecord'.*'riegeli'"):
        file_writers.write_small_dataset([], str(tmp_path / 'a'), 'riegeli')
