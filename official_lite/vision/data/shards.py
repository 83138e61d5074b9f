"""Shards of a data set that appear all at once, when they are complete."""

from __future__ import annotations

import os
import re
from types import TracebackType

import tensorflow as tf

from official_lite import errors
from official_lite.vision.dataloaders import class_file

__all__ = ['ShardWriter']


class ShardWriter:
    """Writes `PREFIX-00000-of-00008.tfrecord` and so on, and `PREFIX-classes.json`; a context.

    Until the block has ended well the files are hidden (`.NAME.partial`), so what is left of a run
    that was killed is neither taken for data nor in the way of the next one.

    Args:
        prefix: Folder and beginning of the names.
        num_shards: Number of files. Each has consecutive records, so that read one after the other
            they give the order in which they were written.
        num_examples: Number of records that will be written.
        classes: The classes to write beside them.
        is_compressed: Whether to compress by gzip.
        overwrite: Whether files of an earlier run may be replaced.

    Raises:
        UsageError: There are such files already, or the folder cannot be written.
    """

    def __init__(
        self,
        prefix: str,
        *,
        num_shards: int,
        num_examples: int,
        classes: class_file.ClassList,
        is_compressed: bool = False,
        overwrite: bool = False,
    ) -> None:
        self._folder, self._name = os.path.split(prefix)
        if not self._name or tf.io.gfile.isdir(prefix):
            raise errors.UsageError(
                where='--output',
                expected='folder and beginning of the names, as in records/train',
                received=repr(prefix),
            )
        self._names = [
            f'{self._name}-{i:05d}-of-{num_shards:05d}.tfrecord' for i in range(num_shards)
        ]
        self._num_examples = num_examples
        self._classes = classes
        self._options = tf.io.TFRecordOptions(compression_type='GZIP' if is_compressed else '')
        self._overwrite = overwrite
        self._shard = -1
        self._writer: tf.io.TFRecordWriter | None = None
        self._old: list[str] = []
        self.num_written = 0

    @property
    def paths(self) -> list[str]:
        """The shards."""
        return [os.path.join(self._folder, name) for name in self._names]

    @property
    def class_path(self) -> str:
        """The list of classes beside them."""
        return os.path.join(self._folder, f'{self._name}-classes.json')

    def __enter__(self) -> ShardWriter:
        self._old = self._find(r'{}(-\d{{5}}-of-\d{{5}}\.tfrecord|-classes\.json)')
        if self._old and not self._overwrite:
            raise errors.UsageError(
                f'there are {len(self._old)} files of this name already, such as {self._old[0]}',
                where=f'--output={os.path.join(self._folder, self._name)}',
                hint='give another name, or --overwrite',
            )
        try:
            tf.io.gfile.makedirs(self._folder or '.')
        except tf.errors.OpError as error:
            raise errors.UsageError(
                f'the folder cannot be made ({error.message})', where=f'--output={self._folder}'
            ) from error
        self._remove_partial()
        return self

    def write(self, serialized: bytes) -> None:
        """Appends a record."""
        shard = self.num_written * len(self._names) // self._num_examples
        while self._shard < shard:
            self._open_next()
        assert self._writer is not None
        self._writer.write(serialized)
        self.num_written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._close()
            if kind is None:
                while self._shard < len(self._names) - 1:
                    self._open_next()
                self._close()
                self._publish()
        finally:
            self._remove_partial()

    def _open_next(self) -> None:
        self._close()
        self._shard += 1
        self._writer = tf.io.TFRecordWriter(self._get_partial(self._shard), self._options)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _publish(self) -> None:
        """Takes the old files away, then gives the new ones their names."""
        for path in self._old:
            tf.io.gfile.remove(path)
        class_file.save_class_list(self._classes, self.class_path)
        for shard, path in enumerate(self.paths):
            tf.io.gfile.rename(self._get_partial(shard), path)

    def _get_partial(self, shard: int) -> str:
        return os.path.join(self._folder, f'.{self._names[shard]}.partial')

    def _remove_partial(self) -> None:
        for path in self._find(r'\.{}-\d{{5}}-of-\d{{5}}\.tfrecord\.partial'):
            tf.io.gfile.remove(path)

    def _find(self, pattern: str) -> list[str]:
        """Paths in the folder whose names match; {} stands for the name of the data set."""
        regex = re.compile(pattern.format(re.escape(self._name)))
        if not tf.io.gfile.isdir(self._folder or '.'):
            return []
        names = sorted(tf.io.gfile.listdir(self._folder or '.'))
        return [os.path.join(self._folder, name) for name in names if regex.fullmatch(name)]
