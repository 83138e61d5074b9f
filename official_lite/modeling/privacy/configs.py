"""The config of differentially private training."""

from __future__ import annotations

import dataclasses

from official_lite.modeling import hyperparams

__all__ = ['DifferentialPrivacyConfig']


@dataclasses.dataclass
class DifferentialPrivacyConfig(hyperparams.Config):
    """Clipped and noised gradients.

    Attributes:
        clipping_norm: Gradients are scaled down to this global L2 norm.
        noise_multiplier: The noise added to each gradient has the standard deviation
            `clipping_norm * noise_multiplier`. 0 adds none.
    """

    clipping_norm: float = 100000000.0
    noise_multiplier: float = 0.0

    def _check(self, report: hyperparams.Report) -> None:
        if self.clipping_norm <= 0:
            report('clipping_norm', expected='more than 0')
        if self.noise_multiplier < 0:
            report('noise_multiplier', expected='0 or more')
