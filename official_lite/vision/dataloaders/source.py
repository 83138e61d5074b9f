"""What a source of examples is, and the order in which examples come."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from official_lite import errors
from official_lite.core import randomness
from official_lite.core.data_info import DataInfo
from official_lite.vision.dataloaders.image_decoding import check_image, decode_image

__all__ = [
    'IndexedSource',
    'Order',
    'Source',
    'Tensors',
    'check_image',
    'decode_image',
    'to_number',
]

Tensors = dict[str, tf.Tensor]

# tf.data counts in int64; this many positions never end.
_ENDLESS = 1 << 62
# Hashes are below what a float64, and so JSON, holds exactly.
_NUM_HASH_BUCKETS = 1 << 53
_NUM_CHECKING_THREADS = 8


@dataclasses.dataclass(frozen=True)
class Order:
    """Which examples one worker gets, and when.

    Positions count the examples of all workers from the start of training: position p is in epoch
    p // num_examples, and belongs to worker p % num_workers. So a global batch holds the same
    examples with any number of workers, and batch n can be found without reading those before it.

    Attributes:
        num_examples: Length of an epoch.
        is_training: Whether to shuffle and to repeat without end. If not, examples come once, by
            index, and the last one is repeated as padding up to `num_positions`.
        num_positions: Where evaluation ends; at least `num_examples`.
        seed: Seed of the shuffling.
        first_position: Where to start; a multiple of `num_workers`.
        worker: Number of this worker.
        num_workers: Number of workers.
        shuffle_buffer_size: Examples in the buffer of a source that can only be read in sequence.
        cycle_length: Files read in turn by such a source. None means 8.
        block_length: Examples taken from each of them in its turn.
    """

    num_examples: int
    is_training: bool
    num_positions: int = 0
    seed: int = 0
    first_position: int = 0
    worker: int = 0
    num_workers: int = 1
    shuffle_buffer_size: int = 10_000
    cycle_length: int | None = None
    block_length: int = 1

    def make_positions(self) -> tf.data.Dataset:
        """int64 positions of this worker."""
        stop = _ENDLESS if self.is_training else max(self.num_positions, self.num_examples)
        return tf.data.Dataset.range(self.first_position + self.worker, stop, self.num_workers)

    def locate(self, position: tf.Tensor) -> Tensors:
        """{'index', 'epoch': int64 [], 'is_valid': bool []} of a position."""
        length = tf.constant(self.num_examples, tf.int64)
        if not self.is_training:
            return {
                'index': tf.minimum(position, length - 1),
                'epoch': tf.zeros([], tf.int64),
                'is_valid': position < length,
            }
        epoch = position // length
        key = randomness.make_key(self.seed, epoch=epoch, name='order')
        index = randomness.shuffle_index(position % length, self.num_examples, key)
        return {'index': index, 'epoch': epoch, 'is_valid': tf.constant(True)}


class Source(abc.ABC):
    """Examples in files or in memory, numbered from 0."""

    @property
    @abc.abstractmethod
    def info(self) -> DataInfo:
        """Counts and classes."""

    @abc.abstractmethod
    def make_examples(self, order: Order) -> tf.data.Dataset:
        """Examples in their order, not yet decoded.

        Returns:
            Dataset of dicts: what `Order.locate` gives, and what `decode` needs besides.
        """

    @abc.abstractmethod
    def decode(self, example: Mapping[str, tf.Tensor]) -> Tensors:
        """One example as a record. Runs inside tf.data, in parallel.

        Returns:
            'image' uint8 [height, width, 3]; 'source_id', 'height', 'width' int64 [];
            'groundtruth_boxes' float32 [n, 4], yxyx normalised by the image's size;
            'groundtruth_classes' int64 [n], labels from 1; 'groundtruth_is_crowd' bool [n];
            'groundtruth_area' float32 [n], square pixels of the original image. Where masks were
            asked for also 'groundtruth_instance_masks' [n, height, width], 0 outside of an object.
        """

    @abc.abstractmethod
    def describe(self, index: int) -> str:
        """File and position of an example, for messages."""

    @abc.abstractmethod
    def read_image(self, index: int) -> bytes:
        """The encoded image of one example, read eagerly."""

    def get_reading(self, index: int) -> int:
        """How the image of one example is decoded (see `image_decoding.decode_image`)."""
        del index
        return 0

    def find_bad_images(self, indices: Iterable[int]) -> Iterator[tuple[int, str]]:
        """(index, reason) of those examples whose image cannot be read, in order."""
        with ThreadPoolExecutor(_NUM_CHECKING_THREADS) as pool:
            reasons = pool.map(lambda index: (index, self._check(index)), indices)
            yield from ((index, reason) for index, reason in reasons if reason)

    def _check(self, index: int) -> str:
        """Why an image cannot be read; '' if it can."""
        try:
            return check_image(self.read_image(index), self.get_reading(index))
        except errors.DataError as error:
            return error.message
        except tf.errors.DataLossError:
            return 'the record is corrupt: its checksum is wrong'
        except (tf.errors.OpError, OSError) as error:
            return getattr(error, 'message', str(error))

    def find_error(self) -> errors.DataError | None:
        """The error of the first example whose image cannot be read; None if all can."""
        for index, reason in self.find_bad_images(range(self.info.num_examples)):
            return errors.DataError(
                reason,
                where=self.describe(index),
                hint='mend or remove it, or set skip_corrupt=true to leave such examples out',
            )
        return None


class IndexedSource(Source):
    """A source whose examples can be read in any order: the shuffle is perfect, the seek free."""

    def make_examples(self, order: Order) -> tf.data.Dataset:
        return order.make_positions().map(order.locate)


def to_number(source_id: tf.Tensor) -> tf.Tensor:
    """int64 [] of an id that may be a string; a string that is no number becomes its hash."""
    if source_id.dtype != tf.string:
        return tf.cast(source_id, tf.int64)
    is_number = tf.strings.regex_full_match(source_id, r'[+-]?[0-9]{1,18}')
    number = tf.strings.to_number(tf.where(is_number, source_id, '0'), tf.int64)
    return tf.where(is_number, number, tf.strings.to_hash_bucket_fast(source_id, _NUM_HASH_BUCKETS))
