"""n texts that meet conditions as a whole, in groups as they are drawn.

Candidate i is drawn from stream i of the seed, and the first n candidates that qualify are the texts: the
same for the same seed, however they are grouped. Without conditions text i is candidate i.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from motegpt.errors import TriesExhausted
from motegpt.rng import Stream
from motegpt.sampling.beam import likeliest_texts
from motegpt.sampling.draw import generate_ids, texts_of
from motegpt.sampling.request import Request, request_of
from motegpt.settings import shortened

if TYPE_CHECKING:
    from motegpt.config import SampleConfig
    from motegpt.engines.base import Engine
    from motegpt.tokenizer import Tokenizer

LARGEST_GROUP = 4096  # the first group is one text, and each is twice the one before, up to this


@dataclass
class Conditions:
    """What a text must be, beyond what masks can see to.

    suffix: it ends with this; unique: it has not come before; known: it is none of these, if any.
    """

    suffix: str = ""
    unique: bool = False
    known: Container[str] | None = None
    _before: set[str] = field(default_factory=set)

    def admit(self, text: str) -> bool:
        """Whether a text qualifies; one that does has come from now on."""
        if not text.endswith(self.suffix) or (self.unique and text in self._before):
            return False
        if self.known is not None and text in self.known:
            return False
        if self.unique:
            self._before.add(text)
        return True

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.suffix) or self.unique or self.known is not None

    def __str__(self) -> str:
        """suffix 'a', unique and novel"""
        named = [f"suffix {shortened(self.suffix)}"] * bool(self.suffix) + ["unique"] * self.unique
        named += ["novel"] * (self.known is not None)
        return " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))


def draw_texts(
    engine: Engine,
    tokenizer: Tokenizer,
    settings: SampleConfig,
    seed: int,
    unique: bool = False,
    known: Container[str] | None = None,
) -> Iterator[list[str]]:
    """settings.n texts in groups, each given out as soon as it is drawn; with beams the n likeliest, at once.

    known: texts that may not come. PrefixError and SettingError are raised by the call itself, TriesExhausted
    after the last group when no more texts were found.
    """
    conditions = Conditions(settings.suffix, unique, known)
    request = request_of(settings, tokenizer, engine.model.block_size)
    if settings.beams is not None:
        return _by_beams(engine, tokenizer, settings, conditions)
    return _by_chance(engine, tokenizer, settings, request, seed, conditions)


def _by_beams(
    engine: Engine, tokenizer: Tokenizer, settings: SampleConfig, conditions: Conditions
) -> Iterator[list[str]]:
    wanted = min(settings.n, settings.beams or 1)
    texts = likeliest_texts(engine, tokenizer, settings, conditions.admit)
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
        kept: list[str] = []
        for text in texts_of(request, tokenizer, generate_ids(engine, request, rngs)):
            if found + len(kept) == settings.n or failed == settings.tries:
                break
            if conditions.admit(text):
                kept.append(text)
                failed = 0
            else:
                failed += 1
        candidate, found, size = candidate + count, found + len(kept), min(2 * size, LARGEST_GROUP)
        yield kept
        if failed == settings.tries:
            raise TriesExhausted(
                f"sample: {failed} texts in a row did not qualify ({conditions}); found {found} of "
                f"{settings.n}; a larger `tries` looks longer"
            )
