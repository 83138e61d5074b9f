"""What a run knows between two steps, and how it goes into checkpoints and comes back."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from official_lite.core import checkpoints, layer_control, replicas

__all__ = ['TrainingState']


class TrainingState:
    """Counters, the model's weights, the optimizer's state and random states.

    Attributes:
        global_step: Steps done, int64.
        num_batches: Global batches consumed, int64; more than the steps after a recovery.
        epoch: Whole passes over the training data when the state was last saved, int64.
        checkpoint: Everything that a resumed run needs.
        export_checkpoint: The model and the step: what is exported as the best.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer | None,
        layers: layer_control.LayerControl,
        *,
        metadata: str = '',
    ) -> None:
        """Creates the counters and the optimizer's state. Call it in the strategy's scope.

        Args:
            model: The model, built in the same scope.
            optimizer: The optimizer, None where nothing is trained.
            layers: What the config says of the model's layers; it is applied to the optimizer.
            metadata: JSON text that goes into the checkpoints.
        """
        self._strategy = tf.distribute.get_strategy()
        self._model = model
        self.global_step = _make_counter('global_step')
        self.num_batches = _make_counter('num_batches')
        self.epoch = _make_counter('epoch')
        self._random_states = {'random/global': replicas.get_global_seed_state()}
        self._model_keys = checkpoints.model_variables(model)
        exported = {**self._model_keys, checkpoints.STEP_KEY: self.global_step}
        self.export_checkpoint = checkpoints.FlatCheckpoint(exported, metadata)
        self.checkpoint = checkpoints.FlatCheckpoint(
            {
                **exported,
                **self._build_optimizer(optimizer, layers),
                **self._random_states,
                checkpoints.NUM_BATCHES_KEY: self.num_batches,
                checkpoints.EPOCH_KEY: self.epoch,
            },
            metadata,
            slots_like_weights=getattr(optimizer, 'slots_like_weights', ()),
        )
        self._seed_replicas()

    def restore(self, path: str) -> None:
        """Sets everything from a checkpoint of such a run."""
        self.checkpoint.read(path)
        self._seed_replicas()

    def restore_but_position(self, path: str) -> None:
        """Sets everything but the position in the data."""
        seen = replicas.to_int(self.num_batches)
        self.restore(path)
        self.num_batches.assign(seen)

    def restore_model(self, path: str, *, use_averages: bool) -> None:
        """Sets the model and the step from any checkpoint.

        Args:
            path: Prefix of the checkpoint.
            use_averages: Whether to read the moving averages of the weights, where these are kept.
        """
        step = checkpoints.read_model(self._model_keys, path, use_averages=use_averages)
        self.global_step.assign(step)

    def _build_optimizer(
        self, optimizer: Any, layers: layer_control.LayerControl
    ) -> dict[str, tf.Variable]:
        """Creates the optimizer's state; returns it by key."""
        if optimizer is None:
            return {}
        if hasattr(optimizer, 'set_variable_keys') and not optimizer.built:
            optimizer.set_variable_keys(self._model_keys)
        if hasattr(optimizer, 'shadow_copy') and not optimizer.has_shadow_copy:
            optimizer.shadow_copy(self._model)
        layers.configure_optimizer(optimizer)
        optimizer.build(self._model.trainable_variables)
        layers.check_optimizer(optimizer)
        return checkpoints.optimizer_variables(optimizer, self._model_keys)

    def _seed_replicas(self) -> None:
        states = [*self._model.variables, *self._random_states.values()]
        replicas.seed_replicas(self._strategy, states)


def _make_counter(name: str) -> tf.Variable:
    return tf.Variable(
        0,
        dtype=tf.int64,
        name=name,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
