"""AutoAugment and RandAugment."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from official_lite.vision.ops import augment_operations, augment_policies
from official_lite.vision.ops.augment_operations import MAX_LEVEL, Call, Operation, Strength
from official_lite.vision.ops.random_draws import Seed, coin, fold_in, is_key, normal, uniform_int

__all__ = ['AutoAugment', 'ImageAugment', 'RandAugment']

_IDENTITY = Operation(lambda image, boxes, call: (tf.identity(image), boxes))
_NUM_KEYS = 2**31 - 1


class ImageAugment(abc.ABC):
    """Something that changes images, and boxes with them."""

    def distort(self, image: tf.Tensor, seed: Seed = None) -> tf.Tensor:
        """Changes an image.

        Args:
            image: [height, width, 3], or [frames, height, width, 3], with values 0 to 255; other
                dtypes than uint8 are clipped to that and cut to whole numbers.
            seed: See `random_draws`.

        Returns:
            Tensor of the same shape and dtype.
        """
        return self._distort(image, None, seed)[0]

    def distort_with_boxes(
        self, image: tf.Tensor, bboxes: tf.Tensor, seed: Seed = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Changes an image and its boxes.

        Args:
            image: As in `distort`.
            bboxes: float32 [n, 4], or [frames, n, 4], yxyx normalised by the image's size.
            seed: See `random_draws`.

        Returns:
            Both, of the same shapes and dtypes. Boxes of which nothing is left are empty.
        """
        return self._distort(image, bboxes, seed)

    def distort_with_masks(
        self, image: tf.Tensor, bboxes: tf.Tensor, masks: tf.Tensor, seed: Seed = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Changes an image, its boxes and its masks alike.

        Args:
            image: uint8 [height, width, 3].
            bboxes: float32 [n, 4], yxyx normalised by the image's size.
            masks: uint8 [n, height, width] of 0 and 1.
            seed: See `random_draws`.

        Returns:
            All three, as `distort_with_boxes`. Masks are 0 where nothing of the image is left.
        """
        if not is_key(seed):  # one that can be used twice
            seed = uniform_int(seed, 'masks', [2], maxval=_NUM_KEYS)
        # One channel more, so that there is one where there is no object.
        layers = tf.transpose(tf.pad(masks, [[0, 1], [0, 0], [0, 0]]), [1, 2, 0])
        moved = self._distort(layers, bboxes, seed, is_mask=True)[0]
        changed, boxes = self._distort(image, bboxes, seed)
        return changed, boxes, tf.transpose(moved[..., :-1], [2, 0, 1])

    @abc.abstractmethod
    def _distort(
        self, image: tf.Tensor, bboxes: Any, seed: Seed, is_mask: bool = False
    ) -> tuple[tf.Tensor, Any]:
        """Image and boxes; boxes may be None.

        Masks, uint8 [height, width, channels], get only what moves content; what comes in is 0.
        """


def _apply_steps(
    image: tf.Tensor,
    bboxes: Any,
    operations: Sequence[Operation],
    *,
    choices: tf.Tensor,
    arguments: tf.Tensor,
    probs: tf.Tensor,
    seed: Seed,
    fill_mode: str | None,
    is_mask: bool = False,
) -> tuple[tf.Tensor, Any]:
    """Applies one operation after the other, in one loop, so that each is traced once.

    Args:
        image: [..., height, width, 3] (see `ImageAugment.distort`).
        bboxes: [..., 4] or None.
        operations: What there is to choose from.
        choices: int32 [steps], indices into `operations`; one past its end does nothing.
        arguments: float32 [steps].
        probs: float32 [steps].
        seed: See `random_draws`.
        fill_mode: See `AutoAugment`.
        is_mask: See `ImageAugment._distort`.
    """
    dtype = image.dtype
    if dtype != tf.uint8:
        image = tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)
    has_boxes = bboxes is not None
    if not has_boxes:
        bboxes = tf.zeros([0, 4])
    edges = fill_mode or ('constant' if has_boxes else 'reflect')
    outside: dict[str, Any] = {'fill_mode': edges}
    if is_mask:
        operations = [op if op.is_move else _IDENTITY for op in operations]
        outside = {'fill_mode': 'constant', 'replace': 0}

    def step(number: tf.Tensor, image: tf.Tensor, bboxes: tf.Tensor) -> Any:
        call = Call(arguments[number], probs[number], fold_in(seed, number), **outside)

        def make_branch(operation: Operation) -> Any:
            def branch() -> tuple[tf.Tensor, tf.Tensor]:
                changed, moved = operation.apply(image, bboxes if has_boxes else None, call)
                return tf.ensure_shape(changed, image.shape), moved if has_boxes else bboxes

            return branch

        branches: list[Any] = [make_branch(operation) for operation in operations]
        branches.append(lambda: (tf.identity(image), tf.identity(bboxes)))
        return number + 1, *tf.switch_case(choices[number], branches)

    _, image, bboxes = tf.while_loop(
        lambda number, *_: number < tf.shape(choices)[0],
        step,
        (tf.constant(0), image, bboxes),
        shape_invariants=(tf.TensorShape([]), image.shape, bboxes.shape),
        parallel_iterations=1,
    )
    return tf.cast(image, dtype), bboxes if has_boxes else None


class AutoAugment(ImageAugment):
    """AutoAugment (1805.09501, 1906.11172).

    Args:
        augmentation_name: A name of `augment_policies.POLICIES`.
        policies: Sub-policies of (operation, probability, magnitude) instead; all of one length.
        cutout_const: Half of Cutout's side at magnitude 10, pixels.
        translate_const: Shift of TranslateX and TranslateY at magnitude 10, pixels.
        fill_mode: What geometric operations bring in from outside: 'reflect', which mirrors the
            image, or 'constant', grey. None means grey where there are boxes, because mirrored
            objects have none, and else mirrored, as in Model Garden.

    Raises:
        KeyError: An operation is unknown.
        ValueError: The name is unknown, or `policies` has another form, or a probability or
            magnitude is out of range.
    """

    def __init__(
        self,
        augmentation_name: str = 'v0',
        policies: Iterable[Iterable[tuple[str, float, float]]] | None = None,
        cutout_const: float = 100,
        translate_const: float = 250,
        fill_mode: str | None = None,
    ) -> None:
        self.augmentation_name = augmentation_name
        self.cutout_const = float(cutout_const)
        self.translate_const = float(translate_const)
        self.fill_mode = fill_mode
        self.available_policies = augment_policies.POLICIES
        self.policies = list(policies) if policies else self._find_policies()
        _check_policies(self.policies)
        self._names = sorted({step[0] for policy in self.policies for step in policy})
        self._table = self._make_table()

    def _find_policies(self) -> Any:
        if self.augmentation_name not in self.available_policies:
            raise ValueError(
                f'Invalid augmentation_name: {self.augmentation_name}. '
                f'There are: {", ".join(self.available_policies)}'
            )
        return self.available_policies[self.augmentation_name]

    def _make_table(self) -> np.ndarray:
        """[sub-policies, steps, 3]: number of the operation, probability, argument."""
        strength = Strength(self.cutout_const, self.translate_const)
        rows = [
            [
                (
                    self._names.index(name),
                    prob,
                    augment_operations.OPERATIONS[name].compute_argument(level, strength),
                )
                for name, prob, level in policy
            ]
            for policy in self.policies
        ]
        return np.array(rows, np.float32)

    @tf.autograph.experimental.do_not_convert
    def _distort(
        self, image: tf.Tensor, bboxes: Any, seed: Seed, is_mask: bool = False
    ) -> tuple[tf.Tensor, Any]:
        seed = fold_in(seed, 'autoaugment')
        policy = uniform_int(seed, 'policy', maxval=len(self._table))
        choices, probs, arguments = tf.unstack(tf.constant(self._table)[policy], axis=-1)
        is_applied = coin(seed, 'apply', probs, [self._table.shape[1]])
        choices = tf.where(is_applied, tf.cast(choices, tf.int32), len(self._names))
        return _apply_steps(
            image,
            bboxes,
            [augment_operations.OPERATIONS[name] for name in self._names],
            choices=choices,
            arguments=arguments,
            probs=probs,
            seed=seed,
            fill_mode=self.fill_mode,
            is_mask=is_mask,
        )


def _check_policies(policies: Any) -> None:
    """Raises what `AutoAugment` says."""
    try:
        shape = np.array([[list(step) for step in policy] for policy in policies], object).shape
    except (TypeError, ValueError):
        shape = np.array(policies, object).shape
    if len(shape) != 3 or shape[-1] != 3:
        raise ValueError(f'Wrong shape of the policies. Expected (:, :, 3) but got {shape}.')
    for name, prob, level in (step for policy in policies for step in policy):
        augment_operations.get_operation(name)
        if not 0 <= prob <= 1:
            raise ValueError(f'{name}: expected a probability of 0 to 1. Received: {prob}')
        if not 0 <= level <= MAX_LEVEL:
            raise ValueError(
                f'{name}: expected a magnitude of 0 to {MAX_LEVEL:g}. Received: {level}'
            )


class RandAugment(ImageAugment):
    """RandAugment (1909.13719): each layer draws one of the operations, or none, uniformly.

    Args:
        num_layers: Operations, one after the other.
        magnitude: Strength of all of them; 0 to 10, and more where an operation allows it.
        cutout_const: Half of Cutout's side at magnitude 10, pixels.
        translate_const: Shift of TranslateX and TranslateY at magnitude 10, pixels.
        magnitude_std: Standard deviation of the magnitude, drawn anew for each layer and kept
            within 0 and 10. 0 means none.
        prob_to_apply: Chance of each layer. None means always.
        exclude_ops: Names of operations to leave out.
        fill_mode: As in `AutoAugment`.

    Raises:
        KeyError: A name in `exclude_ops` is no operation.
    """

    def __init__(
        self,
        num_layers: int = 2,
        magnitude: float = 10.0,
        cutout_const: float = 40.0,
        translate_const: float = 10.0,
        magnitude_std: float = 0.0,
        prob_to_apply: float | None = None,
        exclude_ops: Sequence[str] | None = None,
        fill_mode: str | None = None,
    ) -> None:
        self.num_layers = num_layers
        self.magnitude = float(magnitude)
        self.cutout_const = float(cutout_const)
        self.translate_const = float(translate_const)
        self.fill_mode = fill_mode
        self.magnitude_std = float(magnitude_std)
        self.prob_to_apply = None if prob_to_apply is None else float(prob_to_apply)
        excluded = {_drop_suffix(name) for name in exclude_ops or ()}
        for name in excluded:
            augment_operations.get_operation(name)
        self.available_ops = [
            name for name in augment_policies.RANDAUGMENT_OPERATIONS if name not in excluded
        ]

    @classmethod
    def build_for_detection(cls, *args: Any, **kwargs: Any) -> RandAugment:
        """The same, with Model Garden's names of operations that move boxes.

        Here all geometric operations do that in `distort_with_boxes`.
        """
        augmenter = cls(*args, **kwargs)
        augmenter.available_ops = [
            f'{name}_BBox' if name in augment_operations.GEOMETRIC else name
            for name in augmenter.available_ops
        ]
        return augmenter

    @tf.autograph.experimental.do_not_convert
    def _distort(
        self, image: tf.Tensor, bboxes: Any, seed: Seed, is_mask: bool = False
    ) -> tuple[tf.Tensor, Any]:
        seed = fold_in(seed, 'randaugment')
        operations = [augment_operations.OPERATIONS[name] for name in self.available_ops]
        shape = [self.num_layers]
        choices = uniform_int(seed, 'operation', shape, maxval=len(operations) + 1)
        if self.prob_to_apply is not None:
            is_applied = coin(seed, 'apply', self.prob_to_apply, shape)
            choices = tf.where(is_applied, choices, len(operations))
        return _apply_steps(
            image,
            bboxes,
            operations,
            choices=choices,
            arguments=self._compute_arguments(operations, choices, seed),
            probs=tf.ones(shape),
            seed=seed,
            fill_mode=self.fill_mode,
            is_mask=is_mask,
        )

    def _draw_levels(self, seed: Seed) -> Any:
        """The magnitude of all layers, or float32 [layers]."""
        if not self.magnitude_std:
            return self.magnitude
        noise = self.magnitude_std * normal(seed, 'magnitude', [self.num_layers])
        return tf.clip_by_value(self.magnitude + noise, 0.0, MAX_LEVEL)

    def _compute_arguments(
        self, operations: Sequence[Operation], choices: tf.Tensor, seed: Seed
    ) -> tf.Tensor:
        """float32 [layers]."""
        strength = Strength(self.cutout_const, self.translate_const)
        levels = self._draw_levels(seed)
        columns = [
            tf.broadcast_to(
                tf.cast(operation.compute_argument(levels, strength), tf.float32),
                [self.num_layers],
            )
            for operation in operations
        ]
        table = tf.stack([*columns, tf.zeros([self.num_layers])], axis=1)  # [layers, operations]
        return tf.gather(table, choices, batch_dims=1)


def _drop_suffix(name: str) -> str:
    return name.removesuffix('_BBox')
