"""The safetensors files of a run folder: cut, flipped, forged."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.errors import RunFolderError
from motegpt.training.run_folder import RunFolder
from tests.attacks.forge import ODD, copied, file_of, forge, make_run
from tests.attacks.oracle import command, look, refused_or_right

PROFILE = settings(max_examples=60, deadline=None, derandomize=True, database=None)
READERS = {  # file -> the method of RunFolder that reads it
    "model.safetensors": "parameters", "trainer.safetensors": "trainer_state",
    "kneser_ney.safetensors": "average",
}  # fmt: skip
FILES = tuple(READERS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"), kneser_ney=3)


def read(run):
    """All files, as everything that uses them does first."""
    folder = RunFolder(run)
    config, tokenizer = folder.config(), folder.tokenizer()
    for reader in (folder.parameters, folder.trainer_state, folder.average):
        with refused_or_right():
            reader(config, tokenizer)


@pytest.mark.parametrize("name", FILES)
def test_cut_short_and_flipped(run, name):
    whole = (run / name).read_bytes()

    @PROFILE
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7), st.booleans())
    def holds(at, bit, cut):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        (run / name).write_bytes(whole[:at] if cut else bytes(damaged))
        folder = RunFolder(run)
        reader = getattr(folder, READERS[name])
        with pytest.raises(RunFolderError):
            reader(folder.config(), folder.tokenizer())

    try:
        holds()
    finally:
        (run / name).write_bytes(whole)


def tensor(shape, begin, end, dtype="F32"):
    return {"wte": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


HEADERS = {
    "empty": b"",
    "absurd length": b"\xff" * 8,
    "length beyond the file": file_of({}, length=100),
    "length of 2^63": file_of({}, length=2**63),
    "length of 90 MB": file_of({}, length=90 * 10**6),
    "no json": file_of(b"{" * 1000),
    "deep": file_of(b"[" * 100_000),
    "a list": file_of(b"[]"),
    "outside": file_of(tensor([2], 0, 2**60), b"12345678"),
    "backwards": file_of(tensor([2], 8, 0), b"12345678"),
    "negative": file_of(tensor([2], -8, 0), b"12345678"),
    "2^60 numbers": file_of(tensor([2**30, 2**30], 0, 2**62), b"12345678"),
    "overflow to 0": file_of(tensor([2**32, 2**32], 0, 0)),
    "overlapping": file_of({**tensor([2], 0, 8), "b": tensor([2], 4, 12)["wte"]}, b"123456789012"),
    "no such type": file_of(tensor([2], 0, 8, "X1"), b"12345678"),
    "metadata of a wrong kind": file_of({"__metadata__": {"motegpt": 3}}),
    "deep metadata": file_of({"__metadata__": {"motegpt": "[" * 100_000}}),
    "nearly too deep metadata": file_of(
        {"__metadata__": {"motegpt": '{"format":2,"x":' + "[" * 930 + "]" * 930 + "}"}}
    ),
    "thousands of digits": file_of({"__metadata__": {"motegpt": '{"format":2,"done":' + "9" * 5000 + "}"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", HEADERS)
def test_headers(run, name, kind, tmp_path):
    copy = copied(run, tmp_path / "copy")
    (copy / name).write_bytes(HEADERS[kind])
    look(copy)
    folder = RunFolder(copy)
    reader = getattr(folder, READERS[name])
    with pytest.raises(RunFolderError):
        reader(folder.config(), folder.tokenizer())


def fill(value):
    return lambda tensors: [array.fill(value) for array in tensors.values()]


def cast(dtype):
    return lambda tensors: tensors.update({name: array.astype(dtype) for name, array in tensors.items()})


FORGED = {
    "not a number": fill(np.nan),
    "infinite": fill(-np.inf),
    "bytes for numbers": cast(np.int8),
    "half precision": cast(np.float16),
    "64-bit integers": cast(np.int64),
    "one too many": lambda tensors: tensors.update(extra=np.zeros(3)),
    "none": lambda tensors: tensors.clear(),
}


@pytest.mark.parametrize("name", FILES[:2])  # n-grams are integers; tests/test_average.py forges them
@pytest.mark.parametrize("kind", FORGED)
def test_forged_numbers_are_refused_though_their_digest_is_right(run, name, kind, tmp_path):
    copy = copied(run, tmp_path / "copy")
    forge(copy / name, tensors=FORGED[kind])
    folder = RunFolder(copy)
    reader = getattr(folder, READERS[name])
    with pytest.raises(RunFolderError, match=name):
        reader(folder.config(), folder.tokenizer())
    look(copy)


@pytest.mark.parametrize("value", [1e300, -3e38, 1e-320])
def test_extreme_numbers_say_that_the_model_is_damaged_or_work(run, tmp_path, value):
    copy = copied(run, tmp_path / "copy")
    forge(copy / "model.safetensors", tensors=lambda tensors: tensors.update(
        {name: np.full(array.shape, value) for name, array in tensors.items()}))  # fmt: skip
    for engine in ("array", "native", "scalar"):
        for dtype in ("float64", "float32"):
            config = json.loads((copy / "config.json").read_text())
            config["train"]["dtype"] = dtype
            (copy / "config.json").write_text(json.dumps(config))
            for words in (
                ["sample", "-n", "2", "--seed", "1"],
                ["score", "anna"],
                ["eval", "--samples", "3"],
            ):
                command(words[0], str(copy), *words[1:], "--engine", engine)


@pytest.mark.parametrize("key", ["format", "done", "rng", "best", "losses", "tokenizer"])
@pytest.mark.parametrize("generator", ["python", "lcg", "xoshiro128+"])
def test_every_entry_of_a_trainer_with_every_odd_value(tmp_path, key, generator):
    run = make_run(tmp_path, rng=generator)
    whole = (run / "trainer.safetensors").read_bytes()
    odd = [*ODD, [3, [0] * 625, None], [3, [0] * 625, "x"], [3, [2**32] * 625, 0.0], [3, "x" * 625, None],
           [2, [0] * 625, [1]], [0, 0, 0, 0], [2**40], [-1], ["x"], [True, 1, 1, 1]]  # fmt: skip
    for value in odd:
        (run / "trainer.safetensors").write_bytes(whole)
        forge(run / "trainer.safetensors", metadata=lambda entry, value=value: entry.update({key: value}))
        look(run)
        read(run)
