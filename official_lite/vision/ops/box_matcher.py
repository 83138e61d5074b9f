"""Matches rows of a similarity matrix (anchors) to its columns (ground truth)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


class BoxMatcher:
    """Gives each row its most similar column, and says by thresholds what the match is worth.

    Args:
        thresholds: Ascending bounds of the similarity. A value equal to a bound belongs to the
            interval above it.
        indicators: What the intervals mean, one more than bounds: for example -1 (negative), -2
            (ignored), 1 (positive).
        force_match_for_each_col: Whether the row that is most similar to a column gets that column
            and the last indicator, whatever the similarity. Of several columns that force one row,
            the first wins; of several rows that are equally similar to a column, the first is
            forced.

    Raises:
        ValueError: If the bounds do not ascend, or numbers do not fit.
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        indicators: Sequence[int],
        force_match_for_each_col: bool = False,
    ) -> None:
        if list(thresholds) != sorted(thresholds):
            raise ValueError(f'Expected ascending thresholds. Received: {list(thresholds)}')
        if len(indicators) != len(thresholds) + 1:
            raise ValueError(
                'Expected one indicator more than thresholds. '
                f'Received: indicators {list(indicators)}, thresholds {list(thresholds)}'
            )
        self.thresholds = tuple(thresholds)
        self.indicators = tuple(indicators)
        self._force = force_match_for_each_col

    def __call__(self, similarity_matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Matches.

        Args:
            similarity_matrix: Float [rows, columns] or [batch, rows, columns]; columns at -1
                everywhere are padding.

        Returns:
            Index of each row's column and indicator of the match, int32 [rows] or [batch, rows]
            each. Without columns, index 0 and indicator -1.
        """
        is_single = len(similarity_matrix.shape) == 2
        similarity = similarity_matrix[None] if is_single else similarity_matrix
        # A column that no row can match stands in for absent ones, so that there is no empty
        # reduction.
        padded = tf.pad(similarity, [[0, 0], [0, 0], [0, 1]], constant_values=-1.0)
        columns, indicators = self._match(padded)
        columns = tf.minimum(columns, tf.maximum(tf.shape(similarity)[-1] - 1, 0))
        return (columns[0], indicators[0]) if is_single else (columns, indicators)

    def _match(self, similarity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        columns = tf.argmax(similarity, axis=-1, output_type=tf.int32)  # [batch, rows]
        values = tf.reduce_max(similarity, axis=-1)
        indicators = tf.fill(tf.shape(values), self.indicators[0])
        for bound, indicator in zip(self.thresholds, self.indicators[1:]):
            indicators = tf.where(values >= bound, indicator, indicators)
        if not self._force:
            return columns, indicators
        forced = self._compute_forced_columns(similarity)
        is_forced = forced < tf.shape(similarity)[-1]
        return tf.where(is_forced, forced, columns), tf.where(
            is_forced, self.indicators[-1], indicators
        )

    @staticmethod
    def _compute_forced_columns(similarity: tf.Tensor) -> tf.Tensor:
        """The first column that forces a row, or the number of columns: int32 [batch, rows]."""
        num_rows, num_columns = tf.shape(similarity)[1], tf.shape(similarity)[2]
        is_column = tf.reduce_max(similarity, axis=1) > -1.0  # [batch, columns]
        best_row = tf.where(is_column, tf.argmax(similarity, axis=1, output_type=tf.int32), -1)
        is_best = (
            best_row[:, None, :] == tf.range(num_rows)[None, :, None]
        )  # [batch, rows, columns]
        return tf.reduce_min(tf.where(is_best, tf.range(num_columns), num_columns), axis=-1)
