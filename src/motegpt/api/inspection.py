"""What a model computes for a text, as arrays.

Values come from the array engine in double precision, whatever engine the model has, and are those of the GPT
alone; `next` has the distribution that generation samples from. T positions: BOS, if texts begin with one,
and the tokens; L layers, H heads, C channels, V tokens of the vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from motegpt.api.names import check_names
from motegpt.config.fields import plain
from motegpt.config.sections import SampleConfig
from motegpt.data.documents import normalize_fragment
from motegpt.errors import DataError
from motegpt.sampling.next_token import SETTINGS, NextToken, next_token

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock

    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.array.ops import Array
    from motegpt.engines.base import Arrays, Engine, LanguageModel
    from motegpt.evaluation.inspect import Gradients
    from motegpt.lens.lens import Lens
    from motegpt.training.records import StepRecord
    from motegpt.training.state import RunConfig

Result = TypeVar("Result")


class Inspection:
    """Methods of a GPT that show what it computes for a text.

    >>> from motegpt import GPT
    >>> model = GPT.train(["anna", "hanna", "nan"], steps=50, seed=1, engine="array", preset="microgpt")
    >>> model.tokens("ann")
    ['<BOS>', 'a', 'n', 'n']
    >>> model.attention("ann").shape, model.residuals("ann").shape, model.logits("ann").shape
    ((1, 4, 4, 4), (2, 4, 16), (4, 4))
    >>> [(token, round(p, 2)) for token, p in model.next("ann").items()][:2]
    [('a', 0.74), ('<BOS>', 0.19)]
    >>> loss, gradients = model.gradients("anna")
    >>> gradients["wte"].shape == model.parameters["wte"].shape == model.embeddings.shape
    True

    Raise DataError for a text that does not fit the block, and PrefixError for a character that the model
    never saw. A text may be empty if texts begin with BOS.
    """

    config: RunConfig
    tokenizer: Tokenizer
    engine: Engine
    records: list[StepRecord]
    _lock: Lock

    if TYPE_CHECKING:

        @property
        def language_model(self) -> LanguageModel: ...

    @property
    def parameters(self) -> Arrays:
        """Copies of the parameters by name; matrices are (out, in), as docs/notation.md lists them."""
        with self._lock:
            return {name: values.copy() for name, values in self.engine.parameters().items()}

    @property
    def embeddings(self) -> Array:
        """(V, C): a copy of the token embeddings; row i is that of the token with id i."""
        with self._lock:
            return self.engine.parameters()["wte"].copy()

    def tokens(self, text: str) -> list[str]:
        """The T tokens that the model reads: <BOS>, if texts begin with it, and the characters or bytes."""
        return self.tokenizer.names(self._ids(text))

    def attention(self, text: str) -> Array:
        """(L, H, T, T): how much position t (row) looks at u (column); rows sum to 1, 0 where u > t."""
        from motegpt.evaluation.inspect import attention

        return self._computed(attention, text)

    def residuals(self, text: str) -> Array:
        """(L + 1, T, C): the residual stream as it enters the first layer, and as it leaves each layer."""
        from motegpt.evaluation.inspect import residual_stream

        return self._computed(residual_stream, text)

    def logits(self, text: str) -> Array:
        """(T, V): the logits after each position."""
        from motegpt.evaluation.inspect import logits

        return self._computed(logits, text)

    def activations(self, text: str) -> Arrays:
        """Every intermediate of the forward pass by name, with the shapes of docs/notation.md for B = 1."""
        from motegpt.evaluation.inspect import trace

        return self._computed(trace, text)

    def gradients(self, text: str) -> Gradients:
        """(loss, by_name): the mean loss over the tokens of a text and its end, in nats, and its gradient.

        by_name holds d loss / d tensor for every named weight, in its shape. Without dropout and clipping.
        """
        from motegpt.evaluation.inspect import gradients
        from motegpt.evaluation.nll import check_target, sequence_of

        self._ids(text, more=int(self.tokenizer.is_ids))  # raises if it does not fit
        text = normalize_fragment(checked_text(text), self.config.data)
        sequence = sequence_of(text, self.tokenizer)
        check_target(text, sequence)
        with self._lock:
            parameters = self.engine.parameters()
        model, train = self.config.model, self.config.train
        return gradients(parameters, model, train, sequence, self.engine.contexts)

    def lens(self) -> Lens:
        """The model as it is now, to read and change its activations as in TransformerLens; docs/lens.md."""
        from motegpt.lens.lens import Lens

        model, contexts = self.config.model, self.engine.contexts
        return Lens(self.parameters, model, contexts, self._ids, self.tokenizer.names)

    def next(self, text: str = "", **settings: Any) -> NextToken:
        """The probability of every token after a text, most likely first: a dict of names to probabilities.

        <EOS>, or <BOS> where there is none, is the end. It is the distribution that `score` and
        `generate` use, averaged with n-grams if the model is, at temperature 1 and without filters unless
        settings name them: temperature, top_k, top_p, min_p, typical_p, repetition_penalty. A longer text
        than the block is read through a sliding window. Raises PrefixError and SettingError.
        """
        check_names(settings, SETTINGS, self.next)
        prefix = normalize_fragment(checked_text(text), self.config.data)
        sample = SampleConfig.of({"n": 1, "temperature": 1.0, "prefix": prefix, **settings})
        with self._lock:
            return next_token(self.language_model, self.tokenizer, sample)

    def _ids(self, text: str, more: int = 0) -> list[int]:
        """The ids of a text, with BOS if there is one. more: how many may follow the block."""
        from motegpt.evaluation.inspect import ids_of

        fragment = normalize_fragment(checked_text(text), self.config.data)
        if not fragment and self.tokenizer.bos is not None:
            return [self.tokenizer.bos]
        return ids_of(fragment, self.tokenizer, self.config.model.block_size, more)

    def _computed(self, inspect: Callable[..., Result], text: str) -> Result:
        """The result of a function of evaluation.inspect for a text."""
        ids = self._ids(text)
        return inspect(self.parameters, self.config.model, ids, self.engine.contexts)


def checked_text(text: object) -> str:
    """The text as a plain string; DataError for anything else."""
    found = plain(text)
    if not isinstance(found, str):
        raise DataError(f"text: expected a string, got {text!r}")
    return found
