"""The computation graph of a model's loss on a text: every number, with its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from motegpt.config.presets import REFERENCE_PRESET, settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.batches import Batch
from motegpt.data.tokenizers import SYMBOLS, CharacterTokenizer
from motegpt.engines.scalar.engine import ScalarEngine
from motegpt.engines.scalar.groups import Graph, check_size, loss_graph
from motegpt.engines.scalar.model import FUSED
from motegpt.errors import DataError
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine
    from motegpt.engines.scalar.model import Reductions

TINY = {"n_embd": 2, "n_head": 1, "n_layer": 1}


def text_graph(
    engine: Engine,
    tokenizer: Tokenizer,
    text: str,
    *,
    is_whole: bool = True,
    reductions: Reductions = FUSED,
) -> Graph:
    """The graph of the mean loss of a text in nats per target, with gradients.

    engine: its parameters and contexts are read, whatever engine it is.
    is_whole: whether the end, if the tokenizer has one, is the last target. Raises DataError or PrefixError
    for a text that the model cannot read, UsageError for a graph that would be too large.
    """
    from motegpt.evaluation.inspect import ids_of  # imports NumPy, which help pages do without

    ids = ids_of(text, tokenizer, engine.model.block_size, more=int(tokenizer.is_ids))
    ids += [tokenizer.stop] if is_whole and tokenizer.stop is not None else []
    if len(ids) < 2:
        raise DataError(f"text: expected at least two {tokenizer.unit}s, as the model has no BOS, got one")
    names = [SYMBOLS.get(name, name) for name in (tokenizer.decode([token]) for token in ids)]
    columns = [f"{one} → {two}" for one, two in pairwise(names)]
    return loss_graph(engine, Batch.of([ids], "documents"), columns, f"“{text}”", reductions)


def tiny_graph(
    text: str, shape: Mapping[str, int] = TINY, seed: int = 42, reductions: Reductions = FUSED
) -> Graph:
    """The graph of an untrained model with the vocabulary of the text; shape: settings other than TINY."""
    tokenizer = CharacterTokenizer("".join(sorted(set(text))), "bos")
    settings = {**settings_of(REFERENCE_PRESET), **TINY, **shape, "block_size": len(text) + 1}
    model, train = model_and_training(
        {**settings, "dtype": "float64", "seed": seed}, tokenizer.vocab_size
    )  # fmt: skip
    check_size(model, len(text) + 1)
    engine = ScalarEngine(model, train)
    engine.load(initialize(model, make_rng(train.rng, train.seed)))
    return text_graph(engine, tokenizer, text, reductions=reductions)
