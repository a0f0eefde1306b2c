"""The cost of a training: each formula against measurements of the engines."""

import ctypes
import json
import multiprocessing
import random
from contextlib import suppress

import numpy as np
import pytest

from motegpt.bench.measure import resident_bytes
from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.engines import WITH_KNOWN_MEMORY, fresh_engine, training_memory
from motegpt.engines.array import ops
from motegpt.engines.array.decoder import ArrayDecoder
from motegpt.engines.array.model import forward
from motegpt.engines.array.tape import Tape
from motegpt.engines.cost import (
    all_reduce,
    cache_bytes,
    communication,
    operations_per_token,
    recomputed_per_token,
)
from motegpt.engines.native.memory import group_rows
from motegpt.model.dropout import masks_of
from motegpt.model.spec import parameter_count

from .conftest import ARCHITECTURES, ENGINES_HERE, VOCABULARY, random_sequences, small_settings

T = 6
MEBIBYTE = 2**20


def small(vocab_size=VOCABULARY, **changes):
    return model_and_training(small_settings("microgpt", **changes), vocab_size)


class Counted(np.ndarray):
    """An array that counts the operations of its matrix products."""

    operations = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(x) for x in inputs]
        if ufunc is np.matmul:
            Counted.operations += 2 * plain[0].shape[-1] * np.matmul(*plain).size
        if "out" in options:
            options["out"] = tuple(np.asarray(x) for x in options["out"])
        result = getattr(ufunc, method)(*plain, **options)
        return result.view(Counted) if isinstance(result, np.ndarray) and result.ndim else result


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_layer": 3, "n_embd": 24, "n_head": 3},
        {"tied": True},
        {"n_head": 4, "n_kv_head": 2, "n_hidden": 5, "bias": True},
        {"activation": "swiglu", "final_norm": True, "norm_gain": True},
    ],
    ids=str,
)
def test_operations_match_the_products_of_the_array_engine(changes):
    """Forward, by counting. The array engine does attention in full, the formula counts the causal half."""
    model, train = small(**changes)
    w = {name: x.view(Counted) for name, x in fresh_engine("array", model, train).export().parameters.items()}
    Counted.operations = 0
    forward(w, np.zeros((2, T), np.intp), model)
    full = operations_per_token(model, 2 * T) / 3
    assert Counted.operations == pytest.approx(2 * T * full)
    assert Counted.operations != pytest.approx(2 * T * operations_per_token(model, T) / 3)


def test_checkpointing_adds_a_forward_pass_of_the_layers():
    model, _ = small(n_layer=3)
    head = 2 * VOCABULARY * model.n_embd
    assert recomputed_per_token(model, T) == pytest.approx(operations_per_token(model, T) / 3 - head)


def array_tape_bytes(model, train):
    """Bytes that the array engine saves for two full sequences, including logits."""
    parameters = fresh_engine("array", model, train).export().parameters
    tape = Tape(ops.BACKWARD, [(w, np.zeros_like(w)) for w in parameters.values()])
    logits = forward(parameters, np.zeros((2, T), np.intp), model, tape, masks=masks_of(train, 0))
    found = {}

    def note(x):
        while isinstance(x, np.ndarray) and x.base is not None:
            x = x.base
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            found[id(x)] = x
        for part in x if isinstance(x, tuple | list) else ():
            note(part)

    note((logits, vars(tape)["_applied"]))
    del found[id(parameters["wte"].base)]
    return sum(x.nbytes for x in found.values())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_layer": 3},
        {"n_embd": 16, "n_head": 4},
        {"n_layer": 2, "dropout": 0.1},
        {"qk_norm": True, "n_layer": 2},
        {"position": "rope"},
        {"position": "rope", "qk_norm": True},
        {"norm": "layer", "final_norm": True},
        {"norm_gain": True, "final_norm": True, "norm_bias": True},
        {"activation": "swiglu", "qk_norm": True, "n_head": 4, "n_kv_head": 2},
        *ARCHITECTURES.values(),
    ],
    ids=str,
)
def test_activations_of_the_array_engine(changes):
    model, train = model_and_training(small_settings(**{"batch_size": 2, **changes}), VOCABULARY)
    train = train.replace(batch_size=2)
    expected = training_memory("array", model, train, T).activations
    embedding_scales = 2 * T * 8 * (1 if model.embedding_norm else -model.n_embd)
    angles = T * model.head_size * 8 if model.position == "rope" else 0
    assert array_tape_bytes(model, train) == expected + embedding_scales + angles


WIDE = {"n_layer": 3, "n_embd": 256, "block_size": 128, "batch_size": 4, "dtype": "float32", "threads": 1}


def grown(changes):
    """Growth of a process, in bytes, in the native engine's first step."""
    model, train = model_and_training({**settings_of("microgpt"), **WIDE, **changes}, 65)
    sequences = random_sequences(0, 4, model.block_size, 65)
    plan = DocumentPlan([sequences[0]] * train.batch_size, train.batch_size, train.loss_mean)
    before = resident_bytes()
    engine = fresh_engine("native", model, train)
    engine.train(plan, 0, 1)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # return freed memory to the system
    return resident_bytes() - before


@pytest.mark.slow
@pytest.mark.skipif("native" not in ENGINES_HERE, reason="the native engine is not installed")
@pytest.mark.skipif(not resident_bytes(), reason="resident memory is not known here")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_layer": 1},
        {"checkpoint_activations": True},
        {"position": "rope", "qk_norm": True, "n_kv_head": 2},
        {"norm": "layer", "norm_gain": True, "norm_bias": True, "bias": True, "final_norm": True},
        {"activation": "swiglu", "n_kv_head": 1, "n_layer": 1},
    ],
    ids=str,
)
def test_memory_of_the_native_engine(changes):
    """Up to a tenth and 8 MiB more are for code, Python and pages of 2 MiB."""
    model, train = model_and_training({**settings_of("microgpt"), **WIDE, **changes}, 65)
    expected = training_memory("native", model, train, model.block_size).total
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply(grown, (changes,))
    assert 0.9 * expected < got < 1.1 * expected + 8 * MEBIBYTE


def test_group_rows_are_those_of_the_core():
    source = (
        pytest.importorskip("pathlib").Path(__file__).parents[1] / "cpp/motegpt/workers.hpp"
    ).read_text()
    assert "cache = 1792 * 1024, many = 512, activations = 18" in source
    model, train = small(n_embd=512, block_size=64, batch_size=64, threads=1)
    assert group_rows(model, train) == 512
    one, two = (training_memory("native", model, train.replace(threads=n), 64) for n in (1, 2))
    assert (two.activations, two.gradients) == (2 * one.activations, 2 * one.gradients)


def test_ranks_and_parts_divide_the_activations_of_torch():
    model, train = small(batch_size=64)
    whole = training_memory("torch", model, train, T).activations
    assert training_memory("torch", model, train.replace(accumulate=4), T, 2).activations == whole / 8


@pytest.mark.parametrize("heads", [(2, None), (4, 2), (4, 1)])
def test_cache_bytes_are_those_of_the_decoder(heads):
    model, train = small(n_layer=2, n_head=heads[0], n_kv_head=heads[1])
    decoder = ArrayDecoder(fresh_engine("array", model, train).export().parameters, model, 1)
    assert decoder.cache.keys.nbytes + decoder.cache.values.nbytes == cache_bytes(model, "float64")


def ring(values):
    """Sum the rows of (N, n) by a ring, N dividing n; returns every rank's sums, and how many it sent."""
    ranks, count = values.shape
    parts = values.reshape(ranks, ranks, count // ranks).copy()
    sent = 0
    for gathering in (False, True):
        for turn in range(ranks - 1):
            moving = [(rank, (rank - turn + gathering) % ranks) for rank in range(ranks)]
            carried = [parts[rank, part].copy() for rank, part in moving]
            for (rank, part), numbers in zip(moving, carried, strict=True):
                to = (rank + 1) % ranks
                parts[to, part] = numbers if gathering else parts[to, part] + numbers
            sent += count // ranks
    return parts.reshape(ranks, count), sent


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_a_ring_sends_all_reduce_numbers(ranks):
    values = np.random.default_rng(0).integers(0, 100, (ranks, 24))
    sums, sent = ring(values)
    assert (sums == values.sum(0)).all()
    assert sent == all_reduce(24, ranks)


def test_communication_of_replicas_and_of_shards():
    model, train = small(dtype="float32")
    count = 4 * parameter_count(model)
    shard = train.replace(shard=True)
    assert communication(model, train, 1) == communication(model, shard, 1) == 0
    assert communication(model, train, 4) == 2 * count * 3 / 4
    assert communication(model, shard, 4) == 3 * count * 3 / 4
    assert communication(model, shard.replace(accumulate=2), 4) == 5 * count * 3 / 4


def test_shards_divide_the_memory_of_a_replica():
    model, train = small(n_layer=8, dtype="float32")
    one, replica, shard = (
        training_memory("torch", model, train.replace(shard=shard), T, ranks)
        for ranks, shard in ((1, False), (8, False), (8, True))
    )
    assert one.optimizer == replica.optimizer == 2 * one.parameters
    assert replica.gradients == 2 * one.gradients
    assert shard.optimizer == one.optimizer // 8
    assert one.parameters / 8 < shard.parameters < one.parameters / 2


@pytest.mark.parametrize("engine", WITH_KNOWN_MEMORY)
def test_checkpointing_saves_fewer_activations(engine):
    model, train = small(n_layer=4)
    less = train.replace(checkpoint_activations=True)
    kept, whole = (training_memory(engine, model, t, T).activations for t in (less, train))
    assert kept == whole if engine == "array" else kept < whole / 2


def test_the_command_prints_the_results_of_the_functions(motegpt):
    words = ("--layers", 2, "--n-embd", 32, "--batch-size", 4, "--vocab-size", 30, "--ranks", 2)
    facts = json.loads(motegpt("cost", *words, "--speed", 1e9, "--json").out)
    model, train = model_and_training(
        {**settings_of("microgpt"), "n_layer": 2, "n_embd": 32, "batch_size": 4}, 30
    )
    assert facts["parameters"] == parameter_count(model)
    assert facts["tokens"] == {"step": 64, "total": 64_000, "data": None}
    assert facts["operations"]["total"] == operations_per_token(model, 16) * 64_000
    assert facts["seconds"] == facts["operations"]["total"] / 1e9
    rows = {row["engine"]: row for row in facts["memory"]}
    assert rows["torch"]["total"] == training_memory("torch", model, train, 16, ranks=2).total
    assert (rows["native"]["sent"], rows["torch"]["sent"]) == (0, 4 * 2 * parameter_count(model))
    printed = motegpt("cost", *words, "--speed", 1e9).out.splitlines()
    assert printed[0] == f"parameters     {parameter_count(model):,}"
    assert all(len(line) <= 80 for line in printed)


def test_the_command_counts_the_data(motegpt, tmp_path):
    chance = random.Random(0)
    names = ["".join(chance.choice("abc") for _ in range(5)) for _ in range(100)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    facts = json.loads(motegpt("cost", "names.txt", "--steps", 50, "--json").out)
    assert facts["tokens"] == {"step": 6, "total": 300, "data": 600}
    facts = json.loads(motegpt("cost", "names.txt", "--format", "stream", "--json").out)
    assert facts["tokens"]["data"] == 6 * 100 - 1


def test_a_file_may_name_preset_and_engine(motegpt, tmp_path):
    (tmp_path / "c.toml").write_text('preset = "zeroclaw"\nengine = "scalar"\n[model]\nn_layer = 2\n')
    facts = json.loads(motegpt("cost", "--config", "c.toml", "--vocab-size", 28, "--json").out)
    model, _ = model_and_training({**settings_of("zeroclaw"), "n_layer": 2}, 28)
    assert facts["parameters"] == parameter_count(model)
    assert [row["engine"] for row in facts["memory"]] == list(WITH_KNOWN_MEMORY)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--vocab-size", 1), "vocab_size: expected a whole number of at least 2"),
        (("none.txt",), "no such file"),
        (("x.txt", "--vocab-size", 5), "got both"),
        (("--speed", 0), "speed: expected operations per second above 0"),
        (("--n-head", 3), "n_embd: expected a multiple of n_head"),
        (("--engine", "scalar"), "Invalid value for '--engine'"),
    ],
    ids=str,
)
def test_usage_errors(motegpt, words, message):
    ended = motegpt("cost", *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert message in ended.err


def test_too_many_ranks(motegpt):
    ended = motegpt("cost", "--ranks", "1" * 400)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert "--ranks" in ended.err
