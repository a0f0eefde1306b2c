"""Generate token ids for a request, on any engine.

The context is at most block_size tokens. Longer texts use a sliding window: when it is full, it moves so that
it holds the last half of block_size tokens, and fills up again. Its start depends only on the length of the
text (`window_start`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING

from motegpt.engines.cost import cached_numbers
from motegpt.generation.filters import sample_token
from motegpt.generation.request import Request
from motegpt.model.rng import numbers_of, set_numbers
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.context import SlidingContext
from motegpt.sampling.starts import Starts, prepare_starts
from motegpt.sampling.texts import texts_of, texts_of_rows

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import LanguageModel
    from motegpt.model.rng import Rng, Stream

CACHE_BYTES = 2**28  # keys, values and ids in memory; sequences that do not fit are generated in groups


def generate(
    engine: LanguageModel, tokenizer: Tokenizer, settings: SampleConfig, rngs: Sequence[Stream]
) -> list[str]:
    """One text per generator, ignoring conditions on whole texts.

    Each sequence uses only its own generator, so its text does not depend on the batch. Sequences are batched
    as far as their caches fit into CACHE_BYTES.
    """
    return generate_texts(engine, tokenizer, prepare_starts(engine, tokenizer, settings), rngs)[0]


def generate_texts(
    engine: LanguageModel, tokenizer: Tokenizer, starts: Starts, rngs: Sequence[Stream]
) -> tuple[list[str], Iterable[bool]]:
    """One text per generator, and whether the end of the block cut each; texts of one start form a batch."""
    if len(starts.requests) == 1:
        return _batch_of_texts(engine, tokenizer, starts.requests[0], rngs)
    rngs = list(rngs)
    members: dict[int, list[int]] = {}
    for i, rng in enumerate(rngs):
        members.setdefault(starts.choose(rng), []).append(i)
    found: dict[int, tuple[str, bool]] = {}
    for start, indices in members.items():
        batch = _batch_of_texts(engine, tokenizer, starts.requests[start], [rngs[i] for i in indices])
        found |= zip(indices, zip(*batch, strict=True), strict=True)
    return [found[i][0] for i in range(len(rngs))], [found[i][1] for i in range(len(rngs))]


def _batch_of_texts(
    engine: LanguageModel, tokenizer: Tokenizer, request: Request, rngs: Sequence[Stream]
) -> tuple[list[str], Iterable[bool]]:
    if engine.why_not(request=request) is not None:
        drawn = generate_ids(engine, request, rngs)
        return texts_of(request, tokenizer, drawn), map(request.is_cut, drawn)
    texts, cuts = list[str](), list[bool]()
    states = numbers_of(rngs)
    group = 1 if len(states) == 1 else group_size(engine.model, request.max_new_tokens)
    for start in range(0, len(states), group):
        rows = engine.generate_rows(request, states[start : start + group])
        set_numbers(rngs, rows.states, start)
        some, are_cut = texts_of_rows(request, tokenizer, rows)
        texts += some
        cuts += are_cut
    return texts, cuts


def generate_sequentially(
    engine: LanguageModel,
    tokenizer: Tokenizer,
    settings: SampleConfig,
    rng: Rng,
    interrupted: Callable[[], bool] = lambda: False,
    excluded: Container[str] | None = None,
) -> list[str]:
    """settings.n texts, one after the other from a single generator, as in the reference programs.

    There are fewer if settings.tries attempts fail in a row, if beams < n, or if `interrupted()`, which is
    called before each text, or before each beam is extended.
    """
    conditions = Conditions.of(settings, excluded)
    starts = prepare_starts(engine, tokenizer, settings)
    if settings.beams is not None:
        from motegpt.sampling.beam import best_texts

        return best_texts(engine, tokenizer, starts, settings, conditions, interrupted)
    texts: list[str] = []
    while len(texts) < settings.n:
        for _ in range(settings.tries):
            if interrupted():
                return texts
            request = starts.requests[starts.choose(rng)]
            drawn = generate_by_token(engine, request, [rng])
            (text,) = texts_of(request, tokenizer, drawn)
            if conditions.accept(text, request.is_cut(drawn[0])):
                texts.append(text)
                break
        else:
            break
    return texts


def generate_ids(engine: LanguageModel, request: Request, rngs: Sequence[Stream]) -> list[list[int]]:
    """The ids after the prompt, one list per generator; by Engine.generate if it supports the request."""
    drawn, rngs = list[list[int]](), list(rngs)
    is_supported = engine.why_not(request=request) is None
    group = group_size(engine.model, request.max_new_tokens)
    for start in range(0, len(rngs), group):
        some = rngs[start : start + group]
        drawn += engine.generate(request, some) if is_supported else generate_by_token(engine, request, some)
    return drawn


def generate_by_token(engine: LanguageModel, request: Request, rngs: Sequence[Rng]) -> list[list[int]]:
    """The ids after the prompt, one list per generator: the reference implementation of Engine.generate."""
    context = SlidingContext(engine.decoder(len(rngs)), engine.model.block_size)
    texts = [_Sequence(request) for _ in rngs]
    for _ in range(request.max_new_tokens):
        logits = context.logits([text.history for text in texts])
        for i, text in enumerate(texts):
            if text.is_running:
                masked = request.masked_after(text.ids)
                text.append(sample_token(logits[i], request.filters, rngs[i], text.seen, masked))
            else:
                text.history.append(0)
        if not any(text.is_running for text in texts):
            break
    return [text.ids for text in texts]


class _Sequence:
    """A sequence in progress. history: prompt and generated ids; ids: generated; seen: ids in the text."""

    def __init__(self, request: Request) -> None:
        self._request, self._stop = request, len(request.stop)
        self.history, self.ids = list(request.prompt), list[int]()
        self.seen = set(request.prefix)
        self.is_running = not request.is_stopped(())

    def append(self, token: int) -> None:
        """Append an id, which may be the end."""
        self.history.append(token)
        if token == self._request.end:
            self.is_running = False
            return
        self.ids.append(token)
        self.seen.add(token)
        if self._request.is_stopped(self.ids):
            del self.ids[len(self.ids) - self._stop :]
            self.is_running = False


def group_size(model: ModelConfig, max_new_tokens: int) -> int:
    """The number of sequences whose keys, values and ids fit into CACHE_BYTES, at least 1."""
    numbers = cached_numbers(model) + max_new_tokens
    return max(1, CACHE_BYTES // (8 * numbers))
