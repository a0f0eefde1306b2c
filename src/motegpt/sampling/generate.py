"""A request -> the ids of texts, by any engine.

The model sees at most block_size tokens. A text that goes on beyond that is continued from a window of its
end: when the window is full it moves on, so that the last half of block_size tokens are in it, and fills up
again. Where it begins depends on the length of the text alone (`window_start`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from motegpt.generation.filters import sample_token
from motegpt.generation.request import Request, request_of
from motegpt.sampling.beam import best_texts
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.context import SlidingContext
from motegpt.sampling.texts import texts_of

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, SampleConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine
    from motegpt.model.rng import Rng, Stream

CACHE_BYTES = 2**28  # of keys, values and ids held at a time; more sequences than fit are drawn in groups


def generate(
    engine: Engine, tokenizer: Tokenizer, settings: SampleConfig, rngs: Sequence[Stream]
) -> list[str]:
    """One text for each generator, whatever conditions it meets as a whole.

    Each sequence draws from its own generator alone, so its text does not depend on how many others are
    drawn with it; they go side by side as far as their caches fit into CACHE_BYTES.
    """
    request = request_of(settings, tokenizer, engine.model.block_size)
    return texts_of(request, tokenizer, generate_ids(engine, request, rngs))


def generate_sequentially(
    engine: Engine,
    tokenizer: Tokenizer,
    settings: SampleConfig,
    rng: Rng,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[str]:
    """settings.n texts, one after the other from one generator, as the reference programs draw them.

    They are fewer where none that qualifies came in settings.tries attempts, beams is less than n, or
    `interrupted()`, which is asked before each text, or each beam's step.
    """
    conditions = Conditions.of(settings)
    request = request_of(settings, tokenizer, engine.model.block_size)
    if settings.beams is not None:
        return best_texts(engine, tokenizer, request, settings, conditions, interrupted)
    texts: list[str] = []
    while len(texts) < settings.n:
        for _ in range(settings.tries):
            if interrupted():
                return texts
            drawn = generate_by_token(engine, request, [rng])
            (text,) = texts_of(request, tokenizer, drawn)
            if conditions.accept(text, request.is_cut(drawn[0])):
                texts.append(text)
                break
        else:
            break
    return texts


def generate_ids(engine: Engine, request: Request, rngs: Sequence[Stream]) -> list[list[int]]:
    """The ids after the prompt, one list for each generator, by the fastest way the engine has."""
    drawn: list[list[int]] = []
    in_one_call = engine.why_not(request=request) is None
    group = group_size(engine.model, request.max_new_tokens)
    for start in range(0, len(rngs), group):
        some = rngs[start : start + group]
        drawn += engine.generate(request, some) if in_one_call else generate_by_token(engine, request, some)
    return drawn


def generate_by_token(engine: Engine, request: Request, rngs: Sequence[Rng]) -> list[list[int]]:
    """The ids after the prompt, one list for each generator: the reference of Engine.generate."""
    context = SlidingContext(engine.decoder(len(rngs)), engine.model.block_size)
    texts = [_Sequence(request) for _ in rngs]
    for _ in range(request.max_new_tokens):
        logits = context.logits([text.history for text in texts])
        for i, text in enumerate(texts):
            if text.is_running:
                masked = request.masked_after(text.ids)
                text.take(sample_token(logits[i], request.filters, rngs[i], text.seen, masked))
            else:
                text.history.append(0)
        if not any(text.is_running for text in texts):
            break
    return [text.ids for text in texts]


class _Sequence:
    """One text while it is drawn. history: all ids, the prompt's too; ids: those drawn; seen: in the text."""

    def __init__(self, request: Request) -> None:
        self._request, self._stop = request, len(request.stop)
        self.history, self.ids = list(request.prompt), list[int]()
        self.seen = set(request.prefix)
        self.is_running = True

    def take(self, token: int) -> None:
        """One more id, which may be the end."""
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
    """How many sequences' keys, values and ids fit into CACHE_BYTES, at least one."""
    numbers = 2 * model.n_layer * model.block_size * model.n_embd + max_new_tokens
    return max(1, CACHE_BYTES // (8 * numbers))
