"""The fine-tuning of a GPT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from motegpt.api.progress import display_for
from motegpt.api.training import Callback, Training, completed, prepared
from motegpt.config.arguments import functions
from motegpt.data.ids.given import source_of
from motegpt.sampling.training_texts import HashedTexts
from motegpt.training.begin import AnyPath, Documents
from motegpt.training.fine_tune import Base, origin_of

if TYPE_CHECKING:
    from motegpt.api.loaded import Loaded
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine
    from motegpt.training.loop import Trainer
    from motegpt.training.state import RunConfig


class FineTuning:
    """A GPT that can be fine-tuned."""

    config: RunConfig
    tokenizer: Tokenizer
    engine: Engine
    known: HashedTexts | None
    _trainer: Trainer | None
    _documents: Sequence[str] | None
    _lock: Lock
    _step: int
    _loaded: Loaded | None

    def fine_tune(
        self,
        docs: Documents = None,
        *,
        ids: Any = None,
        mask: Any = None,
        preset: str | None = None,
        engine: str | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        extend_vocabulary: bool = False,
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool | None = None,
        **settings: Any,
    ) -> Self:
        """Train this model on other documents, and return the result as a new model; this one stays as it is.

        Architecture, block size, tokenizer, framing and n-gram contexts are kept; optimizer, schedule and
        Kneser-Ney n-grams are new. Without a preset, precision and sampling are those of this model, and the
        rest is chosen from the documents; a named preset gives the training and sampling settings.

        ids, mask: instead of docs, of a model of token ids: as in `GPT.train`.
        engine: the compute engine (default: that of this model). extend_vocabulary: append characters that
        the model does not know, which are an error otherwise. Other arguments, errors and warnings are those
        of `GPT.train`; settings that would change the architecture raise SettingError. Samples that must be
        `novel` are compared with these documents, and with those of this model where it knows them.
        """
        hooks, display = functions("callbacks", callbacks), display_for(progress)
        training = self.fine_tuning(
            docs,
            ids=ids,
            mask=mask,
            preset=preset,
            engine=engine,
            out=out,
            overwrite=overwrite,
            extend_vocabulary=extend_vocabulary,
            **settings,
        )
        return completed(training, hooks, display)

    def fine_tuning(
        self,
        docs: Documents = None,
        *,
        ids: Any = None,
        mask: Any = None,
        preset: str | None = None,
        engine: str | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        extend_vocabulary: bool = False,
        **settings: Any,
    ) -> Training[Self]:
        """Prepare a fine-tuning to iterate over, as GPT.training; arguments as of `fine_tune`."""
        return prepared(
            type(self),
            self.fine_tune,
            source_of(docs, ids, mask, None),
            settings,
            preset=preset,
            engine=engine,
            out=out,
            overwrite=overwrite,
            base=self._base(),
            extend_vocabulary=extend_vocabulary,
        )

    def _base(self) -> Base:
        """This model, as what a fine-tuning starts from."""
        with self._lock:
            parameters = self.engine.parameters()
        known = self.known
        if known is None and self._documents is not None and not self.config.data.is_stream:
            known = HashedTexts.of(self._documents)
        origin = origin_of(self.config, parameters, *self._run())
        return Base(self.config, self.tokenizer, parameters, self.engine.contexts, origin, known)

    def _run(self) -> tuple[int | None, str | None]:
        """The step of the parameters and the run folder of this model, None where they are not known."""
        if self._trainer is not None:
            folder = self._trainer.folder
            return self._step, None if folder is None else str(folder.path.absolute())
        if self._loaded is None:
            return None, None
        step = self._loaded.step(self.config, self.tokenizer)
        return step, str(self._loaded.folder.path.absolute())
