"""motegpt data check: counts, alphabet, lengths, truncation, and findings with their lines."""

import gzip
import json
import shlex
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.cli.commands.data import WIDTH, fitted, report_lines
from motegpt.config.presets import settings_of
from motegpt.config.sections import ReadConfig
from motegpt.data.check import MAX_BARS, check_data, cut_of, lengths_of
from motegpt.data.corpus import built_in_names
from motegpt.data.formats import Texts
from motegpt.data.formats.lines import TextReader
from motegpt.data.lint import Lint
from motegpt.data.plan import longest_sequence
from motegpt.data.tokenizers import Tokenizer
from motegpt.errors import DataError
from motegpt.evaluation.compare import compare_tokenizers
from motegpt.views.text import columns


def check(tmp_path, text, name="list.txt", **changes):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return check_data(tmp_path / name, {**settings_of("microgpt"), **changes}, changes)


def test_counts(tmp_path):
    report = check(tmp_path, "emma\n\nava\r\nemma\n  \nzoë\nemma\n")
    assert (report.format, report.lines, report.empty, report.documents) == ("text", 7, 2, 5)
    assert (report.duplicates, report.repeated) == (2, {"emma": 3})
    assert list(report.alphabet.items())[:3] == [("m", 6), ("a", 5), ("e", 3)]
    assert (report.lengths.shortest, report.lengths.median, report.lengths.longest) == (3, 4, 4)
    assert report.findings == []
    assert (report.vocab_size, report.parameters) == (8, 7 * 32 + 32 + 16 * 16 + 3072)


def test_deduplicated_documents_are_counted_once(tmp_path):
    report = check(tmp_path, "emma\nava\nemma\n", deduplicate=True)
    assert (report.documents, report.duplicates) == (2, 1)


@pytest.mark.parametrize("framing", ["bos", "bos_eos"])
@pytest.mark.parametrize("cut", ["targets", "tokens"])
def test_reported_truncation_matches_training(framing, cut):
    documents = ["ab" * n for n in range(1, 9)]
    tokenizer = Tokenizer.of(documents, framing)
    whole = tokenizer.encode_documents(documents)
    sizes = np.array([len(document) for document in documents])
    for block_size in range(2, 20):
        kept = whole.truncate(longest_sequence(block_size, cut))
        lost = [len(a) - len(b) for a, b in zip(whole, kept, strict=True)]
        found = cut_of(sizes, block_size, cut)
        assert (found.tokens, found.documents) == (sum(lost), sum(n > 0 for n in lost))
        assert whole.truncate(longest_sequence(found.fitting, cut)) == whole
        assert whole.truncate(longest_sequence(found.fitting - 1, cut)) != whole


@pytest.mark.parametrize(
    ("sizes", "advised", "cut"),
    [
        ([24] * 100 + [300], 25, 1),  # one long document does not justify a block twelve times as large
        ([24] * 100 + [40] * 4, 41, 0),
        ([20] * 50 + [30] * 50, 31, 0),
        ([400] * 100, 401, 0),
    ],
)
def test_recommended_block_size(sizes, advised, cut):
    found = cut_of(np.array(sizes), 16, "targets")
    assert (found.advised, found.advised_documents, found.fitting) == (advised, cut, max(sizes) + 1)


@given(sizes=st.lists(st.integers(1, 10_000), min_size=1, max_size=50))
def test_a_histogram_counts_everything_once(sizes):
    bars = lengths_of(np.array(sizes)).bars
    assert 1 <= len(bars) <= MAX_BARS
    assert sum(bar.count for bar in bars) == len(sizes)
    assert [bar.low for bar in bars[1:]] == [bar.high + 1 for bar in bars[:-1]]
    assert all(bar.count == sum(bar.low <= size <= bar.high for size in sizes) for bar in bars)


ODD = {
    "a\tb": "control characters",
    "a\u200bb": "invisible characters (U+200B ZERO WIDTH SPACE)",
    "a\ufeffb": "invisible characters (U+FEFF",
    "a\u00adb": "invisible characters (U+00AD SOFT HYPHEN)",
    "\u202eab": "marks of text direction",
    "a\u00a0b": "spaces that are not the usual one (U+00A0 NO-BREAK SPACE)",
    "a\u2028b": "spaces that are not the usual one",
    "a\ufffdb": "replacement characters",
    "a\ue000b": "private or no meaning",
    "Zoe\u0308": "not NFC",
    "p\u0430ypal": "mix look-alike alphabets",
    "zoÃ«": "UTF-8 that was read in another encoding",
    "â€œa": "UTF-8 that was read in another encoding",
    "ÐœÐ¾ÑÐºÐ²Ð°": "UTF-8 that was read in another encoding",
    "Tom &amp; Jerry": "HTML entities",
    "a\u200db": "joiners where nothing joins",
}
FINE = ["👩‍👩‍👧", "क्‍ष", "می‌خواهم", "Zoë", "Âge", "日本語とカタカナ", "Жанна and Anna", "a b", "αβγ", "naïve",
        "AT&T; R&D", "Łódź", "São Paulo"]  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_findings_name_the_line(tmp_path, text):
    report = check(tmp_path, f"fine\n\nalso fine\n{text}\n")
    (finding,) = report.findings
    assert ODD[text] in finding.what
    assert (finding.count, finding.line, finding.example) == (1, 4, text)


def test_no_false_findings():
    lint, reading = Lint(ReadConfig()), ReadConfig()
    lint.look(TextReader([], "fine.txt", reading), Texts(FINE, range(1, len(FINE) + 1)))
    assert lint.findings() == []


@pytest.mark.parametrize(
    ("name", "text", "message", "line"),
    [
        ("a.txt", "emma \nava\n", "spaces at the ends", 1),
        ("a.txt", "id,name\n" + "1,a\n" * 9, "lines that look like CSV", 1),
        ("a.txt", "b\n" + '{"name": "a"}\n' * 3, "lines that look like JSON", 1),
        ("a.txt", "Tom &amp; Jerry\n" * 3 + "Bill &amp; Ben\n", "HTML entities", 1),
        ("a.txt", "It was a dark and stormy night.\n\nThe rain fell, all day.\n", "running text", 1),
        (
            "a.txt",
            "All:\nSpeak, speak.\n\nFirst:\nYou are all resolved rather to die than famish?\n",
            "running text",
            1,
        ),
        (
            "a.txt",
            "It was the best of times, it was\nthe worst of times, it was the age\nof wisdom.",
            "running",
            1,
        ),
        ("a.txt", "他走到门口，看见外面下着雨。\n\n她没有说话，只是看着窗外。\n", "running text", 1),
        ("a.txt", "a long line of many words" * 20 + "\nanna\n", "running text", 1),
        ("a.csv", 'name\nb\n"c\nd"\n', "line breaks inside a document", 3),
        ("a.jsonl", '{"n": "b"}\n\n{"n": "c\\u200bd"}\n', "invisible characters", 3),
    ],
)
def test_findings_about_a_whole_file(tmp_path, name, text, message, line):
    (finding,) = check(tmp_path, text, name).findings
    assert message in finding.what
    assert finding.line == line


@pytest.mark.parametrize(
    "text",
    [
        "Anna Maria Weiss\n\nBob de Vries\n\nCarl von Moor\n\n",
        "to be or not to be\nthe quick brown fox jumps\nall is well that ends well\n",
        "Alice in Wonderland\nThe Wonderful Wizard of Oz\nOf Mice and Men\nGone with the Wind Again\n",
        "张伟\n王芳\n李娜\n",
    ],
)
def test_lists_are_not_running_text(tmp_path, text):
    assert check(tmp_path, text).findings == []


def test_repaired_text_has_no_finding(tmp_path):
    text = "Zoe\u0308\nab\u00a0c\n"
    assert [finding.what[:9] for finding in check(tmp_path, text).findings] == ["spaces th", "letters a"]
    assert check(tmp_path, text, normalize="nfkc").findings == []


def test_a_stream(tmp_path):
    report = check(tmp_path, "call me\n\nIsh\u200bmael\n", format="stream")
    assert (report.cut, report.documents, report.lines, report.empty) == (None, 1, 3, 1)
    assert [finding.line for finding in report.findings] == [3]


def test_other_formats_and_bytes(tmp_path):
    data = gzip.compress("id;name\n1;é\n2;\n".encode())
    report = check(tmp_path, data, "list.csv.gz", column="name", tokenizer="bytes")
    assert (report.format, report.column, report.lines, report.empty) == ("csv", "name", 3, 1)
    assert (report.lengths.longest, report.vocab_size) == (2, 257)


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "got an empty file"), (b"a\n", "at least 2 distinct"), (b"\xff\n", "UTF-8")]
)
def test_errors_match_those_of_training(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        check(tmp_path, data)


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        ("ab\n", {}, ""),
        ("ab" * 20 + "\n", {}, "--block-size 41"),
        ("ab\n", {"tokenizer": "bytes", "block_size": 9}, "--tokenizer bytes --block-size 9"),
        ("ab\n", {"deduplicate": True}, "--deduplicate"),
        ("ae\u0308\n", {}, "--normalize nfc"),
        ("ab " * 200 + "\n", {}, "--format stream --block-size 64"),
    ],
)  # fmt: skip
def test_the_recommended_command_works(motegpt, tmp_path, text, changes, words):
    report = check(tmp_path, text, **changes)
    assert report.command == " ".join(
        filter(None, [f"motegpt train {tmp_path}/list.txt", words, "--out runs/list"])
    )
    quick = ("--steps", 1, "-n", 1, "--engine", "array")
    assert motegpt(*shlex.split(report.command)[1:], *quick).code == 0


def test_the_command_prints_the_report(motegpt, tmp_path, names_txt):
    ended = motegpt("data", "check", names_txt)
    assert (ended.code, ended.err) == (0, "")
    assert all(columns(line) <= 80 for line in ended.out.splitlines() if str(names_txt.parent) not in line)
    for line in ("lines        32,033, 0 empty", "duplicates   2,539", "alphabet     26 characters"):
        assert line in ended.out.splitlines()


def test_the_report_fits_a_terminal(motegpt, tmp_path):
    odd = "\n".join([*ODD, *FINE, "日本語" * 60, "日本語" * 60, "é" * 300, *map(chr, range(0x4E00, 0x4E60))])
    lines = list(report_lines(check(tmp_path, odd)))
    assert max(columns(line) for line in lines if not line.startswith(("file", "try"))) <= 80
    assert all("\n" not in line and line.isprintable() for line in lines)
    assert any("U+00AD SOFT HYPHEN" in line for line in lines)
    assert fitted("日本語", 5) == "日..."


@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    form=st.sampled_from(["text", "csv", "stream"]),
)
def test_any_text_is_reported_within_80_columns_or_refused(tmp_path_factory, text, form):
    lines = []
    with suppress(DataError):
        lines = list(report_lines(check(tmp_path_factory.getbasetemp(), text, format=form)))
    for line in lines:
        assert line.isprintable()
        assert columns(line) <= 80 or line.startswith("try")


def test_json_output_is_complete(motegpt, tmp_path):
    (tmp_path / "list.tsv").write_text("id\tname\n1\tam\u200bma\n2\tamma\n")
    ended = motegpt("data", "check", "list.tsv", "--column", "name", "--block-size", 3, "--json")
    report = json.loads(ended.out)
    assert (report["documents"], report["column"], report["cut"]["documents"]) == (2, "name", 2)
    assert report["findings"][0]["line"] == 2
    assert report["command"] == "motegpt train list.tsv --column name --block-size 6 --out runs/list"


@pytest.mark.parametrize(
    ("words", "message"),
    [(["none.txt"], "motegpt data fetch names"), (["--block-size", 0], "block_size"), ([""], "a path")],
    ids=str,
)
def test_usage_errors_are_one_line(motegpt, words, message):
    ended = motegpt("data", "check", *words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err


def test_every_subcommand_has_an_example(motegpt):
    for command in ("check", "fetch", "make"):
        ended = motegpt("data", command, "--help")
        assert f"Example: motegpt data {command}" in ended.out
        assert all(len(line) <= 80 for line in ended.out.splitlines())
    alone = motegpt("data")
    assert alone.code == 2
    assert "check" in alone.err


def test_what_training_would_choose(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(f"name {i}" for i in range(300)))
    train = motegpt("train", "list.txt", "--preset", "auto", "--until", 1, "-n", 1)
    chosen = train.err.splitlines()[:4]
    assert chosen[0].startswith("auto: 300 documents")
    ended = motegpt("data", "check", "list.txt")
    for line in chosen:
        assert line in " ".join(ended.out.split())
    assert "nothing at block_size 9" in ended.out
    assert json.loads(motegpt("data", "check", "list.txt", "--json").out)["choices"][0].startswith(
        "auto: 300"
    )
    assert "block_size 5, n-grams" in motegpt("data", "check", "list.txt", "--block-size", 5).out
    named = motegpt("data", "check", "list.txt", "--preset", "zeroclaw").out
    assert "auto" not in named
    assert "at block_size 8" in named
    assert "try          motegpt train list.txt --preset zeroclaw --block-size" in named


def test_rare_characters_are_counted(motegpt, tmp_path):
    (tmp_path / "letters.txt").write_text("abcdefghijk\n")
    assert "11 characters occur at most" in (out := motegpt("data", "check", "letters.txt").out)
    assert "… and 3 more" in out
    (tmp_path / "book.txt").write_text("ab" * 20 + "\n")
    out = motegpt("data", "check", "book.txt", "--format", "stream").out
    assert "1 character occurs" in out
    assert "U+000A LINE FEED" in out
    assert "more" not in out


def test_tokenizers_are_compared(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(built_in_names())
    given = {"tokenizer": "regex", "token_pattern": "a|[^a]+", "max_vocab_size": 200}
    report = check_data(path, {**settings_of("microgpt"), **given}, given, compare=compare_tokenizers)
    found = {one.kind: one for one in report.tokenizers}
    assert list(found) == ["characters", "bytes", "bpe", "words", "regex"]
    assert found["characters"].per_document == pytest.approx(found["bytes"].per_document)
    assert found["bpe"].per_document < 0.75 * found["characters"].per_document
    assert found["bpe"].vocab_size <= 200
    assert all(2 < one.bits_per_character < 4 for one in report.tokenizers)
    lines = [line for line in report_lines(report) if "bits/character" in line]
    assert lines[0].startswith("tokenizers   characters 26 ids, 5.")
    assert max(map(len, lines)) <= WIDTH
    assert "--token-pattern 'a|[^a]+'" in report.command


def test_tokenizers_of_a_stream_and_of_little_data(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat. " * 60, encoding="utf-8")
    given = {"format": "stream"}
    settings = {**settings_of("microgpt"), **given}
    found = check_data(path, settings, given, compare=compare_tokenizers).tokenizers
    assert found[0].per_document == pytest.approx(1000)
    assert found[3].kind == "words"
    assert found[3].per_document == pytest.approx(1000 * 7 / 24, rel=0.1)
    path.write_text("a b\n", encoding="utf-8")
    assert check_data(path, settings, given, compare=compare_tokenizers).tokenizers == []


@pytest.mark.parametrize("preset", ["gpt2", "llama"])
def test_sizes_are_recommended_with_a_large_preset(preset, motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("anna\nhanna\nnan\n")
    out = " ".join(motegpt("data", "check", "list.txt", "--preset", preset).out.split())
    assert f"sizes as of the preset auto; {preset} has 12 layers of 768 channels" in out
    command = f"motegpt train list.txt --preset {preset} --n-layer 1 --n-embd 32 --n-head 4 --out runs/list"
    assert out.endswith(f"try {command}")
    words = command.split()[1:]
    assert motegpt(*words, "--steps", 1, "--warmup-steps", 0, "-n", 1, "--engine", "array").code == 0
