"""The model that generation is timed with: trained briefly, so that its texts end as those of the data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from motegpt.api.gpt import GPT
from motegpt.bench.work import Workload, random_texts
from motegpt.config.needs import needing
from motegpt.data.corpus import Corpus
from motegpt.engines import default_engine

TRAINED_STEPS = 300  # enough for names to end


def model_of(
    workload: Workload, engine: str, corpus: Corpus, dtype: str | None, changes: Mapping[str, Any]
) -> GPT:
    """A GPT of the workload on the engine, with parameters that the fastest engine here has trained.

    dtype: None for the workload's; changes: to its settings, for this engine.
    """
    settings = workload.all_settings(dtype)
    for name in needing("samples"):  # a workload may be that of a command
        settings.pop(name, None)
    texts = random_texts(settings["block_size"]) if workload.full_length else list(corpus.documents)
    steps = 1 if workload.full_length else TRAINED_STEPS
    trained = _train(texts, default_engine(), {**settings, "steps": steps})
    model = _train(texts, engine, {**settings, **changes, "steps": 1})
    model.engine.load(trained.engine.parameters())
    return model


def _train(texts: Sequence[str], engine: str, settings: dict[str, Any]) -> GPT:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of truncated documents
        return GPT.train(texts, preset="microgpt", engine=engine, progress=False, **settings)


def characters(texts: Sequence[str]) -> int:
    """The number of characters, which are the tokens of every workload."""
    return sum(map(len, texts))
