"""The workloads of the benchmark, and the operations per step of each."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from motegpt.config.presets import CONSTANTS, settings_of
from motegpt.config.sections import ModelConfig, TrainConfig, model_and_training
from motegpt.data.corpus import Corpus
from motegpt.data.plan import DocumentPlan, longest_sequence
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines.cost import operations_per_token

# As many characters as the tiny Shakespeare file has, beside the end of a text: for workloads on long text.
RANDOM_CHARACTERS = [chr(ord("0") + i) for i in range(64)]
RANDOM_TEXTS = 64


@dataclass(frozen=True)
class Workload:
    """A row of the benchmark. settings: override the preset; full_length: random sequences of full length.

    The dtype is that of a training with the preset, or of one without a preset where settings differ.
    """

    name: str
    preset: str
    settings: dict[str, Any] = field(default_factory=dict)
    full_length: bool = False

    def all_settings(self, dtype: str | None = None) -> dict[str, Any]:
        """The settings of preset and workload. dtype: replaces theirs."""
        own = {"dtype": CONSTANTS["dtype"], **self.settings} if self.settings else {}
        return {**settings_of(self.preset), **own, **({} if dtype is None else {"dtype": dtype})}


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
        return self.plan.targets_per_sequence * self.plan.batch_size


def problem_of(
    workload: Workload, corpus: Corpus, dtype: str | None, changes: Mapping[str, Any] = MappingProxyType({})
) -> Problem:
    """The model, training settings and plan of a workload, with `changes` to the settings.

    dtype: None for the workload's.
    """
    settings = {**workload.all_settings(dtype), "steps": 10**6, **changes}
    documents = random_texts(settings["block_size"]) if workload.full_length else corpus.documents
    tokenizer = Tokenizer.of(documents, settings["framing"])
    longest = longest_sequence(settings["block_size"], settings["cut"])
    sequences = tokenizer.encode_documents(documents).truncate(longest)
    model, train = model_and_training(settings, tokenizer.vocab_size)
    return Problem(model, train, DocumentPlan(sequences, train.batch_size, train.loss_mean))


def random_texts(length: int) -> list[str]:
    """Texts of `length` random characters."""
    rng = random.Random(0)
    return ["".join(rng.choices(RANDOM_CHARACTERS, k=length)) for _ in range(RANDOM_TEXTS)]


def operations(problem: Problem) -> float:
    """Floating-point operations per step, forward and backward, without the optimizer."""
    positions = problem.tokens / problem.plan.batch_size
    return operations_per_token(problem.model, positions) * problem.tokens
