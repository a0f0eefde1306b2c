"""Choose how a text with a prefix begins, where tokens are longer than a character.

Texts that begin with "jo" may begin with the tokens jo, or with a token joh. Each such start (generation/
starts.py) has the probability of its ids under the model, to the power 1 / temperature, normalized over all
starts that the settings allow. Choosing one by it, and continuing with the model, gives texts the model's
own distribution among those that begin with the prefix in one of these ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motegpt.config.text import shortened
from motegpt.data.batches import Batch
from motegpt.errors import PrefixError
from motegpt.generation.filters import argmax, log_softmax
from motegpt.generation.request import Request, prompt_of, request_of, starting
from motegpt.generation.starts import Start, starts_of

if TYPE_CHECKING:
    from motegpt.config.sections import SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import LanguageModel
    from motegpt.model.rng import Rng

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Starts:
    """requests: one per start; log_p: of each among all of them, in nats; temperature: of the choice."""

    requests: Sequence[Request]
    log_p: Sequence[float]
    temperature: float

    def choose(self, rng: Rng) -> int:
        """The index of a start; uses no random number if there is only one."""
        if len(self.requests) == 1 or self.temperature == 0:
            return argmax(self.log_p)
        highest = max(self.log_p)
        return rng.categorical([math.exp((one - highest) / self.temperature) for one in self.log_p])


def prepare_starts(engine: LanguageModel, tokenizer: Tokenizer, settings: SampleConfig) -> Starts:
    """The starts that the settings allow; PrefixError or SettingError as from request_of."""
    starts = starts_of(settings.prefix, tokenizer)
    first = request_of(settings, tokenizer, engine.model.block_size, starts[0])
    found = [(start, starting(first, start, settings)) for start in starts]
    allowed = [(start, request) for start, request in found if request is not None]
    if not allowed:
        raise PrefixError(
            f"prefix: expected one that the settings allow to continue, got {shortened(settings.prefix)}, "
            "which ends within a token; try another"
        )
    if len(allowed) == 1:
        return Starts([allowed[0][1]], [0.0], settings.temperature)
    log_p = _log_probabilities(engine, tokenizer, [start for start, _ in allowed])
    return Starts([request for _, request in allowed], log_softmax(log_p), settings.temperature)


def _log_probabilities(engine: LanguageModel, tokenizer: Tokenizer, starts: Sequence[Start]) -> list[float]:
    """log p of the ids of each start, without those that all have in common. One forward pass per stem."""
    begin, shared = prompt_of("", tokenizer), _shared(starts)
    found = dict[Ids, tuple[float, list[float]]]()
    for stem in {start.ids[:-1] for start in starts}:
        ids = [*begin, *stem][-engine.model.block_size :]
        (logits,) = engine.logits(Batch.of([[*ids, 0]], "tokens"))
        targets = stem[max(shared, len(stem) - len(ids) + 1) :]
        rows = [log_softmax(row.tolist()) for row in logits[len(ids) - 1 - len(targets) :]]
        found[stem] = math.fsum(row[id] for row, id in zip(rows, targets, strict=False)), rows[-1]
    return [total + last[start.ids[-1]] for start in starts for total, last in [found[start.ids[:-1]]]]


def _shared(starts: Sequence[Start]) -> int:
    """The number of ids that all stems begin with."""
    stems = [start.ids[:-1] for start in starts]
    return next(
        (at for at, ids in enumerate(zip(*stems, strict=False)) if len(set(ids)) > 1), min(map(len, stems))
    )
