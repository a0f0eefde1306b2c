"""The likeliest texts, found by beam search: no chance in it.

Of all continuations of the `beams` best beginnings the `beams` best go on; every one that ends is a
candidate. Candidates are ranked by the model's own log-probability, at temperature 1 and summed over
the tokens drawn and the end, if one was drawn; what the masks forbid does not take part. There is no
normalisation by length: short texts have the advantage that the model gives them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motegpt.config import LARGEST_CACHE
from motegpt.errors import SettingError
from motegpt.sampling.context import SlidingContext
from motegpt.sampling.filters import finite
from motegpt.sampling.request import Request, request_of

if TYPE_CHECKING:
    from motegpt.config import SampleConfig
    from motegpt.engines.base import Engine
    from motegpt.tokenizer import Tokenizer

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Beam:
    """The beginning of a text: ids drawn so far, and their log-probability in nats."""

    ids: Ids
    log_probability: float
    parent: int = 0  # its place among the beams of the step before


def likeliest_texts(
    engine: Engine, tokenizer: Tokenizer, settings: SampleConfig, keep: Callable[[str], bool] | None = None
) -> list[str]:
    """The min(n, beams) likeliest texts that `keep` and the suffix let through, the likeliest first.

    They are fewer if the beams met no more. Needs settings.beams.
    """
    assert settings.beams is not None
    model = engine.model
    most = LARGEST_CACHE // (model.n_layer * model.block_size * model.n_embd)
    if settings.beams > most:
        raise SettingError(
            f"beams: expected at most {most}, as the keys of all are kept, got {settings.beams}"
        )
    request = request_of(settings, tokenizer, engine.model.block_size)

    def text_of(ids: Ids) -> str:
        return tokenizer.decode([*request.prefix, *ids])

    def may_stay(ids: Ids) -> bool:
        text = text_of(ids)
        return text.endswith(settings.suffix) and (keep is None or keep(text))

    wanted = min(settings.n, settings.beams)
    return [text_of(beam.ids) for beam in beam_search(engine, request, settings.beams, wanted, may_stay)]


def beam_search(
    engine: Engine, request: Request, beams: int, wanted: int, keep: Callable[[Ids], bool] = lambda ids: True
) -> list[Beam]:
    """The `wanted` likeliest finished texts among all that `beams` beams meet, the likeliest first."""
    context = SlidingContext(engine.decoder(beams), engine.model.block_size)
    live, finished = [Beam((), 0.0)], dict[Ids, Beam]()
    for left in range(request.most, 0, -1):
        padded = [*live, *live[:1] * (beams - len(live))]
        histories = [[*request.prompt, *beam.ids] for beam in padded]
        logits = context.logits(histories, sources=[beam.parent for beam in padded])
        going, ended = _step(live, logits, request)
        live = heapq.nlargest(beams, going, key=lambda beam: beam.log_probability)
        for beam in [*ended, *(live if left == 1 else [])]:
            known = finished.get(beam.ids)
            if keep(beam.ids) if known is None else beam.log_probability > known.log_probability:
                finished[beam.ids] = beam
        best = heapq.nlargest(wanted, finished.values(), key=lambda beam: beam.log_probability)
        if not live or (len(best) == wanted and best[-1].log_probability >= live[0].log_probability):
            break  # what goes on can only become less likely
    return best


def _step(
    live: Sequence[Beam], logits: Sequence[Sequence[float]], request: Request
) -> tuple[list[Beam], list[Beam]]:
    """Every continuation of the beams by a token: those that go on, and those that end with it."""
    going, ended = [], []
    for place, beam in enumerate(live):
        masked = request.masked_after(beam.ids)
        for token, share in enumerate(log_softmax(logits[place])):
            if token in masked:
                continue
            total = beam.log_probability + share
            ids = (*beam.ids, token)
            if token == request.end:
                ended.append(Beam(beam.ids, total))
            elif request.is_stopped(ids):
                ended.append(Beam(ids[: -len(request.stop)], total))
            else:
                going.append(Beam(ids, total, place))
    return going, ended


def log_softmax(logits: Sequence[float]) -> list[float]:
    """log p of every token, in nats and in double precision."""
    x = finite(logits)
    highest = max(x)
    log_total = highest + math.log(sum(math.exp(logit - highest) for logit in x))
    return [logit - log_total for logit in x]
