"""Which checkpoints of a run are kept, and when they are written."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from official_lite.core import checkpoint_files
from official_lite.core.checkpoints import FlatCheckpoint


class CheckpointManager:
    """Writes `ckpt-<step>` files into one folder and keeps the last few.

    Only the chief writes; the other workers call the same methods and do nothing. The file `checkpoint` names
    the complete ones, as TensorFlow's own manager writes it, and changes after they are complete.
    """

    def __init__(
        self,
        checkpoint: FlatCheckpoint,
        directory: str,
        *,
        max_to_keep: int = 5,
        is_chief: bool = True,
        use_async: bool = False,
        name: str = checkpoint_files.CHECKPOINT_NAME,
    ) -> None:
        """Finds the checkpoints that `directory` already has.

        Args:
            checkpoint: What is saved.
            directory: Where; made when needed.
            max_to_keep: How many are kept; 0 or less keeps all.
            is_chief: Whether this process writes.
            use_async: Whether files are written by a thread, from a copy of the values in host memory.
            name: First part of the file names.
        """
        self.checkpoint = checkpoint
        self.directory = directory
        self._max_to_keep = max_to_keep
        self._is_chief = is_chief
        self._name = name
        self._kept = checkpoint_files.list_checkpoints(directory)
        self._pending: concurrent.futures.Future[None] | None = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1) if use_async and is_chief else None
        self._snapshot: FlatCheckpoint | None = None

    @property
    def latest(self) -> str | None:
        """Prefix of the newest complete checkpoint."""
        self.wait()
        return checkpoint_files.latest_checkpoint(self.directory)

    @property
    def checkpoints(self) -> list[str]:
        """Prefixes of what is kept, oldest first."""
        return list(self._kept)

    def save(self, step: int) -> str:
        """Saves as `<name>-<step>` and deletes what is too old; returns the prefix."""
        prefix = os.path.join(self.directory, f'{self._name}-{step}')
        self.wait()
        if not self._is_chief:
            return prefix
        if self._thread is None:
            self._write(self.checkpoint, prefix)
        else:
            values = {key: v.numpy() for key, v in self.checkpoint.variables.items()}
            self._pending = self._thread.submit(self._write_values, values, prefix)
        return prefix

    def wait(self) -> None:
        """Waits for a file that is being written; raises what went wrong with it."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Waits for the last file and ends the thread."""
        try:
            self.wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def _write(self, checkpoint: FlatCheckpoint, prefix: str) -> None:
        checkpoint.write(prefix)
        self._kept = [path for path in self._kept if path != prefix] + [prefix]
        surplus = self._kept[: -self._max_to_keep] if self._max_to_keep > 0 else []
        self._kept = self._kept[len(surplus) :]
        checkpoint_files.write_state(self.directory, self._kept)
        for path in surplus:
            checkpoint_files.delete_checkpoint(path)

    def _write_values(self, values: Mapping[str, Any], prefix: str) -> None:
        """Runs in the thread, which is in no strategy's scope: its variables are plain ones."""
        if self._snapshot is None:
            with tf.device('CPU:0'):
                copies = {k: tf.Variable(v, dtype=v.dtype) for k, v in values.items()}
            self._snapshot = FlatCheckpoint(copies, self.checkpoint.metadata)
        for key, copy in self._snapshot.variables.items():
            copy.assign(values[key])
        self._write(self._snapshot, prefix)
