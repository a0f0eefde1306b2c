"""Data files of every format, and TOML: whatever the bytes, documents or a clear error."""

import gzip
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from motegpt.cli.commands.data import report_lines
from motegpt.cli.options import TOP_LEVEL, read_toml
from motegpt.config.fields import kinds
from motegpt.config.presets import settings_of
from motegpt.config.sections import SECTIONS, DataConfig
from motegpt.config.text import has_surrogate
from motegpt.data.check import check_data
from motegpt.data.corpus import corpus_in
from motegpt.data.formats import READERS
from motegpt.errors import DataError
from tests.attacks.oracle import check_message, command, refused_or_right

PROFILE = settings(max_examples=100, deadline=None, derandomize=True, database=None)
LINES = st.lists(st.text(max_size=12) | st.sampled_from(["", "a,b", '"', 'a""b', "\r", "\ufeff", "\0"]))
CELLS = st.lists(st.lists(st.text(max_size=6), min_size=1, max_size=3), max_size=5)
JSONL = st.lists(
    st.text(max_size=6) | st.none() | st.integers()
    | st.dictionaries(st.sampled_from(["a", "b", "\ud800"]), st.text(max_size=6) | st.none() | st.booleans(),
                      max_size=2),
    max_size=5,
)  # fmt: skip
BYTES = st.one_of(
    st.binary(max_size=60),
    LINES.map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")),
    CELLS.map(lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")),
    JSONL.map(lambda values: "\n".join(map(json.dumps, values)).encode()),
)
PACKED = BYTES | BYTES.map(gzip.compress) | BYTES.map(lambda data: gzip.compress(data)[:-5])
READING = st.builds(
    dict,
    format=st.sampled_from([None, *READERS]),
    column=st.sampled_from([None, "a", "", "\x1b", "1"]),
    header=st.sampled_from([None, True, False]),
    delimiter=st.sampled_from([None, "|", "ab"]),
    encoding=st.sampled_from([None, None, "utf-16", "cp1252"]),
    normalize=st.sampled_from([None, "nfc", "nfkc"]),
    deduplicate=st.booleans(),
    tokenizer=st.sampled_from(["characters", "bytes"]),
)


@PROFILE
@given(PACKED, READING)
def test_any_file_is_documents_or_a_clear_error(data, reading):
    with refused_or_right():
        config = DataConfig.of({"framing": "bos", "cut": "targets", "shuffle": True, **reading})
        corpus = corpus_in({Path("list.txt"): data}, config)
        assert corpus.documents
        for document in corpus.documents:
            assert document
            assert not has_surrogate(document)
            assert config.format == "stream" or document == document.strip()


@PROFILE
@given(PACKED, READING)
def test_any_file_can_be_checked(tmp_path_factory, data, reading):
    path = tmp_path_factory.getbasetemp() / "checked.txt"
    path.write_bytes(data)
    with refused_or_right():
        report = check_data(path, {**settings_of("microgpt"), **reading}, reading)
        for line in report_lines(report):
            assert "\n" not in line


@PROFILE
@given(PACKED, st.sampled_from([None, *READERS]))
def test_any_file_can_be_trained_on_from_the_command_line(tmp_path_factory, data, form):
    path = tmp_path_factory.getbasetemp() / "trained.txt"
    path.write_bytes(data)
    words = ["--steps", "1", "--engine", "array", "-n", "1", "--n-embd", "4", "--block-size", "2"]
    command("train", "--preset", "microgpt", str(path), *words, *(["--format", form] if form else []))


def test_the_check_of_messages_goes_red():
    for text in ("", "a" * 3000, "two\nlines", "\x1b[2J"):
        with pytest.raises(AssertionError):
            check_message(text)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_names_of_columns_cannot_flood_the_message(tmp_path, kind):
    name = "x" * 10**6
    row = f"{name},{name}\na,b\n" if kind == "csv" else json.dumps({name: "a", name + "y": "b"}) + "\n"
    path = tmp_path / f"list.{kind}"
    path.write_text(row)
    for column in (None, name[:-1]):
        with pytest.raises(DataError) as error:
            corpus_in({path: path.read_bytes()}, DataConfig.of(
                {"framing": "bos", "cut": "targets", "shuffle": True, "column": column}))  # fmt: skip
        check_message(str(error.value))


NAMES = [name for section in SECTIONS.values() for name in kinds(section)]
KEYS = st.sampled_from([*NAMES, *SECTIONS, *TOP_LEVEL, "x", '""', "a.b"])
NUMBERS = st.sampled_from(["0", "-1", "1_000", "0x10", "1e999", "nan", "-inf", "9" * 30, "9" * 5000, "1.5"])
PLAIN = """"none" "" "nfc" "array" "zeroclaw" 'x' true 1979-05-27T07:32:00Z 07:32:00 [] [[1]] {} {a=1}"""
WORDS = st.sampled_from([*PLAIN.split(), '"""a\nb"""', r'"\u001b[2J"', "[" * 500, "x" * 100])
ENTRY = st.builds(lambda key, value: f"{key} = {value}", KEYS, NUMBERS | WORDS)
TABLE = st.sampled_from(["", "[model]", "[train]", "[data]", "[sample]", "[[train]]", "[x]", "[train.lr]"])
TOML = st.lists(ENTRY | TABLE, max_size=6).map("\n".join)


@PROFILE
@given(TOML.map(str.encode) | st.binary(max_size=40))
def test_any_toml_is_settings_or_a_clear_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text)
    with refused_or_right():
        given_settings = read_toml(str(path))
        assert isinstance(tomllib.loads(text.decode("utf-8-sig")), dict)
        for name in given_settings:
            assert name in TOP_LEVEL or any(name in kinds(section) for section in SECTIONS.values())


@PROFILE
@given(ENTRY)
def test_any_toml_can_be_trained_with(tmp_path_factory, entry):
    assume(entry.partition(" ")[0] not in ("n_embd", "n_layer", "batch_size", "block_size"))
    folder = tmp_path_factory.getbasetemp()
    (folder / "entry.toml").write_text(entry)
    words = ["--engine", "array", "--steps", "1", "-n", "1", "--n-embd", "4", "--block-size", "4"]
    command("train", "--config", str(folder / "entry.toml"), *words)


@pytest.mark.parametrize("path", ["/dev/zero", ".", "/nowhere/at/all"])
def test_a_config_that_is_no_file(path):
    if Path(path).is_absolute() and not Path("/dev/zero").exists():
        pytest.skip("no such devices here")
    code, _, error = command("train", "--config", path)
    assert code == 2
    assert "expected a TOML file" in error
