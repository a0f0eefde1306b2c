"""Run folders, zips and tensor files between Python and the page."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motegpt.data.tokenizers import Tokenizer
from motegpt.ngrams.kneser_ney import KneserNey
from motegpt.page.boot import boot
from motegpt.training.begin import begin
from motegpt.training.run_folder import RunFolder
from motegpt.training.tensor_files import FLOATS, digest, read_tensors, tensor_bytes
from tests.page_node import needs_node, run_script

pytestmark = needs_node

SMALL = {"preset": "microgpt"}
RUNS: dict[str, dict[str, Any]] = {
    "microgpt": {"steps": 120},
    "validation": {"steps": 120, "val_fraction": 0.1, "eval_every": 40, "log_every": 50},
    "sgd": {"steps": 30, "optimizer": "sgd", "lr": 0.1},
    "large seed": {"steps": 10, "seed": 2**64 - 1},
    "oxidized": {"preset": "oxidized", "steps": 20},
    "zeroclaw": {"preset": "zeroclaw", "steps": 20},
    "gpt2": {"preset": "gpt2", "steps": 20, "n_layer": 2, "n_embd": 16, "n_head": 4, "block_size": 16},
    "llama": {
        "preset": "llama", "steps": 20, "n_layer": 2, "n_embd": 16, "n_head": 4, "n_kv_head": 2,
        "n_hidden": 24, "block_size": 16,
    },
    "groups": {"steps": 5, "frozen": ["wpe"], "lr_scale": {"*attn*": 0.5}},
    "n-grams": {
        "steps": 20, "ngram_orders": 3, "kneser_ney": 3, "dtype": "float32", "novel": True,
    },
}  # fmt: skip


def run_cases(*cases: tuple[str, Any]) -> list[Any]:
    """What the page makes of each case."""
    return run_script("files", {"boot": boot(), "cases": cases})


def trained(out: Path, settings: dict[str, Any], until: int | None = None) -> Path:
    """The folder of a run of Python."""
    given = {**settings}
    run = begin(None, given, preset=given.pop("preset", "microgpt"), engine="native", out=out)
    for _ in run.trainer.run(until):
        pass
    return out


@pytest.mark.parametrize("name", RUNS)
def test_a_run_folder_is_the_same_after_the_page_has_read_and_written_it(tmp_path: Path, name: str) -> None:
    folder, copy = trained(tmp_path / "run", RUNS[name]), tmp_path / "copy"
    copy.mkdir()
    (found,) = run_cases(("copy", {"from": str(folder), "to": str(copy)}))
    assert "error" not in found, found
    before, after = RunFolder(folder), RunFolder(copy)
    config, tokenizer = before.config(), before.tokenizer()
    assert after.config() == config
    assert after.tokenizer() == tokenizer
    assert after.metrics() == before.metrics()
    one, other = before.trainer_state(config, tokenizer), after.trainer_state(config, tokenizer)
    assert (one.done, one.rng, one.best, one.losses) == (other.done, other.rng, other.best, other.losses)
    for part, same in zip(
        [one.snapshot.parameters, *one.snapshot.slots.values(), before.parameters(config, tokenizer)],
        [other.snapshot.parameters, *other.snapshot.slots.values(), after.parameters(config, tokenizer)],
        strict=True,
    ):
        assert all(part[key].dtype == same[key].dtype for key in part)
        assert all(np.array_equal(part[key], same[key]) for key in part)
    average, same_average = before.average(config, tokenizer), after.average(config, tokenizer)
    if average is not None and same_average is not None:
        assert average.weight == same_average.weight
        assert np.array_equal(average.kneser_ney.grams, same_average.kneser_ney.grams)


def test_a_zip_of_a_run_folder_is_read(tmp_path: Path) -> None:
    folder, copy = trained(tmp_path / "run", {"steps": 10}), tmp_path / "copy"
    copy.mkdir()
    with zipfile.ZipFile(tmp_path / "run.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for path in folder.iterdir():
            file.write(path, f"names/{path.name}")
    (found,) = run_cases(("copy", {"zip": str(tmp_path / "run.zip"), "to": str(copy)}))
    assert found["done"] == 10
    assert RunFolder(copy).config() == RunFolder(folder).config()


def test_kneser_ney_tables(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", RUNS["n-grams"])
    run = RunFolder(folder)
    config, tokenizer = run.config(), run.tokenizer()
    average = run.average(config, tokenizer)
    assert average is not None
    found, contexts = run_cases(("average", {"from": str(folder)}), ("contexts", {"from": str(folder)}))
    assert found["weight"] == average.weight
    check_tables(found, average.kneser_ney)
    assert contexts == [keys.tolist() for keys in run.contexts(config, tokenizer).keys]


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("framing", ["bos", "bos_eos"])
def test_kneser_ney_tables_of_other_orders(order: int, framing: str) -> None:
    names = ["anna", "hannah", "nan", "a", "zoë", "anna"]
    tokenizer = Tokenizer.of(names, framing)
    never = None if framing == "bos" else tokenizer.bos
    model = KneserNey.count(list(tokenizer.encode_documents(names)), order, tokenizer.vocab_size, never)
    given = {
        "grams": model.grams.ravel().tolist(), "counts": model.counts.tolist(), "order": order,
        "vocabSize": tokenizer.vocab_size, "never": never,
    }  # fmt: skip
    (found,) = run_cases(("kneserNey", given))
    check_tables(found, model)


def check_tables(found: dict[str, Any], model: KneserNey) -> None:
    names = ("children", "first", "starts", "last", "share", "backoff")
    assert len(found["levels"]) == len(model.tables())
    for level, expected in zip(found["levels"], model.tables(), strict=True):
        for name, values in zip(names, expected, strict=True):
            assert level[name] == pytest.approx(values.tolist(), abs=1e-14), name
    assert found["unigrams"] == pytest.approx(model.unigrams.tolist(), abs=1e-14)


def test_zips(tmp_path: Path) -> None:
    names = ["a.txt", "zoë/b", "c" * 200]
    run_cases(("zip", {"names": names, "to": str(tmp_path / "page.zip")}))
    with zipfile.ZipFile(tmp_path / "page.zip") as file:
        assert file.testzip() is None
        assert [(one, file.read(one).decode()) for one in file.namelist()] == [(n, n * 500) for n in names]


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "no directory": lambda data: data[:-30],
    "contents": lambda data: data.replace(b"aaaa", b"aaab", 1),
    "place": lambda data: data[:-6] + b"\xff\xff\xff\x7f" + data[-2:],
    "size": lambda data: data.replace(len(b"a" * 900).to_bytes(4, "little"), b"\xff\xff\xff\x7f"),
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("damage", [None, *DAMAGES])
def test_damaged_zips_get_a_sentence(tmp_path: Path, damage: str | None, method: int) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as file:
        file.writestr("one", b"a" * 900)
    if damage is not None:
        (tmp_path / "x.zip").write_bytes(DAMAGES[damage](data.getvalue()))
    else:
        (tmp_path / "x.zip").write_bytes(data.getvalue())
    (found,) = run_cases(("unzip", {"path": str(tmp_path / "x.zip")}))
    is_unchanged = damage is None or DAMAGES[damage](data.getvalue()) == data.getvalue()
    if is_unchanged and method != zipfile.ZIP_BZIP2:
        assert found == [["one", pytest.approx(found[0][1])]]
    else:
        assert found["error"].startswith("zip: "), found


def tensors_and_metadata() -> tuple[dict[str, Any], dict[str, Any]]:
    tensors = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([0.1, 1e-300]), "c": np.ones(1),
    }  # fmt: skip
    numbers = [0.1, 1e-7, 1e16, 2.0, 1e22, -0.0, 123456789.123, 5e-324, 2**63, 10**15]
    return tensors, {
        "format": 3,
        "numbers": numbers,
        "none": None,
        "text": 'zoë "\x7f\U0001f600',
        "nested": {"b": [1]},
    }


def read_in_page(path: Path, tensors: dict[str, Any]) -> Any:
    expected = {name: list(array.shape) for name, array in tensors.items()}
    return run_cases(("read", {"path": str(path), "expected": expected, "dtypes": FLOATS}))[0]


def test_tensor_files_of_python_are_read(tmp_path: Path) -> None:
    tensors, metadata = tensors_and_metadata()
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_bytes(tensors, metadata))
    found = read_in_page(path, tensors)
    for name, array in tensors.items():
        assert found["tensors"][name] == {"shape": list(array.shape), "values": array.ravel().tolist()}
    assert found["metadata"]["sha256"] == digest(tensors, metadata)


def test_damaged_tensor_files_get_a_sentence(tmp_path: Path) -> None:
    tensors, metadata = tensors_and_metadata()
    whole, path = tensor_bytes(tensors, metadata), tmp_path / "x.safetensors"
    rng = np.random.default_rng(0)
    cases = [whole[:n] for n in (0, 7, 8, 100, len(whole) - 1)] + [whole + b"\0"]
    for at in rng.integers(0, len(whole), 60):
        cases.append(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :])
    given = []
    for i, data in enumerate(cases):
        path = tmp_path / f"{i}.safetensors"
        path.write_bytes(data)
        expected = {name: list(array.shape) for name, array in tensors.items()}
        given.append(("read", {"path": str(path), "expected": expected, "dtypes": FLOATS}))
    for i, found in enumerate(run_cases(*given)):
        if "error" in found:
            assert found["error"].startswith("file: "), found
        else:  # a change that no reader can see, as in the padding of the header
            shapes = {name: array.shape for name, array in tensors.items()}
            read_tensors(tmp_path / f"{i}.safetensors", shapes, lambda _: None)


def test_infinite_weights_are_refused(tmp_path: Path) -> None:
    tensors = {"a": np.array([1.0, np.inf])}
    path = tmp_path / "x.safetensors"
    path.write_bytes(tensor_bytes(tensors, {}))
    assert "finite" in read_in_page(path, tensors)["error"]


def test_json_is_written_as_python_writes_it() -> None:
    _, metadata = tensors_and_metadata()
    whole = json.dumps({**metadata, "numbers": [0.1, 1e-7, 1e22, 123456789.123, 5e-324, 2**63, 10**15]})
    assert run_cases(("json", whole)) == [whole]


WRONG = [
    ({"n_embd": 15}, "n_embd: expected a multiple of n_head = 4, got 15; try `n_embd=16`"),
    ({"n_embd": 12, "position": "rope"}, "n_embd: expected an even multiple"),
    ({"n_kv_head": 3}, "n_kv_head: expected a divisor of n_head = 4, got 3; try `n_kv_head=1`"),
    ({"norm": "none", "final_norm": True}, "final_norm: expected false with `norm='none'`, got true"),
    ({"zero_init": True, "scaled_init": True}, "scaled_init: expected false with `zero_init=True`"),
    ({"n_layer": 0}, "n_layer: expected a whole number of at least 1"),
    ({"n_layer": 1.5}, "n_layer: expected a whole number"),
    ({"lr": 0}, "lr: expected a number above 0"),
    ({"lr_min": 1}, "lr_min: expected at most lr = 0.01, got 1"),
    ({"dropout": 1}, "dropout: expected a number of at least 0 and below 1"),
    ({"optimizer": "rprop"}, "optimizer: expected one of adam, sgd, got 'rprop'"),
    ({"tied": 1}, "tied: expected true or false"),
    ({"clip_node": 1.0, "tied": True}, "clip_node: Oxidized-GPT has no `tied=True`"),
    ({"framing": "none"}, "framing: expected bos or bos_eos"),
    ({"epochs": 2}, "epochs: expected `steps`"),
    ({"unknown": 2}, 'unknown setting "unknown"'),
    ({"preset": "x"}, "preset: expected one of microgpt"),
    ({"seed": 2.5}, "seed: expected a whole number"),
    ({"n_embd": None}, "n_embd: expected a whole number of at least 1"),
]  # fmt: skip


def test_wrong_settings_get_the_sentence_of_python() -> None:
    answers = run_cases(*(("settings", changes) for changes, _ in WRONG))
    for (_, sentence), found in zip(WRONG, answers, strict=True):
        assert found["error"].startswith(sentence), found
    for preset in ("microgpt", "oxidized", "zeroclaw"):
        (found,) = run_cases(("settings", {"preset": preset}))
        assert "error" not in found
