"""The compiled core, cpp/bind*.cpp. Flat arrays are in canonical order."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motegpt.config.sections import ModelConfig
from motegpt.model.spec import Tensor

Ids = NDArray[np.uint8 | np.uint16 | np.uint32 | np.int32]
Reals = NDArray[np.floating[Any]]
Longs = NDArray[np.int64]
Steps = tuple[Ids, Longs, Longs, NDArray[np.float64]]  # tokens, starts, lengths, weights, as in batches.Chunk

def levels() -> list[str]: ...
def compiler() -> str: ...

class Specification:
    def __init__(
        self, model: ModelConfig, tensors: Iterable[Tensor], contexts: Sequence[Longs] = ()
    ) -> None: ...

class Model:
    level: str
    def __init__(
        self,
        specification: Specification,
        *,
        dtype: str,
        optimizer: str,
        scalars: Sequence[str],
        level: str | None = None,
        threads: int = 0,
        checkpoint_activations: bool = False,
        inference: bool = False,
    ) -> None: ...
    def load(self, parameters: Reals, slots: Reals) -> None: ...
    def parameters(self) -> Reals: ...
    def store(self) -> tuple[Reals, Reals]: ...
    def train(
        self,
        tokens: Ids,
        starts: Longs,
        lengths: Longs,
        weights: NDArray[np.float64],
        scalars: NDArray[np.float64],
        clip_node: float | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        first: int = 0,
        seed: int = 0,
        dropout: float = 0.0,
        ngram_dropout: float = 0.0,
        table_decay: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]: ...
    def gradients(
        self,
        tokens: Ids,
        starts: Longs,
        lengths: Longs,
        weights: NDArray[np.float64],
        clip_node: float | None = None,
        step: int = 0,
        seed: int = 0,
        dropout: float = 0.0,
        ngram_dropout: float = 0.0,
    ) -> tuple[float, Reals]: ...
    def logits(self, tokens: Ids, starts: Longs, lengths: Longs, weights: NDArray[np.float64]) -> Reals: ...
    def evaluate(
        self, tokens: Ids, starts: Longs, lengths: Longs, weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], Longs]: ...

class NGrams:
    def __init__(
        self,
        levels: Sequence[tuple[NDArray[Any], ...]],  # children, first, starts, last, share, backoff
        unigrams: NDArray[np.float64],
    ) -> None: ...

class Decoder:
    def __init__(
        self,
        specification: Specification,
        parameters: Reals,
        n: int,
        *,
        dtype: str,
        level: str | None = None,
        threads: int = 1,
    ) -> None: ...
    def reset(self) -> None: ...
    def reorder(self, sources: NDArray[np.int32]) -> None: ...
    def feed(self, ids: NDArray[np.int32]) -> Reals: ...
    def generate(
        self,
        prompt: NDArray[np.int32],
        end: int,
        temperature: float,
        states: NDArray[np.uint64],
        *,
        max_new_tokens: int,
        min_new_tokens: int = 0,
        n_prefix_tokens: int = 0,
        stop: NDArray[np.int32] | None = None,
        masked: NDArray[np.uint8] | None = None,
        repetition_penalty: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        n_grams: NGrams | None = None,
        n_gram_weight: float = 0.0,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint64]]: ...
