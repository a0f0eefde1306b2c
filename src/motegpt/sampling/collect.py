"""Generate n texts that satisfy conditions on whole texts, in groups.

Candidate i is generated from stream i of the seed, and the first n accepted candidates are returned, so the
result depends on the seed but not on the group sizes. Without conditions text i is candidate i.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING

from motegpt.errors import TriesExhausted
from motegpt.model.rng import Streams
from motegpt.sampling.beam import best_texts
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.generate import generate_texts
from motegpt.sampling.starts import Starts, prepare_starts

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import LanguageModel

MAX_GROUP = 4096  # texts; group sizes double from 1 up to this
USUAL_TEMPERATURE = 1.0  # at which the probabilities are the model's own


def draw_texts(
    engine: LanguageModel,
    tokenizer: Tokenizer,
    settings: SampleConfig,
    seed: int,
    excluded: Container[str] | None = None,
    starts: Starts | None = None,
) -> Iterator[list[str]]:
    """Yield settings.n texts in groups as they are generated; with beams, the n best in one group.

    excluded: texts to reject; starts: those of prepare_starts, if they are known already. The call itself
    raises PrefixError and SettingError; the iterator raises TriesExhausted after the last group if it found
    fewer texts.
    """
    conditions = Conditions.of(settings, excluded)
    starts = prepare_starts(engine, tokenizer, settings) if starts is None else starts
    if settings.beams is not None:
        return _best_texts(engine, tokenizer, starts, settings, conditions)
    return _sampled_texts(engine, tokenizer, settings, starts, seed, conditions)


def _best_texts(
    engine: LanguageModel,
    tokenizer: Tokenizer,
    starts: Starts,
    settings: SampleConfig,
    conditions: Conditions,
) -> Iterator[list[str]]:
    wanted = min(settings.n, settings.beams or 1)
    texts = best_texts(engine, tokenizer, starts, settings, conditions)
    yield texts
    if len(texts) < wanted:
        accepted = f" that qualify ({conditions})" if conditions else ""
        raise TriesExhausted(
            f"sample: expected {wanted} texts{accepted}, got {len(texts)} from {settings.beams} beams; try "
            "more `beams`"
        )


def _sampled_texts(
    engine: LanguageModel,
    tokenizer: Tokenizer,
    settings: SampleConfig,
    starts: Starts,
    seed: int,
    conditions: Conditions,
) -> Iterator[list[str]]:
    candidate = found = failed = 0
    size = 1
    while found < settings.n:
        count = size if conditions else min(size, settings.n - found)
        texts, cuts = generate_texts(engine, tokenizer, starts, Streams(seed, candidate, count))
        if conditions:
            candidates = zip(texts, cuts, strict=True)
            texts, failed = _accepted(candidates, conditions, settings.n - found, failed, settings.tries)
        candidate, found, size = candidate + count, found + len(texts), min(2 * size, MAX_GROUP)
        yield texts
        if failed == settings.tries:
            raise TriesExhausted(
                f"sample: expected {settings.n} texts, got {found}, as {failed} in a row did not qualify "
                f"({conditions}); try {_advice(settings, conditions)}"
            )


def _advice(settings: SampleConfig, conditions: Conditions) -> str:
    """What finds more texts: other ones first, if the model repeats itself."""
    repeats = settings.unique or conditions.excluded is not None
    hotter = "a higher `temperature`, or " if repeats and settings.temperature < USUAL_TEMPERATURE else ""
    return f"{hotter}a larger `tries`"


def _accepted(
    candidates: Iterable[tuple[str, bool]], conditions: Conditions, wanted: int, failed: int, tries: int
) -> tuple[list[str], int]:
    """The first `wanted` accepted texts, and the number of consecutive rejections at the end.

    candidates: (text, whether it is cut). Stops after `tries` consecutive rejections.
    """
    accepted: list[str] = []
    for text, cut in candidates:
        if len(accepted) == wanted or failed == tries:
            break
        if conditions.accept(text, cut):
            accepted.append(text)
            failed = 0
        else:
            failed += 1
    return accepted, failed
