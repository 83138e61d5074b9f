"""From a source and a parser to batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite import errors
from official_lite.core import config_definitions as cfg
from official_lite.core import data_errors, graph_code, randomness
from official_lite.vision.dataloaders import data_service as data_service_lib
from official_lite.vision.dataloaders import parser as parser_lib
from official_lite.vision.dataloaders import source as source_lib

__all__ = ['InputReader', 'ReaderOptions']

# Varying lengths are rounded up to a multiple of this, so that a compiled step sees few shapes.
_LENGTH_MULTIPLE = 8
_NUM_PREFETCHED = 2  # batches


@dataclasses.dataclass(frozen=True)
class ReaderOptions:
    """How to read.

    Attributes:
        seed: Seed of order and augmentation.
        shuffle_buffer_size, cycle_length, block_length: See `source.Order`.
        sharding: Whether each worker reads its own share.
        deterministic: Whether examples keep their order when one takes longer than the next. None
            means yes.
        prefetch_buffer_size: Batches prepared ahead. None means two, or what tf.data finds best where
            it tunes.
        ram_budget_gb: Memory for tf.data's buffers, which it then tunes. None means no limit.
        autotune_algorithm: Name in `tf.data.experimental.AutotuneAlgorithm`, by which it tunes them.
            None without a limit: it does not, and decodes as many examples at a time as there are
            processors.
        num_threads: Threads of the pipeline. None means the shared pool.
        max_num_instances: Length that boxes are padded to (and cut at) where every batch must have
            the same shape, as on TPUs. None means as many as the batch needs, a multiple of 8.
        data_service: Service that makes the training batches. None means this process.
    """

    seed: int = 0
    shuffle_buffer_size: int = 10_000
    cycle_length: int | None = None
    block_length: int = 1
    sharding: bool = True
    deterministic: bool | None = None
    prefetch_buffer_size: int | None = None
    ram_budget_gb: int | None = None
    autotune_algorithm: str | None = None
    num_threads: int | None = None
    max_num_instances: int | None = None
    data_service: data_service_lib.DataService | None = None


class InputReader:
    """Batches of a source: a stream without end to train on, or every example once.

    Args:
        source: Where examples come from.
        parser: What becomes of each.
        is_training: Which of the two streams.
        global_batch_size: Examples of one step over all replicas.
        num_examples: Reads only the first so many. None or -1 means all.
        options: How to read.
    """

    def __init__(
        self,
        source: source_lib.Source,
        parser: parser_lib.Parser,
        *,
        is_training: bool,
        global_batch_size: int,
        num_examples: int | None = None,
        options: ReaderOptions | None = None,
    ) -> None:
        if global_batch_size < 1:
            raise errors.UsageError(
                where='global_batch_size', expected='1 or more', received=str(global_batch_size)
            )
        self._source = source
        self._parser = parser
        self._is_training = is_training
        self._global_batch_size = global_batch_size
        if num_examples is None or num_examples == cfg.NUM_EXAMPLES_UNKNOWN:
            num_examples = source.info.num_examples
        self._num_examples = num_examples
        self._options = options or ReaderOptions()
        data_errors.remember_source(source)

    @property
    def num_batches(self) -> int:
        """Global batches of one pass; the last one is padded."""
        return -(-self._num_examples // self._global_batch_size)

    def read(
        self, input_context: tf.distribute.InputContext | None = None, *, first_batch: int = 0
    ) -> tf.data.Dataset:
        """The batches from global batch `first_batch` on.

        Args:
            input_context: Which worker asks. None means the only one.
            first_batch: Number of the first global batch; as if those before it had been read.

        Returns:
            Dataset of (images, labels), each batch of the size of one replica, always full. In
            evaluation labels has 'is_valid', bool [batch]: False marks padding.
        """
        return graph_code.call_plainly(
            lambda: self._read(input_context, first_batch), self._source, self._parser
        )

    def _read(
        self, input_context: tf.distribute.InputContext | None, first_batch: int
    ) -> tf.data.Dataset:
        batch_size = self._get_replica_batch_size(input_context)
        dataset = self._source.make_examples(self._make_order(input_context, first_batch))
        dataset = dataset.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)
        service = self._options.data_service if self._is_training else None
        if service and service.is_before_batching:
            dataset = service.apply(dataset)
        dataset = self._batch(dataset, batch_size)
        if service and not service.is_before_batching:
            dataset = service.apply(dataset)
        size = self._options.prefetch_buffer_size
        if size is None:
            size = tf.data.AUTOTUNE if self._is_tuned() else _NUM_PREFETCHED
        dataset = dataset.prefetch(size)
        return dataset.with_options(self._make_tf_options())

    def _get_replica_batch_size(self, context: tf.distribute.InputContext | None) -> int:
        num_replicas = context.num_replicas_in_sync if context else 1
        if self._global_batch_size % num_replicas:
            raise errors.UsageError(
                where='global_batch_size',
                expected=f'a multiple of the number of replicas ({num_replicas})',
                received=str(self._global_batch_size),
            )
        return self._global_batch_size // num_replicas

    def _make_order(
        self, context: tf.distribute.InputContext | None, first_batch: int
    ) -> source_lib.Order:
        service = self._options.data_service if self._is_training else None
        # Readers of one job of a service get different batches of one and the same stream.
        is_shared = service is not None and service.job_name is not None
        share = context if self._options.sharding and not is_shared else None
        return source_lib.Order(
            num_examples=self._num_examples,
            is_training=self._is_training,
            num_positions=self.num_batches * self._global_batch_size,
            seed=self._options.seed,
            first_position=first_batch * self._global_batch_size,
            worker=share.input_pipeline_id if share else 0,
            num_workers=share.num_input_pipelines if share else 1,
            shuffle_buffer_size=self._options.shuffle_buffer_size,
            cycle_length=self._options.cycle_length,
            block_length=self._options.block_length,
        )

    def _parse(self, example: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        record = self._source.decode(example)
        if not self._is_training:
            is_valid = example['is_valid']
            image, labels = self._parser.parse_fn(False)(_hide_unless(is_valid, record))
            return image, {**labels, 'is_valid': is_valid}
        key = randomness.make_key(
            self._options.seed, epoch=example['epoch'], index=example['index']
        )
        return self._parser.parse_fn(True)(record, key)

    def _batch(self, dataset: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        padding = self._parser.padding_values
        if not padding:
            dataset = dataset.batch(batch_size, drop_remainder=True)
            if not self._is_training:
                return dataset
            return dataset.map(self._parser.process_train_batch, tf.data.AUTOTUNE)
        # Faster than `padded_batch`, which fills all images before it copies them.
        dataset = dataset.ragged_batch(batch_size, drop_remainder=True)
        dataset = dataset.map(lambda images, labels: (images, _to_dense(labels, padding)))
        return dataset.map(self._process_batch)

    def _process_batch(self, images: Any, labels: Any) -> tuple[Any, Any]:
        if self._is_training:
            images, labels = self._parser.process_train_batch(images, labels)
        return images, self._fix_lengths(labels, self._parser.padding_values or {})

    def _fix_lengths(
        self, labels: dict[str, tf.Tensor], padding: Mapping[str, float]
    ) -> dict[str, tf.Tensor]:
        """Pads labels of varying length to a multiple of 8, or to the fixed length."""
        fixed = self._options.max_num_instances
        padded = {
            name: tf.nest.map_structure(
                lambda values, name=name: _pad_second(values, padding[name], fixed), labels[name]
            )
            for name in padding
            if name in labels
        }
        return {**labels, **padded}

    def _is_tuned(self) -> bool:
        """Whether tf.data tunes the pipeline: only where a field asks for it.

        The thread that tunes may miss that its iterator ends, and hold it, and the end of a run, until
        its next round: up to a minute. On few processors tuning makes nothing faster.
        """
        chosen = self._options
        return chosen.ram_budget_gb is not None or chosen.autotune_algorithm is not None

    def _make_tf_options(self) -> tf.data.Options:
        options = tf.data.Options()
        chosen = self._options
        options.deterministic = chosen.deterministic is not False
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.OFF  # each worker already reads its own share
        )
        options.autotune.enabled = self._is_tuned()
        if chosen.ram_budget_gb is not None:
            options.autotune.ram_budget = chosen.ram_budget_gb << 30
        if chosen.autotune_algorithm is not None:
            options.autotune.autotune_algorithm = getattr(
                tf.data.experimental.AutotuneAlgorithm, chosen.autotune_algorithm
            )
        if chosen.num_threads is not None:
            options.threading.private_threadpool_size = chosen.num_threads
        return options


def _hide_unless(is_valid: tf.Tensor, record: source_lib.Tensors) -> source_lib.Tensors:
    """The record, or one without objects and with the id -1, so that padding counts nowhere."""
    hidden = dict(record)
    for name, value in record.items():
        if name.startswith('groundtruth_'):
            hidden[name] = tf.nest.map_structure(
                lambda values: values[: tf.where(is_valid, tf.shape(values)[0], 0)], value
            )
    hidden['source_id'] = tf.where(is_valid, record['source_id'], -1)
    return hidden


def _to_dense(labels: dict[str, Any], padding: Mapping[str, float]) -> dict[str, Any]:
    """Labels of varying length, [batch, (n), ...], padded to the longest of the batch."""

    def pad(values: Any, name: str) -> tf.Tensor:
        if not isinstance(values, tf.RaggedTensor):
            return values
        return values.to_tensor(tf.cast(padding.get(name, 0), values.dtype))

    return {
        name: tf.nest.map_structure(lambda v, name=name: pad(v, name), value)
        for name, value in labels.items()
    }


def _pad_second(values: tf.Tensor, constant: float, length: int | None) -> tf.Tensor:
    """Pads [batch, n, ...] to [batch, length, ...]; None: to the next multiple of 8, 8 at least."""
    current = tf.shape(values)[1]
    if length is None:
        wanted = tf.maximum(1, -(-current // _LENGTH_MULTIPLE)) * _LENGTH_MULTIPLE
    else:
        wanted = tf.constant(length)
        values = values[:, :length]
    num_missing = tf.maximum(0, wanted - tf.shape(values)[1])
    paddings = [[0, 0], [0, num_missing]] + [[0, 0]] * (values.shape.rank - 2)
    padded = tf.pad(values, paddings, constant_values=tf.cast(constant, values.dtype))
    padded.set_shape([values.shape[0], length, *values.shape[2:]])
    return padded
