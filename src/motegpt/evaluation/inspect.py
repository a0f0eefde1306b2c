"""What goes on inside a trained model: attention, residual stream, logits, gradients, and maps of vectors.

Values come from the array engine's forward pass in double precision, whatever engine the parameters were
trained on. T positions, L layers, H heads, C channels, N vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motegpt.config.text import concise
from motegpt.data.batches import Batch
from motegpt.engines import make_engine
from motegpt.engines.array import model as network
from motegpt.errors import DataError
from motegpt.model.spec import check_names_match
from motegpt.ngrams.contexts import Contexts
from motegpt.ngrams.vectors import Vectors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.array.ops import Array
    from motegpt.engines.base import Arrays


def ids_of(text: str, tokenizer: Tokenizer, block_size: int, more: int = 0) -> list[int]:
    """What the model reads of a text: BOS, if there is one, and its tokens.

    more: how many tokens may follow the block, as a target does that is no input.
    Raises DataError for an empty text and one that does not fit, PrefixError for a character it never saw.
    """
    begin = [] if tokenizer.bos is None else [tokenizer.bos]
    ids = [*begin, *tokenizer.encode(text)]
    if len(ids) == len(begin):
        raise DataError(f"text: expected at least one {tokenizer.unit}, got none")
    if len(ids) > block_size + more:
        raise DataError(
            f"text: expected at most {block_size + more - len(begin)} {tokenizer.unit}s (the model sees "
            f"block_size {block_size} positions{', BOS is one' * len(begin)}), got {len(ids) - len(begin)}"
        )
    return ids


def attention(
    parameters: Mapping[str, Any], model: ModelConfig, ids: Sequence[int], contexts: Contexts | None = None
) -> Array:
    """(L, H, T, T): how much position t (row) looks at position u (column); rows sum to 1, 0 where u > t."""
    found = trace(parameters, model, ids, contexts)
    return np.concatenate([found[f"blocks.{i}.attn.hook_pattern"] for i in range(model.n_layer)])


def logits(
    parameters: Mapping[str, Any], model: ModelConfig, ids: Sequence[int], contexts: Contexts | None = None
) -> Array:
    """(T, V): the logits after each position."""
    found: Array = trace(parameters, model, ids, contexts)["logits"][0]
    return found


class Gradients(NamedTuple):
    """loss: in nats per token; by_name: name -> d loss / d tensor, in the shape of the tensor."""

    loss: float
    by_name: Arrays

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"loss": self.loss, "tensors": len(self.by_name)})


def gradients(
    parameters: Mapping[str, Any],
    model: ModelConfig,
    train: TrainConfig,
    sequence: Sequence[int],
    contexts: Contexts | None = None,
) -> Gradients:
    """The mean loss over the targets of a sequence, and its gradient, without dropout and clipping.

    sequence: 2 to block_size + 1 ids.
    """
    plain = train.replace(dtype="float64", clip_node=None)
    engine = make_engine("array", model, plain, contexts or Contexts())
    engine.load(parameters)
    return Gradients(*engine.gradients(Batch.of([sequence], "tokens")))


def residual_stream(
    parameters: Mapping[str, Any], model: ModelConfig, ids: Sequence[int], contexts: Contexts | None = None
) -> Array:
    """(L + 1, T, C): the residual stream as it enters the first layer, and as it leaves each layer."""
    found = trace(parameters, model, ids, contexts)
    after = (found[f"blocks.{i}.hook_resid_post"] for i in range(model.n_layer))
    return np.concatenate([found["blocks.0.hook_resid_pre"], *after])


def trace(
    parameters: Mapping[str, Any], model: ModelConfig, ids: Sequence[int], contexts: Contexts | None = None
) -> network.Trace:
    """Every intermediate of a forward pass over one sequence, B = 1, by the names of docs/notation.md.

    In double precision. contexts: of the n-gram embedding, if there is one. Raises ValueError for ids the
    model cannot read, SettingError for contexts of another model.
    """
    check_names_match(parameters, model, "inspection")
    contexts = contexts or Contexts()
    contexts.check(model)
    if not 1 <= len(ids) <= model.block_size:
        raise ValueError(f"inspection: expected 1 to block_size = {model.block_size} tokens, got {len(ids)}")
    if not all(0 <= token < model.vocab_size for token in ids):
        raise ValueError(f"inspection: expected token ids below vocab_size = {model.vocab_size}, got {ids}")
    w: network.Weights = {name: np.asarray(array, np.float64) for name, array in parameters.items()}
    sequences = np.array([ids], np.intp)
    vectors = Vectors(contexts.rows(sequences), 1.0) if contexts.keys else None
    return network.trace_of(w, sequences, model, vectors)


class Plane(NamedTuple):
    """points (N, 2): the vectors on their first two principal components; shares (2,) of their variance."""

    points: Array
    shares: Array


def principal_plane(vectors: Array) -> Plane:
    """Principal component analysis by singular value decomposition: X - mean X = U S Vᵀ, points = U S.

    vectors (N, C). A component's sign is chosen so that its largest coordinate is positive.
    """
    centered = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centered, full_matrices=False)
    points, power = np.zeros((len(vectors), 2)), np.zeros(2)
    found = min(2, len(s))
    points[:, :found], power[:found] = u[:, :found] * s[:found], s[:found] ** 2
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    total = float((s**2).sum())
    return Plane(points * np.where(largest < 0, -1.0, 1.0), power / total if total else power)


def cosines(vectors: Array) -> Array:
    """(N, C) -> (N, N): the cosine of the angle between each two; 0 with a vector of zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    cosine: Array = np.clip(unit @ unit.T, -1.0, 1.0)
    return cosine
