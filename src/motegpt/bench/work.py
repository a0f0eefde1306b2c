"""The workloads of the benchmark, and the operations per step of each."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from motegpt.config.presets import settings_of
from motegpt.config.sections import ModelConfig, TrainConfig, model_and_training
from motegpt.data.corpus import Corpus
from motegpt.data.plan import DocumentPlan, longest_sequence
from motegpt.data.sequences import TokenSequences
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines.cost import operations_per_token

RANDOM_VOCABULARY = 65  # that of the tiny Shakespeare file, for workloads on long text
RANDOM_SEQUENCES = 64


@dataclass(frozen=True)
class Workload:
    """A row of the benchmark. settings: override the preset; full_length: random sequences of full length."""

    name: str
    preset: str
    settings: dict[str, Any] = field(default_factory=dict)
    full_length: bool = False


def _names(width: int) -> Workload:
    return Workload(f"names, 16 docs, {width} wide", "microgpt", {"batch_size": 16, "n_embd": width})


WORKLOADS: dict[str, Workload] = {
    "microgpt": Workload("microgpt, 1 doc", "microgpt"),
    "zeroclaw": Workload("zeroclaw, 1 doc", "zeroclaw"),
    "names16": _names(16),
    "names32": _names(32),
    "names64": _names(64),
    "names128": _names(128),
    "deep": Workload(
        "4 layers, 128 wide, 12 x 64",
        "microgpt",
        {"n_layer": 4, "n_embd": 128, "block_size": 64, "batch_size": 12},
        full_length=True,
    ),
    "wide": Workload(
        "6 layers, 384 wide, 8 x 256",
        "microgpt",
        {"n_layer": 6, "n_embd": 384, "n_head": 6, "block_size": 256, "batch_size": 8},
        full_length=True,
    ),
}


@dataclass(frozen=True)
class Problem:
    """The arguments of an engine for a workload."""

    model: ModelConfig
    train: TrainConfig
    plan: DocumentPlan

    @property
    def tokens(self) -> float:
        """Mean targets per step over the plan."""
        return float(self.plan.targets / self.plan.epoch)


def problem_of(
    workload: Workload, corpus: Corpus, dtype: str, changes: Mapping[str, Any] = MappingProxyType({})
) -> Problem:
    """The model, training settings and plan of a workload, with `changes` to the settings."""
    settings = {
        **settings_of(workload.preset),
        **workload.settings,
        "dtype": dtype,
        "steps": 10**6,
        **changes,
    }
    if workload.full_length:
        rng, length = random.Random(0), settings["block_size"] + 1
        vocabulary = RANDOM_VOCABULARY
        rows = [[rng.randrange(vocabulary) for _ in range(length)] for _ in range(RANDOM_SEQUENCES)]
        sequences = TokenSequences.of(rows)
    else:
        tokenizer = Tokenizer.of(corpus.documents, settings["framing"])
        vocabulary = tokenizer.vocab_size
        longest = longest_sequence(settings["block_size"], settings["cut"])
        sequences = tokenizer.encode_documents(corpus.documents).truncate(longest)
    model, train = model_and_training(settings, vocabulary)
    return Problem(model, train, DocumentPlan(sequences, train.batch_size, train.loss_mean))


def operations(problem: Problem) -> float:
    """Floating-point operations per step, forward and backward, without the optimizer."""
    positions = problem.tokens / problem.plan.batch_size
    return operations_per_token(problem.model, positions) * problem.tokens
