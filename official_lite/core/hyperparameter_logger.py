"""Writes hyperparameters while a model trains: for `model.fit`, and for our own trainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from official_lite.core import hyperparameter_outputs, metric_paths, metrics_log, step_logs
from official_lite.core import hyperparameter_writers as writers_lib
from official_lite.core.hyperparameters import Hyperparameters

__all__ = ['HyperparameterAction', 'HyperparameterLogger', 'make_action']


class HyperparameterLogger(keras.callbacks.Callback):
    """Keras callback that writes all hyperparameters once, and learning rate and metrics each epoch.

        model.fit(x, y, callbacks=[HyperparameterLogger(['csv', 'tensorboard'], log_dir='runs/a')])

    Args:
        outputs: Where to: 'log', 'jsonl', 'csv', 'tensorboard', 'mlflow', 'wandb'.
        log_dir: Folder of the files; 'log' alone needs none.
        hyperparameters: The hyperparameters: a config, a mapping, or `Hyperparameters`. None takes
            `model.hyperparameters` where a task built the model, and otherwise what `compile` and
            `fit` were told.
        extra: More values, by name.
        writers: Writers of your own, besides the outputs.
        monitor: The metric of which the best value counts.
        mode: 'higher' or 'lower': which values of it are better.

    Raises:
        UsageError: An output is unknown, or its package is not installed.
    """

    def __init__(
        self,
        outputs: Iterable[str] = ('log',),
        log_dir: str | None = None,
        *,
        hyperparameters: Any = None,
        extra: Mapping[str, Any] | None = None,
        writers: Iterable[writers_lib.Writer] = (),
        monitor: str = 'val_loss',
        mode: str = 'lower',
    ) -> None:
        super().__init__()
        made = hyperparameter_outputs.make_writers(outputs, log_dir)
        self._recorder = _Recorder([*made, *writers], monitor, mode)
        self._given = hyperparameters
        self._extra = dict(extra or {})
        self._step = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Writes all hyperparameters."""
        self._recorder.begin(self._collect())

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Counts."""
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes what changed: learning rate, epoch, and the metrics."""
        live: dict[str, Any] = {'epoch': epoch + 1}
        rate = _get_learning_rate(self.model)
        if rate is not None:
            live['learning_rate'] = rate
        self._recorder.write(self._step, {**live, **metrics_log.scalars(logs or {})})

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the best value, and closes."""
        self._recorder.end()

    def _collect(self) -> Hyperparameters:
        found = self._given
        if found is None:
            found = getattr(self.model, 'hyperparameters', None)
        if found is None:
            found = Hyperparameters({})
        elif not isinstance(found, Hyperparameters):
            found = Hyperparameters.of(found)
        told = {**describe_fit(self.model, self.params or {}), **self._extra}
        given = None if found.given is None else [*found.given, *told]
        return Hyperparameters(
            {**found.tree(), **{k: v for k, v in told.items() if k not in found}},
            experiment=found.experiment,
            imports=found.imports,
            live=found.live,
            given=given,
        )


class HyperparameterAction:
    """The trainer's action: hyperparameters when training begins, live ones with the logs.

    Args:
        trainer: The trainer.
        writers: Where to write.
        monitor: The evaluation's metric of which the best value counts; '' for none.
        mode: 'higher' or 'lower': which values of it are better.
    """

    def __init__(
        self,
        trainer: Any,
        writers: Iterable[writers_lib.Writer],
        monitor: str = '',
        mode: str = 'higher',
    ) -> None:
        self._trainer = trainer
        name = metric_paths.validation_path(monitor) if monitor else ''
        self._recorder = _Recorder(list(writers), name, mode)

    def begin(self) -> None:
        """Writes all hyperparameters; call it when the trainer has been restored."""
        self._recorder.begin(self._trainer.hyperparameters)

    def write_train(self, logs: Mapping[str, Any]) -> None:
        """Writes the live hyperparameters and the numbers in the logs of training steps."""
        self._write({metric_paths.train_path(k): v for k, v in metrics_log.scalars(logs).items()})

    def write_validation(self, logs: Mapping[str, Any]) -> None:
        """The same with the logs of an evaluation, as `eval/NAME`."""
        self._write(
            {metric_paths.validation_path(k): v for k, v in metrics_log.scalars(logs).items()}
        )

    def _write(self, values: dict[str, float]) -> None:
        live = self._trainer.get_live_hyperparameters()
        step = int(live.pop('step'))
        known = {name: value for name, value in live.items() if value is not None}
        self._recorder.write(step, {**values, **known})

    def end(self) -> None:
        """Writes the best value, and closes; without `begin` nothing happens."""
        self._recorder.end()


class _Recorder:
    """Several writers as one, with the best value of one metric."""

    def __init__(self, writers: list[writers_lib.Writer], monitor: str, mode: str) -> None:
        self._writers = writers
        self._monitor = monitor
        self._sign = -1.0 if mode == 'lower' else 1.0
        self._best: dict[str, float] = {}
        self._is_open = False

    def begin(self, hyperparameters: Hyperparameters) -> None:
        self._is_open = True
        for writer in self._writers:
            writer.begin(hyperparameters)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        value = values.get(self._monitor)
        if value is not None:
            best = self._best.get(self._monitor)
            if best is None or self._sign * value > self._sign * best:
                self._best = {self._monitor: float(value)}
        for writer in self._writers:
            writer.write(step, values)

    def end(self) -> None:
        is_open, self._is_open = self._is_open, False
        for writer in self._writers if is_open else ():
            writer.end(self._best)


def make_action(params: Any, trainer: Any, model_dir: str, is_chief: bool) -> HyperparameterAction:
    """Returns the action that a config asks for with `trainer.log_hyperparameters_to`.

    Args:
        params: The `ExperimentConfig`.
        trainer: The trainer.
        model_dir: Folder of the run.
        is_chief: Whether this process writes.
    """
    config = params.trainer
    outputs = getattr(config, 'log_hyperparameters_to', ()) if is_chief else ()
    metric = config.best_checkpoint_eval_metric
    made = hyperparameter_outputs.make_writers(outputs, model_dir)
    return HyperparameterAction(trainer, made, metric, config.best_checkpoint_metric_comp)


def describe_fit(model: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """What `compile` and `fit` were told: optimizer with its settings, loss, epochs, steps.

    Args:
        model: A compiled model.
        params: `params` of a callback.
    """
    told: dict[str, Any] = {name: params[name] for name in ('epochs', 'steps') if params.get(name)}
    optimizer = getattr(model, 'optimizer', None)
    if optimizer is not None:
        told['optimizer.class'] = type(optimizer).__name__
        for name, value in optimizer.get_config().items():
            is_plain = isinstance(value, (bool, int, float, str))
            if is_plain:
                told[f'optimizer.{name}'] = value
        rate = _get_learning_rate(model)
        if rate is not None:
            told['optimizer.learning_rate'] = rate
    loss = getattr(model, 'loss', None)
    if loss is not None:
        told['loss'] = loss if isinstance(loss, str) else getattr(loss, 'name', str(loss))
    return told


def _get_learning_rate(model: Any) -> float | None:
    optimizer = getattr(model, 'optimizer', None)
    return None if optimizer is None else step_logs.get_learning_rate(optimizer)
