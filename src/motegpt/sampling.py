"""Logits -> id, and ids -> text. The one place where temperature exists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.errors import PrefixError

if TYPE_CHECKING:
    from motegpt.config import SampleConfig
    from motegpt.engines.base import Engine
    from motegpt.rng import Rng
    from motegpt.tokenizer import Tokenizer


def probabilities(logits: Sequence[float], temperature: float) -> list[float]:
    """softmax(logits / temperature), in double precision whatever the logits are."""
    scaled = [float(logit) / temperature for logit in logits]
    highest = max(scaled)
    e = [math.exp(x - highest) for x in scaled]
    total = sum(e)
    return [x / total for x in e]


def choose(logits: Sequence[float], temperature: float, rng: Rng) -> int:
    """The next id: drawn from the probabilities, or at temperature 0 the likeliest (the first, if tied)."""
    if temperature == 0.0:
        return max(range(len(logits)), key=lambda i: logits[i])
    return rng.categorical(probabilities(logits, temperature))


def check_prefix(prefix: str, tokenizer: Tokenizer, block_size: int) -> list[int]:
    """The ids of a prefix that leaves room for at least one more character; else PrefixError."""
    ids = tokenizer.encode(prefix)
    if len(ids) >= block_size:
        raise PrefixError(
            f"prefix: expected at most {block_size - 1} characters (block_size {block_size} leaves one to "
            f"draw), got {len(ids)}"
        )
    return ids


def generate(engine: Engine, tokenizer: Tokenizer, settings: SampleConfig, rngs: Sequence[Rng]) -> list[str]:
    """One text for each generator, all sequences side by side.

    A text ends at the stop token or once the model has seen block_size tokens. Each sequence draws from
    its own generator alone, so its text does not depend on how many others are drawn with it.
    """
    prefix = check_prefix(settings.prefix, tokenizer, engine.model.block_size)
    decoder = engine.decoder(len(rngs))
    for token in (tokenizer.bos, *prefix):
        logits = decoder.feed([token] * len(rngs))
    texts: list[list[int]] = [list(prefix) for _ in rngs]
    running = set(range(len(rngs)))
    for fed in range(len(prefix) + 1, engine.model.block_size + 1):
        latest = [tokenizer.stop] * len(rngs)
        for i in sorted(running):
            latest[i] = choose(logits[i], settings.temperature, rngs[i])
            if latest[i] == tokenizer.stop:
                running.remove(i)
            else:
                texts[i].append(latest[i])
        if not running or fed == engine.model.block_size:
            break
        logits = decoder.feed(latest)
    return [tokenizer.decode(text) for text in texts]


def generate_in_turn(engine: Engine, tokenizer: Tokenizer, settings: SampleConfig, rng: Rng) -> list[str]:
    """settings.n texts, one after the other from one generator, as the reference programs draw them."""
    return [generate(engine, tokenizer, settings, [rng])[0] for _ in range(settings.n)]
