"""What a run is and where it stands, as values; run_folder.py writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from motegpt.config.fields import Settings, setting
from motegpt.config.sections import DataConfig, ModelConfig, SampleConfig, TrainConfig
from motegpt.data.documents import normalize_sample_texts
from motegpt.data.source import Source
from motegpt.model.spec import tensors

if TYPE_CHECKING:
    from motegpt.engines.base import Snapshot
    from motegpt.training.losses import LossMeans

FORMAT = 3  # of the run folder; 2 had no setting `optimizer`, and Adam's slots
FORMATS = (2, FORMAT)  # that can be read


@dataclass(frozen=True, kw_only=True)
class RunConfig(Settings):
    """Everything that decides a run."""

    format: Literal[2, 3] = setting("Version of the run folder.", default=FORMAT)
    engine: str = setting("The engine that computes.")
    model: ModelConfig = setting("The section [model].")
    data: DataConfig = setting("The section [data].")
    train: TrainConfig = setting("The section [train].")
    sample: SampleConfig = setting("The section [sample].")
    source: Source = setting("The data it learns from.")

    def __post_init__(self) -> None:
        super().__post_init__()
        tensors(self.model)  # which refuses a model that is too large
        object.__setattr__(self, "sample", normalize_sample_texts(self.sample, self.data))


@dataclass(frozen=True, kw_only=True)
class Best(Settings):
    """The lowest validation loss so far, as a checkpoint remembers it."""

    step: int = setting("The step after which it was.", at_least=1)
    loss: float = setting("The loss, in nats.")
    evaluations_since_best: int = setting("Evaluations since.", at_least=0)

    @classmethod
    def of(cls, values: Any) -> Self:
        """As in Settings; checkpoints written before the first release say "waited"."""
        if isinstance(values, Mapping) and "waited" in values:
            values = {**values, "evaluations_since_best": values["waited"]}
            del values["waited"]
        return super().of(values)

    def is_out_of_patience(self, patience: int | None) -> bool:
        """Whether so many evaluations went by without a better one; never if there is no such bound."""
        return patience is not None and self.evaluations_since_best >= patience


@dataclass(frozen=True)
class TrainerState:
    """All that resuming needs.

    done: how many steps of the run are done; best: of the validation loss; losses: None in a checkpoint of
    a motegpt that took no means.
    """

    done: int
    snapshot: Snapshot
    rng: list[Any]
    best: Best | None = None
    losses: LossMeans | None = None
