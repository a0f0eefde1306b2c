"""What a data file holds, read as training reads it: sizes, alphabet, what is cut, what looks wrong."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Any

from motegpt.config import DataConfig, ModelConfig, section_values
from motegpt.documents import BUILT_IN, documents_of, normalised, nothing_in, read_content
from motegpt.formats import Content
from motegpt.parameters import parameter_count
from motegpt.presets import DEFAULT_PRESET, settings_of
from motegpt.suspicious import (
    NOT_NFC,
    Finding,
    findings_in,
    json_as_text,
    line_breaks,
    spaces_at_ends,
    table_as_text,
)
from motegpt.tokenizer import Tokenizer

BARS = 10  # of a histogram, at most
EXAMPLES = 5  # of repeated documents
LONGEST_FITTING = 256  # the largest block_size that is recommended
LONG_LINES = 200  # tokens: lines of this median are prose, not names
TOLD = ("format", "column", "normalise", "deduplicate", "tokenizer", "block_size")  # what a command repeats


@dataclass(frozen=True)
class Bar:
    """How many documents have low … high tokens."""

    low: int
    high: int
    count: int


@dataclass(frozen=True)
class Lengths:
    """Tokens a document, special ones not counted."""

    shortest: int
    median: int
    longest: int
    bars: list[Bar]


@dataclass(frozen=True)
class Cut:
    """What block_size keeps from the model: the end of so many documents, so many tokens; what fits all."""

    block_size: int
    documents: int
    tokens: int
    fitting: int


@dataclass(frozen=True)
class Report:
    """Everything `motegpt data check` says; duplicates counts documents beyond the first of their kind."""

    path: str
    format: str
    column: str | None
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
    command: str


def check_data(path: str | Path | None, settings: Mapping[str, Any]) -> Report:
    """Look at a file, or at the built-in names, as a training with these flat settings would read it.

    Raises DataError where training would.
    """
    data = DataConfig.of(section_values(settings, "data"))
    content = read_content(path, data)
    every = documents_of(content.texts, data.replace(deduplicate=False))
    documents = list(dict.fromkeys(every)) if data.deduplicate else every
    if not documents:
        raise nothing_in(content, str(path))
    tokenizer = Tokenizer.of(documents, data.framing, data.tokenizer)
    model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": tokenizer.vocab_size})
    sizes = [len(document.encode() if data.tokenizer == "bytes" else document) for document in documents]
    cut = None if data.format == "stream" else cut_of(sizes, model.block_size, data.cut)
    lengths, times = lengths_of(sizes), Counter(every)
    alphabet = Counter("".join(documents))
    findings = _findings(content, data, alphabet)
    return Report(
        path=BUILT_IN if path is None else str(path),
        format=content.format,
        column=content.column,
        lines=content.length,
        empty=_empty(content),
        documents=len(documents),
        duplicates=len(every) - len(times),
        repeated={document: n for document, n in times.most_common(EXAMPLES) if n > 1},
        alphabet=dict(sorted(alphabet.items(), key=lambda item: (-item[1], item[0]))),
        lengths=lengths,
        cut=cut,
        findings=findings,
        vocab_size=tokenizer.vocab_size,
        parameters=parameter_count(model),
        command=_command(path, settings, lengths, cut, findings),
    )


def lengths_of(sizes: Sequence[int]) -> Lengths:
    """Shortest, median, longest and a histogram of at most BARS bars."""
    low, high = min(sizes), max(sizes)
    width = -(-(high - low + 1) // BARS)
    counts = Counter((size - low) // width for size in sizes)
    bars = [
        Bar(start, min(start + width - 1, high), counts[(start - low) // width])
        for start in range(low, high + 1, width)
    ]
    return Lengths(low, median_low(sizes), high, bars)


def cut_of(sizes: Sequence[int], block_size: int, cut: str) -> Cut:
    """What batches.cut_sequences takes off documents of these sizes, each between two special tokens."""
    kept = {"targets": block_size + 1, "tokens": block_size}[cut]
    over = [size + 2 - kept for size in sizes if size + 2 > kept]
    return Cut(block_size, len(over), sum(over), max(sizes) + 1 + (cut != "targets"))


def _empty(content: Content) -> int:
    """Lines without text; rows and objects without it count too."""
    if content.format == "stream":
        return sum(not line.strip() for line in content.texts[0].split("\n")[: content.length])
    blank = content.length - len(content.texts) if content.format == "jsonl" else 0
    return blank + sum(not text.strip() for text in content.texts)


def _findings(content: Content, data: DataConfig, alphabet: Mapping[str, int]) -> list[Finding]:
    """What looks wrong, in the texts as they stand and as they are learned."""
    raw = list(zip(content.lines, content.texts, strict=True))
    if content.format == "stream":
        raw = list(enumerate(content.texts[0].split("\n"), 1))
    texts = normalised([text for _, text in raw], data)
    learned = [(line, text.strip()) for (line, _), text in zip(raw, texts, strict=True) if text.strip()]
    found: list[Finding | None] = [*findings_in(learned, alphabet)]
    if content.format == "text":
        found += [table_as_text(learned), json_as_text(learned)]
    if content.format != "stream":
        found += [line_breaks(raw), spaces_at_ends(raw)]
    return [finding for finding in found if finding is not None]


def _command(
    path: str | Path | None,
    settings: Mapping[str, Any],
    lengths: Lengths,
    cut: Cut | None,
    found: list[Finding],
) -> str:
    """The training to begin with: the settings given, and what the file asks for beyond them."""
    defaults = settings_of(DEFAULT_PRESET)
    given = {name: settings[name] for name in TOLD if settings.get(name) != defaults.get(name)}
    if cut is not None and cut.documents and cut.fitting <= LONGEST_FITTING:
        given["block_size"] = cut.fitting
    elif cut is not None and cut.documents and lengths.median >= LONG_LINES and not given:
        given = {"format": "stream", "block_size": LONGEST_FITTING // 4}
    if any(finding.what == NOT_NFC for finding in found):
        given["normalise"] = "nfc"
    flags = [word for name, value in given.items() for word in _flag(name, value)]
    name = "names" if path is None else Path(path).name.partition(".")[0] or "mine"
    words = ["motegpt", "train", *([] if path is None else [str(path)]), *flags, "--out", f"runs/{name}"]
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    """The words that give a setting on the command line."""
    words = f"--{name.replace('_', '-')}"
    return [words] if value is True else [words, str(value)]
