"""Optimizers whose state goes by the keys of the model's variables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import keras
import tensorflow as tf

from official_lite.modeling import variable_keys as keys_lib


@dataclasses.dataclass
class _Names:
    """Plain book-keeping. In an object of its own, so that Keras and TensorFlow do not track it."""

    keys: dict[int, str] = dataclasses.field(default_factory=dict)  # identity -> variable key
    variables: dict[str, Any] = dataclasses.field(default_factory=dict)
    references: list[Any] = dataclasses.field(default_factory=list)
    slots: dict[str, dict[str, keras.Variable]] = dataclasses.field(default_factory=dict)


class KeyedOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer that knows the keys of the model's variables, and its state by them.

    Attributes:
        slots_like_weights: Names of slots that begin at the value of their variable, not at 0.
    """

    slots_like_weights: tuple[str, ...] = ('average',)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names = _Names()

    def set_variable_keys(self, keys: Mapping[str, Any]) -> None:
        """Tells the optimizer what the variables of the model are called, before `build`.

        Args:
            keys: Variable key to variable, as `variable_keys` returns it. Patterns match these
                keys, and the slots go by them.
        """
        if self._names.slots:
            raise RuntimeError(f'{self.name}: call set_variable_keys() before any slot is created')
        self._names.variables = dict(keys)
        self._names.keys = {keys_lib.identity(variable): key for key, variable in keys.items()}

    def variable_key(self, variable: Any) -> str:
        """The key of a variable of the model.

        Without `set_variable_keys` it is the variable's own path, with a number behind it if that
        is taken.

        Raises:
            ValueError: `set_variable_keys` was called without this variable.
        """
        identity = keys_lib.identity(variable)
        if identity not in self._names.keys:
            self._names.keys[identity] = self._fallback_key(variable)
        return self._names.keys[identity]

    def _fallback_key(self, variable: Any) -> str:
        path = getattr(variable, 'path', variable.name).removesuffix(':0')
        if self._names.variables:
            raise ValueError(f'{self.name}: set_variable_keys() was called without {path}')
        self._names.references.append(variable)  # An identity is only good while its owner lives.
        taken, key, number = set(self._names.keys.values()), path, 0
        while key in taken:
            number += 1
            key = f'{path}_{number}'
        return key

    def pattern_keys(self, variables: Sequence[Any]) -> list[str]:
        """Keys that a name pattern may be meant for: the whole model's, frozen variables too.

        Args:
            variables: The trainable ones; only they are known without `set_variable_keys`.
        """
        return list(self._names.variables) or [self.variable_key(v) for v in variables]

    @property
    def known_variables(self) -> list[Any]:
        """The variables of the model that `set_variable_keys` named."""
        return list(self._names.variables.values())

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the slots for the trainable variables, under the strategy of the optimizer.

        Raises:
            RuntimeError: the optimizer was made under another strategy.
            ValueError: `set_variable_keys` was called without one of the variables.
        """
        if not self.built:
            self.check_strategy()
            super().build(list(variables))

    def add_variable_from_reference(
        self, reference_variable: Any, name: Optional[str] = None, initializer: Any = 'zeros'
    ) -> keras.Variable:
        """Adds a slot of the shape and dtype of a variable, and notes it under that one's key."""
        slot = super().add_variable_from_reference(
            reference_variable, name=name, initializer=initializer
        )
        self.add_slot(name or 'var', reference_variable, slot)
        return slot

    def add_slot(self, name: str, reference_variable: Any, slot: keras.Variable) -> None:
        """Notes a variable of the optimizer that belongs to a variable of the model."""
        self._names.slots.setdefault(name, {})[self.variable_key(reference_variable)] = slot

    @property
    def variables(self) -> list[keras.Variable]:
        """All state of the optimizer; not the learning rate, which comes from the config."""
        return [v for v in super().variables if v is not self._learning_rate]

    def slots(self) -> dict[str, dict[str, keras.Variable]]:
        """Slot name to variable key to variable: what is kept for the model's variables."""
        return {name: dict(slots) for name, slots in self._names.slots.items()}

    def scalars(self) -> dict[str, keras.Variable]:
        """The rest of the state by name: `iterations`, and what else is not kept per variable."""
        scalars = {'iterations': self._iterations} | self._named_scalars()
        return scalars | self._other_variables(scalars)

    def checkpoint_variables(self) -> dict[str, keras.Variable]:
        """All state by checkpoint key: `<variable key>/<slot>` and the names of `scalars`."""
        by_key = {
            f'{key}/{name}': variable
            for name, slots in self.slots().items()
            for key, variable in slots.items()
        }
        return self.scalars() | by_key

    def _named_scalars(self) -> dict[str, keras.Variable]:
        """State of a subclass that belongs to no variable of the model, by name."""
        return {}

    def _other_variables(self, scalars: Mapping[str, Any]) -> dict[str, keras.Variable]:
        """Variables that an update rule added by `add_variable`, by their order."""
        known = {id(v) for v in scalars.values()}
        known |= {id(v) for slots in self._names.slots.values() for v in slots.values()}
        others = [v for v in self.variables if id(v) not in known]
        return {f'variable_{i}': v for i, v in enumerate(others)}

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The strategy that the optimizer was made under."""
        return self._distribution_strategy

    def check_strategy(self) -> None:
        """Raises RuntimeError under another strategy."""
        if tf.distribute.get_strategy() is not self._distribution_strategy:
            raise RuntimeError(
                f'{self.name}: expected build() under the strategy of the constructor, '
                f'{type(self._distribution_strategy).__name__}; received '
                f'{type(tf.distribute.get_strategy()).__name__}; '
                'do both under the same strategy.scope()'
            )

    def _check_not_built(self, method: str) -> None:
        if self.built:
            raise RuntimeError(f'{self.name}: call {method}() before build()')

    def _slot(self, slots: Sequence[keras.Variable], variable: Any) -> keras.Variable:
        return slots[self._get_variable_index(variable)]

    def _model_variable(self, variable: Any) -> Any:
        """The variable of `build` of which `variable` is the part on one device."""
        return self._slot(self._trainable_variables, variable)
