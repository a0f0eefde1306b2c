"""Fine-tuning: a run that starts from the parameters of another.

Architecture, block size, tokenizer, framing and n-gram contexts are those of the base; optimizer, schedule
and Kneser-Ney n-grams are new. Characters that the base lacks are appended to its vocabulary on request: no
id changes, and the new rows are drawn as `initialize` draws them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import kinds
from motegpt.config.presets import AUTO, REFERENCE_PRESET, settings_of
from motegpt.config.sections import (
    FOUND_FROM_DATA,
    REQUESTS,
    ModelConfig,
    TrainConfig,
    section_of,
    section_values,
)
from motegpt.config.sections.data import TOKENIZERS_WITH
from motegpt.config.text import shortened
from motegpt.data.tokenizers import Tokenizer, with_code_points
from motegpt.engines import make_engine
from motegpt.errors import DataError, RunFolderError, SettingError
from motegpt.evaluation.nll import evaluation_sequences, mean_loss, never_target
from motegpt.model.rng import make_rng
from motegpt.model.spec import tensors
from motegpt.ngrams.contexts import Contexts
from motegpt.ngrams.counts import uniform_loss
from motegpt.sampling.training_texts import HashedTexts
from motegpt.training.auto import RELATED, UNRELATED
from motegpt.training.facts import Tuning
from motegpt.training.run_folder import BEST, LAST, TRAINER, RunFolder
from motegpt.training.state import Origin, RunConfig
from motegpt.training.validation import ValidationSet

if TYPE_CHECKING:
    from motegpt.data.corpus import Corpus
    from motegpt.engines.base import Arrays
    from motegpt.model.rng import RunRng
    from motegpt.model.spec import Tensor
    from motegpt.training.loop import Trainer

# Settings of the data that belong to the model: those of the tokenizer, and of the contexts.
OF_TOKENS = ("tokenizer", *TOKENIZERS_WITH, "framing", "ngram_min_count")
OF_TEXTS = ("cut", "normalize")  # kept unless given
RESOLVED = {"n_kv_head": "kv_heads", "n_hidden": "mlp_size"}  # setting -> attribute with its value for none
MEASURING = "array"  # engine: installed everywhere, with the same results
MOST_OF_GUESS = 0.8  # of the loss of a uniform guess: the highest loss of a model that knows the new data


@dataclass(frozen=True)
class Base:
    """The model that a fine-tuning starts from.

    config: its settings; known: its training texts, if it has their hashes.
    """

    config: RunConfig
    tokenizer: Tokenizer
    parameters: Arrays
    contexts: Contexts
    origin: Origin
    known: HashedTexts | None = None

    @classmethod
    def read(cls, folder: RunFolder, checkpoint: int | str | None = None) -> Base:
        """The model in a run folder; checkpoint, errors: as of RunFolder.parameters."""
        config, tokenizer = folder.config(), folder.tokenizer()
        parameters = folder.parameters(config, tokenizer, checkpoint)
        step = step_of(folder, config, tokenizer, checkpoint)
        return cls(
            config,
            tokenizer,
            parameters,
            folder.contexts(config, tokenizer),
            origin_of(config, parameters, step, str(folder.path.absolute())),
            folder.known(config, tokenizer),
        )

    @property
    def model(self) -> ModelConfig:
        """The architecture, with the size of the vocabulary."""
        return self.config.model.replace(vocab_size=self.tokenizer.vocab_size)

    def fixed_settings(self) -> dict[str, Any]:
        """The settings of the architecture and of the tokens, by name, without those found from the data."""
        data = self.config.data.values()
        settings = {**self.config.model.values(), **{name: data[name] for name in OF_TOKENS}}
        return {name: value for name, value in settings.items() if name not in FOUND_FROM_DATA}

    def kept_settings(self, preset: str) -> dict[str, Any]:
        """The settings that a fine-tuning takes over, by name. With a named preset, precision and sampling
        are those of the preset; with "auto", the order of the n-grams is chosen.
        """
        data, train = self.config.data.values(), self.config.train.values()
        kept = {**self.fixed_settings(), **{name: data[name] for name in OF_TEXTS}}
        if data["format"] == "stream":
            kept["format"] = "stream"
        if preset != AUTO or train["kneser_ney"] is None:
            kept["kneser_ney"] = train["kneser_ney"]
        if preset == AUTO:
            kept |= {"dtype": train["dtype"], **self.config.sample.values()}
        return kept

    def described(self) -> str:
        """What is fine-tuned, and what is kept of it, in a line."""
        name = "a model" if self.origin.path is None else Path(self.origin.path).name
        new = self.tokenizer.vocab_size - self.config.model.vocab_size
        added = "" if not new else f"; {new:,} character{'s' * (new > 1)} added to its vocabulary"
        return f"fine-tuning {name}: its architecture and tokens are kept{added}"

    def check_out(self, out: Path | None) -> None:
        """RunFolderError if the new run would be written over the base."""
        path = self.origin.path
        if out is not None and path is not None and out.resolve() == Path(path).resolve():
            raise RunFolderError(
                f"{out}: expected another folder than that of the model to fine-tune; choose another `out`"
            )

    def check_given(self, given: Mapping[str, Any]) -> None:
        """SettingError for a setting that differs from one of the model, which no training changes."""
        fixed, is_stream = self.fixed_settings(), self.config.data.format == "stream"
        for name, value in given.items():
            checked = kinds(REQUESTS[section_of(name)])[name].check(name, value)
            if name in fixed and self._resolved(name, checked) != self._resolved(name, fixed[name]):
                raise SettingError(
                    f"{name}: expected {_word(fixed[name])}, as in the model to fine-tune, got "
                    f"{_word(checked)}; leave it out, or train a new model"
                )
        if given.get("format") is not None and (given["format"] == "stream") != is_stream:
            expected = "one long text (stream)" if is_stream else "documents"
            raise SettingError(
                f"format: expected {expected}, as in the model to fine-tune, got {given['format']}; leave it "
                "out, or train a new model"
            )

    def _resolved(self, name: str, value: Any) -> Any:
        """The value of a setting; of none the one that the model then has."""
        if value is not None or name not in RESOLVED:
            return value
        return getattr(self.config.model.replace(**{name: None}), RESOLVED[name])

    def fitted(self, corpus: Corpus, extend: bool) -> Base:
        """The base with a vocabulary that has all characters of the corpus.

        Raises DataError for unknown characters unless `extend`, or if the tokenizer cannot grow.
        """
        unknown = self.tokenizer.unknown_in(corpus.documents)
        if not unknown:
            return self
        if extend:
            return replace(self, tokenizer=self.tokenizer.extended(unknown))
        count = f"{len(unknown):,} others" if len(unknown) > 1 else "another"
        repair = "" if self.tokenizer.is_fixed else "; add them with `extend_vocabulary=True`"
        raise DataError(
            f"data: expected only characters of the model to fine-tune, got {count}, "
            f"{with_code_points(unknown)}{repair}"
        )

    def tuning(self, corpus: Corpus) -> Tuning:
        """How to train on a corpus: RELATED if the model, untrained on it, is much better than a guess."""
        train = TrainConfig.of(section_values(settings_of(REFERENCE_PRESET), "train"))
        engine = make_engine(MEASURING, self.model, train, self.contexts, inference=True)
        engine.load(self.initial(make_rng("python", 0)))
        sequences = evaluation_sequences(corpus.documents, self.tokenizer)
        data = ValidationSet(sequences, self.model.block_size, self.model.vocab_size)
        loss = mean_loss(engine, data.chunks)
        uniform = uniform_loss(self.tokenizer.vocab_size, never_target(self.tokenizer))
        return RELATED if loss < MOST_OF_GUESS * uniform else UNRELATED

    def initial(self, rng: RunRng) -> dict[str, Any]:
        """The parameters to start from: those of the base; the rows of appended tokens are drawn as
        `initialize` draws them, in canonical order.
        """
        return {tensor.name: self._with_new_rows(tensor, rng) for tensor in tensors(self.model)}

    def _with_new_rows(self, tensor: Tensor, rng: RunRng) -> Any:
        import numpy as np

        rows = self.parameters[tensor.name]
        if not (missing := tensor.size - rows.size):
            return rows
        drawn = rng.gauss_array(tensor.init.mean, tensor.init.std, missing)
        return np.concatenate([rows, np.reshape(drawn, (-1, *tensor.shape[1:]))])


def resumed_base(trainer: Trainer, folder: RunFolder) -> Base | None:
    """The model that a resumed run started from, for its second model; None if it has none."""
    config, tokenizer = trainer.config, trainer.tokenizer
    if config.base is None or config.check != "second model":
        return None
    trainer.start = folder.start(config, tokenizer)
    return Base(config, tokenizer, trainer.start, trainer.engine.contexts, config.base)


def origin_of(config: RunConfig, parameters: Arrays, step: int | None, path: str | None) -> Origin:
    """Where a fine-tuning comes from. step: of the parameters; path: of the run; None if not known."""
    import numpy as np

    total = hashlib.sha256()
    for name in sorted(parameters):
        total.update(f"{name}\n".encode())
        total.update(np.ascontiguousarray(parameters[name], np.float64).data)
    return Origin(path=path, step=step, steps=config.train.steps, sha256=total.hexdigest())


def step_of(
    folder: RunFolder, config: RunConfig, tokenizer: Tokenizer, checkpoint: int | str | None
) -> int | None:
    """The step of the parameters; None where the trainer's state, which has it, is missing."""
    if checkpoint not in (None, BEST, LAST):
        return int(checkpoint)
    if not (folder.path / TRAINER).is_file():
        return None
    state = folder.trainer_state(config, tokenizer)
    return state.done if checkpoint == LAST or state.best is None else state.best.step


def _word(value: Any) -> str:
    """A value of a setting in a message."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return shortened(value).strip("'")
