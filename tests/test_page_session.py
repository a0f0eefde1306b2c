"""The page trains, samples and resumes as Python does, and winds back exactly."""

from __future__ import annotations

import base64
import math
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from motegpt import GPT
from motegpt.data.corpus import built_in_names
from motegpt.model.rng import Stream
from motegpt.page.boot import boot, run_of
from motegpt.sampling.generate import generate
from motegpt.training.begin import begin
from motegpt.training.loop import Trainer
from motegpt.views.runs import Run
from tests.page_node import needs_node, run_script

pytestmark = needs_node

SHORT = "anna\nbob\nclara\ndora\nemil\nanna\nfritz\nzoë\n"
LIST = {"name": "names", "text": built_in_names().decode()}
CLOSE = {"float64": 1e-12, "float32": 2e-4}  # losses of a run; float32 sums in another order


def act(*actions: tuple[Any, ...]) -> list[Any]:
    """The answers of a new session to some actions."""
    return run_script("session", {"boot": boot(), "actions": actions})["answers"]


def trainer_of(settings: dict[str, Any], documents: list[str] | Path | None = None, **others: Any) -> Trainer:
    """A run of Python."""
    given = {**settings}
    preset = given.pop("preset", "microgpt")
    return begin(documents, given, preset=preset, engine="native", **others).trainer


def run_to(trainer: Trainer, until: int | None = None) -> tuple[list[float], list[list[str]]]:
    """The losses, and the samples as they came, up to a step."""
    losses, samples = [], []
    for progress in trainer.run(until):
        losses += progress.losses
        samples += [progress.samples] if progress.samples is not None else []
    return losses, samples


def texts_of(answer: dict[str, Any]) -> list[str]:
    return [one["text"] for one in answer["texts"]]


ZEROCLAW = {"preset": "zeroclaw", "steps": 1000, "dtype": "float64"}
LONG = {  # settings, list (None: the built-in names), tolerance if it is not that of CLOSE
    "microgpt": ({}, None),
    "two layers": ({"n_layer": 2}, None),
    "another list": ({}, SHORT),
    "another seed": ({"seed": 7}, None),
    "oxidized": ({"preset": "oxidized"}, None),
    "zeroclaw": (ZEROCLAW, None, 1e-7),  # amplifies rounding: in float32 the levels of the core differ by 0.3
}
GPT2 = {
    "norm": "layer", "norm_gain": True, "norm_bias": True, "bias": True, "activation": "gelu_tanh",
    "final_norm": True, "tied": True, "scaled_init": True, "embedding_norm": False, "n_layer": 2,
}  # fmt: skip
LLAMA = {
    "norm_gain": True, "activation": "swiglu", "final_norm": True, "position": "rope", "n_kv_head": 2,
    "embedding_norm": False, "n_layer": 2,
}  # fmt: skip
OTHERS = {
    "dropout": {"dropout": 0.1},
    "rope": {"position": "rope", "qk_norm": True},
    "gpt2": {**GPT2, "dropout": 0.1},
    "llama": LLAMA,
    "no norm": {"norm": "none", "bias": True, "activation": "gelu", "position": "none", "n_hidden": 20},
    "sgd": {"optimizer": "sgd", "lr": 0.2, "momentum": 0.8},
    "reshuffled": {"reshuffle": True, "batch_size": 8, "loss_mean": "tokens"},
    "no shuffle": {"shuffle": False, "batch_size": 3},
    "large seed": {"seed": 2**64 - 1},
    "warmup": {"warmup_steps": 20, "schedule": "cosine", "lr_min": 0.001, "weight_decay": 0.1},
    "zeroclaw in float32": {"preset": "zeroclaw", "steps": 150},
    "clipped": {"clip_norm": 1.0, "clip_value": 0.5, "dtype": "float32"},
    "xoshiro": {"rng": "xoshiro128+"},
    "tied": {"tied": True, "zero_init": True, "activation": "squared_relu"},
    "validation": {"val_fraction": 0.2, "eval_every": 60, "log_every": 50},
    "samples": {"sample_every": 70},
    "conditions": {"unique": True, "novel": True, "suffix": "a", "on_cut": "redraw", "n": 8},
    "impossible": {"unique": True, "temperature": 0.0, "tries": 3, "n": 4},
    "patience": {"val_fraction": 0.3, "eval_every": 10, "patience": 2, "lr": 0.03},
    "bytes": {"tokenizer": "bytes", "framing": "bos_eos", "cut": "tokens"},
    "stream": {"format": "stream", "batch_size": 4, "block_size": 24},
}


def with_seed_as_text(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings for JavaScript, whose numbers cannot hold every seed."""
    return {name: str(value) if name == "seed" else value for name, value in settings.items()}


def check_same_run(
    tmp_path: Path, settings: dict[str, Any], text: str | None = None, tolerance: float | None = None
) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text or LIST["text"], encoding="utf-8")
    trainer = trainer_of(settings, path)
    losses, samples = run_to(trainer)
    mine = {"name": "list.txt", "text": path.read_text("utf-8")}
    created, progress, finished = act(
        ("create", {"settings": with_seed_as_text(settings), "list": mine}, ["error"]),
        ("step", {"n": trainer.config.train.steps}),
        ("finish",),
    )
    assert created == {"error": None}
    assert progress["step"] == trainer.done
    close = tolerance or CLOSE[trainer.config.train.dtype]
    assert progress["losses"] == pytest.approx(losses, abs=close)
    assert texts_of(finished) == samples[-1]


@pytest.mark.parametrize("name", LONG)
def test_a_run_gives_the_losses_and_samples_of_python(name: str, tmp_path: Path) -> None:
    check_same_run(tmp_path, *LONG[name])


@pytest.mark.parametrize("name", OTHERS)
def test_other_settings_give_the_losses_and_samples_of_python(name: str, tmp_path: Path) -> None:
    check_same_run(tmp_path, {"steps": 150, **OTHERS[name]})


def test_samples_on_the_way_use_the_generator_of_the_run(tmp_path: Path) -> None:
    settings = {"steps": 150, "sample_every": 50, "n": 3}
    _, samples = run_to(trainer_of(settings))
    *_, taken, finished = act(
        ("create", {"settings": settings, "list": LIST}, []),
        ("step", {"n": 150}, []),
        ("takeSamples",),
        ("finish",),
    )
    assert [texts_of(one) for one in [*taken, finished]] == samples
    assert [one["step"] for one in taken] == [1, 50, 100]


def test_validation_losses_are_those_of_python() -> None:
    settings = {"steps": 120, "val_fraction": 0.2, "eval_every": 40}
    trainer, found = trainer_of(settings), {}
    for progress in trainer.run():
        found |= {one.step: one.val_loss for one in progress.records if one.val_loss is not None}
    (_, progress) = act(("create", {"settings": settings, "list": LIST}, []), ("step", {"n": 120}))
    assert {one["step"]: one["loss"] for one in progress["validation"]} == pytest.approx(found, abs=1e-12)
    assert list(found) == [1, 40, 80, 120]


def test_time_runs_back_and_again_bit_for_bit() -> None:
    parts = ["losses"]
    answers = act(
        ("create", {"settings": {"steps": 300, "dropout": 0.1, "val_fraction": 0.1}, "list": LIST}, []),
        ("step", {"n": 200}),
        ("finish",),
        ("look", {"text": "anna"}, ["loss", "probabilities"]),
        ("seek", {"step": 100}),
        ("look", {"text": "anna"}, ["loss", "step"]),
        ("look", {"text": "anna", "at": 200}, ["loss", "probabilities"]),
        ("sample", {"n": 3}, ["step"]),
        ("seek", {"step": 200}),
        ("look", {"text": "anna"}, ["loss", "probabilities"]),
        ("seek", {"step": 103}),
        ("step", {"n": 98}, parts),
        ("finish",),
        ("look", {"text": "anna"}, ["loss", "probabilities"]),
        ("restart", {}, ["step"]),
        ("step", {"n": 200}, parts),
    )
    _, first, samples, look, back, looked_back, looked_at, sampled_back, forth, looked, snapshot, *again = (
        answers
    )
    assert back["step"] == looked_back["step"] == sampled_back["step"]
    assert (back["last"], forth) == (200, {"step": 200, "last": 200})
    assert looked_back["loss"] != look["loss"]
    assert looked == looked_at == look
    done = snapshot["step"]
    assert 90 < done <= 103
    (rest, samples_again, look_again, restarted, all_again) = again
    assert rest["losses"][: 200 - done] == first["losses"][done : done + 98]
    assert restarted == {"step": 0}
    assert all_again["losses"] == first["losses"]
    if done + 98 == 200:
        assert (samples_again, look_again) == (samples, look)


def test_starting_again_forgets_edits_and_works_for_a_run_of_python(tmp_path: Path) -> None:
    weights = ("weights", {}, ["values"])
    _, start, _, _, restarted, again = act(
        ("create", {"settings": {}, "list": LIST}, []), weights, ("edit", {"index": 0, "value": 9.0}),
        ("step", {"n": 3}, []), ("restart", {}, ["step"]), weights,
    )  # fmt: skip
    assert (restarted, again) == ({"step": 0}, start)
    run_to(trainer_of({"steps": 20}, None, out=tmp_path / "run"), 7)
    opened, restarted, again = act(
        ("import", {"files": files_of(tmp_path / "run")}, ["step"]), ("restart", {}, ["step"]), weights
    )
    assert (opened, restarted, again) == ({"step": 7}, {"step": 0}, start)


def test_training_on_from_a_snapshot_forgets_what_came_after() -> None:
    *_, progress, seek = act(
        ("create", {"settings": {"steps": 300}, "list": LIST}, []),
        ("step", {"n": 200}, []), ("seek", {"step": 60}), ("step", {"n": 1}), ("seek", {"step": 200}),
    )  # fmt: skip
    assert seek == {"step": 61, "last": 61} == {"step": progress["step"], "last": progress["last"]}
    assert max(progress["snapshots"]) <= 61


def test_snapshots_are_bounded() -> None:
    settings = {"steps": 10**6, "n_embd": 4, "n_head": 1}
    actions: list[Any] = [("create", {"settings": settings, "list": LIST}, [])]
    actions += [("step", {"n": 1}, []), ("seek", {"step": 10**9}, [])] * 400
    *_, progress = act(*actions, ("progress",))
    steps = progress["snapshots"]
    assert len(steps) <= 101
    assert (steps[0], progress["step"]) == (0, 400)


def test_looks_are_those_of_python() -> None:
    trainer = trainer_of({"steps": 50, "n_layer": 2})
    run_to(trainer)
    *_, look = act(
        ("create", {"settings": {"steps": 50, "n_layer": 2}, "list": LIST}, []), ("step", {"n": 50}, []),
        ("look", {"text": "anna"}, ["step", "ids", "targets", "labels", "loss", "losses", "probabilities"]),
    )  # fmt: skip
    tokenizer = trainer.tokenizer
    ids = [tokenizer.bos, *tokenizer.encode("anna")]
    decoder, expected = trainer.engine.decoder(1), []
    for token in ids:
        logits = [float(x) for x in decoder.feed([token])[0]]
        total = math.log(sum(map(math.exp, logits)))
        expected.append([math.exp(x - total) for x in logits])
    targets = [*ids[1:], tokenizer.stop]
    losses = [-math.log(p[target]) for p, target in zip(expected, targets, strict=True)]
    assert (look["step"], look["ids"], look["targets"]) == (50, ids, targets)
    assert look["labels"] == ["<BOS>", *"anna"]
    assert look["probabilities"] == pytest.approx([p for row in expected for p in row], abs=1e-12)
    assert look["losses"] == pytest.approx(losses, abs=1e-12)
    assert look["loss"] == pytest.approx(sum(losses) / 5, abs=1e-12)


def test_a_mask_changes_a_look_and_the_loss_in_general_but_not_the_model() -> None:
    mask = {
        "heads": [[0, 1]],
        "parts": [[0, "mlp"]],
        "cells": [[0, 2, 6, 0], [0, 2, 1, 0]],
        "weights": [[3, 5.0]],
    }
    *_, before, cause, after, nothing = act(
        ("create", {"settings": {"steps": 50, "val_fraction": 0.2}, "list": LIST}, []),
        ("step", {"n": 50}, []), ("look", {"text": "annabel"}, ["loss", "probabilities"]),
        ("cause", {"text": "annabel", "mask": mask}),
        ("look", {"text": "annabel"}, ["loss", "probabilities"]),
        ("cause", {"text": "annabel"}),
    )  # fmt: skip
    assert before == after == {name: cause["before"][name] for name in before}
    assert abs(cause["after"]["loss"] - before["loss"]) > 1e-3
    assert cause["validation"]["documents"] == 20
    assert abs(cause["validation"]["after"] - cause["validation"]["before"]) > 1e-3
    assert nothing["after"]["loss"] == nothing["before"]["loss"]
    assert nothing["validation"]["after"] == pytest.approx(nothing["validation"]["before"], abs=1e-12)


def test_edits_are_written_and_taken_back() -> None:
    weights = ("weights", {}, ["values"])
    _, start, first, second, edited, undone, undone_too, nothing, end = act(
        ("create", {"settings": {}, "list": LIST}, []), weights, ("edit", {"index": 3, "value": 2.5}),
        ("edit", {"index": 3, "value": -1}), weights, ("undo",), ("undo",), ("undo",), weights,
    )  # fmt: skip
    assert first == {"index": 3, "before": start["values"][3], "value": 2.5}
    assert second == {"index": 3, "before": 2.5, "value": -1} == undone
    assert edited["values"] == [*start["values"][:3], -1, *start["values"][4:]]
    assert (undone_too, nothing, end) == (first, None, start)


def test_slow_motion_is_the_next_step() -> None:
    weights, m = (("weights", {"kind": kind}, ["values"]) for kind in ("weights", "m"))
    *_, slow, before, moments, gradients, update, progress, after, moments_after = act(
        ("create", {"settings": {"steps": 50}, "list": LIST}, []), ("step", {"n": 20}, []), ("slow",),
        weights, m, ("weights", {"kind": "gradients"}), ("weights", {"kind": "update"}), ("step",),
        weights, m,
    )  # fmt: skip
    assert (slow["step"], slow["before"], slow["after"]) == (20, before["values"], after["values"])
    assert (slow["slots_before"]["m"], slow["slots_after"]["m"]) == (
        moments["values"],
        moments_after["values"],
    )
    assert slow["gradients"] == gradients["values"]
    changes = [new - old for old, new in zip(before["values"], after["values"], strict=True)]
    assert update["values"] == pytest.approx(changes, abs=1e-15)
    assert slow["batch_loss"] == progress["losses"][0] == pytest.approx(slow["loss"], abs=1e-12)
    beta1 = 0.85
    expected = [
        beta1 * m + (1 - beta1) * g for m, g in zip(moments["values"], gradients["values"], strict=True)
    ]
    assert moments_after["values"] == pytest.approx(expected, abs=1e-15)


def test_samples_are_those_of_motegpt_sample_and_known_ones_are_marked() -> None:
    trainer = trainer_of({"steps": 300}, None)
    run_to(trainer)
    settings = trainer.config.sample.replace(n=30, temperature=0.7, prefix="a", top_k=5)
    streams = [Stream.of(9, i) for i in range(30)]
    expected = generate(trainer.engine, trainer.tokenizer, settings, streams)
    *_, found = act(
        ("create", {"settings": {"steps": 300}, "list": LIST}, []), ("step", {"n": 300}, []),
        ("sample", {"n": 30, "temperature": 0.7, "seed": 9, "prefix": "a", "top_k": 5}),
    )  # fmt: skip
    assert texts_of(found) == expected
    names = set(LIST["text"].split())
    assert [one["known"] for one in found["texts"]] == [text in names for text in expected]
    assert found["share"] == sum(text in names for text in expected) / 30


def files_of(folder: Path) -> list[dict[str, str]]:
    return [
        {"name": path.name, "base64": base64.b64encode(path.read_bytes()).decode()}
        for path in folder.iterdir()
        if path.is_file()
    ]


RESUMED = {
    "microgpt": {}, "oxidized": {"preset": "oxidized"}, "xoshiro": {"rng": "xoshiro128+"},
    "validation": {"val_fraction": 0.2, "eval_every": 50}, "float32": {"dtype": "float32"},
    "sgd": {"optimizer": "sgd"}, "reshuffled": {"reshuffle": True, "batch_size": 16},
    "n-grams": {"ngram_orders": 3, "ngram_dropout": 0.1, "ngram_weight_decay": 0.01, "dtype": "float32"},
    "gpt2": GPT2, "llama": LLAMA,
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_of_python_goes_on_in_the_page_as_if_it_had_stayed(tmp_path: Path, name: str) -> None:
    settings = {"steps": 200, **RESUMED[name]}
    losses, samples = run_to(trainer_of(settings))
    run_to(trainer_of(settings, None, out=tmp_path / "run"), 120)
    opened, progress, finished = act(
        ("import", {"files": files_of(tmp_path / "run")}), ("step", {"n": 200}), ("finish",)
    )
    assert opened["step"] == 120
    assert opened["canTrain"]
    assert opened["list"]["text"] == LIST["text"]
    assert progress["losses"] == pytest.approx(losses[120:], abs=CLOSE[settings.get("dtype", "float64")])
    assert texts_of(finished) == samples[-1]


@pytest.mark.parametrize("name", [name for name in RESUMED if name != "n-grams"])
def test_a_run_of_the_page_goes_on_in_python_as_if_it_had_stayed(
    tmp_path: Path, name: str, motegpt: Any
) -> None:
    settings = {"steps": 200, **RESUMED[name]}
    text = LIST["text"] + "anna maria\n"
    mine = {"name": "mine", "text": text}
    *_, exported, rest, finished = act(
        ("create", {"settings": settings, "list": mine}, []), ("step", {"n": 120}, []),
        ("export", {"name": "mine"}), ("step", {"n": 80}), ("finish",),
    )  # fmt: skip
    folder = tmp_path / "mine"
    folder.mkdir()
    for one in exported["files"]:
        (folder / one["name"]).write_bytes(base64.b64decode(one["base64"]))
    assert (folder / "list.txt").read_text() == text
    assert motegpt("show", folder).code == 0
    assert motegpt("sample", folder, "--n", 3).out.count("\n") >= 3
    resumed = begin(folder / "list.txt", {}, resumed=folder).trainer
    losses, samples = run_to(resumed)
    assert losses == pytest.approx(rest["losses"], abs=CLOSE[settings.get("dtype", "float64")])
    assert samples[-1] == texts_of(finished)


def test_a_zip_of_the_page_opens_again() -> None:
    create = ("create", {"settings": {"steps": 100}, "list": {"name": "x", "text": SHORT}}, [])
    *_, exported, finished = act(create, ("step", {"n": 60}, []), ("export", {}), ("finish",))
    opened, again = act(("import", {"files": [exported["zip"]]}), ("finish",))
    assert (opened["step"], opened["list"], opened["canTrain"]) == (
        60,
        {"name": "list.txt", "text": SHORT},
        True,
    )
    assert again == finished
    assert len(opened["losses"]) > 0


def test_a_zip_of_the_page_is_read_unpacked_as_its_guide_says(tmp_path: Path, motegpt: Any) -> None:
    create = ("create", {"settings": {"steps": 20}, "list": {"name": "x", "text": SHORT}}, [])
    *_, exported = act(create, ("step", {"n": 10}, []), ("export", {"name": "mine"}))
    for name in ("mine.zip", "mine.motegpt"):
        (tmp_path / name).write_bytes(base64.b64decode(exported["zip"]["base64"]))
        assert motegpt("sample", name).code != 0
    with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
        archive.extractall(tmp_path)
    assert "list.txt" in motegpt("train", "--resume", "mine").err  # is not where the run says
    for words in (["sample", "mine"], ["show", "mine"], ["train", "mine/list.txt", "--resume", "mine"]):
        assert motegpt(*words).code == 0, words
    sharing = (
        (Path(__file__).parents[1] / "docs/page.md").read_text(encoding="utf-8").partition("## Sharing")[2]
    )
    assert "Unpacked, it is a run folder, which `motegpt sample`" in " ".join(sharing.split())


def test_a_run_without_its_list_samples_but_does_not_train(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(SHORT)
    run_to(trainer_of({"steps": 20}, path, out=tmp_path / "run"))
    opened, stepped, sampled, look = act(
        ("import", {"files": files_of(tmp_path / "run")}), ("step",), ("sample", {"n": 4}),
        ("look", {"text": "anna"}, ["loss"]),
    )  # fmt: skip
    assert (opened["canTrain"], opened["list"], opened["baselines"]) == (False, None, None)
    assert stepped["error"].startswith("list: ")
    assert sampled["share"] is None
    assert {one["known"] for one in sampled["texts"]} == {None}
    assert look["loss"] > 0


PLAYED = {
    "automatic": {"preset": "auto", "seconds": 0.1, "kneser_ney": 3, "ngram_orders": 3},
    "gpt2": {"steps": 100, "dtype": "float32", **GPT2},
    "llama": {"steps": 100, "dtype": "float32", **LLAMA},
}


@pytest.mark.parametrize("settings", PLAYED.values(), ids=PLAYED)
def test_a_run_plays_from_boot_and_from_its_folder(tmp_path: Path, settings: dict[str, Any]) -> None:
    run_to(trainer_of(settings, None, out=tmp_path / "run"))
    booted = run_of(Run.read(str(tmp_path / "run")))
    sample = {"n": 20, "temperature": 1.0, "seed": 3}
    opened, from_folder, created, from_boot, looked = act(
        ("import", {"files": files_of(tmp_path / "run")}, ["average", "canTrain"]), ("sample", sample),
        ("create", {"run": booted}, ["average", "canTrain", "dtype"]), ("sample", sample),
        ("look", {"text": "anna"}, ["loss"]),
    )  # fmt: skip
    assert opened["average"] == created["average"]
    assert (opened["canTrain"], created["canTrain"]) == (True, False)
    assert looked["loss"] < 4
    assert texts_of(from_folder) == GPT.load(tmp_path / "run").generate(
        20, temperature=1.0, seed=3, novel=False
    )
    same = sum(a == b for a, b in zip(texts_of(from_boot), texts_of(from_folder), strict=True))
    assert same >= 15  # half precision changes few


def test_weights_alone_are_at_the_step_of_their_run(tmp_path: Path) -> None:
    run_to(trainer_of({"steps": 300}, None, out=tmp_path / "run"), 200)
    files = files_of(tmp_path / "run")
    shared = [one for one in files if one["name"] != "trainer.safetensors"]
    booted = run_of(Run.read(str(tmp_path / "run")))
    kept = ["step", "hasGenerator"]
    exact, *alone = act(
        ("import", {"files": files}, kept),
        ("import", {"files": shared}, kept),
        ("create", {"run": booted}, kept),
    )
    assert exact == {"step": 200, "hasGenerator": True}
    assert alone == [{"step": 200, "hasGenerator": False}] * 2


def test_a_run_from_boot_trains_on_with_a_list(tmp_path: Path) -> None:
    run_to(trainer_of({"steps": 100}, None, out=tmp_path / "run"), 50)
    booted = run_of(Run.read(str(tmp_path / "run")))
    created, progress, restarted, again, refused = act(
        ("create", {"run": booted, "list": LIST}, ["canTrain", "step"]), ("step", {"n": 50}),
        ("restart", {}, ["step", "hasGenerator"]), ("step", {"n": 50}),
        ("create", {"run": booted, "list": {"name": "x", "text": "ümlaut\nanna"}}),
    )  # fmt: skip
    assert created == {"canTrain": True, "step": 50}
    assert sum(progress["losses"][:10]) / 10 < 3.0
    assert restarted == {"step": 0, "hasGenerator": True}
    assert sum(again["losses"][:10]) / 10 > 3.0
    assert refused["error"].startswith("list: expected only characters of the training data")


def test_a_run_from_boot_with_its_list_is_exported_with_it(tmp_path: Path) -> None:
    run_to(trainer_of({"steps": 20}, None, out=tmp_path / "run"))
    booted = run_of(Run.read(str(tmp_path / "run")))
    _, exported = act(("create", {"run": booted, "list": LIST}, []), ("export", {}))
    (opened,) = act(("import", {"files": [exported["zip"]]}, ["list.text", "canTrain", "step"]))
    assert opened == {"list.text": LIST["text"], "canTrain": True, "step": 20}


LONG_BLOCK = {"block_size": 1024, "batch_size": 16, "steps": 2}  # larger steps than the page holds


def test_a_run_too_large_to_train_in_the_page_opens_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(SHORT)
    run_to(trainer_of(LONG_BLOCK, path, out=tmp_path / "run"), 1)
    files = [*files_of(tmp_path / "run"), *files_of(tmp_path)]
    booted = run_of(Run.read(str(tmp_path / "run")))
    looks = (("look", {"text": "anna"}, ["loss"]), ("sample", {"n": 2}, ["step"]))
    steps = (("step",), ("slow",), ("weights", {"kind": "update"}), ("weights", {"kind": "gradients"}))
    for action in (("import", {"files": files}), ("create", {"run": booted, "list": LIST | {"text": SHORT}})):
        opened, looked, sampled, *refused = act(action, *looks, *steps)
        assert opened["canTrain"]
        assert looked["loss"] > 0
        assert "error" not in sampled
        for one in refused:
            assert one["error"] == opened["whyNoStep"]
        assert "batch_size, block_size: expected steps of at most 64,000,000" in opened["whyNoStep"]
        assert "try a smaller `batch_size`" in opened["whyNoStep"]


FEW = {"name": "x", "text": "anna"}
TOO_LARGE = "n_layer, block_size, n_embd: expected|n_layer, n_embd: expected"
WRONG = [
    ({"list": {"name": "x", "text": ""}}, "x: expected at least one document"),
    ({"list": {"name": "x", "text": "a\na"}}, "vocabulary: expected at least 2 distinct characters"),
    ({"list": FEW, "settings": {"val_fraction": 0.1}}, "val_fraction: expected at least 2"),
    ({"list": None}, "list: expected a text"),
    ({"list": {"name": "x.csv", "text": "a,b"}}, "x.csv: expected a text file"),
    ({"list": LIST, "settings": {"n_embd": 15}}, "n_embd: expected a multiple of n_head"),
    ({"list": LIST, "settings": {"n_embd": 2**20, "n_head": 1}}, TOO_LARGE),
    ({"list": LIST, "settings": {"n_layer": 64, "n_embd": 256}}, "n_layer, n_embd: expected at most"),
    ({"list": LIST, "settings": {"batch_size": 2**20}}, "batch_size, block_size: expected steps of at most"),
    ({"list": LIST, "settings": {"block_size": 4096}}, "batch_size, block_size: expected steps of at most"),
    ({"list": LIST, "settings": {"ngram_orders": 3}}, "ngram_orders: expected none in the page"),
    ({"list": LIST, "settings": {"format": "csv"}}, "format: expected text or stream in the page"),
    ({"list": LIST, "settings": {"format": "stream", "block_size": 2000}}, "block_size: expected at least"),
    ({"list": LIST, "settings": {"prefix": "é"}}, "text: expected only characters"),
]  # fmt: skip


def test_wrong_input_gets_a_sentence_and_leaves_the_model_in_place() -> None:
    look = ("look", {"text": "anna"}, ["loss"])
    actions = [("create", wrong) for wrong, _ in WRONG]
    _, _, before, *errors, after, progress = act(
        ("create", {"list": LIST}, []), ("step", {"n": 5}, []), look, *actions, look, ("step",)
    )
    for (wrong, sentence), error in zip(WRONG, errors, strict=True):
        assert "error" in error, wrong
        assert any(error["error"].startswith(one) for one in sentence.split("|")), error
    assert before == after
    assert progress["step"] == 6


def test_wrong_actions_get_a_sentence() -> None:
    cases = [
        (("look", {"text": "é"}), "text: expected only characters of the training data"),
        (("look", {"text": "a" * 16}), "text: expected at most 15 tokens (block_size 16), got 16"),
        (("look", {"mask": {"heads": [[0, 9]]}}), "look: "),
        (("sample", {"prefix": "a" * 16}), "prefix: expected at most 15 tokens"),
        (("sample", {"n": 0}), "n: expected 1 to"),
        (("sample", {"temperature": -1}), "temperature: "),
        (("edit", {"index": -1, "value": 0}), "edit: expected the index"),
        (("edit", {"index": 0, "value": None}), "edit: expected a finite number"),
        (("weights", {"kind": "velocity"}), "weights: expected weights"),
        (("step", {"n": 0}), "step: "),
        (("import", {"files": []}), "run: expected the files of a run folder"),
        (("import", {"files": [{"name": "config.json", "base64": ""}]}), "config.json: "),
    ]
    _, *answers = act(("create", {"list": LIST}, []), *(action for action, _ in cases))
    for (action, sentence), found in zip(cases, answers, strict=True):
        assert found.get("error", "none").startswith(sentence), (action, found)
    (none,) = act(("look", {"text": "a"}))
    assert none["error"].startswith("session: expected a model")


def test_divergence_is_said_and_the_last_snapshot_is_restored() -> None:
    settings = {"optimizer": "sgd", "lr": 1e9, "embedding_norm": False, "dtype": "float32"}
    _, stepped, look = act(
        ("create", {"settings": settings, "list": LIST}, []), ("step", {"n": 900}),
        ("look", {"text": "anna"}, ["loss", "step"]),
    )  # fmt: skip
    assert stepped["error"].startswith("train: the loss of step ")
    assert look["loss"] is not None


def test_ended_runs_say_so() -> None:
    *_, progress, stepped = act(
        ("create", {"settings": {"steps": 10}, "list": LIST}, []), ("step", {"n": 100}), ("step",)
    )
    assert (progress["step"], progress["ended"]) == (10, True)
    assert stepped["error"].startswith("steps: the run has done all its 10 steps")


@pytest.mark.slow
def test_memory_after_many_models_and_steps_does_not_grow() -> None:
    def actions(n: int) -> list[Any]:
        once = [
            ("create", {"settings": {"steps": 50}, "list": LIST}, []),
            ("step", {"n": 50}, []),
            ("finish", {}, []),
        ]
        return once * n

    few, many = (run_script("session", {"boot": boot(), "actions": actions(n)})["bytes"] for n in (2, 20))
    assert many == few


@pytest.mark.slow
def test_damaged_run_folders_get_a_sentence_and_leave_the_model_in_place(tmp_path: Path) -> None:
    settings = {"steps": 6, "val_fraction": 0.1, "ngram_orders": 3, "kneser_ney": 3}
    run_to(trainer_of(settings, None, out=tmp_path / "run"))
    files, rng = files_of(tmp_path / "run"), random.Random(0)
    cases = []
    for i, one in enumerate(files):
        data = base64.b64decode(one["base64"])
        for damage in range(12):
            at = rng.randrange(max(1, min(len(data), 3000)))
            changed = data[:at] + bytes([rng.choice(b'0123456789"{}[],:-.eax\x00\xff')]) + data[at + 1 :]
            changed = [changed, data[:at], b"", b"[]", b'{"format": 3}'][damage if damage < 5 else 0]
            other = {"name": one["name"], "base64": base64.b64encode(changed).decode()}
            cases.append([*files[:i], other, *files[i + 1 :]])
        cases.append([*files[:i], *files[i + 1 :]])
    look = ("look", {"text": "anna"}, ["loss"])
    actions = [("import", {"files": case}, ["step"]) for case in cases]
    pairs = [action for one in actions for action in (one, look)]
    _, before, *found = act(("create", {"settings": {}, "list": LIST}, []), look, *pairs)
    refused = 0
    for opened, looked in zip(found[::2], found[1::2], strict=True):
        if "error" in opened:
            refused += 1
            assert re.match(r"[a-z_]+(\.[a-z]+)?: ", opened["error"]), opened
            assert not re.search(r"undefined|not a function|not iterable|Cannot|JSON\.", opened["error"]), (
                opened
            )
            assert looked == before
        before = looked
    assert refused > len(cases) // 2
