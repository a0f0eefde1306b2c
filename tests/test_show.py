"""motegpt show, for any run."""

import json
import re
import subprocess
import sys

import pytest

from motegpt import GPT
from motegpt.config.text import visible
from motegpt.views.runs import Run, nearest_preset
from motegpt.views.sparkline import BLOCKS, PLAIN
from motegpt.views.text import clipped

QUICK = ("--engine", "array", "--steps", 6, "--log-every", 1, "-n", 1)


@pytest.fixture
def run(motegpt, tmp_path):
    """A finished run on the built-in names."""
    assert motegpt("train", *QUICK, "--n-embd", 8, "--out", "run").code == 0
    return tmp_path / "run"


def test_show_prints_all_facts_and_is_deterministic(motegpt, run):
    ended = motegpt("show", "run")
    assert (ended.code, ended.err) == (0, "")
    assert motegpt("show", "run").out == ended.out
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 80
    model = GPT.load(run)
    for message in (
        "run\n",
        "built-in names, 98 documents",
        "step 6 of 6, ",
        "; finished",
        "parameters  1,312: token embedding 208, position embedding 128, head 208,",
        "26 ids, framing bos, abcdefgh",
        "trainer.safetensors",
        "array, float64",
        "settings, * where they differ from preset microgpt",
        "*n_embd 8 (16), vocab_size 26",
        "*steps 6 (1000)",
        "samples, seed 0, temperature 0.5",
        *(f"\n  {text}\n" for text in model.generate(5, seed=0)),
    ):
        assert message in ended.out, message
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (curve,) = [line for line in lines if line.startswith("  training")]
    assert set(curve.split()[2]) <= set(BLOCKS)
    assert len(curve.split()[2]) == 6
    assert (curve.split()[1], curve.split()[3]) == (f"{records[0]['loss']:.4f}", f"{records[-1]['loss']:.4f}")
    best = min(records, key=lambda record: record["loss"])
    assert f"best {best['loss']:.4f} at step {best['step']}" in ended.out


def test_json_has_it_all(motegpt, run):
    ended = motegpt("show", "run", "--json", "-n", 2)
    facts = json.loads(ended.out)
    assert list(facts) == [
        "run", "format", "engine", "level", "settings", "preset", "parameters", "average", "vocabulary",
        "files", "source", "base", "progress", "loss", "val_loss", "accuracy", "val_accuracy", "records",
        "samples",
    ]  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert facts["settings"] == {name: config[name] for name in ("model", "data", "train", "sample")}
    assert facts["source"] == config["source"]
    assert facts["preset"]["nearest"] == "microgpt"
    assert {name: facts["preset"]["differing"][name] for name in ("n_embd", "steps")} == {
        "n_embd": 16,
        "steps": 1000,
    }
    assert facts["parameters"]["total"] == sum(facts["parameters"]["groups"].values()) == 1312
    assert facts["files"] == {
        path.name: path.stat().st_size for path in run.iterdir() if path.name != ".lock"
    }
    assert facts["progress"].keys() == {
        "step", "steps", "tokens", "finished", "exhausted", "resumable", "best", "kept", "parameters",
    }  # fmt: skip
    assert facts["loss"]["last"]["step"] == facts["records"] == 6
    assert facts["val_loss"] is None
    assert facts["samples"]["texts"] == GPT.load(run).generate(2, seed=0)
    assert "\n" not in facts["run"]


def test_best_and_curve_are_of_mean_losses_and_of_single_ones_in_runs_without_means(motegpt, tmp_path):
    words = ("train", "--engine", "array", "--steps", 60, "--log-every", 10, "-n", 1)
    assert motegpt(*words, "--out", "run").code == 0
    metrics = tmp_path / "run" / "metrics.jsonl"
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    for name in ("mean_loss", "loss"):
        best = min(records, key=lambda record: record[name])
        out = motegpt("show", "run").out
        assert f"best {best[name]:.4f} at step {best['step']}" in out
        assert re.search(rf"  training +{records[0][name]:.4f} .* {records[-1][name]:.4f}\n", out)
        facts = json.loads(motegpt("show", "run", "--json").out)
        assert facts["loss"]["best"] == {"step": best["step"], "loss": best[name]}
        for record in records:
            record.pop("mean_loss", None)
        metrics.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_run_that_stopped_early(motegpt, tmp_path):
    assert motegpt("train", *QUICK, "--until", 3, "--out", "run").code == 0
    assert "step 3 of 6, " in motegpt("show", "run").out
    assert "stopped early, motegpt train --resume" in motegpt("show", "run").out.replace("\n" + " " * 14, " ")
    facts = json.loads(motegpt("show", "run", "--json").out)
    assert facts["progress"]["step"] == 3
    assert not facts["progress"]["finished"]


def test_a_saved_copy_keeps_the_losses(motegpt, run, tmp_path):
    GPT.load(run).save(tmp_path / "copy")
    facts = [json.loads(motegpt("show", name, "--json").out) for name in ("run", "copy")]
    assert facts[0]["loss"] == facts[1]["loss"]
    assert "step 6 of 6, 44 tokens; parameters only, it cannot be resumed" in motegpt("show", "copy").out


def test_parameters_alone(motegpt, run, tmp_path):
    (run / "metrics.jsonl").unlink()
    GPT.load(run).save(tmp_path / "copy")
    ended = motegpt("show", "copy")
    assert (ended.code, ended.err) == (0, "")
    assert "parameters only, of a run of 6 steps; it cannot be resumed" in ended.out
    assert "loss: none recorded" in ended.out
    facts = json.loads(motegpt("show", "copy", "--json").out)
    assert facts["loss"] is None
    assert facts["progress"]["step"] is None


def test_without_metrics(motegpt, run):
    (run / "metrics.jsonl").unlink()
    assert "step 6 of 6; finished" in motegpt("show", "run").out


@pytest.mark.parametrize("loss", ["1e308", "-1e308", "NaN", "Infinity", "1" * 400, "null"])
def test_losses_that_are_none(motegpt, run, loss):
    """However they came there: the others are shown."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{{"step": 7, "loss": {loss}}}\n')
    ended = motegpt("show", "run")
    assert (ended.code, ended.err) == (0, "")
    assert " at step 6, best" in ended.out


def test_validation_has_a_line_of_its_own(motegpt, run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    records[1]["val_loss"], records[5]["val_loss"] = 3.25, 3.5
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    out = motegpt("show", "run").out
    assert "  validation  3.2500  ▁▁▁▁█ 3.5000" in out
    assert "last 3.5000 at step 6, best 3.2500 at step 2" in out


def test_held_out_data_early_stopping_and_kept_checkpoints(motegpt):
    words = ("--steps", 300, "--engine", "array", "--val-fraction", 0.3, "--eval-every", 10, "--patience", 2)
    ended = motegpt(
        "train",
        "--preset",
        "microgpt",
        *words,
        "--lr",
        0.3,
        "--checkpoint-every",
        5,
        "--keep",
        3,
        "--out",
        "run",
        "-n",
        1,
    )
    assert ended.code == 0, ended.err
    progress = json.loads(motegpt("show", "run", "--json").out)["progress"]
    assert progress["exhausted"]
    assert not progress["finished"]
    assert progress["best"]["step"] < progress["step"] < 300
    out = motegpt("show", "run").out
    assert "ended by early stopping" in out
    assert f"samples of the best, step {progress['best']['step']}, seed 0" in out
    assert len(progress["kept"]) == 3
    assert f"kept: {', '.join(map(str, progress['kept']))}" in out.replace("\n" + " " * 14, " ")
    assert "  validation  " in out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.json").write_text("{"), "expected JSON"),
        (lambda run: (run / "metrics.jsonl").write_text("x\n"), "metrics.jsonl: line 1"),
        (lambda run: (run / "metrics.jsonl").write_text('{"step": 1, "loss": []}\n'), "a number for loss"),
        (
            lambda run: (run / "metrics.jsonl").write_text('{"step": 6, "tokens": "x"}\n'),
            "a number for tokens",
        ),
        (lambda run: (run / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda run: (run / "trainer.safetensors").write_bytes(b"abc"), "not a complete safetensors file"),
        (lambda run: (run / "tokenizer.json").unlink(), "tokenizer.json"),
    ],
)
def test_damage_is_one_line(motegpt, run, damage, message):
    damage(run)
    ended = motegpt("show", "run")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err


def test_a_missing_run_and_a_foreign_folder(motegpt, tmp_path):
    (tmp_path / "other").mkdir()
    assert "no such run folder" in motegpt("show", "nowhere").err
    assert "is not a run folder" in motegpt("show", "other").err
    assert "no such run folder; did you mean other?" in motegpt("show", "othr").err
    (tmp_path / "list.txt").write_text("anna\n")
    assert "list.txt: expected a run folder" in motegpt("show", "list.txt").err
    assert "no such run folder; training with --out" in motegpt("show", "lst.txt").err


def test_any_terminal_any_script(motegpt, tmp_path):
    """80 columns, also where characters are two wide, and escapes where the encoding has no such letters."""
    from rich.cells import cell_len

    (tmp_path / "list.txt").write_text("\n".join("日本語東京都大阪" * 9 for _ in range(3)) + "\na\u200bb\n")
    assert motegpt("train", "list.txt", *QUICK, "--block-size", 72, "--out", "run").code == 0
    for encoding in ("utf-8", "ascii"):
        ended = subprocess.run(
            [sys.executable, "-m", "motegpt", "show", "run"], cwd=tmp_path, capture_output=True,
            env={"PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, b"")
        out = ended.stdout.decode(encoding)
        assert max(map(cell_len, out.splitlines())) <= 80
        assert ("\\u65e5" in out) == (encoding == "ascii")
        (curve,) = [line for line in out.splitlines() if line.startswith("  training")]
        assert set(curve.split()[2]) <= set(BLOCKS if encoding == "utf-8" else PLAIN)


def test_texts_are_cut_by_columns_not_by_characters():
    assert clipped("日本語", 6) == "日本語"
    assert clipped("日本語東京", 8) == "日本..."
    assert clipped("emma", 4) == "emma"
    assert visible("a\n日\u200b", "ascii") == r"a\n\u65e5\u200b"


def test_samples_that_cannot_be_drawn_are_said(motegpt, run, monkeypatch):
    from motegpt.errors import MotegptError

    def fail(*given, **settings):
        raise MotegptError("sample: expected finite logits, got others")

    monkeypatch.setattr(GPT, "generate", fail)
    ended = motegpt("show", "run")
    assert ended.code == 0
    assert "samples: none, sample: expected finite logits, got others" in ended.out
    assert "samples" not in motegpt("show", "run", "-n", 0).out


@pytest.mark.parametrize("preset", ["microgpt", "oxidized", "zeroclaw"])
def test_the_nearest_preset_is_found(motegpt, preset):
    assert motegpt("train", "--preset", preset, "--engine", "array", "--until", 1, "--out", "run").code == 0
    assert nearest_preset(Run.read("run").config) == (preset, {})
    assert f"settings, as in preset {preset}" in motegpt("show", "run", "-n", 0).out
