"""Layer overrides and layer-wise decay in a run: when, and with what optimizer."""

from __future__ import annotations

from typing import Any

import keras

from official_lite.core import checkpoints
from official_lite.modeling import freezing, layer_overrides
from official_lite.modeling.layer_overrides import layer_table

WHERE = 'task.layer_overrides'


class LayerControl:
    """What a config says of single layers, applied to the model that a trainer trains.

    The order of a run: build the model; `task.freeze`, then overrides of structure, training and
    rates; `init_checkpoint`; new initial values. A resumed run reads its checkpoint instead of the
    last two. (What is set on layers does not depend on the values of variables, so this is the same
    as to set it after them.)

    Attributes:
        settings: What became of the overrides; None for a config without any.
    """

    def __init__(self, model: keras.Model, config: Any) -> None:
        """Freezes and overrides, before the optimizer is built.

        Args:
            model: The model, built.
            config: The `ExperimentConfig`.

        Raises:
            FreezeError: a pattern of `task.freeze` freezes nothing, or nothing is left to train.
            LayerOverrideError: an override fits no layer, or contradicts another one.
        """
        self._seed = getattr(config.runtime, 'seed', None) or 0
        patterns = getattr(config.task, 'freeze', None) or []
        frozen: tuple[str, ...] = ()
        if patterns:
            frozen = freezing.freeze(model, checkpoints.model_variables(model), patterns)
        overrides = getattr(config.task, 'layer_overrides', None) or []
        optimization = getattr(config.trainer, 'optimizer_config', None)
        self.settings = None
        if overrides or getattr(optimization, 'layerwise_lr_decay', None) is not None:
            _check_dtypes(overrides, config.runtime)
            self.settings = layer_overrides.apply_layer_overrides(
                model, overrides, optimizer_config=optimization, frozen=frozen, where=WHERE
            )

    def configure_optimizer(self, optimizer: Any) -> None:
        """Gives the optimizer, which is not built yet, the rates of variables.

        Raises:
            TypeError: it cannot have rates that differ between variables.
        """
        if self.settings is None or not self.settings.rates:
            return
        if not hasattr(optimizer, 'set_variable_rates'):
            raise TypeError(
                f'{WHERE}: rates of layers need an optimizer that Task.create_optimizer built; '
                f'received {type(optimizer).__name__}'
            )
        optimizer.set_variable_rates(self.settings.rates)

    def check_optimizer(self, optimizer: Any) -> None:
        """Looks, once the optimizer is built, whether all multipliers multiply something."""
        if self.settings is not None:
            self.settings.check_optimizer(optimizer)

    def describe(self, model: keras.Model, optimizer: Any, config: Any) -> str:
        """A table of every layer's learning rate, decay, regularizer and trainable state.

        Args:
            model: The model.
            optimizer: Its optimizer, built.
            config: The `ExperimentConfig`, whose `train_steps` are the length of the run.
        """
        steps = getattr(config.trainer.optimizer_config, 'gradient_accumulation_steps', 1)
        rows = layer_table.make_rows(
            model,
            optimizer,
            num_updates=config.trainer.train_steps // steps,
            settings=self.settings,
        )
        return layer_table.format_table(rows)

    def reinitialize(self) -> None:
        """Sets new initial values where overrides want them; not for a run that is resumed."""
        if self.settings is not None:
            self.settings.reinitialize(self._seed)


def apply_to_served_model(model: keras.Model, task_config: Any) -> keras.Model:
    """Sets activations, precision and the like as in training; returns `model`."""
    overrides = []
    for override in getattr(task_config, 'layer_overrides', None) or []:
        values = override.as_dict()
        kept = {k: values[k] for k in override.given if k not in layer_overrides.RATE_SETTINGS}
        if kept:
            overrides.append({'pattern': override.pattern, **kept})
    if overrides:
        layer_overrides.apply_layer_overrides(model, overrides, where=WHERE)
    return model


def _check_dtypes(overrides: Any, runtime: Any) -> None:
    if runtime.mixed_precision_dtype == 'float16':
        return
    for index, override in enumerate(overrides):
        if override.dtype == 'float16':
            raise layer_overrides.LayerOverrideError(
                'float16 needs loss scaling',
                where=f'{WHERE}[{index}].dtype',
                expected="'bfloat16' or 'float32'",
                hint="or set runtime.mixed_precision_dtype='float16' and give other layers a dtype",
            )
