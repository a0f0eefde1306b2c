"""Beam search: the highest-scoring texts, without randomness.

Each step extends every beam by every token and keeps the `beams` most likely continuations; each one that
ends is a candidate. A candidate's score is log p / n^length_penalty, where p is the model's probability, at
temperature 1, of its n generated tokens, including the end token if there is one; masked tokens are skipped.
Each token lowers log p, so a length_penalty of 0 favors short texts; with 1 the score is the mean
log-probability per token. This is the normalization of Wu et al. (2016) without their offset of five tokens.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.sections.model import LARGEST_CACHE
from motegpt.engines.cost import cached_numbers
from motegpt.errors import SettingError
from motegpt.generation.filters import log_softmax
from motegpt.generation.request import Request
from motegpt.sampling.context import SlidingContext
from motegpt.sampling.texts import texts_of

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import LanguageModel
    from motegpt.sampling.conditions import Conditions
    from motegpt.sampling.starts import Starts

Ids = tuple[int, ...]


class Continuation(NamedTuple):
    """A beam and one more token. parent: index of the beam; log_probability: in nats, including the token."""

    parent: int
    token: int
    log_probability: float

    def after(self, beam: Beam) -> Beam:
        """The extended beam."""
        return Beam((*beam.ids, self.token), self.log_probability, beam.drawn + 1, self.parent)


@dataclass(frozen=True)
class Beam:
    """A complete or partial text.

    ids: generated ids without the end token or stop text; log_probability: of the `drawn` tokens, which
    include the end, in nats; parent: index of its parent among the beams of the previous step.
    """

    ids: Ids
    log_probability: float
    drawn: int
    parent: int = 0

    def score(self, length_penalty: float, tokens: int | None = None) -> float:
        """Its score, or that of a beam with equal probability and this number of tokens."""
        return self.log_probability / math.pow(tokens or max(1, self.drawn), length_penalty)


def best_texts(
    engine: LanguageModel,
    tokenizer: Tokenizer,
    starts: Starts,
    settings: SampleConfig,
    conditions: Conditions,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Up to min(n, beams) texts that satisfy the conditions, by descending score.

    There are fewer if the search finds no more, or if `interrupted()`. The most likely starts are searched
    one after the other, as many as there are beams. starts: of `settings`, whose beams must not be None.
    """
    assert settings.beams is not None
    model = engine.model
    max_beams = 2 * LARGEST_CACHE // cached_numbers(model)
    if settings.beams > max_beams:
        raise SettingError(
            f"beams: expected at most {max_beams}, the capacity of the key-value cache, got {settings.beams}"
        )
    wanted = min(settings.n, settings.beams)
    found = list[tuple[float, str]]()
    ranked = sorted(zip(starts.log_p, starts.requests, strict=True), key=lambda one: -one[0])
    for before, request in ranked[: settings.beams]:
        beams = beam_search(
            engine,
            request,
            settings.beams,
            wanted,
            settings.length_penalty,
            result_of=partial(_text_and_cut, request, tokenizer, conditions),
            accept=lambda result: conditions.accept(*result),
            interrupted=interrupted,
            before=before,
        )
        texts = texts_of(request, tokenizer, [beam.ids for beam in beams])
        found += zip((beam.score(settings.length_penalty) for beam in beams), texts, strict=True)
    found.sort(key=lambda one: -one[0])
    return list(dict.fromkeys(text for _, text in found))[:wanted]


def _text_and_cut(
    request: Request, tokenizer: Tokenizer, conditions: Conditions, ids: Ids
) -> tuple[str, bool]:
    """Identify equal texts, except a rejected cut text and the same text uncut."""
    (text,) = texts_of(request, tokenizer, [ids])
    return text, conditions.reject_cut and request.is_cut(ids)


def beam_search(
    engine: LanguageModel,
    request: Request,
    beams: int,
    n_best: int,
    length_penalty: float,
    accept: Callable[[Any], bool] = lambda result: True,
    interrupted: Callable[[], bool] = lambda: False,
    result_of: Callable[[Ids], Hashable] = lambda ids: ids,
    before: float = 0.0,
) -> list[Beam]:
    """The `n_best` highest-scoring accepted texts that `beams` beams finish, by descending score.

    Of beams with equal `result_of(ids)` only the best is returned; accept is not asked again for one.
    `interrupted()` is called before each beam is extended; if true, returns the texts found so far. before:
    log p of the prompt, up to a constant; of several prompts the best texts are compared with it.
    """
    if request.is_stopped(()):
        return [Beam((), before, 0)] if accept(result_of(())) else []

    def score(beam: Beam) -> float:
        return beam.score(length_penalty)

    context = SlidingContext(engine.decoder(beams), engine.model.block_size)
    live, finished, best = [Beam((), before, 0)], dict[Hashable, Beam](), list[Beam]()
    for remaining in range(request.max_new_tokens, 0, -1):
        padded = [*live, *live[:1] * (beams - len(live))]
        histories = [[*request.prompt, *beam.ids] for beam in padded]
        logits = context.logits(histories, sources=[beam.parent for beam in padded])
        continuations, ended = _extend(live, logits, request, interrupted)
        if interrupted():
            break
        most_likely = heapq.nlargest(beams, continuations, key=lambda one: one.log_probability)
        live = [one.after(live[one.parent]) for one in most_likely]
        for beam in [*ended, *(live if remaining == 1 else [])]:
            result = result_of(beam.ids)
            other = finished.get(result)
            if accept(result) if other is None else score(beam) > score(other):
                finished[result] = beam
        best = heapq.nlargest(n_best, finished.values(), key=score)
        # An upper bound: the remaining tokens have probability 1, and there are as many as allowed.
        if not live or (
            len(best) == n_best and score(best[-1]) >= live[0].score(length_penalty, request.max_new_tokens)
        ):
            break
    return best


def _extend(
    live: Sequence[Beam],
    logits: Sequence[Sequence[float]],
    request: Request,
    interrupted: Callable[[], bool],
) -> tuple[list[Continuation], list[Beam]]:
    """All extensions of the beams by one token: unfinished continuations, and finished beams."""
    continuations, ended = [], []
    for parent, beam in enumerate(live):
        if interrupted():
            break
        masked, ends = request.masked_after(beam.ids), request.ends_after(beam.ids)
        for token, share in enumerate(log_softmax(logits[parent])):
            if token in masked:
                continue
            total = beam.log_probability + share
            if token in ends:
                ended.append(Beam(ends[token], total, beam.drawn + 1))
            else:
                continuations.append(Continuation(parent, token, total))
    return continuations, ended
