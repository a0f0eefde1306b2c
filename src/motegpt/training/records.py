"""Reports of a training run: a record per logged step, and the progress after each chunk of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from motegpt.config.html import facts
from motegpt.config.text import concise, concise_repr

if TYPE_CHECKING:
    from motegpt.evaluation.nll import Evaluation
    from motegpt.evaluation.novelty import Novelty


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One logged step.

    step: counted from 1; loss: in nats, before the update of the step; mean_loss: mean of the losses of all
    steps since the last record; tokens: processed so far; val_loss: loss on the validation set, or on a
    sample of it, after the update, if evaluated; val_accuracy: of data that are ids, the share of the same
    targets that the model finds the most likely token; accuracy: the share of those of the training data, or
    of a sample of them; statistics: by name, with `log_statistics`, as training/statistics.py lists them.
    """

    step: int
    loss: float
    mean_loss: float
    lr: float
    tokens: int
    val_loss: float | None = None
    accuracy: float | None = None
    val_accuracy: float | None = None
    statistics: Mapping[str, float] | None = None

    __repr__ = concise_repr

    def values(self) -> dict[str, Any]:
        """The fields that are not None, and the statistics, by name: flat, as metrics.jsonl has them."""
        values = asdict(self)
        statistics = values.pop("statistics") or {}
        return {name: value for name, value in values.items() if value is not None} | statistics


@dataclass(frozen=True)
class Progress:
    """Results of a chunk of steps.

    done: steps of the run so far; losses: one per step of the chunk; tokens: of the chunk; samples: generated
    after its last step, if any were; ended: whether the run is complete.
    """

    done: int
    losses: list[float]
    tokens: int
    records: list[StepRecord]
    samples: list[str] | None
    ended: bool


@dataclass(frozen=True)
class Report:
    """What a run of the preset auto measured at its end.

    evaluation: losses on held-out documents, None if none were held out; novelty: of samples without any
    condition, None for a stream; of_second: whether a second model was measured; is_stream: whether the data
    are one text; weight: of the n-grams that the GPT is averaged with, None without them.
    """

    evaluation: Evaluation | None
    novelty: Novelty | None
    of_second: bool
    is_stream: bool = False
    weight: float | None = None

    def __repr__(self) -> str:
        return concise(type(self).__name__, {**dict(reversed(self.bits().items())), "weight": self.weight})

    def _repr_html_(self) -> str:
        """A table of the losses, in a notebook."""
        bits = sorted(self.bits().items(), key=lambda item: item[1])
        return facts("bits per character, held out", [(name, f"{value:.3f}") for name, value in bits])

    def bits(self) -> dict[str, float]:
        """Name -> bits per character on the held-out documents; empty without any."""
        return {} if self.evaluation is None else self.evaluation.bits()
