"""The best texts by a beam search: no chance in it.

Of all continuations of the `beams` likeliest beginnings the `beams` likeliest go on; every one that ends
is a candidate. A candidate's score is log p / n^length_penalty: p is the model's own probability, at
temperature 1, of the n tokens that were drawn, the end among them if it was drawn; tokens that are
masked do not take part. Every token makes a text less likely, so that with a length_penalty of 0 short
texts win; with 1 the score is the mean log-probability of a token. It is the normalization of Wu et al.
(2016) without their offset of five tokens.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from motegpt.config.sections import LARGEST_CACHE
from motegpt.errors import SettingError
from motegpt.generation.filters import checked_logits
from motegpt.generation.request import Request
from motegpt.sampling.context import SlidingContext
from motegpt.sampling.texts import texts_of

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine
    from motegpt.sampling.conditions import Conditions

Ids = tuple[int, ...]


class Continuation(NamedTuple):
    """A beam and one more token; parent: the beam's place; log_probability: of both, in nats."""

    parent: int
    token: int
    log_probability: float

    def after(self, beam: Beam) -> Beam:
        """The beam that this makes of its parent."""
        return Beam((*beam.ids, self.token), self.log_probability, beam.drawn + 1, self.parent)


@dataclass(frozen=True)
class Beam:
    """A text, or the beginning of one.

    ids: those drawn so far, without what ended them; log_probability: of the `drawn` tokens, which are the
    ids and what ended them, in nats; parent: its place among the beams of the step before.
    """

    ids: Ids
    log_probability: float
    drawn: int
    parent: int = 0


def best_texts(
    engine: Engine,
    tokenizer: Tokenizer,
    request: Request,
    settings: SampleConfig,
    conditions: Conditions,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[str]:
    """The min(n, beams) best texts that qualify, the best first.

    They are fewer if the beams found no more, or `interrupted()`. request: `settings` in token ids; needs
    settings.beams.
    """
    assert settings.beams is not None
    model = engine.model
    most = LARGEST_CACHE // (model.n_layer * model.block_size * model.n_embd)
    if settings.beams > most:
        raise SettingError(
            f"beams: expected at most {most}, as the keys of all are kept, got {settings.beams}"
        )

    def qualifies(ids: Ids) -> bool:
        (text,) = texts_of(request, tokenizer, [ids])
        return conditions.accept(text, request.is_cut(ids))

    wanted = min(settings.n, settings.beams)
    found = beam_search(
        engine, request, settings.beams, wanted, settings.length_penalty, qualifies, interrupted
    )
    return texts_of(request, tokenizer, [beam.ids for beam in found])


def beam_search(
    engine: Engine,
    request: Request,
    beams: int,
    wanted: int,
    length_penalty: float,
    keep: Callable[[Ids], bool] = lambda ids: True,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[Beam]:
    """The `wanted` texts with the highest scores among all that `beams` beams finish, the best first.

    Once `interrupted()`, which is asked before the continuations of each beam, those found until then.
    """

    def score(beam: Beam, tokens: int | None = None) -> float:
        """Of a text, and of one as likely with so many tokens."""
        return beam.log_probability / math.pow(tokens or beam.drawn, length_penalty)

    context = SlidingContext(engine.decoder(beams), engine.model.block_size)
    live, finished, best = [Beam((), 0.0, 0)], dict[Ids, Beam](), list[Beam]()
    for left in range(request.max_new_tokens, 0, -1):
        padded = [*live, *live[:1] * (beams - len(live))]
        histories = [[*request.prompt, *beam.ids] for beam in padded]
        logits = context.logits(histories, sources=[beam.parent for beam in padded])
        going, ended = _step(live, logits, request, interrupted)
        if interrupted():
            break
        likeliest = heapq.nlargest(beams, going, key=lambda one: one.log_probability)
        live = [one.after(live[one.parent]) for one in likeliest]
        for beam in [*ended, *(live if left == 1 else [])]:
            known = finished.get(beam.ids)
            if keep(beam.ids) if known is None else score(beam) > score(known):
                finished[beam.ids] = beam
        best = heapq.nlargest(wanted, finished.values(), key=score)
        # More tokens make a text less likely; at best they cost nothing, and are as many as there may be.
        if not live or (len(best) == wanted and score(best[-1]) >= score(live[0], request.max_new_tokens)):
            break
    return best


def _step(
    live: Sequence[Beam],
    logits: Sequence[Sequence[float]],
    request: Request,
    interrupted: Callable[[], bool],
) -> tuple[list[Continuation], list[Beam]]:
    """Every continuation of the beams by a token: those that go on, and those that end with it."""
    going, ended = [], []
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
                going.append(Continuation(parent, token, total))
    return going, ended


def log_softmax(logits: Sequence[float]) -> list[float]:
    """log p of every token, in nats and in double precision."""
    x = checked_logits(logits)
    highest = max(x)
    log_total = highest + math.log(sum(math.exp(logit - highest) for logit in x))
    return [logit - log_total for logit in x]
