"""The distribution of the token after a text, as generation samples from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.config.html import bar, table
from motegpt.config.text import concise
from motegpt.generation.filters import argmax, distribution, filter_rows, is_random
from motegpt.generation.request import filters_of, prompt_of
from motegpt.sampling.context import SlidingContext

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import LanguageModel

SETTINGS = ("temperature", *(row.setting for row in filter_rows()))  # that are not ignored
MAX_ROWS = 12  # shown in a notebook


class NextToken(dict[str, float]):
    """Token -> probability, most likely first; <EOS>, or <BOS> without one, is the end of the text."""

    def __repr__(self) -> str:
        return concise(type(self).__name__, {repr(token): p for token, p in self.items()})

    def _repr_html_(self) -> str:
        """A table with a bar for each of the most likely tokens."""
        shown = [(repr(token) if token.isspace() else token, p) for token, p in self.items()]
        if len(shown) > MAX_ROWS:
            shown[MAX_ROWS:] = [("others", sum(p for _, p in shown[MAX_ROWS:]))]
        return table(["next", "p", ""], [[token, f"{p:.3f}", bar(p)] for token, p in shown])


def next_token(engine: LanguageModel, tokenizer: Tokenizer, settings: SampleConfig) -> NextToken:
    """What may follow settings.prefix, at the temperature and with the filters of the settings.

    A text that fills the block is read through the sliding window of generation. Masks and lengths, which
    depend on what was generated, are ignored.
    """
    prompt, filters = prompt_of(settings.prefix, tokenizer), filters_of(settings)
    context = SlidingContext(engine.decoder(1), engine.model.block_size)
    logits = context.logits([prompt])[0]
    if is_random(filters.temperature):
        p = distribution(logits, filters, set(tokenizer.encode(settings.prefix)))
    else:
        p = [float(i == argmax(logits)) for i in range(len(logits))]
    order = sorted(range(len(p)), key=lambda i: (-p[i], i))
    return NextToken(zip(tokenizer.names(order), (p[i] for i in order), strict=True))
