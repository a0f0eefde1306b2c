"""Logits -> id, and ids -> text. The one place where temperature exists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.engines.base import BatchGenerator
from motegpt.errors import MotegptError, PrefixError
from motegpt.rng import Lcg

if TYPE_CHECKING:
    from motegpt.config import ModelConfig, SampleConfig
    from motegpt.engines.base import Engine
    from motegpt.rng import Rng
    from motegpt.tokenizer import Tokenizer

NO_STOP = -1  # the stop token of a stream: no token at all
CACHE_BYTES = 2**28  # of keys and values held at a time; more sequences than fit are drawn in groups


def probabilities(logits: Sequence[float], temperature: float) -> list[float]:
    """softmax(logits / temperature), in double precision whatever the logits are."""
    x = [float(logit) for logit in logits]
    highest = max(x)
    if not math.isfinite(highest) or not math.isfinite(sum(x)):
        raise MotegptError("sample: expected finite logits, got others; the model has diverged or is damaged")
    e = [math.exp((logit - highest) / temperature) for logit in x]
    total = sum(e)
    return [weight / total for weight in e]


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
    """One text for each generator.

    A text ends at the stop token or once the model has seen block_size tokens. Each sequence draws from
    its own generator alone, so its text does not depend on how many others are drawn with it; they go
    side by side as far as their caches fit into CACHE_BYTES.
    """
    check_prefix(settings.prefix, tokenizer, engine.model.block_size)
    prompt = prompt_of(settings.prefix, tokenizer)
    stop = NO_STOP if tokenizer.stop is None else tokenizer.stop
    drawn = generate_ids(engine, prompt, stop, settings.temperature, rngs)
    return [settings.prefix + tokenizer.decode(ids) for ids in drawn]


def prompt_of(prefix: str, tokenizer: Tokenizer) -> list[int]:
    """The ids a model reads before it draws: BOS and the prefix.

    In a stream nothing begins, so the prefix alone; where there is none, a newline, which is not part of the
    text; if the alphabet has no newline a space, and if it has none either its first character.
    """
    ids = tokenizer.encode(prefix)
    if tokenizer.bos is not None:
        return [tokenizer.bos, *ids]
    known = tokenizer.characters or "\n"  # bytes know every character
    return ids or tokenizer.encode(next((character for character in "\n " if character in known), known[0]))


def generate_ids(
    engine: Engine, prompt: Sequence[int], stop: int, temperature: float, rngs: Sequence[Rng]
) -> list[list[int]]:
    """The ids after the prompt, one list for each generator, by the fastest way the engine has."""
    drawn: list[list[int]] = []
    group = group_size(engine.model)
    for start in range(0, len(rngs), group):
        some = rngs[start : start + group]
        streams = [rng for rng in some if isinstance(rng, Lcg)]
        if isinstance(engine, BatchGenerator) and len(streams) == len(some):
            drawn += engine.generate(prompt, stop, temperature, streams)
        else:
            drawn += generate_by_token(engine, prompt, stop, temperature, some)
    return drawn


def generate_by_token(
    engine: Engine, prompt: Sequence[int], stop: int, temperature: float, rngs: Sequence[Rng]
) -> list[list[int]]:
    """The ids after the prompt, one list for each generator: the reference for every BatchGenerator."""
    decoder = engine.decoder(len(rngs))
    for token in prompt:
        logits = decoder.feed([token] * len(rngs))
    drawn: list[list[int]] = [[] for _ in rngs]
    running = list(range(len(rngs)))
    for position in range(len(prompt), engine.model.block_size + 1):
        going = []
        for i in running:
            token = choose(logits[i], temperature, rngs[i])
            if token != stop:
                drawn[i].append(token)
                going.append(i)
        running = going
        if not running or position == engine.model.block_size:
            break
        logits = decoder.feed([ids[-1] if ids else stop for ids in drawn])
    return drawn


def group_size(model: ModelConfig) -> int:
    """How many sequences' keys and values fit into CACHE_BYTES, at least one."""
    numbers = 2 * model.n_layer * model.block_size * model.n_embd
    return max(1, CACHE_BYTES // (8 * numbers))


def generate_in_turn(engine: Engine, tokenizer: Tokenizer, settings: SampleConfig, rng: Rng) -> list[str]:
    """settings.n texts, one after the other from one generator, as the reference programs draw them."""
    return [generate(engine, tokenizer, settings, [rng])[0] for _ in range(settings.n)]
