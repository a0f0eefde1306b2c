"""Features of the torch engine: precision, gradient accumulation, devices, compilation, errors."""

import cProfile
import json
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from motegpt import GPT
from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.engines import check_settings, why_unavailable
from motegpt.errors import OutOfMemory, RankLost, SettingError, UsageError
from motegpt.ngrams.contexts import Contexts
from tests.conftest import (
    VOCABULARY,
    engine_named,
    random_batch,
    random_sequences,
    small_engine,
    small_settings,
)
from tests.tolerances import GRADIENT, relative_error

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.skipif(why_unavailable("torch") is not None, reason="PyTorch is not installed")

SINGLE = small_settings(dtype="float32", n_layer=2, batch_size=4)
# bfloat16 keeps 8 bits of a factor, float16 11; a few products deep.
GRADIENT_HALF = {"bfloat16": 0.1, "float16": 0.02}


def optimizers():
    from motegpt.engines.torch import optimizers

    return optimizers


def device():
    from motegpt.engines.torch import device

    return device


def plan_of(batch_size=4, loss_mean="documents"):
    return DocumentPlan(random_sequences(5, 12, 6), batch_size, loss_mean)


def test_fused_adam_equals_its_reference():
    """The same numbers to rounding, from the first step and from the thousandth, weight decay included."""
    train = small_engine("torch", small_settings(weight_decay=0.1, steps=2000)).settings
    torch.manual_seed(1)
    first = [torch.randn(5, 3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)]
    kind, place = optimizers().TorchAdam, optimizers().Place
    places, groups = [place(False, True, 0), place(False, False, 1)], (train, train.replace(lr=0.003))
    pairs = [([w.clone() for w in first], kind(first, groups, places)) for _ in range(2)]
    pairs[1][1]._fused = False
    for step in (0, 1, 2, 1000, 1001):
        dw = [torch.randn_like(w) for w in first]
        for w, optimizer in pairs:
            optimizer.step(w, [one.clone() for one in dw], step)
    for one, other in zip(pairs[0][0], pairs[1][0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("bfloat16", {}), ("float16", {}), ("bfloat16", {"position": "rope", "qk_norm": True})],
    ids=str,
)
def test_mixed_precision(kind, changes):
    """Gradients to the precision of the factors; parameters stay in float32; the loss falls."""
    batch = random_batch(1, count=4)
    _, expected = small_engine("array", {**SINGLE, **changes, "dtype": "float64"}).gradients(batch)
    engine = small_engine("torch", {**SINGLE, **changes, "autocast": kind})
    _, got = engine.gradients(batch)
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    errors = [np.abs(got[name] - expected[name]).max() / largest for name in expected]
    assert GRADIENT["float32"] < max(errors) < GRADIENT_HALF[kind], "expected the error of 16 bits"
    losses = engine.train(plan_of(), 0, 60)
    assert losses[-1] < losses[0] - 0.2
    assert {array.dtype.name for array in engine.export().parameters.values()} == {"float32"}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_overflow_skips_the_update_and_lowers_the_scale(optimizer):
    engine = small_engine("torch", {**SINGLE, "autocast": "float16", "optimizer": optimizer})
    before = engine.export()
    engine._scale.factor = torch.tensor(2.0**40)  # any gradient times this is more than float16 holds
    (loss,) = engine.train(plan_of(), 0, 1)
    after = engine.export()
    assert np.isfinite(loss)
    for name in before.parameters:
        np.testing.assert_array_equal(after.parameters[name], before.parameters[name])
        assert not any(slot[name].any() for slot in after.slots.values())
    assert engine._scale.factor.item() == 2.0**39
    engine.train(plan_of(), 1, 40)
    assert relative_error(engine.export().parameters["wte"], before.parameters["wte"]) > 1e-3, "it goes on"


def test_the_scale_rises_after_a_while():
    scale = optimizers().LossScale(torch.device("cpu"))
    for _ in range(optimizers().GROW_AFTER):
        scale.unscale([torch.ones(2)], sharded=False)
    assert scale.factor.item() == 2 * optimizers().FIRST_SCALE


@pytest.mark.parametrize("loss_mean", ["documents", "tokens"])
@pytest.mark.parametrize("changes", [{}, {"clip_node": 0.01}, {"dropout": 0.2}], ids=str)
def test_accumulated_gradients_equal_those_of_the_whole_batch(loss_mean, changes):
    batch = Batch.of(random_sequences(3, 12, 6), loss_mean)
    chosen = small_settings(batch_size=12, **changes)
    loss, expected = small_engine("torch", chosen).gradients(batch, 3)
    for parts in (2, 3, 12):
        same, got = small_engine("torch", {**chosen, "accumulate": parts}).gradients(batch, 3)
        assert same == pytest.approx(loss, rel=1e-13)
        for name, gradient in expected.items():
            assert relative_error(got[name], gradient) < 1e-12, name


@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_node": 0.05}, {"dropout": 0.2}, {"dtype": "float32", "autocast": "bfloat16", "dropout": 0.2}],
    ids=str,
)
def test_checkpointed_activations_change_no_bit(changes):
    chosen = small_settings(n_layer=3, batch_size=4, **changes)
    kept, recomputed = (
        small_engine("torch", {**chosen, "checkpoint_activations": again}) for again in (False, True)
    )
    assert kept.train(plan_of(), 0, 5) == recomputed.train(plan_of(), 0, 5)
    for one, other in zip(
        kept.export().parameters.values(), recomputed.export().parameters.values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_checkpointed_activations_are_computed_again(monkeypatch):
    from motegpt.engines.torch.model import Layer

    calls = []
    forward = Layer.forward
    monkeypatch.setattr(Layer, "forward", lambda *given: calls.append(1) or forward(*given))
    for again, expected in ((False, 3), (True, 6)):
        calls.clear()
        small_engine("torch", small_settings(n_layer=3, checkpoint_activations=again)).gradients(
            random_batch(1)
        )
        assert len(calls) == expected


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_compiled_model_computes_the_same(monkeypatch, dropout):
    """Traced and differentiated ahead as for any backend; the last stage, which makes code, is left out."""
    compiled = []

    def compile_without_code(module):
        compiled.append(module)
        return real(module, backend="aot_eager")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", compile_without_code)
    chosen = small_settings(batch_size=2, dropout=dropout)
    expected = small_engine("torch", chosen).train(plan_of(2), 0, 4)
    assert small_engine("torch", {**chosen, "compile": True}).train(plan_of(2), 0, 4) == pytest.approx(
        expected, rel=1e-12
    )
    assert len(compiled) == 1


def test_a_model_that_cannot_be_compiled_is_one_line(monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._dynamo.exc import TorchDynamoException as Failed

    def compile_nothing(module):
        def call(*_):
            raise Failed("No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")

        return call

    assert issubclass(BackendCompilerFailed, Failed)
    monkeypatch.setattr(torch, "compile", compile_nothing)
    with pytest.raises(
        SettingError, match=r"here \(No working C\+\+ compiler found\); leave out `compile=True`"
    ):
        small_engine("torch", small_settings(compile=True)).gradients(random_batch(1))


def test_a_rank_above_0_cannot_lead():
    from motegpt.engines.torch.distributed import Ranks

    ranks = Ranks.__new__(Ranks)
    ranks.rank, ranks.size = 1, 2
    with pytest.raises(UsageError, match="rank 1 of 2 only follows rank 0"):
        ranks.broadcast("train", 0, 1)


def test_small_steps_use_one_thread_unless_set(monkeypatch):
    from motegpt.engines.torch.model import Transformer

    seen, forward = [], Transformer.forward

    def watched(self, *arguments):
        seen.append(torch.get_num_threads())
        return forward(self, *arguments)

    monkeypatch.setattr(Transformer, "forward", watched)
    before = torch.get_num_threads()
    for changes in ({}, {"threads": 2}, {"block_size": 4096, "n_embd": 256, "batch_size": 4}):
        small_engine("torch", {**SINGLE, **changes}).train(plan_of(), 0, 1)
    assert seen == [1, 2, before]
    assert torch.get_num_threads() == before


def test_batches_are_prefetched_in_order():
    from motegpt.engines.torch.batches import PREFETCHED, prefetch

    made = []
    steps = prefetch(lambda step: made.append(step) or -step, range(9))
    assert next(steps) == 0
    deadline = time.monotonic() + 10
    while len(made) <= PREFETCHED and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == list(range(PREFETCHED + 1)), "as many as fit wait for their step, and no more"
    assert list(steps) == [-step for step in range(1, 9)]


def test_an_error_in_prefetching_is_raised_in_the_consumer():
    from motegpt.engines.torch.batches import prefetch

    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda step: 1 // (3 - step), range(9)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda"}, "device: expected one that PyTorch"),
        ({"device": "mps", "dtype": "float64"}, "mps has no float64"),
        ({"accumulate": 3}, "batch_size: expected a multiple of 3"),
        ({"autocast": "bfloat16", "dtype": "float64"}, "autocast: expected parameters in float32"),
        ({"autocast": "float16", "clip_node": 1.0}, "clip_node: cannot go with `autocast='float16'`"),
        ({"compile": True, "clip_node": 1.0}, "clip_node: cannot go with `compile=True`"),
    ],
    ids=str,
)
def test_unsupported_settings(changes, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingError, match=message):
        small_engine("torch", {**SINGLE, **changes})


def test_the_default_device(monkeypatch):
    train = small_engine("torch", SINGLE).settings
    choose = device().choose_device
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose(train, 0).type == "mps"
    assert choose(train.replace(dtype="float64"), 0).type == "cpu"
    assert choose(train.replace(device="cpu"), 0).type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose(train, 1) == torch.device("cuda", 1)
    with pytest.raises(SettingError, match="a GPU for each process, got 2 for local rank 2"):
        choose(train, 2)


def test_a_peak_is_timed_once():
    device().matmul_peak.cache_clear()
    peak = small_engine("torch", SINGLE).peak()
    assert 1e8 < peak < 1e14
    assert small_engine("torch", SINGLE).peak() == peak


def test_a_peak_is_unknown_where_memory_is_short(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried")

    monkeypatch.setattr(torch, "ones", full)
    assert device().matmul_peak.__wrapped__(torch.device("cpu"), torch.float32, False) is None


@pytest.mark.parametrize(
    "full",
    [torch.OutOfMemoryError("CUDA out of memory. Tried"), partial(torch.empty, 2**55)],
    ids=["gpu", "processor"],
)
def test_out_of_memory_suggests_settings(monkeypatch, full):
    from motegpt.engines.torch.model import Transformer

    def forward(*_):
        raise full if isinstance(full, Exception) else full()

    engine = small_engine("torch", SINGLE)
    monkeypatch.setattr(Transformer, "forward", forward)
    with pytest.raises(OutOfMemory) as error:
        engine.train(plan_of(), 0, 1)
    assert str(error.value) == (
        "cpu: out of memory; try `accumulate=2`, `checkpoint_activations=True`, `autocast='bfloat16'`, "
        "a smaller `batch_size`"
    )


def test_an_error_that_is_not_a_lost_rank_stays_what_it_is():
    from motegpt.engines.torch.distributed import Ranks

    ranks = Ranks.__new__(Ranks)
    ranks.size = 2
    with pytest.raises(RankLost, match="another of the 2 processes has ended"), ranks.detect_lost_rank():
        raise RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="shapes"), ranks.detect_lost_rank():
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.parametrize("engine", ["scalar", "array", "native"])
def test_other_engines_refuse_settings_of_torch(engine):
    for name, value in (("device", "cpu"), ("compile", True), ("accumulate", 2), ("shard", True)):
        with pytest.raises(
            SettingError, match=f"{name}: the {engine} engine does not have it; .*`engine='torch'`"
        ):
            check_settings(engine, {name: value})
    check_settings(engine, {"accumulate": 1, "device": None, "lr": 3.0})
    check_settings("torch", {"accumulate": 2, "device": "cpu"})


def test_a_setting_of_another_engine_is_one_line(motegpt):
    ended = motegpt("train", "--engine", "array", "--compile", "--out", "run")
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    with pytest.raises(SettingError, match="accumulate"):
        GPT.train(["ab"], engine="array", accumulate=2, preset="microgpt")


def test_a_run_goes_from_native_to_torch_and_back(motegpt, tmp_path):
    """Settings of the torch engine stay with the run and rest while another engine has it."""
    fast = "array" if why_unavailable("native") else "native"
    words = ("train", "--steps", 12, "--batch-size", 4, "--log-every", 1, "-n", 2, "--dtype", "float64")
    assert motegpt(*words, "--engine", fast, "--out", "whole").code == 0
    assert motegpt(*words, "--engine", fast, "--out", "parts", "--until", 4).code == 0
    assert (
        motegpt("train", "--resume", "parts", "--engine", "torch", "--accumulate", 2, "--until", 8).code == 0
    )
    assert motegpt("train", "--resume", "parts", "--engine", fast).code == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-9)
    assert json.loads((tmp_path / "parts" / "config.json").read_text())["train"]["accumulate"] == 2


def test_a_run_from_a_gpu_can_be_sampled_without_one(motegpt, tmp_path):
    assert motegpt("train", "--engine", "torch", "--steps", 2, "-n", 1, "--out", "run").code == 0
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"device": null', '"device": "cuda"'))
    assert motegpt("sample", "run", "-n", 1).code == 0
    if not torch.cuda.is_available():
        ended = motegpt("train", "--resume", "run", "--steps", 3)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "try --device cpu" in ended.err
        assert motegpt("train", "--resume", "run", "--steps", 3, "--device", "cpu").code == 0


def test_nothing_else_imports_torch(tmp_path):
    program = "import sys; sys.modules['torch'] = None\nfrom motegpt.cli import main\nmain({words!r})"
    for words, code in (
        (["train", "--help"], 0),
        (["bench", "--help"], 0),
        (["train", "--steps", "1", "-n", "1"], 0),
        (["train", "--engine", "torch"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program.format(words=words)], capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert "pip install 'torch>=2.5'" in done.stderr or code == 0


def test_the_utilization_is_logged_with_the_speed(motegpt, monkeypatch):
    from motegpt.cli import processes

    monkeypatch.setattr(processes, "REPORT_SECONDS", 0.0)
    ended = motegpt("train", "--engine", "torch", "--steps", 20, "-n", 1)
    assert "tokens/s, 0." in ended.err
    assert ended.err.endswith("% model FLOPs utilization\n")
    assert motegpt("train", "--engine", "array", "--steps", 20, "-n", 1).err == ""


def test_the_plain_loop_is_the_same_model():
    """Loaded with the engine's parameters, benchmarks/plain_torch.py has the engine's loss."""
    from benchmarks.plain_torch import Plain

    engine = small_engine("torch", {**settings_of("microgpt"), "dtype": "float64"})
    w = engine.export().parameters
    plain = Plain(6, 16, 1, 16, 4).double()
    names = {"wte.weight": "wte", "wpe.weight": "wpe", "head.weight": "lm_head"}
    inner = {
        "q": "attn_wq",
        "k": "attn_wk",
        "v": "attn_wv",
        "out": "attn_wo",
        "up": "mlp_fc1",
        "down": "mlp_fc2",
    }
    names |= {f"blocks.0.{mine}.weight": f"layer0.{theirs}" for mine, theirs in inner.items()}
    plain.load_state_dict({mine: torch.from_numpy(w[theirs]) for mine, theirs in names.items()})
    batch = Batch.of([[0, 1, 2, 3, 4], [5, 4, 3, 2, 1]], "documents")
    loss = plain(torch.tensor(batch.inputs), torch.tensor(batch.targets))
    assert loss.item() == pytest.approx(engine.gradients(batch)[0], rel=1e-12)


def test_a_chunk_in_blocks_has_the_same_bits(monkeypatch):
    from motegpt.engines.torch import batches

    plan = plan_of(loss_mean="tokens")
    contexts = Contexts.of_plan(plan, 3, 1)
    chosen = {**SINGLE, "accumulate": 2, "dropout": 0.2, "ngram_orders": 3, "ngram_rows": contexts.sizes}
    whole, parts = [], []
    for limit, losses in ((batches.BLOCK_POSITIONS, whole), (50, parts)):
        monkeypatch.setattr(batches, "BLOCK_POSITIONS", limit)
        engine = engine_named("torch", *model_and_training(chosen, VOCABULARY), contexts)
        losses += engine.train(plan, 3, 7)
    assert whole == parts


def test_a_step_calls_less_than_a_plain_loop():
    """Calls of Python and C functions per step: for a small model they take the time."""
    from benchmarks.plain_torch import plain_loop
    from motegpt.bench.work import WORKLOADS, problem_of
    from motegpt.data.corpus import read_corpus
    from motegpt.engines import fresh_engine

    def calls(steps):
        steps(0, 1)
        totals = []
        for count in (2, 12):
            profile = cProfile.Profile()
            profile.runcall(steps, 0, count)
            totals.append(sum(entry.callcount for entry in profile.getstats()))
        return (totals[1] - totals[0]) / 10

    problem = problem_of(WORKLOADS["microgpt"], read_corpus(None), "float32", {"device": "cpu"})
    engine = fresh_engine("torch", problem.model, problem.train)
    assert calls(partial(engine.train, problem.plan)) <= calls(plain_loop(problem, "cpu", None))
