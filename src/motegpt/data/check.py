"""A report on data files, read as training reads them: sizes, alphabet, truncation, likely mistakes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.sections import DataConfig, ModelConfig, section_values
from motegpt.config.synonyms import flag_of
from motegpt.data.corpus import BUILT_IN, name_of, paths_of, read_corpus
from motegpt.data.cut import LARGEST_BLOCK, Cut, cut_of, quantile, sizes_of
from motegpt.data.documents import END, Documents
from motegpt.data.lint import NOT_NFC, Finding, Lint
from motegpt.data.repeats import Repeats, drop_repeats, find_repeats
from motegpt.data.tokenizers import Tokenizer
from motegpt.model.spec import parameter_count

if TYPE_CHECKING:
    from motegpt.data.corpus import Data
    from motegpt.data.cut import Sizes

MAX_BARS = 10  # of a histogram
MAX_EXAMPLES = 5  # of repeated documents
STREAM_BLOCK = 64  # recommended block_size for running text
SIZES = ("n_layer", "n_embd", "n_head")  # recommended with a preset of a large model
REPEATED = (  # settings that the recommended command includes
    "preset", *SIZES, "format", "column", "header", "delimiter", "encoding", "normalize", "deduplicate",
    "tokenizer", "max_vocab_size", "token_pattern", "tokenizer_file", "framing", "cut", "block_size",
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """The number of documents with low … high tokens."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Lengths:
    """Tokens per document, without special tokens."""

    shortest: int
    median: int
    longest: int
    bars: list[Bar]


@dataclass(frozen=True)
class Tokens:
    """A tokenizer on the data: tokens per document, and bits per character of an n-gram model.

    per_document: of a stream, per 1,000 characters.
    """

    kind: str
    vocab_size: int
    per_document: float
    bits_per_character: float


@dataclass(frozen=True)
class Report:
    """The result of `motegpt data check`. duplicates: documents equal to an earlier one.

    assumed: assumptions about the files that no setting confirms; parameters: without those of the n-gram
    embedding (has_ngram_embedding), whose contexts are not counted here; choices: what training would choose,
    and why; tokenizers: compared on a part of the data.
    """

    path: str
    format: str
    column: str | None
    assumed: list[str]
    lines: int
    empty: int
    documents: int
    duplicates: int
    repeated: dict[str, int]
    alphabet: dict[str, int]
    lengths: Lengths
    cut: Cut | None
    findings: list[Finding]
    vocab_size: int
    parameters: int
    has_ngram_embedding: bool
    command: str
    choices: list[str] = field(default_factory=list)
    tokenizers: list[Tokens] = field(default_factory=list)


def check_data(
    data: Data,
    settings: Mapping[str, Any],
    given: Mapping[str, Any],
    choices: Sequence[str] = (),
    compare: Callable[[Documents, DataConfig], list[Tokens]] = lambda documents, data: [],
) -> Report:
    """Check files, or the built-in names, as training with these flat settings would read them.

    given: those that the user gave, `preset` included, which the recommended command repeats; compare: how
    to compare tokenizers.
    Raises DataError where training would.
    """
    reading = DataConfig.of(section_values(settings, "data"))
    paths, lint = paths_of(data) or [], Lint(reading)
    corpus = read_corpus(data, reading.replace(deduplicate=False), lint.look)
    repeats = find_repeats(corpus.documents)
    documents = drop_repeats(corpus.documents) if reading.deduplicate else corpus.documents
    tokenizer = Tokenizer.fit(documents, reading)
    model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": tokenizer.vocab_size})
    sizes = sizes_of(documents, tokenizer)
    cut = None if reading.is_stream else cut_of(sizes, model.block_size, reading.cut)
    reader = lint.readers[-1]
    return Report(
        path=name_of(paths) or BUILT_IN,
        format=reader.format,
        column=reader.column,
        assumed=list(corpus.assumed),
        lines=lint.lines,
        empty=lint.empty,
        documents=len(documents),
        duplicates=len(corpus.documents) - len(repeats.firsts),
        repeated=_most_repeated(corpus.documents, repeats),
        alphabet=_alphabet(documents),
        lengths=lengths_of(sizes),
        cut=cut,
        findings=lint.findings(),
        vocab_size=tokenizer.vocab_size,
        parameters=parameter_count(model),
        has_ngram_embedding=model.ngram_orders is not None,
        command=_command(paths, given, cut, lint),
        choices=list(choices),
        tokenizers=compare(documents, reading),
    )


def lengths_of(sizes: Sizes) -> Lengths:
    """Shortest, median, longest and a histogram of at most MAX_BARS bars."""
    low, high = int(sizes.min()), int(sizes.max())
    width = -(-(high - low + 1) // MAX_BARS)
    counts = np.bincount((sizes - low) // width).tolist()
    starts = range(low, high + 1, width)
    bars = [
        Bar(start, min(start + width - 1, high), count) for start, count in zip(starts, counts, strict=True)
    ]
    return Lengths(low, quantile(sizes, 0.5), high, bars)


def _alphabet(documents: Documents) -> dict[str, int]:
    """Characters with their counts, most frequent first."""
    counts = np.zeros(sys.maxunicode + 1, np.int64)
    for piece in documents.pieces():
        found = np.bincount(np.frombuffer(piece.encode("utf-32-le"), "<u4"))
        counts[: len(found)] += found
    counts[ord(END)] = 0
    points = np.flatnonzero(counts)
    order = points[np.argsort(-counts[points], kind="stable")].tolist()
    return {chr(point): int(counts[point]) for point in order}


def _most_repeated(documents: Documents, repeats: Repeats) -> dict[str, int]:
    """The most frequent documents with their counts; ties in order of first occurrence."""
    order = np.lexsort((repeats.firsts, -repeats.counts))[:MAX_EXAMPLES].tolist()
    top = [(documents[int(repeats.firsts[i])], int(repeats.counts[i])) for i in order]
    return {document: count for document, count in top if count > 1}


def _command(paths: Sequence[str | Path], given: Mapping[str, Any], cut: Cut | None, lint: Lint) -> str:
    """The recommended command: the given settings, and others that suit the files."""
    given = {name: given[name] for name in REPEATED if name in given}
    if lint.is_running_text and not given.keys() - {"preset", *SIZES}:
        given |= {"format": "stream", "block_size": STREAM_BLOCK}
    elif cut is not None and cut.documents and cut.advised <= LARGEST_BLOCK:
        given["block_size"] = cut.advised
    if lint.has(NOT_NFC):
        given["normalize"] = "nfc"
    flags = [word for name, value in given.items() for word in _flag(name, value)]
    name = Path(paths[0]).name.partition(".")[0] or "mine" if paths else "names"
    return shlex.join(["motegpt", "train", *map(str, paths), *flags, "--out", f"runs/{name}"])


def _flag(name: str, value: Any) -> list[str]:
    """The words that give a setting on the command line."""
    return [flag_of(name, on=value)] if isinstance(value, bool) else [flag_of(name), str(value)]
