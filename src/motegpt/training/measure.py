"""What a run of the preset "auto" measures at its end: the weight of its n-grams, and a report.

A model of all documents cannot be measured on any of them. Where the budget allows, a second model is trained
with the same settings without an eighth of the documents; its fitted weight serves the first, and its losses
are reported. A larger corpus holds a small part out of its only training. docs/quality.md compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from motegpt.config.sections import FOUND_FROM_DATA
from motegpt.data.split import split
from motegpt.evaluation.nll import Evaluation, evaluate, never_target
from motegpt.evaluation.novelty import Novelty, novelty
from motegpt.model.rng import Stream
from motegpt.ngrams.counts import UNIFORM, uniform_loss
from motegpt.sampling.generate import generate
from motegpt.training.auto import HELD_OUT
from motegpt.training.records import Report

if TYPE_CHECKING:
    from motegpt.data.corpus import Corpus
    from motegpt.sampling.training_texts import HashedTexts
    from motegpt.training.loop import Trainer
    from motegpt.training.state import Check

SAMPLES, NEAREST, SEED = 200, 5, 0
MAX_DOCUMENTS = 50_000  # that samples are compared with, to find the nearest


@dataclass(frozen=True)
class Measure:
    """What is to be measured once a run has ended.

    prepare: build.prepare, for the second model; fits_weight: whether the weight of the n-grams
    was chosen, not given.
    """

    corpus: Corpus
    check: Check
    prepare: Callable[[Corpus, dict[str, Any], str], Trainer]
    fits_weight: bool = True

    def __call__(self, trainer: Trainer, interrupted: Callable[[], bool]) -> Report:
        """Measure, and give the trainer the weight that was found; as far as it comes if `interrupted()`.

        Of an unfinished training, only the losses on its own held-out documents are measured.
        """
        evaluation = None
        if not trainer.ended:
            return _report(trainer, self._held_out(trainer) if self.check == "held out" else None)
        match self.check:
            case "second model":
                evaluation = self._by_second_model(trainer, interrupted)
            case "held out":
                evaluation = self._held_out(trainer)
                if trainer.average is not None:
                    _set_weight(trainer, trainer.average.weight)
            case "none":
                pass
        return _report(trainer, evaluation, self._novelty(trainer), self.check == "second model")

    def _by_second_model(self, trainer: Trainer, interrupted: Callable[[], bool]) -> Evaluation | None:
        """Train the second model; None if it is interrupted."""
        from motegpt.training.reference import flat_settings

        settings = flat_settings(trainer.config)
        steps = max(1, round((1 - HELD_OUT) * settings["steps"]))
        changes: dict[str, Any] = {"val_fraction": HELD_OUT, "steps": steps, "eval_every": steps}
        if self.fits_weight:
            changes["kneser_ney_weight"] = None
        settings = {k: v for k, v in {**settings, **changes}.items() if k not in FOUND_FROM_DATA}
        second = self.prepare(self.corpus, settings, trainer.config.engine)
        second.known = None
        for _ in second.run(interrupted=interrupted):
            pass
        if not second.ended or interrupted():
            return None
        average = second.average
        if average is not None and trainer.averaging is not None and self.fits_weight:
            _set_weight(trainer, average.weight)
        return self._held_out(second)

    def _held_out(self, trainer: Trainer) -> Evaluation:
        """The losses on the held-out documents."""
        config = trainer.config
        held_out = split(self.corpus.documents, config.data, config.train.seed)[1]
        engine = trainer.best_engine()
        found = evaluate(engine, trainer.tokenizer, held_out, average=trainer.average)
        uniform = uniform_loss(trainer.tokenizer.vocab_size, never_target(trainer.tokenizer))
        return replace(found, losses={UNIFORM: uniform, **found.losses})

    def _novelty(self, trainer: Trainer) -> Novelty | None:
        """Of samples without any condition, compared with the documents."""
        if trainer.known is None:
            return None
        sample = trainer.config.sample.replace(unique=False, novel=False, n=SAMPLES, beams=None)
        rngs = [Stream.of(SEED, i) for i in range(SAMPLES)]
        texts = generate(trainer.best_model(), trainer.tokenizer, sample, rngs)
        return _compared(texts, self.corpus.documents, trainer.known)


def _report(
    trainer: Trainer, evaluation: Evaluation | None, novelty: Novelty | None = None, of_second: bool = False
) -> Report:
    """The report of a run."""
    weight = None if trainer.average is None else trainer.average.weight
    return Report(evaluation, novelty, of_second, trainer.config.data.is_stream, weight)


def _compared(texts: Sequence[str], documents: Sequence[str], known: HashedTexts) -> Novelty:
    """The novelty of all texts, and the nearest documents of the first few. known: the documents, and those
    of a model that was fine-tuned.
    """
    few = [text for text in dict.fromkeys(texts) if text and text not in known][:NEAREST]
    nearest = novelty(few, documents[:MAX_DOCUMENTS]).nearest
    copies = sum(text in known for text in texts)
    return Novelty(len(texts), len(set(texts)), copies, 0, len(texts) - copies, nearest)


def _set_weight(trainer: Trainer, weight: float) -> None:
    """Let the run average with this weight of its n-grams from now on."""
    assert trainer.averaging is not None
    trainer.averaging.weight, trainer.averaging.saved = weight, None
    trainer.config = trainer.config.replace(train=trainer.config.train.replace(kneser_ney_weight=weight))
    if trainer.folder is not None:
        trainer.folder.write_settings(trainer.config)
