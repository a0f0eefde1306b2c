"""Requests as arguments of the core, and decoders that are kept for the next one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.engines.cost import BYTES, cache_bytes
from motegpt.model.spec import parameter_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    import motegpt.engines.native._core as _core
    from motegpt.config.sections import ModelConfig
    from motegpt.generation.request import Request

FEWEST, MOST = 16, 256  # sequences side by side
# Bytes of their keys and values, which should stay in a cache of the processor; or, where the parameters take
# most of the time, a multiple of theirs.
CACHE_BYTES, TIMES_PARAMETERS = 2**20, 4
KEPT_BYTES = 2**24  # of a decoder that is kept


class Decoders:
    """Decoders of some parameters. Small ones are kept, one for single texts and one for many.

    Several threads may use it. make: a new one, for n sequences.
    """

    def __init__(self, model: ModelConfig, dtype: str, make: Callable[[int], _core.Decoder]) -> None:
        self._make = make
        self._cache = cache_bytes(model, dtype)
        self._parameters = parameter_count(model) * BYTES[dtype]
        bound = max(CACHE_BYTES, TIMES_PARAMETERS * self._parameters)
        self._side = min(MOST, max(FEWEST, bound // self._cache))
        self._idle: dict[int, _core.Decoder] = {}

    @contextmanager
    def borrow(self, n: int, is_copy: bool) -> Iterator[_core.Decoder]:
        """A decoder that generates n texts, some of them side by side.

        is_copy: whether its parameters are a copy of those of the engine.
        """
        width = 1 if n == 1 else self._side
        if width * self._cache + is_copy * self._parameters > KEPT_BYTES:
            yield self._make(min(n, width))
            return
        idle = self._idle
        decoder = idle.pop(width, None) or self._make(width)
        yield decoder  # and if it raises, the decoder is not kept
        idle[width] = decoder


def arguments_of(request: Request, vocab_size: int) -> dict[str, Any]:
    """The arguments of _core.Decoder.generate that depend on the request alone."""
    filters = dict(request.filters.on)
    if "top_k" in filters:
        filters["top_k"] = min(filters["top_k"], vocab_size)  # larger numbers overflow 64 bits
    return {
        "prompt": np.array(request.prompt, np.int32),
        "end": -1 if request.end is None else request.end,
        "temperature": request.filters.temperature,
        "max_new_tokens": request.max_new_tokens,
        "min_new_tokens": request.min_new_tokens,
        "n_prefix_tokens": request.n_prefix_tokens,
        "stop": np.array(request.stop, np.int32),
        "masked": mask_of(request.masked, vocab_size),
        **filters,
    }


def mask_of(ids: Collection[int], vocab_size: int) -> NDArray[np.uint8] | None:
    """(V,), 1 at `ids` and 0 elsewhere; None if there are no ids."""
    if not ids:
        return None
    mask = np.zeros(vocab_size, np.uint8)
    mask[list(ids)] = 1
    return mask
