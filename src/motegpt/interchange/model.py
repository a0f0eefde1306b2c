"""What a model is to other programs, and what an import finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from motegpt.data.source import reload_split
from motegpt.errors import DataError
from motegpt.evaluation.nll import evaluate
from motegpt.ngrams.contexts import Contexts
from motegpt.training.build import build_engine
from motegpt.training.run_folder import RunFolder

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Arrays
    from motegpt.ngrams.average import Average
    from motegpt.training.state import RunConfig


@dataclass(frozen=True)
class PortableModel:
    """A model without an engine.

    parameters: by name, in the shapes of the specification; contexts: of the n-gram embedding; weight: of the
    Kneser-Ney n-grams that motegpt averages the model with, which no other program does, None without them;
    records: of its training; bits: name -> bits per character on held-out documents, as in Report.bits.
    """

    config: RunConfig
    tokenizer: Tokenizer
    parameters: Arrays
    contexts: Contexts = field(default_factory=Contexts)
    weight: float | None = None
    records: Sequence[Mapping[str, Any]] = ()
    bits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_run(cls, folder: RunFolder, checkpoint: int | str | None = None) -> PortableModel:
        """The model in a run folder. checkpoint: as for RunFolder.parameters. Raises RunFolderError."""
        config, tokenizer = folder.config(), folder.tokenizer()
        average = folder.average(config, tokenizer)
        parameters = folder.parameters(config, tokenizer, checkpoint)
        model = cls(config, tokenizer, parameters, folder.contexts(config, tokenizer), None, folder.metrics())
        if average is None:
            return replace(model, bits=folder.report())
        bits = folder.report() or model.measured(average)
        return replace(model, weight=average.weight, bits=bits)

    def measured(self, average: Average) -> dict[str, float]:
        """Bits per character on the validation set of the run, averaged and alone; empty if there is none."""
        config = self.config.replace(train=self.config.train.replace(device=None))
        if not config.data.val_fraction:
            return {}
        try:
            held_out = reload_split(config.source, config.data, config.train.seed)[1]
        except DataError:  # it was moved, or changed
            return {}
        engine = build_engine(config, self.contexts)
        engine.load(self.parameters)
        return evaluate(engine, self.tokenizer, held_out, average=average).bits()
