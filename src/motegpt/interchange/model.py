"""What a model is to other programs, and what an import finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from motegpt.ngrams.contexts import Contexts
from motegpt.training.run_folder import RunFolder

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Arrays
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
        return cls(
            config,
            tokenizer,
            folder.parameters(config, tokenizer, checkpoint),
            folder.contexts(config, tokenizer),
            None if average is None else average.weight,
            folder.metrics(),
            folder.report(),
        )
