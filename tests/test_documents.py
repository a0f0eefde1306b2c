"""Reading documents from text files, and errors for files that are not text."""

import pytest

from motegpt.config.sections import ReadConfig
from motegpt.data.corpus import corpus_of, read_corpus
from motegpt.errors import DataError


def write(tmp_path, data: bytes):
    path = tmp_path / "data.txt"
    path.write_bytes(data)
    return path


def test_lines_are_stripped_empty_ones_dropped_duplicates_kept(tmp_path):
    path = write(tmp_path, b"  emma \r\n\n\t\nava\nemma\n")
    assert read_corpus(path).documents == ["emma", "ava", "emma"]
    assert read_corpus(path, ReadConfig(deduplicate=True)).documents == ["emma", "ava"]


def test_any_script_and_a_byte_order_mark(tmp_path):
    path = write(tmp_path, "\ufeffЖанна\n日本語\n👩‍👩‍👧\nà la\u2028carte\n".encode())
    assert read_corpus(path).documents == ["Жанна", "日本語", "👩‍👩‍👧", "à la\u2028carte"]


def test_built_in_names():
    documents = read_corpus(None).documents
    assert len(documents) == 98
    assert documents[:2] == ["emma", "olivia"]
    assert "q" not in "".join(documents)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b" \n\n ", "empty"),
        (b"emma\n\0\x01\x02", "binary data (a zero byte in line 2)"),
        ("emma\nzoë\n".encode("latin1"), "byte 0xeb in line 2, byte 3"),
    ],
)
def test_undecodable_text_is_reported_with_its_line(tmp_path, data, message):
    with pytest.raises(DataError) as error:
        read_corpus(write(tmp_path, data))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_error_suggests_fetch(tmp_path):
    with pytest.raises(DataError, match=r"no such file.*one document per line.*motegpt data fetch names"):
        read_corpus(tmp_path / "none.txt")


def test_misspelled_file_name_suggests_a_similar_file(tmp_path):
    (tmp_path / "elements").mkdir()
    write(tmp_path, b"neon\n").rename(tmp_path / "elements.txt")
    with pytest.raises(DataError, match=r"did you mean .*elements\.txt\?"):
        read_corpus(tmp_path / "elemets.txt")
    with pytest.raises(DataError, match="data fetch names"):
        read_corpus(tmp_path / "nowhere" / "elemets.txt")
    with pytest.raises(DataError, match="data fetch names"):
        read_corpus(tmp_path / "people.csv")
    with pytest.raises(DataError, match="/dev/stdin"):
        read_corpus("-")


def test_inputs_that_are_not_text_files(tmp_path):
    with pytest.raises(DataError, match="expected a folder of text files, got an empty one"):
        read_corpus(tmp_path)
    with pytest.raises(DataError, match="expected a text file, got a device"):
        read_corpus("/dev/null")
    (tmp_path / "list.XLSX").write_bytes(b"PK\3\4\0")
    with pytest.raises(DataError, match="got a spreadsheet; save it as CSV"):
        read_corpus(tmp_path / "list.XLSX")
    with pytest.raises(
        DataError,
        match=r"^https://example\.org/a: no such file; .* download it, curl -LO https://example\.org/a, and",
    ):
        read_corpus("https://example.org/a")
    for address in ("s3://bucket/list.txt", "gs://list.txt"):
        with pytest.raises(DataError, match=f"{address}: no such file; .* download it, and pass the file"):
            read_corpus(address)
    with pytest.raises(DataError, match=r"names\.txt: no such file.*motegpt data fetch names downloads it"):
        read_corpus(tmp_path / "names.txt")
    with pytest.raises(DataError, match=r"pass its lines as a list, text\.splitlines\(\)") as error:
        read_corpus("anna\nbob\n" * 1000)
    assert len(str(error.value)) < 400


def test_documents_in_memory():
    assert corpus_of([" a", "", "b", "a"]).documents == ["a", "b", "a"]
    with pytest.raises(DataError, match="at least one"):
        corpus_of([" "])
