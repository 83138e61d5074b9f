"""Mixup (1710.09412) and CutMix (1905.04899) of a batch with itself in reverse order."""

from __future__ import annotations

import tensorflow as tf

from official_lite.vision.ops.random_draws import Seed, coin, fold_in, gamma, uniform_int

__all__ = ['MixupAndCutmix']


class MixupAndCutmix:
    """Mixes each image and its label with the one at the mirrored place in the batch.

    Unlike Model Garden's, CutMix's rectangle has the image's aspect ratio (there, its width follows
    from the height), and labels are mixed by the area that is really pasted (there, as if no
    rectangle reached over the border).

    Args:
        num_classes: Number of classes.
        mixup_alpha: Both parameters of the Beta distribution of Mixup's shares. 0: only CutMix.
        cutmix_alpha: Both parameters of the Beta distribution of CutMix's shares. 0: only Mixup.
        prob: Chance that a batch is mixed.
        switch_prob: Chance that a mixed batch gets CutMix.
        label_smoothing: Share of each label that is spread over all classes, mixed or not.

    Raises:
        ValueError: `num_classes` is below 1; or both alphas are 0 while `prob` is not.
    """

    def __init__(
        self,
        num_classes: int,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        label_smoothing: float = 0.1,
    ) -> None:
        if num_classes < 1:
            raise ValueError(f'Expected num_classes to be 1 or more. Received: {num_classes}')
        if prob and not (mixup_alpha or cutmix_alpha):
            raise ValueError('Expected mixup_alpha or cutmix_alpha above 0. Received: 0 for both')
        self.num_classes = num_classes
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.mix_prob = prob
        self.label_smoothing = label_smoothing
        if mixup_alpha and cutmix_alpha:
            self.switch_prob = switch_prob
        else:
            self.switch_prob = 0.0 if mixup_alpha else 1.0

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, seed: Seed = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`distort`."""
        return self.distort(images, labels, seed)

    @tf.autograph.experimental.do_not_convert
    def distort(
        self, images: tf.Tensor, labels: tf.Tensor, seed: Seed = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mixes a batch, perhaps.

        Args:
            images: [batch, height, width, channels] or [batch, frames, height, width, channels];
                floats or uint8.
            labels: int [batch], classes.
            seed: See `random_draws`.

        Returns:
            Images of the same shape and dtype, and labels float32 [batch, num_classes].

        Raises:
            ValueError: The images are of another rank.
        """
        if images.shape.rank not in (4, 5):
            raise ValueError(f'Bad image rank: {images.shape.rank}')
        seed = fold_in(seed, 'mixup_and_cutmix')
        targets = self._make_targets(tf.reshape(labels, [-1]))
        is_mixed = coin(seed, 'apply', self.mix_prob)
        return tf.cond(
            is_mixed,
            lambda: self._mix(images, targets, seed),
            lambda: (tf.identity(images), targets),
        )

    def _make_targets(self, labels: tf.Tensor) -> tf.Tensor:
        """float32 [batch, num_classes], smoothed."""
        off = self.label_smoothing / self.num_classes
        on = 1.0 - self.label_smoothing + off
        return tf.one_hot(labels, self.num_classes, on_value=on, off_value=off)

    def _mix(
        self, images: tf.Tensor, targets: tf.Tensor, seed: Seed
    ) -> tuple[tf.Tensor, tf.Tensor]:
        is_cutmix = coin(seed, 'switch', self.switch_prob)
        if self.switch_prob >= 1.0:
            mixed, share = self._cutmix(images, seed)
        elif self.switch_prob <= 0.0:
            mixed, share = self._mixup(images, seed)
        else:
            mixed, share = tf.cond(
                is_cutmix, lambda: self._cutmix(images, seed), lambda: self._mixup(images, seed)
            )
        share = share[:, tf.newaxis]
        return mixed, share * targets + (1.0 - share) * tf.reverse(targets, [0])

    def _mixup(self, images: tf.Tensor, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        share = _draw_beta(self.mixup_alpha, tf.shape(images)[:1], fold_in(seed, 'mixup'))
        weight = tf.reshape(share, [-1] + [1] * (images.shape.rank - 1))
        dtype = images.dtype if images.dtype.is_floating else tf.float32
        weight, values = tf.cast(weight, dtype), tf.cast(images, dtype)
        mixed = weight * values + (1.0 - weight) * tf.reverse(values, [0])
        if not images.dtype.is_floating:
            mixed = tf.round(mixed)
        return tf.cast(mixed, images.dtype), share

    def _cutmix(self, images: tf.Tensor, seed: Seed) -> tuple[tf.Tensor, tf.Tensor]:
        seed = fold_in(seed, 'cutmix')
        num_images = tf.shape(images)[:1]
        side = tf.sqrt(1.0 - _draw_beta(self.cutmix_alpha, num_images, seed))
        is_pasted: list[tf.Tensor] = []
        lengths = tf.unstack(tf.shape(images)[-3:-1])
        for name, length in zip(('row', 'column'), lengths):
            half = tf.cast(side * tf.cast(length, tf.float32), tf.int32) // 2
            centre = uniform_int(seed, name, num_images, maxval=length)
            places = tf.range(length)[tf.newaxis]
            low, high = (centre - half)[:, tf.newaxis], (centre + half)[:, tf.newaxis]
            is_pasted.append((places >= low) & (places < high))  # [batch, length]
        rows, columns = is_pasted
        mask = rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :]  # [batch, height, width]
        pasted = tf.reduce_mean(tf.cast(mask, tf.float32), axis=[1, 2])
        mask = mask[:, tf.newaxis, :, :, tf.newaxis] if images.shape.rank == 5 else mask[..., None]
        return tf.where(mask, tf.reverse(images, [0]), images), 1.0 - pasted


def _draw_beta(alpha: float, shape: tf.Tensor, seed: Seed) -> tf.Tensor:
    """Numbers of the distribution Beta(alpha, alpha)."""
    first = gamma(seed, 'first', shape, alpha=alpha)
    second = gamma(seed, 'second', shape, alpha=alpha)
    return first / (first + second)
