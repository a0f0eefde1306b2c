"""n texts that meet conditions as a whole, in groups as they are drawn.

Candidate i is drawn from stream i of the seed, and the first n candidates that qualify are the texts: the
same for the same seed, however they are grouped. Without conditions text i is candidate i.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING

from motegpt.errors import TriesExhausted
from motegpt.generation.request import Request, request_of
from motegpt.model.rng import Stream
from motegpt.sampling.beam import best_texts
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.generate import generate_ids
from motegpt.sampling.texts import texts_of

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine

MAX_GROUP = 4096  # the first group is one text, and each is twice the one before, up to this


def draw_texts(
    engine: Engine,
    tokenizer: Tokenizer,
    settings: SampleConfig,
    seed: int,
    unique: bool = False,
    known: Container[str] | None = None,
) -> Iterator[list[str]]:
    """settings.n texts in groups, each given out as soon as it is drawn; with beams the n best, at once.

    known: texts that may not come. PrefixError and SettingError are raised by the call itself, TriesExhausted
    after the last group when no more texts were found.
    """
    conditions = Conditions.of(settings, unique, known)
    request = request_of(settings, tokenizer, engine.model.block_size)
    if settings.beams is not None:
        return _by_beams(engine, tokenizer, request, settings, conditions)
    return _by_chance(engine, tokenizer, settings, request, seed, conditions)


def _by_beams(
    engine: Engine, tokenizer: Tokenizer, request: Request, settings: SampleConfig, conditions: Conditions
) -> Iterator[list[str]]:
    wanted = min(settings.n, settings.beams or 1)
    texts = best_texts(engine, tokenizer, request, settings, conditions)
    yield texts
    if len(texts) < wanted:
        such = f" that qualify ({conditions})" if conditions else ""
        raise TriesExhausted(
            f"sample: {settings.beams} beams met {len(texts)} texts{such}, not {wanted}; try more `beams`"
        )


def _by_chance(
    engine: Engine,
    tokenizer: Tokenizer,
    settings: SampleConfig,
    request: Request,
    seed: int,
    conditions: Conditions,
) -> Iterator[list[str]]:
    candidate = found = failed = 0
    size = 1
    while found < settings.n:
        count = size if conditions else min(size, settings.n - found)
        rngs = [Stream.of(seed, i) for i in range(candidate, candidate + count)]
        drawn = generate_ids(engine, request, rngs)
        kept = texts_of(request, tokenizer, drawn)
        if conditions:
            candidates = zip(kept, map(request.is_cut, drawn), strict=True)
            kept, failed = _accepted(candidates, conditions, settings.n - found, failed, settings.tries)
        candidate, found, size = candidate + count, found + len(kept), min(2 * size, MAX_GROUP)
        yield kept
        if failed == settings.tries:
            raise TriesExhausted(
                f"sample: {failed} texts in a row did not qualify ({conditions}); found {found} of "
                f"{settings.n}; a larger `tries` looks longer"
            )


def _accepted(
    candidates: Iterable[tuple[str, bool]], conditions: Conditions, wanted: int, failed: int, tries: int
) -> tuple[list[str], int]:
    """The first `wanted` of some texts that qualify, and how many have failed in a row by then.

    candidates: texts, each with whether it is cut. It ends early when `tries` in a row have failed.
    """
    kept: list[str] = []
    for text, cut in candidates:
        if len(kept) == wanted or failed == tries:
            break
        if conditions.accept(text, cut):
            kept.append(text)
            failed = 0
        else:
            failed += 1
    return kept, failed
