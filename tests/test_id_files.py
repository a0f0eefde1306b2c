"""Files of ids: the formats, the commands, and files that are not what they say."""

import io
import json
import struct
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt import GPT, DataError, SettingError
from motegpt.config.sections import DataConfig
from motegpt.data.corpus import read_corpus
from motegpt.data.ids.memory import ids_in_memory
from motegpt.data.ids.reading import HEADER_BYTES, read_ids
from motegpt.data.ids.tasks import make
from motegpt.data.ids.writing import npz_bytes

TABLE = np.array([[1, 2, 3], [3, 0, 1]])
MASK = np.array([[0, 0, 1], [0, 1, 1]])


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **{name: np.asarray(values) for name, values in arrays.items()})
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(descr="'<i8'", shape="(3,)", fortran="False", more="", body=bytes(24)):
    """A .npy with any header."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}{more}}}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body


def llm_c(ids, dtype="<u2", magic=20240520, count=None):
    numbers = np.asarray(ids).astype(dtype)
    head = np.zeros(256, "<i4")
    head[:3] = magic, 1, len(numbers) if count is None else count
    return head.tobytes() + numbers.tobytes()


def lines(*values):
    return "".join(json.dumps(value) + "\n" for value in values).encode()


WHOLE = ids_in_memory(TABLE, MASK)
FILES = {
    "npz": npz(ids=TABLE, mask=MASK),
    "npz, a value per target": npz(ids=TABLE, mask=MASK[:, 1:].astype(bool)),
    "npz, flat, a value per target": npz(
        tokens=TABLE.ravel(), offsets=[0, 3, 6], mask=MASK[:, 1:].ravel(), vocab_size=4
    ),
    "npz, flat": npz(tokens=TABLE.ravel(), offsets=[0, 3, 6], mask=MASK.ravel(), vocab_size=4),
    "jsonl": lines({"ids": TABLE[0].tolist(), "mask": [0, 0, 1]}, {"ids": [3, 0, 1], "mask": [1, 1]}),
    "jsonl, one mask": lines({"ids": [1, 2, 3], "mask": [0, 1]}, {"ids": [3, 0, 1]}),
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_formats_of_sequences(data):
    found = read_ids(data, "data", None)
    assert found == WHOLE or found.mask[1:3].tolist() == WHOLE.mask[1:3].tolist()
    assert (found.vocab_size, found.is_stream, list(found)) == (4, False, ["1 2 3", "3 0 1"])


def test_arrays_alone():
    assert read_ids(npy(TABLE), "a.npy", None) == ids_in_memory(TABLE)
    assert read_ids(npy(np.asfortranarray(TABLE)), "a.npy", None) == ids_in_memory(TABLE)
    assert list(read_ids(lines([1, 2], [0, 1, 1]), "a.jsonl", "ids")) == ["1 2", "0 1 1"]


def test_masks_of_weights():
    weights = ids_in_memory(TABLE, MASK / 2)
    assert read_ids(npz(ids=TABLE, mask=MASK / 2), "a.npz", None) == weights
    assert read_ids(npz_bytes(weights), "a.npz", None) == weights
    found = lines({"ids": [1, 2, 3], "mask": [0, 0.5]}, {"ids": [3, 0, 1], "mask": [0.5, 0.5]})
    assert read_ids(found, "a.jsonl", None) == weights
    assert read_ids(npz_bytes(weights), "a.npz", "id_stream").mask.tolist() == [0, 0, 0.5, 0, 0.5, 0.5]


STREAM = [3, 1, 2, 500]
STREAMS = {
    "npy": npy(np.array(STREAM, np.uint16)),
    "npz": npz(ids=STREAM),
    "bin": np.array(STREAM, "<u2").tobytes(),
    "llm.c": llm_c(STREAM),
    "llm.c, 32 bits": llm_c(STREAM, "<u4", 20240801),
}


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS)
def test_formats_of_streams(data):
    found = read_ids(data, "data.bin", None)
    assert found.is_stream
    assert list(found) == ["3 1 2 500"]
    assert found.vocab_size == 501
    with pytest.raises(DataError, match="id_stream"):
        read_ids(data, "data.bin", "ids")


def test_a_stream_has_whole_numbers_of_16_bits():
    with pytest.raises(DataError, match="16 bits"):
        read_ids(b"\1\0\2", "a.bin", None)


def test_sequences_as_a_stream():
    found = read_ids(npz(ids=TABLE, mask=MASK), "a.npz", "id_stream")
    assert found.is_stream
    assert list(found) == ["1 2 3 3 0 1"]
    assert found.mask.tolist() == [0, 0, 1, 0, 1, 1]


def test_the_split_of_a_file_is_the_one_that_is_used(tmp_path):
    (tmp_path / "a.npz").write_bytes(npz(ids=[*TABLE, [0, 0, 0]], split=[0, 1, 0], vocab_size=9))
    model = GPT.train(tmp_path / "a.npz", preset="microgpt", steps=1, engine="array", n_embd=4, n_head=1)
    assert model.config.data.val_fraction == pytest.approx(1 / 3)
    assert model.config.model.vocab_size == 9
    assert list(model._trainer.validation.data.sequences) == [[3, 0, 1]]
    with pytest.raises(SettingError, match="split of their own"):
        GPT.train(tmp_path / "a.npz", preset="microgpt", steps=1, val_fraction=0.5)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.npz", FILES["npz"]), ("a.npy", npy(TABLE)), ("a.bin", STREAMS["bin"]), ("a.jsonl", FILES["jsonl"])],
)
def test_the_name_of_a_file_tells(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    corpus = read_corpus(tmp_path / name)
    assert corpus.documents.settings["format"] == ("id_stream" if name == "a.bin" else "ids")
    assert corpus.documents == read_ids(content, name, None)


def test_texts_in_json_lines_are_still_texts(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"name": "anna"}\n{"name": "bob"}\n')
    assert list(read_corpus(tmp_path / "a.jsonl").documents) == ["anna", "bob"]
    (tmp_path / "b.jsonl").write_bytes(FILES["jsonl"])
    with pytest.raises(DataError, match="got both"):
        read_corpus([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    with pytest.raises(DataError, match="no delimiter"):
        read_corpus(
            tmp_path / "b.jsonl", DataConfig(delimiter="|", framing="bos", cut="tokens", shuffle=False)
        )


def test_lines_of_lists_are_ids(tmp_path):
    (tmp_path / "a.jsonl").write_text("[3, 1, 2]\n[0, 1]\n")
    assert list(read_corpus(tmp_path / "a.jsonl").documents) == ["3 1 2", "0 1"]
    (tmp_path / "b.jsonl").write_text('{"input_ids": [3, 1, 2]}\n')
    with pytest.raises(DataError, match="token ids have the key ids"):
        read_corpus(tmp_path / "b.jsonl")


def test_several_files_are_joined(tmp_path):
    for name, ids in (("a.bin", [1, 2, 300]), ("b.bin", [4, 5])):
        (tmp_path / name).write_bytes(np.array(ids, "<u2").tobytes())
    found = read_corpus(tmp_path).documents
    assert list(found) == ["1 2 300 4 5"]
    assert found.vocab_size == 301
    paths = [tmp_path / "c.npz", tmp_path / "d.jsonl"]
    for path, content in zip(paths, (npz(ids=TABLE), FILES["jsonl"]), strict=True):
        path.write_bytes(content)
    found = read_corpus(paths).documents
    assert len(found) == 4
    assert found.mask.tolist() == [1] * 6 + WHOLE.mask.tolist()[:3] + [0, 1, 1]


def zipped(method=zipfile.ZIP_STORED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


GOOD = npz(ids=TABLE, mask=MASK)
ATTACKS = {
    "empty": (b"", "empty file"),
    "gzip": (b"\x1f\x8b123", "unpack it first"),
    "huge shape": (header(shape="(10000000000, 2)"), "bytes, as shape"),
    "shape of huge numbers": (header(shape=f"({2**70},)"), "shape"),
    "negative shape": (header(shape="(-3,)"), "shape"),
    "many axes": (header(shape="(1,) * 9"), "header"),
    "code": (header(shape="__import__('os')"), "header"),
    "nested": (header(shape="(" * 900), "header"),
    "more entries": (header(more=", 'x': 1"), "header"),
    "objects": (header(descr="'|O'"), "not read"),
    "records": (header(descr="[('a', '<i4')]"), "not read"),
    "text": (npy(np.array(["a", "b"])), "not read"),
    "dates": (header(descr="'<M8[s]'"), "not read"),
    "no dtype": (header(descr="'nonsense'"), "not read"),
    "floats": (npy(np.array([[0.5, 1.0]])), "integers"),
    "bools": (npy(np.array([[True, False]])), "integers"),
    "cube": (npy(np.zeros((2, 2, 2), int)), "shape"),
    "scalar": (npy(np.array(3)), "shape"),
    "no rows": (npy(np.zeros((0, 3), int)), "none"),
    "no columns": (npy(np.zeros((3, 0), int)), "none"),
    "one column": (npy(np.zeros((3, 1), int)), "at least 2 ids"),
    "negative ids": (npy(np.array([[0, -5]])), "at least 0, got -5"),
    "huge ids": (npy(np.array([[0, 2**62]])), "below"),
    "unsigned ids": (npy(np.array([[0, 2**64 - 1]], np.uint64)), "below"),
    "ids of a larger vocabulary": (npz(ids=TABLE, vocab_size=3), "below 3, got 3"),
    "vocabulary of none": (npz(ids=TABLE, vocab_size=0), "vocab_size"),
    "vocabulary of millions": (npz(ids=TABLE, vocab_size=2**40), "vocab_size"),
    "vocabulary of a float": (npz(ids=TABLE, vocab_size=4.5), "vocab_size"),
    "two vocabularies": (npz(ids=TABLE, vocab_size=[4, 5]), "one number"),
    "optimum that is none": (npz(ids=TABLE, optimum=np.nan), "optimum"),
    "truncated array": (npy(TABLE)[:-1], "bytes"),
    "longer array": (npy(TABLE) + b"1", "bytes"),
    "truncated header": (npy(TABLE)[:40], "header"),
    "version": (b"\x93NUMPY\7\0" + bytes(99), "version"),
    "truncated zip": (GOOD[:-30], "damaged"),
    "half a zip": (GOOD[: len(GOOD) // 2], "damaged"),
    "zip of nothing": (zipped(), "ids, or tokens and offsets"),
    "zip of other arrays": (npz(ids=TABLE, labels=TABLE), "got 'labels'"),
    "zip of a bad array": (zipped(ids=b"\x93NUMPY"), "version"),
    "zip of objects": (zipped(ids=header(descr="'|O'")), "not read"),
    "zip with an unknown method": (zipped(zipfile.ZIP_LZMA, ids=npy(TABLE)), "stored or deflated"),
    "both forms": (npz(ids=TABLE, tokens=[1, 2], offsets=[0, 2]), "tokens and offsets"),
    "no offsets": (npz(tokens=[1, 2]), "tokens and offsets"),
    "offsets that fall": (npz(tokens=[1, 2, 3, 4], offsets=[0, 3, 2, 4]), "rise"),
    "offsets beyond": (npz(tokens=[1, 2], offsets=[0, 9]), "rise"),
    "offsets of floats": (npz(tokens=[1, 2], offsets=[0.0, 2.0]), "integers"),
    "mask of another shape": (npz(ids=TABLE, mask=[[1, 1], [1, 1], [1, 1]]), "2 sequences"),
    "flat mask": (npz(ids=TABLE, mask=[1, 1, 1]), "value per id"),
    "mask of NaN": (npz(ids=TABLE, mask=MASK * np.nan), "0 or 1, or weights"),
    "mask of nothing": (npz(ids=TABLE, mask=MASK * 0), "unmasked target in every sequence"),
    "split of one kind": (npz(ids=TABLE, split=[1, 1]), "only 1"),
    "split of another length": (npz(ids=TABLE, split=[1, 0, 1]), "per sequence"),
    "line without ids": (lines({"ids": [1, 2]}, {"id": [1]}), "line 2: expected the keys ids"),
    "line of floats": (lines({"ids": [1, 2.5]}), "line 1: ids"),
    "line of text": (b'{"ids": [1, 2]}\nanna\n', "line 2: expected an object"),
    "deep line": (b'{"ids": [1, 2]}\n' + b"[" * 9999, "line 2"),
    "long number": (b'{"ids": [1, 2]}\n{"ids": [' + b"9" * 9999 + b"]}", "line 2"),
    "number of 30 digits": (lines({"ids": [1, 10**30]}), "integers"),
    "mask of another length": (lines({"ids": [1, 2], "mask": [1, 1, 1]}), "2 or 1 in sequence 0, got 3"),
    "mask of text": (lines({"ids": [1, 2], "mask": "11"}), "mask"),
    "other contents": (b"anna\nbob\n", "other contents"),
    "header of llm.c that is truncated": (llm_c([1, 2])[:500], "as its header says, got 500"),
    "magic of llm.c alone": (llm_c([1, 2])[:4], "version 1"),
    "version of llm.c": (llm_c([1, 2])[:4] + b"\7" + llm_c([1, 2])[5:], "version 1 .* got 7"),
    "other keys": (
        lines({"ids": [1, 2], "loss_mask": [0, 1]}),
        "line 1: expected the keys ids and mask alone, got 'loss_mask'; leave it out, or",
    ),
    "cube as a mask": (npz(ids=TABLE, mask=MASK[:, :, None]), r"got an array of shape \(2, 3, 1\)"),
    "header of llm.c that lies": (llm_c([1, 2], count=2**31 - 1), "as its header says"),
    "only a header": (llm_c([]), "none"),
}


@pytest.mark.parametrize(("data", "message"), ATTACKS.values(), ids=ATTACKS)
def test_attackers_files_are_one_line(data, message):
    with pytest.raises(DataError, match=message) as caught:
        read_ids(data, "data", None)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_bomb_is_not_inflated(monkeypatch):
    monkeypatch.setattr("motegpt.data.ids.numpy_files.LARGEST_EXPANSION", 2**20)
    bomb = zipped(zipfile.ZIP_DEFLATED, ids=header(shape=f"({2**20},)", body=bytes(2**23)))
    assert len(bomb) < 2**14
    with pytest.raises(DataError, match="at most"):
        read_ids(bomb, "a.npz", None)


@settings(max_examples=150)
@given(st.data())
def test_damaged_files_are_one_line(data):
    whole = data.draw(
        st.sampled_from([GOOD, npy(TABLE), llm_c([1, 2, 3]), FILES["jsonl"], FILES["npz, flat"]])
    )
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    with suppress(DataError):
        read_ids(bytes(damaged[: data.draw(st.integers(0, len(whole)))]), "data", None)


def test_the_commands(motegpt, tmp_path):
    assert motegpt("data", "make", "modular", "--modulus", 5, "--out", "sums.npz").out == "sums.npz\n"
    assert motegpt("data", "make", "copy", "--out", "sums.npz").code == 2
    made = json.loads(motegpt("data", "make", "parity", "--out", "bits.npz", "--json").out)
    assert made["counted"] == made["sequences"] == 2000
    assert (tmp_path / "sums.npz").read_bytes() == npz_bytes(make("modular", modulus=5))
    checked = motegpt("data", "check", "sums.npz").out
    assert "25, 0 repeated" in checked
    assert "75, 25 of them unmasked" in checked
    assert "--block-size 3" in checked
    assert json.loads(motegpt("data", "check", "sums.npz", "--json").out)["counted"] == 25
    small = ["--n-embd", 8, "--block-size", 3, "--engine", "array", "--n", 1, "--val-fraction", 0.4]
    ended = motegpt("train", "sums.npz", *small, "--steps", 20, "--log-every", 10, "--out", "run")
    assert ended.code == 0
    assert "| accuracy 0." in ended.out
    assert motegpt("train", "sums.npz", "--preset", "auto", "--steps", 3, "--engine", "array").code == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["val_accuracy"] <= 1
    shown = motegpt("show", "run", "-n", 1)
    assert "accuracy" in shown.out
    assert "no model has less than 0.0000" in shown.out
    evaluated = motegpt("eval", "run")
    assert "of 10 targets the model finds" in evaluated.out
    assert "bits per token" in evaluated.out
    assert json.loads(motegpt("eval", "run", "sums.npz", "--json").out)["tokens"] == 25
    assert motegpt("sample", "run", "--prefix", "1 2 5", "-n", 2).out.startswith("1 2 5 ")
    assert "1 2 5 3" in motegpt("score", "run", "1 2 5 3").out
    assert motegpt("train", "--resume", "run", "--steps", 25).code == 0
    (tmp_path / "sums.npz").write_bytes(npz_bytes(make("modular", modulus=5, operation="subtract")))
    assert (
        "does not match the recorded training data" in motegpt("train", "--resume", "run", "--steps", 30).err
    )
    assert "3 per step" in motegpt("cost", "sums.npz", "--preset", "microgpt").out
    assert "over 3 targets" in motegpt("graph", "1 2 5 3", "--run", "run", "--summary").out
    assert motegpt("graph", "--run", "run", "--summary").code == 0
    assert "other contents" in motegpt("cost", "--format", "ids", "--preset", "microgpt").err
    for words in (["play", "sums.npz"], ["play", "run"], ["train", "sums.npz", "--tokenizer", "bytes"]):
        ended = motegpt(*words, *(["--out", "a.html"] if words[0] == "play" else []))
        assert (ended.code, ended.err.count("\n")) == (2, 1), words


def test_a_report_tells_of_weights(motegpt, tmp_path):
    weights = [[9, 0, 0.5], [9, 3, 1]]
    (tmp_path / "a.npz").write_bytes(npz(ids=TABLE, mask=weights))
    assert "targets      4, 3 of them unmasked, weights 0.5 to 3\n" in motegpt("data", "check", "a.npz").out
    assert json.loads(motegpt("data", "check", "a.npz", "--json").out)["weights"] == [0.5, 3]
    (tmp_path / "b.npz").write_bytes(npz(ids=TABLE, mask=MASK.astype(float)))
    assert "weights" not in motegpt("data", "check", "b.npz").out


def test_the_picture_has_the_accuracy_and_the_optimum(tmp_path):
    pytest.importorskip("matplotlib")
    from motegpt.plots.curves import loss_figure
    from motegpt.views.baselines import common_baselines
    from motegpt.views.runs import Run

    (tmp_path / "a.npz").write_bytes(npz_bytes(make("markov", count=40, length=8, states=3)))
    GPT.train(
        tmp_path / "a.npz", preset="microgpt", steps=4, log_every=2, engine="array", n_embd=4, n_head=1,
        val_fraction=0.5, out=tmp_path / "run",
    )  # fmt: skip
    run = Run.read(str(tmp_path / "run"))
    baselines = common_baselines([run])
    assert baselines["optimum"] == make("markov", states=3).optimum
    assert "bigram" in baselines
    losses, accuracies = loss_figure([run], baselines=baselines).axes
    assert "accuracy" in accuracies.get_ylabel()
    assert len(accuracies.lines[0].get_xdata()) == 3
    assert any("optimum" in str(line.get_label()) for line in losses.lines)


def test_the_header_of_llm_c_has_256_numbers():
    assert len(llm_c([])) == HEADER_BYTES
