"""A report on data that are ids."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.text import counted
from motegpt.data.corpus import name_of
from motegpt.data.ids.documents import IdDocuments
from motegpt.data.repeats import find_repeats

if TYPE_CHECKING:
    from motegpt.data.corpus import Corpus

MAX_FREQUENT = 8  # ids that are named
VAL_FRACTION = 0.1  # that the recommended command holds out, of data without a split


@dataclass(frozen=True)
class IdReport:
    """The result of `motegpt data check` for ids.

    duplicates: sequences equal to an earlier one; targets: of all sequences, counted: those that no mask
    leaves out, weights: the lowest and the highest of these, if they differ from 1; held_out: sequences that
    the data hold out; used: different ids; frequent: the most frequent ones with their counts; optimum: the
    lowest possible loss, if it is known.
    """

    path: str
    format: str
    sequences: int
    duplicates: int
    shortest: int
    median: int
    longest: int
    targets: int
    counted: int
    weights: tuple[float, float] | None
    held_out: int | None
    vocab_size: int
    used: int
    frequent: dict[str, int]
    optimum: float | None
    command: str


def check_ids(corpus: Corpus, paths: Sequence[Path]) -> IdReport:
    """The report on a corpus of ids. paths: of the files, as given."""
    documents = corpus.documents
    assert isinstance(documents, IdDocuments)
    lengths = np.asarray(documents.lengths)
    counts = np.bincount(np.asarray(documents.sequences.tokens), minlength=documents.vocab_size)
    order = np.argsort(-counts, kind="stable")[:MAX_FREQUENT].tolist()
    return IdReport(
        path=name_of(paths),
        format=documents.settings["format"],
        duplicates=len(documents) - len(find_repeats(documents).firsts),
        shortest=int(lengths.min()),
        median=int(np.quantile(lengths, 0.5, method="lower")),
        longest=int(lengths.max()),
        held_out=None if documents.held_out is None else int(documents.held_out.sum()),
        used=int((counts > 0).sum()),
        weights=_weights(documents),
        frequent={str(one): int(counts[one]) for one in order if counts[one]},
        **sizes_of(documents),
        command=_command(documents, paths),
    )


def _weights(documents: IdDocuments) -> tuple[float, float] | None:
    """The lowest and the highest weight of a target; None of a mask of 0 and 1."""
    if documents.mask is None or documents.mask.format == "B":
        return None
    weights = np.asarray(documents.mask).copy()
    weights[np.asarray(documents.sequences.offsets)[:-1]] = 0  # of the first ids, which are no targets
    found = weights[weights > 0]
    return float(found.min()), float(found.max())


def _command(documents: IdDocuments, paths: Sequence[Path]) -> str:
    """The recommended command: a block that truncates nothing, and a validation set."""
    block = [] if documents.is_stream else ["--block-size", str(max(2, max(documents.lengths) - 1))]
    held_out = [] if documents.held_out is not None else ["--val-fraction", f"{VAL_FRACTION:g}"]
    return shlex.join(["motegpt", "train", *map(str, paths), "--preset", "microgpt", *block, *held_out])


def sizes_of(documents: IdDocuments) -> dict[str, Any]:
    """Sequences, targets, those that count, vocab_size and optimum, by name."""
    return {
        "sequences": len(documents),
        "targets": sum(documents.lengths) - len(documents),
        "counted": int(documents.sequences.counted().sum()),
        "vocab_size": documents.vocab_size,
        "optimum": documents.optimum,
    }


def described(documents: IdDocuments) -> str:
    """961 sequences, 2,883 targets, 961 of them unmasked, vocab_size 32, optimum 0.0000 nats per target"""
    sizes = sizes_of(documents)
    parts = [counted(sizes["sequences"], "sequence"), counted(sizes["targets"], "target")]
    parts += [f"{sizes['counted']:,} of them unmasked"] * (sizes["counted"] != sizes["targets"])
    parts += [f"vocab_size {documents.vocab_size:,}"]
    parts += [] if documents.optimum is None else [f"optimum {documents.optimum:.4f} nats per target"]
    return ", ".join(parts)
