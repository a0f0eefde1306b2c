"""Every file format gives the same documents; errors name the line."""

import csv
import gzip
import hashlib
import io
import itertools
import json
import re
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.config.sections import DataConfig, ReadConfig
from motegpt.data import decoding
from motegpt.data.bulk import read_documents
from motegpt.data.corpus import corpus_of, read_corpus
from motegpt.data.decoding import HashingReader, text_pieces
from motegpt.data.documents import Documents, documents_of
from motegpt.data.formats import READERS, Reader, format_by_name, reader_of
from motegpt.data.formats.base import Lines, rechunk
from motegpt.errors import DataError, SettingError

DOCUMENTS = ["emma", "Жанна", "क्षत्रिय", "👩‍👩‍👧", "שלום עולם", "日本語", 'a "b", c; d', "emma"]


def as_text(documents):
    return "".join(f"{document}\n" for document in documents)


def as_csv(documents, delimiter=","):
    file = io.StringIO()
    rows = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    rows.writerow(["id", "name"])
    rows.writerows(enumerate(documents))
    return file.getvalue()


def as_json(documents):
    return json.dumps([{"id": i, "name": document} for i, document in enumerate(documents)], indent=1)


def as_tsv(documents):
    return "id\tname\n" + "".join(f"{i}\t{document}\n" for i, document in enumerate(documents))


def as_jsonl(documents):
    return "".join(json.dumps({"id": i, "name": document}) + "\n" for i, document in enumerate(documents))


WRITERS = {
    ".txt": as_text,
    ".csv": as_csv,
    ".tsv": as_tsv,
    ".json": as_json,
    ".jsonl": as_jsonl,
    ".ndjson": as_jsonl,
}


class Content(NamedTuple):
    """The texts of a reader."""

    texts: list[str]
    lines: list[int]
    reader: Reader


def content_of(data: bytes, name: str, reading: ReadConfig) -> Content:
    pieces = text_pieces(HashingReader(io.BytesIO(data), name, hashlib.sha256()), name, reading.encoding)
    reader = reader_of(pieces, name, reading)
    groups = list(reader)
    return Content(
        [text for group in groups for text in group.texts],
        [line for group in groups for line in group.lines],
        reader,
    )


def reading_of(ending, **changes):
    return ReadConfig(column=None if ending == ".txt" else "name", **changes)


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(("packed", "marked", "crlf"), list(itertools.product([False, True], repeat=3)))
def test_every_format_gives_the_same_documents(tmp_path, ending, packed, marked, crlf):
    data = ("\ufeff" * marked + WRITERS[ending](DOCUMENTS)).replace("\n", "\r\n" if crlf else "\n").encode()
    path = tmp_path / f"list{ending}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_corpus(path, reading_of(ending)).documents == DOCUMENTS
    assert read_corpus(path, reading_of(ending, deduplicate=True)).documents == DOCUMENTS[:-1]


@pytest.mark.parametrize("name", ["list.gz", "list", "LIST.TXT"])
def test_gzip_is_detected_by_its_magic_bytes(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"emma\n") + gzip.compress(b"ava\n"))
    assert read_corpus(tmp_path / name).documents == ["emma", "ava"]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv", "csv"), ("A.CSV.GZ", "csv"), ("a.tsv", "tsv"), ("x/a.ndjson.gz", "jsonl"),
        ("a.json", "json"), ("a.txt", "text"), ("csv", "text"), ("a.csv.txt", "text"),
        ("built-in names", "text"), ("", "text"),
    ],
)  # fmt: skip
def test_format_by_file_name(name, form):
    assert format_by_name(name) == form


def test_the_setting_overrides_the_file_name():
    assert content_of(b"a,b\n", "x.csv", ReadConfig(format="text")).texts == ["a,b"]
    assert content_of(b"name\nb\n", "x.txt", ReadConfig(format="csv")).texts == ["b"]


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\ufeff"), max_size=12)
cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


@given(documents=st.lists(lines), packed=st.booleans())
def test_text_round_trip(documents, packed):
    data = as_text(documents).encode()
    content = content_of(gzip.compress(data) if packed else data, "x.txt", ReadConfig(format="text"))
    assert (content.texts, content.lines) == (documents, list(range(1, len(documents) + 1)))
    assert documents_of(content.texts, ReadConfig()) == [d.strip() for d in documents if d.strip()]


ODD = "a é日👩 \n\n\t\x0b\x1c\x1f\x85\xa0\u2028\u3000\u200b\u0301\r\ufeff"


@given(st.text(ODD, max_size=40) | st.text(max_size=40), st.sampled_from([None, "nfc", "nfkc"]))
@settings(max_examples=500)
def test_lines_in_bulk_are_those_made_one_by_one(text, normalize):
    reading = ReadConfig(normalize=normalize)
    try:
        expected = Documents.of([documents_of(list(Lines(text)), reading)])
    except DataError as error:
        with pytest.raises(DataError, match=re.escape(str(error))):
            read_documents([Lines(text)], reading)
    else:
        found = read_documents([Lines(text)], reading)
        assert (found.data, found.lengths) == (expected.data, expected.lengths)


@pytest.mark.parametrize("text", ["anna\nzoë\n日本\n", "anna", "\n\nanna\n\n\nbob b\n\n", "\n"])
def test_clean_lines_are_not_split(monkeypatch, text):
    expected = [line for line in text.split("\n") if line]
    monkeypatch.setattr(Lines, "_lines", None)
    assert read_documents([Lines(text)], ReadConfig()) == expected


@given(documents=st.lists(cells), ending=st.sampled_from([".csv", ".json", ".jsonl"]), packed=st.booleans())
@settings(max_examples=200)
def test_table_round_trip(documents, ending, packed):
    data = WRITERS[ending](documents).encode()
    data = gzip.compress(data) if packed else data
    content = content_of(data, f"x{ending}", ReadConfig(column="name"))
    assert content.texts == documents
    assert content.reader.column == ("name" if documents or ending == ".csv" else None)


@given(data=st.binary(max_size=60), form=st.sampled_from(list(READERS)))
@settings(max_examples=300)
def test_any_bytes_give_texts_or_a_one_line_error(data, form):
    texts, message = [], "expected"
    try:
        texts = content_of(data, "x", ReadConfig(format=form)).texts
    except DataError as error:
        message = str(error)
    assert "expected" in message
    assert "\n" not in message
    assert all(isinstance(text, str) for text in texts)


def test_line_numbers_are_those_of_the_file():
    rows = content_of(b'name\n"a\nb"\n\nc\n', "x.csv", ReadConfig())
    assert (rows.texts, rows.lines, rows.reader.lines) == (["a\nb", "c"], [2, 5], 5)
    objects = content_of(b'{"n": "a"}\n\n{"n": null, "m": 1}\n{"n": "b"}\n', "x.jsonl", ReadConfig())
    assert (objects.texts, objects.lines, objects.reader.lines) == (["a", "", "b"], [1, 3, 4], 4)
    array = content_of(b'[\n {"n": "a"},\n\n "b"\n, {"n": null}]\n', "x.json", ReadConfig())
    assert (array.texts, array.lines, array.reader.lines) == (["a", "b", ""], [2, 4, 5], 5)
    tunes = content_of(b"X:1\nab\n\nX:2\n\nX:3\ncd\n", "x.abc", ReadConfig(delimiter="\n\n"))
    assert (tunes.texts, tunes.lines) == (["X:1\nab", "X:2", "X:3\ncd\n"], [1, 4, 6])


def test_csv_with_semicolons():
    content = content_of(b"id;name\n1;a, b\n", "x.csv", ReadConfig(column="name"))
    assert content.texts == ["a, b"]


def test_very_long_cells_are_read():
    long = "a" * 200_000
    before = csv.field_size_limit()
    assert content_of(f"name\n{long}\n".encode(), "x.csv", ReadConfig()).texts == [long]
    assert csv.field_size_limit() == before


def test_normalizing():
    apart, whole = "Zoe\u0308", "Zoë"
    assert documents_of([apart, whole], ReadConfig(normalize="nfc")) == [whole, whole]
    assert corpus_of([apart, whole], ReadConfig(normalize="nfc", deduplicate=True)).documents == [whole]
    assert documents_of([apart], ReadConfig()) == [apart]
    assert documents_of(["\u00a0ﬁn\u00a0"], ReadConfig(normalize="nfkc")) == ["fin"]


def test_a_stream_is_unchanged(tmp_path):
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbf  Call me\r\n\r\nIshmael. \r\n")
    corpus = read_corpus(tmp_path / "book.txt", ReadConfig(format="stream", deduplicate=True))
    assert corpus.documents == ["  Call me\n\nIshmael. \n"]
    assert corpus_of(["a ", "", "b"], ReadConfig(format="stream")).documents == ["a \n\nb"]


LATIN = "emma\nzoë\n".encode("latin1")
TABLE = b"id,name\n1,a\n"
WRONG = {
    "utf-16": ("a.txt", "emma".encode("utf-16"), {}, "got UTF-16; `encoding='utf-16'` reads 'emma'"),
    "utf-32": ("a.txt", "emma".encode("utf-32"), {}, "got UTF-32; `encoding='utf-32'` reads"),
    "cut short": ("a.gz", gzip.compress(b"emma\n" * 99)[:-9], {}, "got a truncated one"),
    "damaged": ("a.gz", gzip.compress(b"emma\n")[:-8] + b"\xff" * 8, {}, "a damaged one"),
    "gzip, Latin-1": ("a.gz", gzip.compress(LATIN), {}, "byte 0xeb in line 2, byte 3"),
    "gzip of gzip": ("a.gz", gzip.compress(gzip.compress(b"a")), {}, "binary data"),
    "CSV, Latin-1": ("a.csv", LATIN, {}, "byte 0xeb in line 2, byte 3"),
    "which column": ("a.csv", TABLE, {}, "line 1: expected one column, got 2; choose with `column` from: id"),
    "no column": ("a.csv", TABLE, {"column": "x"}, "expected a column 'x', got none; available: id, name"),
    "column number": ("a.csv", TABLE, {"column": "3"}, "line 1: expected a column from 1 to 2, got 3"),
    "no number": ("a.csv", b"1,a\n", {"header": False}, "no header: expected one column, got 2"),
    "no delimiter": ("a.csv", b"a\n", {"delimiter": "||"}, "expected a CSV delimiter of one character"),
    "column twice": ("a.csv", b"x,x\n1,a\n", {"column": "x"}, "got 2 of that name"),
    "short row": ("a.csv", b'a,b\n1,"x\ny"\n2\n', {"column": "a"}, "line 4: expected 2 cells as in"),
    "long row": ("a.csv", b"name\nb\nSmith, John\n", {}, "line 3: expected 1 cells"),
    "open quote": ("a.csv", b'name\na\n"b\nc\n', {}, "line 3: expected CSV"),
    "header alone": ("a.csv", b"name\n", {}, "no text in column 'name'"),
    "empty CSV": ("a.csv", b"", {}, "an empty file"),
    "blank CSV": ("a.csv", b"\n\n", {}, "an empty file"),
    "no JSON": ("a.jsonl", b'{"a": "b"}\n{a: 1}\n', {}, "line 2: expected a JSON value, got '{a: 1}'"),
    "which key": ("a.jsonl", b'{"a": "b", "c": "d"}\n', {}, "line 1: expected one key, got 2"),
    "no key": ("a.jsonl", b'{"a": "b"}\n{"c": "d"}\n', {}, "line 2: expected a key 'a', got none"),
    "no text": ("a.jsonl", b'{"a": 5}\n', {}, "line 1: expected a string, got 5"),
    "a list": ("a.jsonl", b"[1, 2]\n", {"column": "a"}, "line 1: expected an object"),
    "half a pair": ("a.jsonl", b'{"a": "\\ud800"}\n', {}, "line 1: expected Unicode characters"),
    "deep": ("a.jsonl", b'{"a":' * 100_000, {}, "line 1: expected a JSON value"),
    "digits": ("a.jsonl", b"9" * 5000, {}, "line 1: expected a JSON value"),
    "two values": ("a.jsonl", b'"a" "b"\n', {}, "line 1: expected one JSON value per line, got"),
    "no array": ("a.json", b'{"a": ["b"]}', {}, "expected a JSON array of strings or objects, got '{\"a\""),
    "two arrays": ("a.json", b'["a"]\n["b"]', {}, "line 2: expected one JSON array, got"),
    "open array": ("a.json", b'["a",\n"b"', {}, "line 2: expected one JSON array"),
    "objects as text": ("a.txt", b'{\n "a": "aa"\n}\n{\n "a": "b"\n}\n', {}, "got JSON; `format='json'`"),
    "lines of objects as text": ("a.txt", b'{"a": "aa"}\n{"a": "b"}\n', {}, "`format='jsonl'` a value on"),
    "broken JSON as text": ("a.txt", b'\n[\n "aa",\n "b",\n]\n', {}, "got JSON; `format='json'` reads"),
    "cut JSON as text": ("a.txt", b'[\n "aa",\n "b"', {}, "got JSON; `format='json'` reads an array"),
    "JSON as a table": ("a.tsv", b'[\n  {\n    "a": "aa"\n  }\n]\n', {}, "got JSON; `format='json'` reads"),
    "an array as lines": ("a.jsonl", b'[\n "aa"\n]\n', {}, "got a value of several lines; `format"),
    "JSON as text": ("a.txt", b'[\n "anna",\n "bob"\n]\n', {}, "got JSON; `format='json'` reads an array"),
    "zero character": ("a.jsonl", b'"a\\u0000b"', {}, "got a zero character in"),
    "empty JSONL": ("a.jsonl", b"\n", {}, "an empty file"),
    "text has no column": ("a.txt", b"a\n", {"column": "a"}, "read as text, which has no column"),
    "empty stream": ("a.txt", b"", {"format": "stream"}, "an empty file"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_one_line_and_name_the_line(tmp_path, case):
    name, data, changes, message = WRONG[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as error:
        read_corpus(tmp_path / name, ReadConfig(**changes))
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + 3 * len(str(tmp_path))


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"a" * 10_000_000))
    monkeypatch.setattr(decoding, "LARGEST_EXPANSION", 2**20)
    with pytest.raises(DataError, match="expected gzip that unpacks to at most 1,048,576 bytes, got more"):
        read_corpus(tmp_path / "bomb.gz")
    (tmp_path / "names.gz").write_bytes(gzip.compress(b"emma\nava\n"))
    assert read_corpus(tmp_path / "names.gz").documents == ["emma", "ava"]
    monkeypatch.setattr(decoding, "LARGEST_FILE", 2**20)
    (tmp_path / "large.txt").write_bytes(b"a" * 2_000_000)
    with pytest.raises(DataError, match="expected at most 1,048,576 bytes of text"):
        read_corpus(tmp_path / "large.txt")


def test_conflicting_settings():
    with pytest.raises(SettingError, match="column: expected none with `format='stream'`"):
        ReadConfig(format="stream", column="a")
    common = {"cut": "targets", "shuffle": True}
    assert DataConfig(format="stream", framing="bos", **common).framing == "none"
    with pytest.raises(SettingError, match="got none, which is for `format='stream'`"):
        DataConfig(framing="none", **common)


def test_training_on_a_csv_file(motegpt, tmp_path):
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(as_csv(DOCUMENTS).encode()))
    words = ("--steps", 3, "--engine", "array", "-n", 2, "--out", "run")
    ended = motegpt("train", "--preset", "microgpt", "list.csv.gz", "--column", "name", *words, "--until", 1)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"num docs: {len(DOCUMENTS)}\n")
    assert motegpt("train", "--resume", "run").code == 0
    ended = motegpt("train", "--preset", "microgpt", "list.csv.gz", *words, "--overwrite")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "choose with --column from: id, name" in ended.err


@pytest.mark.parametrize(
    ("data", "changes", "documents", "assumed"),
    [
        ("emma\nolivia\nava\n", {}, ["emma", "olivia", "ava"], "its first row, 'emma', is not a header"),
        ("Name\nemma\n", {}, ["emma"], "its first row, 'Name', is a header"),
        ("Name\nemma\n", {"header": False}, ["Name", "emma"], None),
        ("emma\nava\n", {"header": True}, ["ava"], None),
        ("id,name\n1,emma\n", {"column": "name"}, ["emma"], None),
        ("1,emma\n2,ava\n", {"column": "2"}, ["emma", "ava"], "its first row, '1, emma', is not a header"),
        ("no,name\n2,ava\n", {"column": "2"}, ["ava"], "its first row, 'no, name', is a header"),
        ("x,2\na,b\n", {"column": "2"}, ["b"], None),  # a name takes precedence over a number
        ("no,what\n2,ava\n", {"column": "2", "header": True}, ["ava"], None),
        ("a|b, c\n", {"column": "2", "delimiter": "|", "header": False}, ["b, c"], None),
    ],
)  # fmt: skip
def test_header_detection_and_reported_assumptions(tmp_path, data, changes, documents, assumed):
    (tmp_path / "list.csv").write_text(data)
    corpus = read_corpus(tmp_path / "list.csv", ReadConfig(**changes))
    assert corpus.documents == documents
    if assumed is None:
        assert corpus.assumed == ()
    else:
        (message,) = corpus.assumed
        assert message.startswith(f"{tmp_path / 'list.csv'}: {assumed}")


def test_a_tsv_has_no_quotes():
    reading = ReadConfig(column="name")
    assert content_of(b'id\tname\n1\t5" disk\n2\t"Bob"\n', "x.tsv", reading).texts == ['5" disk', '"Bob"']


POLISH = "Łódź\nKraków\nŻory\nŚwiebodzin\nBiałystok\nGdańsk\n"
SHORT_POLISH = "Świętosława\nŚcibor\nBożena\nWładysław\nRóża\nŻaneta\n"
ENCODED = [
    ("cp1250", POLISH), ("cp1250", SHORT_POLISH), ("iso8859_2", SHORT_POLISH),
    ("cp1253", "Αθήνα\nΘεσσαλονίκη\nΠάτρα\nΗράκλειο\nΛάρισα\n"),
    ("cp1254", "İstanbul\nIğdır\nŞanlıurfa\nÇağrı\nMuğla\n"),
    ("cp1256", "القاهرة\nالإسكندرية\nالجيزة\nشبرا الخيمة\n"),
    ("iso8859_6", "محمد\nأحمد\nعلي\nفاطمة\nخديجة\n"),
    ("gb18030", "北京\n上海\n广州\n深圳\n天津\n武汉\n"),
    ("cp1251", "Москва\nСанкт-Петербург\nНовосибирск\n"),
    ("cp866", "Анна\nИван\nМария\nСергей\n"),
    ("big5", "台北\n高雄\n臺中\n"),
]  # fmt: skip


@pytest.mark.parametrize(("encoding", "text"), ENCODED)
def test_encodings_are_suggested_but_not_guessed(tmp_path, encoding, text):
    """The suggestions include the correct encoding, with its first two lines decoded correctly."""
    lines = text.splitlines()
    path = tmp_path / "list.txt"
    path.write_bytes(("first in ASCII\n" + text).encode(encoding))
    with pytest.raises(
        DataError, match=r"expected UTF-8, got byte 0x\w\w in line 2, byte \d+ of the line"
    ) as error:
        read_corpus(path)
    assert f"`encoding={encoding!r}` reads {lines[0]!r}, {lines[1]!r}" in str(error.value)
    assert read_corpus(path, ReadConfig(encoding=encoding)).documents[1:] == lines


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8", "utf-8-sig", "latin-1", "UTF8"]
)
def test_the_setting_encoding(encoding):
    data = "zoë\r\nemma".encode(encoding)
    assert content_of(data, "x.txt", ReadConfig(encoding=encoding)).texts == ["zoë", "emma"]


def test_byte_order_mark_inside_a_file_is_not_decoded(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"%PDF-1.4\n\xff\xfe")
    with pytest.raises(DataError, match=r"expected UTF-8, .*; (convert it to UTF-8|`enc.* reads '.+)"):
        read_corpus(tmp_path / "a.txt")


def test_invalid_encodings():
    for name in ("utf-9", "rot13", "hex", "a\0b", ""):
        with pytest.raises(SettingError, match="encoding: expected a text encoding that Python knows"):
            ReadConfig(encoding=name)
    with pytest.raises(
        DataError, match=r"expected ascii, got byte 0xc3 in line 1, byte 3 .* another `encoding`"
    ):
        content_of("zoë".encode(), "x.txt", ReadConfig(encoding="ascii"))
    with pytest.raises(DataError, match="expected utf-16"):
        content_of(b"abc", "x.txt", ReadConfig(encoding="utf-16"))


@given(
    text=st.text(st.sampled_from("ab\r\n-=é"), max_size=30),
    cuts=st.lists(st.integers(1, 5)),
    separator=st.sampled_from(["\n", "--", "-=-", "ab"]),
)
def test_rechunk(text, cuts, separator):
    pieces, at = [], 0
    for cut in [*cuts, len(text)]:
        pieces.append(text[at : at + cut])
        at += cut
    parts = list(rechunk(pieces, separator))
    assert "".join(parts) == text
    assert all(part.endswith(separator) for part in parts[:-1])
    assert not parts or parts[-1].endswith(separator) or separator not in parts[-1]
    split = [found for part in parts for found in part.removesuffix(separator).split(separator)]
    assert split == text.removesuffix(separator).split(separator) or not text


@given(text=st.text(st.sampled_from("a\r\né"), max_size=20), size=st.integers(1, 4))
def test_line_ends_that_span_two_reads(text, size):
    before = decoding.PIECE
    decoding.PIECE = size
    try:
        assert content_of(text.encode(), "x", ReadConfig(format="stream")).texts == [
            line for line in [text.replace("\r\n", "\n").replace("\r", "\n")] if line
        ] or "".join(content_of(text.encode(), "x", ReadConfig(format="stream")).texts) == text.replace(
            "\r\n", "\n"
        ).replace("\r", "\n")
    finally:
        decoding.PIECE = before


def test_several_files_and_folders(tmp_path):
    (tmp_path / "b.txt").write_text("bob\n")
    (tmp_path / "more" / "deep").mkdir(parents=True)
    (tmp_path / "more" / "c.csv").write_text("name\ncleo")
    (tmp_path / "more" / "deep" / "d.json").write_text('["dora"]')
    (tmp_path / "more" / ".hidden").write_bytes(b"\0")
    corpus = read_corpus([tmp_path / "more", tmp_path / "b.txt"])
    assert corpus.documents == ["cleo", "dora", "bob"]
    assert corpus.name == f"{tmp_path / 'more' / 'c.csv'} and 2 more"
    assert read_corpus([tmp_path / "b.txt", tmp_path / "b.txt"]).documents == ["bob", "bob"]
    stream = read_corpus(tmp_path / "more", ReadConfig(format="stream"))
    assert stream.documents == ['name\ncleo\n["dora"]']


def test_documents_separated_by_delimiters(tmp_path):
    (tmp_path / "tunes.abc").write_text("X:1\nabc\n\nX:2\ncba\n\n")
    tunes = ["X:1\nabc", "X:2\ncba"]
    assert read_corpus(tmp_path / "tunes.abc", ReadConfig(delimiter="\n\n")).documents == tunes
    assert read_corpus(tmp_path / "tunes.abc", ReadConfig(delimiter=r"\n\n")).documents == tunes
    (tmp_path / "one.fasta").write_text(">p1\nMKV\nLA\n>p2\nGG\n")
    assert read_corpus(tmp_path / "one.fasta", ReadConfig(delimiter=">")).documents == [
        "p1\nMKV\nLA",
        "p2\nGG",
    ]
    with pytest.raises(SettingError, match="delimiter: expected at least one character"):
        ReadConfig(delimiter="")
    with pytest.raises(SettingError, match="delimiter: expected none with `format='jsonl'`"):
        ReadConfig(delimiter="\n", format="jsonl")
