"""motegpt data check, motegpt data fetch, motegpt data make"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from motegpt.cli.console import log, print_result
from motegpt.cli.options import (
    FILE,
    data_argument,
    given_settings,
    json_option,
    named_flags,
    overwrite_option,
    paths_given,
    preset_option,
)
from motegpt.config.epochs import merge_settings
from motegpt.config.presets import AUTO, base_settings
from motegpt.config.text import counted, visible
from motegpt.views.text import clipped, columns, with_flags

if TYPE_CHECKING:
    from pathlib import Path

    from motegpt.data.check import Report
    from motegpt.data.ids.check import IdReport
    from motegpt.training.auto import Choice

WIDTH = 80
LABEL = 13  # columns before the figures
BAR = 40  # columns of the longest bar
SHOWN = 60  # characters of an alphabet
CONTROLS = {"\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN"}  # Unicode names none of them
RARE, RARE_SHOWN = 3, 8  # occurrences up to which a character is rare; how many of these are named
CHECKED = (
    "format", "column", "header", "delimiter", "encoding", "normalize", "deduplicate", "tokenizer",
    "max_vocab_size", "token_pattern", "tokenizer_file", "framing", "cut", "block_size",
)  # fmt: skip

# Argument of the tasks of data/ids/tasks.py -> what it is, the tasks that have it, and their defaults.
TASK_OPTIONS = {
    "modulus": "Numbers from 0 to N - 1 (modular).  [31]",
    "operation": "add, subtract, multiply or divide (modular).  [add]",
    "count": "Number of sequences.  [2000]",
    "length": "Symbols of a sequence (parity, copy, induction, markov).  [8, 8, 12, 64]",
    "vocabulary": "Number of symbols (copy, induction).  [16, 32]",
    "pairs": "Pairs of brackets of a sequence (dyck).  [8]",
    "kinds": "Kinds of brackets (dyck).  [2]",
    "states": "States of the chain (markov).  [16]",
    "seed": "Random seed.  [0]",
}


def task_options(command: Any) -> Any:
    """Decorate a command with the arguments of the tasks."""
    for name, text in reversed(TASK_OPTIONS.items()):
        kind = str if name == "operation" else int
        command = click.option(f"--{name}", name, type=kind, default=None, help=text)(command)
    return command


@click.group()
def command() -> None:
    """Check a data file before training; download or make one.

    Example: motegpt data check names.txt
    """


@command.command(short_help="Describe a data file and report suspicious lines.")
@data_argument
@preset_option(AUTO, AUTO)
@named_flags(CHECKED)
@json_option
def check(data: tuple[str, ...], preset: str | None, as_json: bool, **flags: Any) -> None:
    """Describe DATA, files or folders, as training reads them, report suspicious lines, and what
    training would choose.

    Example: motegpt data check list.csv --column name --block-size 24
    """
    from dataclasses import asdict

    from motegpt.data.check import check_data
    from motegpt.evaluation.compare import compare_tokenizers

    paths, given, preset = paths_given(data), given_settings(flags), preset or AUTO
    settings, choices = merge_settings(base_settings(preset), given), list[str]()
    if (report_of_ids := _check_ids(paths, settings)) is not None:
        lines = [json.dumps(asdict(report_of_ids), indent=2)] if as_json else id_lines(report_of_ids)
        for line in lines:
            print_result(line)
        return
    if preset == AUTO:
        choice = _choice(paths, settings, given)
        settings, choices = choice.settings, choice.reasons
    else:
        sizes, choices = _sizes(paths, settings, given, preset)
        settings, given = {**settings, **sizes}, {"preset": preset, **sizes, **given}
    report = check_data(paths, settings, given, choices, compare_tokenizers)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
        return
    for line in report_lines(report):
        print_result(line)


def _check_ids(paths: list[Path] | None, settings: dict[str, Any]) -> IdReport | None:
    """The report on data that are ids; None for text."""
    from motegpt.config.sections import DataConfig, section_values
    from motegpt.data.corpus import are_ids, read_corpus

    reading = DataConfig.of(section_values(settings, "data"))
    if paths is None or not are_ids(paths, reading):
        return None
    from motegpt.data.ids.check import check_ids

    return check_ids(read_corpus(paths, reading), paths)


def _sizes(
    paths: list[Path] | None, settings: dict[str, Any], given: dict[str, Any], preset: str
) -> tuple[dict[str, Any], list[str]]:
    """Sizes to recommend with a preset whose own would train for hours, and a line that says so."""
    from motegpt.data.check import SIZES
    from motegpt.training.auto import WIDE

    own = {name: settings[name] for name in SIZES}
    if own["n_embd"] <= WIDE["n_embd"]:
        return {}, []
    chosen = _choice(paths, settings, given).settings
    line = f"sizes as of the preset auto; {preset} has {own['n_layer']} layers of {own['n_embd']} channels"
    return {name: chosen[name] for name in SIZES}, [line]


def _choice(paths: list[Path] | None, settings: dict[str, Any], given: dict[str, Any]) -> Choice:
    """What `motegpt train` would choose for these data."""
    from motegpt.config.sections import DataConfig, section_values
    from motegpt.data.corpus import read_corpus
    from motegpt.engines import default_engine
    from motegpt.training.begin import choice_for
    from motegpt.training.build import default_dtype

    engine = default_engine()
    corpus = read_corpus(paths, DataConfig.of(section_values(settings, "data")))
    dtype = default_dtype(engine, settings, is_set=False)["dtype"]
    return choice_for(corpus, {**given, "dtype": dtype}, engine)


@command.command(short_help="Download a public data file and print its path.")
@click.argument("name")
@click.option("--url", metavar="URL", help="Mirror to download from; the checksum must match.")
def fetch(name: str, url: str | None) -> None:
    """Download NAME ("names": 32,033 names) into the cache unless it is cached, and print its path.

    Example: motegpt data fetch names

    Then: motegpt train "$(motegpt data fetch names)"
    """
    from motegpt.data.fetch import fetch as download

    click.echo(download(name, url=url))


@command.command(short_help="Make synthetic data of which the best possible loss is known.")
@click.argument("task")
@click.option("--out", type=FILE, required=True, metavar="FILE.npz", help="File to write.")
@overwrite_option
@task_options
@json_option
def make(task: str, out: str, overwrite: bool, as_json: bool, **arguments: Any) -> None:
    """Write token ids of TASK: modular, parity, dyck, copy, induction or markov; a pure function of the
    arguments and the seed. Prints the path.

    Example: motegpt data make modular --modulus 31 --out sums.npz

    Then: motegpt train sums.npz --preset microgpt --val-fraction 0.5
    """
    from pathlib import Path

    from motegpt.data.ids.check import described, sizes_of
    from motegpt.data.ids.tasks import make as make_task
    from motegpt.data.ids.writing import npz_bytes
    from motegpt.views.output import ending_of, write_new

    path, given = Path(out), {name: value for name, value in arguments.items() if value is not None}
    ending_of(path, (".npz",))
    documents = make_task(task, **given)
    write_new(path, npz_bytes(documents), overwrite)
    if as_json:
        click.echo(json.dumps({"out": out, **sizes_of(documents)}))
        return
    log(described(documents))
    click.echo(path)


def id_lines(report: IdReport) -> Iterator[str]:
    """The report on ids as lines."""
    yield f"{'file':{LABEL}}{fitted(report.path, WIDTH - LABEL)}"
    yield f"{'read as':{LABEL}}{report.format}"
    yield f"{'sequences':{LABEL}}{report.sequences:,}, {report.duplicates:,} repeated"
    yield f"{'lengths':{LABEL}}{report.shortest:,} to {report.longest:,} ids, median {report.median:,}"
    unmasked = "" if report.counted == report.targets else f", {report.counted:,} of them unmasked"
    yield f"{'targets':{LABEL}}{report.targets:,}{unmasked}{_weights(report.weights)}"
    if report.held_out is not None:
        yield f"{'split':{LABEL}}{counted(report.held_out, 'sequence')} for validation, as the data say"
    yield f"{'ids':{LABEL}}vocab_size {report.vocab_size:,}, {report.used:,} of them used"
    yield f"{'frequent':{LABEL}}{', '.join(f'{one} ({count:,})' for one, count in report.frequent.items())}"
    if report.optimum is not None:
        yield f"{'optimum':{LABEL}}{report.optimum:.4f} nats per target"
    yield f"{'try':{LABEL}}{report.command}"


def _weights(weights: tuple[float, float] | None) -> str:
    """, weights 0.5 to 2"""
    if weights is None:
        return ""
    low, high = (f"{weight:g}" for weight in weights)
    return f", each of weight {low}" if low == high else f", weights {low} to {high}"


def report_lines(report: Report) -> Iterator[str]:
    """The report as lines of at most WIDTH columns."""
    read_as = report.format + (f", column {report.column}" if report.column else "")
    yield f"{'file':{LABEL}}{fitted(report.path, WIDTH - LABEL)}"
    yield f"{'read as':{LABEL}}{fitted(read_as, WIDTH - LABEL)}"
    for assumed in report.assumed:
        words = [fitted(word, WIDTH - LABEL) for word in with_flags(assumed).split()]
        first, *rest = wrapped(words, gap=" ")
        yield from (f"{'assumed':{LABEL}}{first.strip()}", *rest)
    yield f"{'lines':{LABEL}}{report.lines:,}, {report.empty:,} empty"
    if report.cut is not None:
        yield f"{'documents':{LABEL}}{report.documents:,}"
        yield f"{'duplicates':{LABEL}}{report.duplicates:,}"
        for document, times in report.repeated.items():
            yield f"{'':{LABEL}}{times:>6,} x {fitted(document, WIDTH - LABEL - 9)}"
    yield from alphabet_lines(report.alphabet)
    yield from length_lines(report)
    more = " beside n-grams" if report.has_ngram_embedding else ""
    yield f"{'model':{LABEL}}vocab_size {report.vocab_size:,}, {report.parameters:,} parameters{more}"
    yield from tokenizer_lines(report)
    for choice in report.choices:
        yield from wrapped(with_flags(choice).split(), gap=" ")
    yield from finding_lines(report)
    yield f"{'try':{LABEL}}{report.command}"


def alphabet_lines(alphabet: dict[str, int]) -> Iterator[str]:
    """The characters with their counts, most frequent first, and the names of the rare ones."""
    yield f"{'alphabet':{LABEL}}{len(alphabet):,} characters"
    words = [f"{shown(character)} {count:,}" for character, count in list(alphabet.items())[:SHOWN]]
    if len(alphabet) > SHOWN:
        words.append(f"… and {len(alphabet) - SHOWN:,} more")
    yield from wrapped(words)
    rare = [character for character, count in alphabet.items() if count <= RARE]
    if rare:
        occur = "character occurs" if len(rare) == 1 else "characters occur"
        yield f"{'rare':{LABEL}}{len(rare):,} {occur} at most {RARE} times"
    for character in rare[-RARE_SHOWN:]:
        label = CONTROLS.get(character) or unicodedata.name(character, "has no name")
        name = fitted(f"U+{ord(character):04X} {label}", WIDTH - LABEL - 4)
        yield f"{'':{LABEL}}{alphabet[character]} x {name}"
    if len(rare) > RARE_SHOWN:
        yield f"{'':{LABEL}}… and {len(rare) - RARE_SHOWN:,} more"


def length_lines(report: Report) -> Iterator[str]:
    """Shortest, median and longest document, a histogram, and the tokens that block_size cuts off."""
    lengths, cut = report.lengths, report.cut
    if cut is None:
        yield f"{'length':{LABEL}}{lengths.longest:,} tokens in one text"
        return
    yield f"{'lengths':{LABEL}}{lengths.shortest:,} to {lengths.longest:,} tokens, median {lengths.median:,}"
    highest = max(bar.count for bar in lengths.bars)
    for bar in lengths.bars:
        length = f"{bar.low:,}-{bar.high:,}" if bar.high > bar.low else f"{bar.low:,}"
        yield f"{length:>{LABEL + 8}} {bar.count:>9,} {'#' * -(-BAR * bar.count // highest)}".rstrip()
    if not cut.documents:
        yield f"{'cut':{LABEL}}nothing at block_size {cut.block_size:,}"
        return
    affected = f"{cut.documents:,} of {report.documents:,} documents at block_size {cut.block_size:,}"
    yield f"{'cut':{LABEL}}{affected}, {cut.tokens:,} tokens in total"
    if cut.advised_documents:
        rest = "1 document" if cut.advised_documents == 1 else f"{cut.advised_documents:,} documents"
        yield f"{'':{LABEL}}--block-size {cut.advised} keeps all but {rest}"
    yield f"{'':{LABEL}}--block-size {cut.fitting} keeps everything"


def tokenizer_lines(report: Report) -> Iterator[str]:
    """The tokenizers side by side."""
    per = "1,000 chars" if report.cut is None else "document"
    for i, one in enumerate(report.tokenizers):
        label = "tokenizers" * (i == 0)
        figures = f"{one.per_document:,.1f} tokens/{per}, {one.bits_per_character:.2f} bits/character"
        yield f"{label:{LABEL}}{one.kind:<10} {one.vocab_size:,} ids, {figures}"


def finding_lines(report: Report) -> Iterator[str]:
    """The suspicious lines, each with an example and a repair."""
    if not report.findings:
        yield f"{'suspicious':{LABEL}}nothing"
    for finding in report.findings:
        lines = "1 line" if finding.count == 1 else f"{finding.count:,} lines"
        yield f"{'suspicious':{LABEL}}{fitted(f'{lines}: {finding.what}', WIDTH - LABEL)}"
        yield f"{'':{LABEL}}{fitted(f'line {finding.line:,}: {finding.example!r}', WIDTH - LABEL)}"
        yield f"{'':{LABEL}}{finding.repair}"


def shown(character: str) -> str:
    """The character, or its code point if it is invisible or combining."""
    is_visible = character.isprintable() and not character.isspace() and not unicodedata.combining(character)
    return character if is_visible else f"U+{ord(character):04X}"


def fitted(text: str, width: int) -> str:
    """The text as one line of at most `width` columns."""
    return clipped(visible(text), width)


def wrapped(words: Iterable[str], gap: str = "  ") -> Iterator[str]:
    """The words in lines of at most WIDTH columns, indented by LABEL."""
    line = ""
    for word in words:
        if line and LABEL + columns(line) + len(gap) + columns(word) > WIDTH:
            yield " " * LABEL + line
            line = ""
        line += gap * bool(line) + word
    yield " " * LABEL + line
