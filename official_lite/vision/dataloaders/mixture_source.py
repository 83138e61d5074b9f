"""Several sources as one, each with its share of the training stream."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite import errors
from official_lite.core import randomness
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['BLOCK_LENGTH', 'MixtureSource', 'apportion', 'build_mixture']

# Positions of the stream in which each source has its share exactly.
BLOCK_LENGTH = 1000

# What a record has whatever its source, and attributes, which all sources of a mixture have or none.
_RECORD_KEYS = frozenset(
    [
        'image',
        'source_id',
        'height',
        'width',
        'groundtruth_boxes',
        'groundtruth_classes',
        'groundtruth_is_crowd',
        'groundtruth_area',
        'groundtruth_attributes',
        'groundtruth_instance_masks',
        'image/encoded',
        'image/class/label',
        'image/reading',
    ]
)


class MixtureSource(source_lib.Source):
    """A mixture of sources.

    Training: the stream is cut into blocks of `BLOCK_LENGTH` positions. Of each block source i gets
    its share, apportioned to whole numbers, at places that (seed, block) decide; it fills them with
    its own endless stream, shuffled as if it were alone. So which source an example comes from, and
    its place in that source's stream, follow from the position: a resumed run goes on exactly, and
    any number of workers sees the same mixture. Small sources repeat before large ones end; an epoch
    is as many examples as all have together.

    Evaluation: every example of every source once, one source after the other.

    Args:
        sources: The sources by name; labels mean the same in all.
        weights: Their shares by name, of any sum. None means equal shares.
    """

    def __init__(
        self, sources: Mapping[str, source_lib.Source], weights: Mapping[str, float] | None = None
    ) -> None:
        self._names = list(sources)
        self._sources = list(sources.values())
        shares = [1.0] * len(self._names) if weights is None else [weights[n] for n in sources]
        self._counts = apportion(shares, BLOCK_LENGTH)
        lengths = [source.info.num_examples for source in self._sources]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._info = _merge_infos(self._names, [source.info for source in self._sources])

    @property
    def info(self) -> DataInfo:
        return self._info

    @property
    def shares(self) -> dict[str, float]:
        """Exact share of each source in every block."""
        return {name: int(count) / BLOCK_LENGTH for name, count in zip(self._names, self._counts)}

    def make_examples(self, order: source_lib.Order) -> tf.data.Dataset:
        stream = self._make_stream(order) if order.is_training else self._make_pass(order)
        return stream.shard(order.num_workers, order.worker)

    def _make_stream(self, order: source_lib.Order) -> tf.data.Dataset:
        if order.num_examples != self._info.num_examples:
            raise errors.UsageError(
                where='num_examples',
                expected=f'not set, or {self._info.num_examples}, with a mixture',
                received=str(order.num_examples),
            )
        block, num_seen = divmod(order.first_position, BLOCK_LENGTH)
        with tf.init_scope():
            before = self._draw_block(order.seed, tf.constant(block, tf.int64)).numpy()[:num_seen]
        taken = np.bincount(before, minlength=len(self._sources)) + block * self._counts
        streams = [
            self._tag(number, source.make_examples(self._make_order(order, number, int(first))))
            for number, (source, first) in enumerate(zip(self._sources, taken))
        ]
        blocks = tf.data.Dataset.counter(start=block)
        choices = blocks.flat_map(
            lambda b: tf.data.Dataset.from_tensor_slices(self._draw_block(order.seed, b))
        )
        return tf.data.Dataset.choose_from_datasets(
            _unify(streams), choices.skip(num_seen), stop_on_empty_dataset=True
        )

    def _draw_block(self, seed: int, block: tf.Tensor) -> tf.Tensor:
        """Numbers of the sources of a block's positions, int64 [BLOCK_LENGTH]."""
        key = randomness.make_key(seed, epoch=block, name='mixture')
        ordered = tf.constant(np.repeat(np.arange(len(self._counts)), self._counts), tf.int64)
        return tf.random.experimental.stateless_shuffle(ordered, seed=key)

    def _make_order(
        self, order: source_lib.Order, number: int, first_position: int
    ) -> source_lib.Order:
        """The order of one source: all of it, on one worker, with a seed of its own."""
        return dataclasses.replace(
            order,
            num_examples=self._sources[number].info.num_examples,
            seed=order.seed + randomness.hash_name(f'mixture {self._names[number]}'),
            first_position=first_position,
            worker=0,
            num_workers=1,
        )

    def _make_pass(self, order: source_lib.Order) -> tf.data.Dataset:
        parts = []
        for number, source in enumerate(self._sources):
            length = source.info.num_examples
            if length:
                own = source_lib.Order(num_examples=length, is_training=False, num_positions=length)
                parts.append(self._tag(number, source.make_examples(own)))
        first, *others = _unify(parts)
        for part in others:
            first = first.concatenate(part)
        examples = first.take(order.num_examples)
        num_missing = max(0, order.num_positions - order.num_examples)
        padding = (
            examples.take(1)
            .repeat(num_missing)
            .map(lambda example: {**example, 'is_valid': tf.constant(False)})
        )
        return examples.concatenate(padding).skip(order.first_position)

    def _tag(self, number: int, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Adds the number of the source; 'index' counts over all sources."""
        start = int(self._starts[number])

        def add(example: source_lib.Tensors) -> source_lib.Tensors:
            index = example['index'] + start
            return {**example, 'index': index, 'source': tf.constant(number, tf.int32)}

        return examples.map(add)

    def decode(self, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        def make_branch(number: int) -> Any:
            own = {**example, 'index': example['index'] - int(self._starts[number])}
            return lambda: self._decode_own(number, own)

        branches = [make_branch(number) for number in range(len(self._sources))]
        if len(branches) == 1:
            return branches[0]()
        return tf.switch_case(example['source'], branches)

    def _decode_own(self, number: int, example: Mapping[str, tf.Tensor]) -> source_lib.Tensors:
        record = self._sources[number].decode(example)
        return {name: value for name, value in record.items() if name in _RECORD_KEYS}

    def describe(self, index: int) -> str:
        number, own = self._locate(index)
        return f'{self._names[number]}: {self._sources[number].describe(own)}'

    def read_image(self, index: int) -> bytes:
        number, own = self._locate(index)
        return self._sources[number].read_image(own)

    def _locate(self, index: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._starts, index, side='right')) - 1
        return number, index - int(self._starts[number])


def apportion(weights: Sequence[float], total: int) -> np.ndarray:
    """Whole numbers of sum `total` in proportion to weights, by largest remainders.

    Raises:
        UsageError: A weight is not positive, or too small to get one.
    """
    if not weights or any(not weight > 0 for weight in weights):
        raise errors.UsageError(
            where='weights', expected='one or more numbers above 0', received=str(list(weights))
        )
    exact = np.asarray(weights, np.float64) / np.sum(weights) * total
    counts = np.floor(exact).astype(np.int64)
    # Ties go to the first: sorted by remainder, stable; rounding of floats is no remainder.
    remainders = np.round(exact - counts, 9)
    counts[np.argsort(-remainders, kind='stable')[: total - counts.sum()]] += 1
    if not counts.all():
        raise errors.UsageError(
            where='weights',
            expected=f'a share of at least 1 in {total} for each',
            received=str(list(weights)),
        )
    return counts


def build_mixture(
    sources: Mapping[str, source_lib.Source], weights: Mapping[str, float] | None
) -> source_lib.Source:
    """The mixture of sources.

    Raises:
        UsageError: Names of sources and weights differ, or weights are not positive.
        DataError: A source is empty, or the sources' classes contradict each other.
    """
    if weights is not None and set(weights) != set(sources):
        raise errors.UsageError(
            where='weights',
            expected=f'a number for each of: {", ".join(sources)}',
            received=f'names: {", ".join(weights)}',
        )
    for name, source in sources.items():
        if not source.info.num_examples:
            raise errors.DataError('no examples to mix', where=f'{name} ({source.info.origin})')
    return MixtureSource(sources, weights)


def _unify(streams: Sequence[tf.data.Dataset]) -> list[tf.data.Dataset]:
    """Gives all examples the same keys; what a source does not need is empty."""
    specs: dict[str, tf.TensorSpec] = {}
    for stream in streams:
        specs |= stream.element_spec

    def complete(example: source_lib.Tensors) -> source_lib.Tensors:
        missing = specs.keys() - example.keys()
        return {**example, **{name: _make_empty(specs[name]) for name in sorted(missing)}}

    return [
        stream if stream.element_spec.keys() == specs.keys() else stream.map(complete)
        for stream in streams
    ]


def _make_empty(spec: tf.TensorSpec) -> tf.Tensor:
    shape = [length or 0 for length in spec.shape]
    return tf.fill(shape, '') if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)


def _merge_infos(names: Sequence[str], infos: Sequence[DataInfo]) -> DataInfo:
    classes, ids = _merge_classes(names, infos)
    counts = np.zeros([len(classes)], np.int64)
    for info in infos:
        counts[: len(info.boxes_per_class)] += np.asarray(info.boxes_per_class, np.int64)
    digest = hashlib.sha256(''.join(info.fingerprint for info in infos).encode())
    return type(infos[0])(
        num_examples=sum(info.num_examples for info in infos),
        class_names=classes,
        category_ids=ids,
        num_boxes=sum(info.num_boxes for info in infos),
        boxes_per_class=tuple(int(count) for count in counts),
        max_label=max(info.max_label for info in infos),
        fingerprint=digest.hexdigest(),
        origin='; '.join(f'{name}: {info.origin}' for name, info in zip(names, infos)),
        num_corrupt=sum(info.num_corrupt for info in infos),
        num_dropped_boxes=sum(info.num_dropped_boxes for info in infos),
        max_boxes_per_image=max(info.max_boxes_per_image for info in infos),
        declares_classes=any(info.declares_classes for info in infos),
        num_crowds=sum(info.num_crowds for info in infos),
        num_empty_images=sum(info.num_empty_images for info in infos),
        findings=tuple(
            f'{name}: {text}' for name, info in zip(names, infos) for text in info.findings
        ),
    )


def _merge_classes(
    names: Sequence[str], infos: Sequence[DataInfo]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The longest list of classes; where several declare theirs, they must agree.

    Raises:
        DataError: They contradict each other.
    """
    declared = [i for i, info in enumerate(infos) if info.declares_classes] or range(len(infos))
    best = max(declared, key=lambda i: len(infos[i].class_names))
    reference = infos[best].class_names
    for i in declared:
        found = infos[i].class_names
        if infos[i].declares_classes and found != reference:
            label = next(
                n for n, pair in enumerate(zip((*found, None), reference)) if len(set(pair)) > 1
            )
            raise errors.DataError(
                f'the classes differ from label {label + 1} on',
                where=names[i],
                expected=f'the classes of {names[best]}: {list(reference[label : label + 3])}...',
                received=str(list(found[label : label + 3])),
                hint='a mixture needs the same classes in the same order',
            )
    max_label = max(info.max_label for info in infos)
    if infos[best].declares_classes and max_label > len(reference):
        wrong = names[[info.max_label for info in infos].index(max_label)]
        raise errors.DataError(
            f'label {max_label} is not among the {len(reference)} classes of {names[best]}',
            where=wrong,
        )
    return reference, infos[best].category_ids
