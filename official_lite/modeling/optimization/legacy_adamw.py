"""AdamWeightDecay: the `adamw` of Model Garden's recipes."""

from typing import Any

from official_lite.modeling.optimization import name_patterns, optimizers


class AdamWeightDecay(optimizers.Adam):
    """Adam with decoupled weight decay (https://arxiv.org/abs/1711.05101).

    Before each update, w -= lr * weight_decay_rate * w.

    All gradients together are clipped to a norm of `gradient_clip_norm` first, which is 1 unless
    set otherwise.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay_rate: float = 0.0,
        include_in_weight_decay: name_patterns.Patterns = None,
        exclude_from_weight_decay: name_patterns.Patterns = None,
        gradient_clip_norm: float = 1.0,
        name: str = 'AdamWeightDecay',
        **kwargs: Any,
    ) -> None:
        """Makes the optimizer.

        Args:
            learning_rate: Rate or schedule.
            beta_1: Decay of the mean of the gradients.
            beta_2: Decay of the mean of their squares.
            epsilon: Added to the root of the latter.
            amsgrad: Divide by the largest such root so far
                (https://openreview.net/forum?id=ryQu7f-RZ).
            weight_decay_rate: The factor of weight decay, 0 for none.
            include_in_weight_decay: Regular expressions over variable keys. Given, only what they
                match is decayed.
            exclude_from_weight_decay: Regular expressions of what is not decayed; not used when
                there are patterns to include.
            gradient_clip_norm: Largest norm of all gradients together; 0 for no clipping.
            name: Name of the optimizer.
            **kwargs: Arguments of `ReplicatedOptimizer`.

        Raises:
            PatternError: a pattern is no regular expression; at `build`: none of the patterns of a
                list matches any variable.
        """
        kwargs.pop('weight_decay', None)
        super().__init__(
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            weight_decay=weight_decay_rate,
            include_in_weight_decay=include_in_weight_decay,
            exclude_from_weight_decay=exclude_from_weight_decay,
            gradient_clip_norm=gradient_clip_norm,
            name=name,
            **kwargs,
        )

    @property
    def weight_decay_rate(self) -> float:
        """The factor of weight decay."""
        return self.weight_decay

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {'weight_decay_rate': config.pop('weight_decay')} | config
