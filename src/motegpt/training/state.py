"""The settings and the state of a run, as values; run_folder.py writes and reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from motegpt.config.fields import Settings, setting
from motegpt.config.sections import DataConfig, ModelConfig, SampleConfig, TrainConfig
from motegpt.config.text import file_name
from motegpt.data.documents import normalize_sample_texts
from motegpt.data.source import Source
from motegpt.model.spec import tensors

if TYPE_CHECKING:
    from motegpt.engines.base import Snapshot
    from motegpt.training.losses import LossMeans

FORMAT = 3  # of the run folder; 2 has no setting `optimizer`, and only Adam's slots
FORMATS = (2, FORMAT)  # readable
# How a run measures itself at its end: by a second model, trained without an eighth of the documents; on a
# part held out of the one training; or not at all.
Check = Literal["second model", "held out", "none"]


@dataclass(frozen=True, kw_only=True)
class Origin(Settings):
    """The model that a fine-tuned run started from."""

    path: str | None = setting("Its run folder.", default=None)
    step: int | None = setting("The step of its parameters.", default=None, at_least=0)
    steps: int = setting("The steps of its training.", at_least=1)
    sha256: str = setting("SHA-256 of its parameters: name, newline, float64 values, by name.")

    def without_folder(self) -> Origin:
        """The same, with the name of the run folder alone."""
        return self.replace(path=file_name(self.path))


@dataclass(frozen=True, kw_only=True)
class RunConfig(Settings):
    """All settings of a run."""

    format: Literal[2, 3] = setting("Version of the run folder.", default=FORMAT)
    engine: str = setting("Compute engine.")
    model: ModelConfig = setting("The section [model].")
    data: DataConfig = setting("The section [data].")
    train: TrainConfig = setting("The section [train].")
    sample: SampleConfig = setting("The section [sample].")
    source: Source = setting("The training data.")
    base: Origin | None = setting("The model that was fine-tuned.", default=None)
    check: Check | None = setting("How a run of the preset auto measures itself at its end.", default=None)
    fits_weight: bool = setting("Whether that gives the weight of its n-grams.", default=False)
    level: str | None = setting("Instruction set of the native engine that trained it.", default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        tensors(self.model)  # raises if the model is too large
        object.__setattr__(self, "sample", normalize_sample_texts(self.sample, self.data))

    def without_folders(self) -> RunConfig:
        """The settings for others: of paths the file names alone, as a folder can name a person."""
        return self.replace(
            data=self.data.replace(tokenizer_file=file_name(self.data.tokenizer_file)),
            source=self.source.without_folders(),
            base=None if self.base is None else self.base.without_folder(),
        )


@dataclass(frozen=True, kw_only=True)
class Best(Settings):
    """The lowest validation loss so far."""

    step: int = setting("The step after which it was evaluated.", at_least=1)
    loss: float = setting("The loss, in nats per token.")
    evaluations_since_best: int = setting("Number of evaluations since.", at_least=0)

    def is_out_of_patience(self, patience: int | None) -> bool:
        """Whether there were `patience` evaluations without improvement; False if None."""
        return patience is not None and self.evaluations_since_best >= patience


@dataclass(frozen=True)
class TrainerState:
    """Everything needed to resume.

    done: number of completed steps; rng: state of the generator; best: of the validation loss; losses: None
    in checkpoints of versions that recorded none.
    """

    done: int
    snapshot: Snapshot
    rng: list[Any]
    best: Best | None = None
    losses: LossMeans | None = None
