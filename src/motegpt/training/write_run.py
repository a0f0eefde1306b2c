"""Write a trained model as a run: what `GPT.save` and the models that a sweep keeps consist of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.system.runs import ENDING
from motegpt.training.run_archive import folder_for
from motegpt.training.run_folder import RunFolder

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Arrays
    from motegpt.ngrams.average import Average
    from motegpt.ngrams.contexts import Contexts
    from motegpt.sampling.training_texts import HashedTexts
    from motegpt.training.loop import Trainer
    from motegpt.training.records import StepRecord
    from motegpt.training.state import Best, RunConfig


class Trained(NamedTuple):
    """A trained model. records: of the logged steps, as StepRecord.values; bits: as Report.bits.

    best: the evaluation after which it had these parameters, if known.
    """

    config: RunConfig
    tokenizer: Tokenizer
    parameters: Arrays
    contexts: Contexts
    records: Iterable[Mapping[str, Any]] = ()
    bits: Mapping[str, float] = {}
    average: Average | None = None
    known: HashedTexts | None = None
    best: Best | None = None

    @classmethod
    def of(cls, trainer: Trainer, records: Iterable[StepRecord]) -> Trained:
        """The best model of a training."""
        return cls(
            trainer.config, trainer.tokenizer, trainer.best_parameters(), trainer.engine.contexts,
            [record.values() for record in records], {}, trainer.average, trainer.known,
            trainer.best,
        )  # fmt: skip

    def write(self, out: Path, overwrite: bool = False, trainer: Trainer | None = None) -> None:
        """Write a run folder. trainer: whose state is written too, so that the run can be resumed."""
        folder = RunFolder.create(out, self.config, self.tokenizer, overwrite, self.contexts)
        try:
            folder.append_metrics(self.records)
            if self.bits:
                folder.write_report(self.bits)
            if self.config.check is not None:  # the settings were chosen
                folder.write_settings(self.config)
            if trainer is not None:
                trainer.save_copy(folder)
            if self.average is not None:
                folder.save_average(self.average, self.tokenizer)
            if self.known is not None:
                folder.save_known(self.known.hashes, self.tokenizer)
            folder.save_parameters(self.parameters, self.tokenizer, self.best)
        finally:
            folder.unlock()

    def as_file(self) -> bytes:
        """The contents of a run that is one file."""
        with tempfile.TemporaryDirectory(prefix="motegpt-") as room:
            out = Path(room) / f"run{ENDING}"
            with folder_for(out, overwrite=False) as inner:
                self.write(inner)
            return out.read_bytes()
