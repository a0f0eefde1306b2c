"""Watching the loss on held-out sequences while a model learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from motegpt.evaluate import mean_loss
from motegpt.state import Best

if TYPE_CHECKING:
    from motegpt.config import LossMean
    from motegpt.engines.base import Arrays, Engine


@dataclass
class Validation:
    """Held-out sequences, the best evaluation so far, and its parameters if this process made it.

    unsaved: they are not in the run's folder yet.
    """

    sequences: list[list[int]]
    loss_mean: LossMean
    patience: int | None = None
    best: Best | None = None
    parameters: Arrays | None = None
    unsaved: bool = False

    def loss(self, engine: Engine) -> float:
        """The loss of the engine's present parameters on the held-out sequences, in nats."""
        return mean_loss(engine, self.sequences, self.loss_mean)

    def remember(self, loss: float, engine: Engine, step: int) -> None:
        """Take note of the loss after `step` steps; keeps the parameters if it is the best so far."""
        if self.best is None or loss < self.best.loss:
            self.best = Best(step=step, loss=loss, waited=0)
            self.parameters, self.unsaved = engine.export()[0], True
        else:
            self.best = self.best.replace(waited=self.best.waited + 1)

    @property
    def exhausted(self) -> bool:
        """Whether as many evaluations went by without a better loss as patience allows."""
        return self.best is not None and self.best.exhausts(self.patience)
