"""Every form a file may have gives the same documents; what is wrong in one is said with its line."""

import csv
import gzip
import io
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt import formats
from motegpt.config import DataConfig, ReadConfig
from motegpt.documents import corpus_of, documents_of, read_corpus
from motegpt.errors import DataError, SettingError
from motegpt.formats import content_of, format_by_name

DOCUMENTS = ["emma", "Жанна", "क्षत्रिय", "👩‍👩‍👧", "שלום עולם", "日本語", 'a "b", c; d', "emma"]


def as_text(documents):
    return "".join(f"{document}\n" for document in documents)


def as_csv(documents, delimiter=","):
    file = io.StringIO()
    rows = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    rows.writerow(["id", "name"])
    rows.writerows(enumerate(documents))
    return file.getvalue()


def as_jsonl(documents):
    return "".join(json.dumps({"id": i, "name": document}) + "\n" for i, document in enumerate(documents))


WRITERS = {
    ".txt": as_text,
    ".csv": as_csv,
    ".tsv": lambda documents: as_csv(documents, "\t"),
    ".jsonl": as_jsonl,
    ".ndjson": as_jsonl,
}


def reading_of(ending, **changes):
    return ReadConfig(column=None if ending == ".txt" else "name", **changes)


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(("packed", "marked", "crlf"), list(itertools.product([False, True], repeat=3)))
def test_every_form_gives_the_same_documents(tmp_path, ending, packed, marked, crlf):
    data = ("\ufeff" * marked + WRITERS[ending](DOCUMENTS)).replace("\n", "\r\n" if crlf else "\n").encode()
    path = tmp_path / f"list{ending}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_corpus(path, reading_of(ending)).documents == DOCUMENTS
    assert read_corpus(path, reading_of(ending, deduplicate=True)).documents == DOCUMENTS[:-1]


@pytest.mark.parametrize("name", ["list.gz", "list", "LIST.TXT"])
def test_gzip_is_known_by_its_bytes(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"emma\n") + gzip.compress(b"ava\n"))
    assert read_corpus(tmp_path / name).documents == ["emma", "ava"]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv", "csv"), ("A.CSV.GZ", "csv"), ("a.tsv", "csv"), ("x/a.ndjson.gz", "jsonl"),
        ("a.txt", "text"), ("csv", "text"), ("a.csv.txt", "text"), ("built-in names", "text"), ("", "text"),
    ],
)  # fmt: skip
def test_the_name_says_the_format(name, form):
    assert format_by_name(name) == form


def test_the_setting_wins_over_the_name():
    assert content_of(b"a,b\n", "x.csv", ReadConfig(format="text")).texts == ["a,b"]
    assert content_of(b"name\nb\n", "x.txt", ReadConfig(format="csv")).texts == ["b"]


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"), max_size=12)
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@given(documents=st.lists(lines), packed=st.booleans())
def test_any_lines_come_back_from_text(documents, packed):
    data = as_text(documents).encode()
    content = content_of(gzip.compress(data) if packed else data, "x.txt", ReadConfig())
    assert (content.texts, list(content.lines)) == (documents, list(range(1, len(documents) + 1)))
    assert documents_of(content.texts, ReadConfig()) == [d.strip() for d in documents if d.strip()]


@given(documents=st.lists(cells), ending=st.sampled_from([".csv", ".tsv", ".jsonl"]), packed=st.booleans())
@settings(max_examples=200)
def test_any_texts_come_back_from_tables(documents, ending, packed):
    data = WRITERS[ending](documents).encode()
    data = gzip.compress(data) if packed else data
    if documents or ending != ".jsonl":
        content = content_of(data, f"x{ending}", ReadConfig(column="name"))
        assert content.texts == documents
        assert content.column == "name"


@given(data=st.binary(max_size=60), form=st.sampled_from(["text", "csv", "jsonl", "stream"]))
@settings(max_examples=300)
def test_any_bytes_give_texts_or_one_clear_line(data, form):
    texts, said = [], "expected"
    try:
        texts = content_of(data, "x", ReadConfig(format=form)).texts
    except DataError as error:
        said = str(error)
    assert "expected" in said
    assert "\n" not in said
    assert all(isinstance(text, str) for text in texts)


def test_lines_are_those_of_the_file():
    rows = content_of(b'name\n"a\nb"\n\nc\n', "x.csv", ReadConfig())
    assert (rows.texts, rows.lines, rows.length) == (["a\nb", "c"], [2, 5], 5)
    objects = content_of(b'{"n": "a"}\n\n{"n": null, "m": 1}\n{"n": "b"}\n', "x.jsonl", ReadConfig())
    assert (objects.texts, objects.lines, objects.length) == (["a", "", "b"], [1, 3, 4], 4)


def test_a_spreadsheet_with_semicolons():
    content = content_of(b"id;name\n1;a, b\n", "x.csv", ReadConfig(column="name"))
    assert content.texts == ["a, b"]


def test_a_cell_may_be_very_long():
    long = "a" * 200_000
    before = csv.field_size_limit()
    assert content_of(f"name\n{long}\n".encode(), "x.csv", ReadConfig()).texts == [long]
    assert csv.field_size_limit() == before


def test_normalising():
    apart, whole = "Zoe\u0308", "Zoë"
    assert documents_of([apart, whole], ReadConfig(normalise="nfc")) == [whole, whole]
    assert documents_of([apart, whole], ReadConfig(normalise="nfc", deduplicate=True)) == [whole]
    assert documents_of([apart], ReadConfig()) == [apart]
    assert documents_of(["\u00a0ﬁn\u00a0"], ReadConfig(normalise="nfkc")) == ["fin"]


def test_a_stream_is_left_as_it_is(tmp_path):
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbf  Call me\r\n\r\nIshmael. \r\n")
    corpus = read_corpus(tmp_path / "book.txt", ReadConfig(format="stream", deduplicate=True))
    assert corpus.documents == ["  Call me\n\nIshmael. \n"]
    assert corpus_of(["a ", "", "b"], ReadConfig(format="stream")).documents == ["a \n\nb"]


LATIN = "emma\nzoë\n".encode("latin1")
TABLE = b"id,name\n1,a\n"
WRONG = {
    "utf-16": ("a.txt", "emma".encode("utf-16"), {}, "UTF-16 (its byte order mark); convert the file: iconv"),
    "utf-32": ("a.txt", "emma".encode("utf-32"), {}, "UTF-32"),
    "cut short": ("a.gz", gzip.compress(b"emma\n" * 99)[:-9], {}, "one cut short"),
    "damaged": ("a.gz", gzip.compress(b"emma\n")[:-8] + b"\xff" * 8, {}, "a damaged one"),
    "gzip, Latin-1": ("a.gz", gzip.compress(LATIN), {}, "byte 0xeb in line 2, byte 3"),
    "gzip of gzip": ("a.gz", gzip.compress(gzip.compress(b"a")), {}, "binary data"),
    "CSV, Latin-1": ("a.csv", LATIN, {}, "byte 0xeb in line 2, byte 3"),
    "which column": ("a.csv", TABLE, {}, "line 1: expected one column, got 2; choose with `column` from: id"),
    "no column": ("a.csv", TABLE, {"column": "x"}, "expected a column 'x', got none; there are: id, name"),
    "column twice": ("a.csv", b"x,x\n1,a\n", {"column": "x"}, "got 2 of that name"),
    "short row": ("a.csv", b'a,b\n1,"x\ny"\n2\n', {"column": "a"}, "line 4: expected 2 cells as in"),
    "long row": ("a.csv", b"name\nb\nSmith, John\n", {}, "line 3: expected 1 cells"),
    "open quote": ("a.csv", b'name\na\n"b\nc\n', {}, "line 3: expected CSV"),
    "header alone": ("a.csv", b"name\n", {}, "no text in column 'name'"),
    "empty CSV": ("a.csv", b"", {}, "an empty file"),
    "blank CSV": ("a.csv", b"\n\n", {}, "an empty file"),
    "no JSON": ("a.jsonl", b'{"a": "b"}\n{a: 1}\n', {}, "line 2: expected a JSON object, got '{a: 1}'"),
    "which key": ("a.jsonl", b'{"a": "b", "c": "d"}\n', {}, "line 1: expected one key, got 2"),
    "no key": ("a.jsonl", b'{"a": "b"}\n{"c": "d"}\n', {}, "line 2: expected a key 'a', got none"),
    "no text": ("a.jsonl", b'{"a": 5}\n', {}, "line 1: expected a text, got 5"),
    "a list": ("a.jsonl", b"[1, 2]\n", {"column": "a"}, "line 1: expected an object"),
    "half a pair": ("a.jsonl", b'{"a": "\\ud800"}\n', {}, "line 1: expected Unicode characters"),
    "deep": ("a.jsonl", b"[" * 100_000, {}, "line 1: expected a JSON object"),
    "digits": ("a.jsonl", b"9" * 5000, {}, "line 1: expected a JSON object"),
    "empty JSONL": ("a.jsonl", b"\n", {}, "an empty file"),
    "text has no column": ("a.txt", b"a\n", {"column": "a"}, "read as lines of text, which have no column"),
    "empty stream": ("a.txt", b"", {"format": "stream"}, "an empty file"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path, case):
    name, data, changes, said = WRONG[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as error:
        read_corpus(tmp_path / name, ReadConfig(**changes))
    assert said in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + 3 * len(str(tmp_path))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"a" * 10_000_000))
    monkeypatch.setattr(formats, "LARGEST_FILE", 2**20)
    monkeypatch.setattr(gzip, "decompress", lambda data: pytest.fail("unpacked"))
    with pytest.raises(DataError, match="expected at most 1,048,576 bytes"):
        read_corpus(tmp_path / "bomb.gz")
    (tmp_path / "large.txt").write_bytes(b"a" * 2_000_000)
    with pytest.raises(DataError, match="expected at most 1,048,576 bytes"):
        read_corpus(tmp_path / "large.txt")


def test_settings_that_contradict_each_other():
    with pytest.raises(SettingError, match="column: expected none with `format='stream'`"):
        ReadConfig(format="stream", column="a")
    common = {"cut": "targets", "shuffle": True}
    assert DataConfig(format="stream", framing="bos", **common).framing == "none"
    with pytest.raises(SettingError, match="none is for `format='stream'`"):
        DataConfig(framing="none", **common)


def test_a_csv_file_is_learned(motegpt, tmp_path):
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(as_csv(DOCUMENTS).encode()))
    words = ("--steps", 3, "--engine", "array", "-n", 2, "--out", "run")
    ended = motegpt("train", "list.csv.gz", "--column", "name", *words, "--until", 1)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"num docs: {len(DOCUMENTS)}\n")
    assert motegpt("train", "--resume", "run").code == 0
    ended = motegpt("train", "list.csv.gz", *words, "--overwrite")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "choose with --column from: id, name" in ended.err
