"""Export to and import from folders of the library transformers, without that library."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from motegpt import GPT, RunFolderError, UsageError
from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig
from motegpt.data.split import split
from motegpt.interchange.card import model_card
from motegpt.interchange.folders import new_folder
from motegpt.interchange.hf import METADATA
from motegpt.interchange.imports import import_hf, read_hf
from motegpt.interchange.layouts import GPT2, layout_of
from motegpt.interchange.model import PortableModel
from motegpt.training.run_folder import RunFolder
from tests.exported import ARCHITECTURES, TOKENIZERS, small_model


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return ARCHITECTURES[request.param]


def test_a_model_leads_there_and_back(architecture, tmp_path):
    layout, settings = architecture
    model = small_model(**settings)
    assert layout_of(model.config.model) is layout
    model.export(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == [layout.architecture]
    assert (tmp_path / "out" / "modeling_motegpt.py").exists() == (layout.name == "motegpt")
    again = GPT.from_hf(tmp_path / "out", engine="array")
    assert again.tokenizer == model.tokenizer
    for name, array in model.parameters.items():
        assert (again.parameters[name] == array).all(), name
    assert (again.logits("nan") == model.logits("nan")).all()
    again.export(tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


@pytest.mark.parametrize("settings", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_tokenizer_leads_there_and_back(settings, tmp_path):
    model = small_model(preset="microgpt", **settings)
    model.export(tmp_path / "out")
    again = GPT.from_hf(tmp_path / "out", engine="array")
    assert again.tokenizer == model.tokenizer
    assert again.config.data.format == model.config.data.format
    assert again.generate(3, seed=5, max_new_tokens=5) == model.generate(3, seed=5, max_new_tokens=5)


def test_commands(motegpt, tmp_path):
    run, out, again = (str(tmp_path / name) for name in ("run", "out", "again"))
    small_model(preset="gpt2").save(run)
    ended = motegpt("export", run, "--out", out)
    assert (ended.code, ended.out) == (0, f"{out}: GPT2LMHeadModel, 4,080 parameters, float64\n")
    assert len({path.stat().st_mode for path in Path(out).iterdir()}) == 1  # whoever may read one reads all
    assert json.loads(motegpt("import", out, "--out", again, "--json").out)["parameters"] == 4080
    assert "none, imported from" in motegpt("show", again, "-n", "1").out
    scored = [motegpt("score", path, "anna", "--engine", "array").out for path in (run, again)]
    assert scored[0] == scored[1]
    assert [motegpt("eval", again, "--engine", "array").code, motegpt("train", "--resume", again).code] == [
        2,
        2,
    ]
    assert "imported model, which has no training to resume" in motegpt("train", "--resume", again).err
    (tmp_path / "more.txt").write_text("anna\nnan\n")
    assert "model" in motegpt("eval", again, str(tmp_path / "more.txt"), "--engine", "array").out


@pytest.fixture
def imported(tmp_path):
    """An imported run, and a list beside it."""
    small_model(preset="llama").export(tmp_path / "out")
    import_hf(tmp_path / "out", tmp_path / "run")
    (tmp_path / "list.txt").write_text("anna\nnan\nhanna\n")
    return tmp_path / "run"


def test_an_imported_run_is_compared_with_given_training_data(imported, motegpt):
    ended = motegpt("eval", imported, "list.txt", "--training", "list.txt", "--samples", "0", "--json")
    assert ended.code == 0, ended.err
    losses = json.loads(ended.out)["nats_per_token"]
    assert set(losses) > {"bigram", "model"}
    alone = motegpt("eval", imported, "--training", "list.txt", "--samples", "0", "--json")
    assert json.loads(alone.out)["nats_per_token"] == losses


def test_commands_say_in_one_line_what_an_imported_run_lacks(imported, motegpt):
    for words, said in (
        (["eval", imported], "give it with --training FILE, or DATA to evaluate on"),
        (["plot", imported], "expected losses to draw, got none"),
    ):
        ended = motegpt(*words)
        assert ended.code != 0
        assert said in ended.err
        assert ended.err.count("\n") == 1, ended.err
    said = motegpt("eval", imported, "list.txt").err
    assert "the run was imported, and records no training data; give it with --training FILE\n" in said


def test_the_card_says_where_a_model_comes_from(tmp_path):
    small_model(preset="gpt2").export(tmp_path / "first")
    model = GPT.from_hf(tmp_path / "first", "array")
    model.export(tmp_path / "again")
    model.save(tmp_path / "base")
    base = GPT.load(tmp_path / "base")
    tuned = base.fine_tune(["anna", "nan"], preset="gpt2", steps=1, warmup_steps=0, batch_size=2)
    tuned.export(tmp_path / "tuned")
    again, last = ((tmp_path / name / "README.md").read_text() for name in ("again", "tuned"))
    assert "# A GPT imported into motegpt" in again
    assert 'A model, imported from "first", SHA-256' in again
    assert "# A GPT trained with motegpt" in last
    assert "2 documents," in last
    assert f'Fine-tuned from "base", SHA-256 of its parameters `{tuned.config.base.sha256}`' in last
    assert str(tmp_path) not in again + last


def test_the_card_leaves_out_the_path_of_a_tokenizer():
    model = small_model(preset="gpt2")
    data = model.config.data.values() | {"tokenizer": "file", "tokenizer_file": "/home/me/tokenizer.json"}
    config = model.config.replace(data=DataConfig.of(data))
    card = model_card(PortableModel(config, model.tokenizer, {}), GPT2)
    assert 'tokenizer_file = "tokenizer.json"' in card
    assert "/home/me" not in card


def test_an_imported_run_is_a_run(tmp_path):
    model = small_model(preset="llama")
    model.export(tmp_path / "out")
    import_hf(tmp_path / "out", tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {
        "config.json", "tokenizer.json", "model.safetensors", ".lock",
    }  # fmt: skip
    again = GPT.load(tmp_path / "run", "array")
    assert again.generate(4, seed=3) == GPT.from_hf(tmp_path / "out", "array").generate(4, seed=3)
    assert again.score(["anna"])[0].log_probability == model.score(["anna"])[0].log_probability
    assert again.attention("anna").shape == (2, 3, 5, 5)
    with pytest.raises(UsageError, match="the run was imported"):
        again.generate(1, novel=True)
    again.save(tmp_path / "copy")
    assert RunFolder(tmp_path / "copy").config() == RunFolder(tmp_path / "run").config().replace(
        engine="array"
    )


def test_what_is_left_out_is_said_with_its_cost(tmp_path, motegpt):
    model = GPT.train(
        [f"{a}n{b}n{c}" for a in "abcdefgh" for b in "aeiou" for c in "xyzst"], steps=3, n_embd=8,
        n_head=2, engine="array", out=tmp_path / "run", kneser_ney=3, kneser_ney_weight=0.25,
    )  # fmt: skip
    bits = model.report.bits()
    assert RunFolder(tmp_path / "run").report() == bits
    ended = motegpt("export", str(tmp_path / "run"), "--out", str(tmp_path / "out"))
    cost = f"that costs {bits['gpt'] - bits['model']:.3f} bits per character"
    assert cost in ended.err
    card = (tmp_path / "out" / "README.md").read_text()
    assert cost in card
    assert model.config.source.sha256 in card
    assert "license" in card
    assert "of up to 3 tokens have a share of 0.25" in card
    portable = PortableModel.of_run(RunFolder(tmp_path / "run"))
    assert portable.weight == 0.25
    assert "was not measured" in model_card(PortableModel(
        portable.config, portable.tokenizer, portable.parameters, weight=0.25
    ), layout_of(portable.config.model))  # fmt: skip


def test_the_cost_is_measured_on_the_validation_set(tmp_path, motegpt):
    (tmp_path / "list.txt").write_text("\n".join(f"{a}n{b}" for a in "abcdefgh" for b in "aeiouxyz"))
    settings = {"preset": "microgpt", "steps": 5, "engine": "array", "val_fraction": 0.2, "kneser_ney": 3}
    model = GPT.train(tmp_path / "list.txt", out=tmp_path / "run", **settings)
    evaluation = model.evaluate(split(model._training_documents(), model.config.data, 42)[1])
    cost = evaluation.bits_per_character("gpt") - evaluation.bits_per_character("model")
    assert (
        f"that costs {cost:.3f} bits"
        in motegpt("export", str(tmp_path / "run"), "--out", str(tmp_path / "a")).err
    )
    (tmp_path / "list.txt").unlink()
    assert "was not measured" in motegpt("export", str(tmp_path / "run"), "--out", str(tmp_path / "b")).err


# What must be refused: each changes a folder that is right, and names what is wrong.


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """Folders of two layouts."""
    folder = tmp_path_factory.mktemp("right")
    small_model(preset="gpt2").export(folder / "gpt2")
    small_model(preset="llama").export(folder / "llama")
    small_model(preset="microgpt", ngram_orders=3).export(folder / "motegpt")
    return folder


def copy_of(right, layout, tmp_path):
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in (right / layout).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def edited(folder, name, **changes):
    values = {**json.loads((folder / name).read_text()), **changes}
    (folder / name).write_text(json.dumps({k: v for k, v in values.items() if v != "gone"}))


def retensored(folder, change):
    path = folder / "model.safetensors"
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path, METADATA)


def refused(folder, named, tmp_path):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RunFolderError) as error:
        import_hf(folder, tmp_path / "run")
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before, "nothing is written"


@pytest.mark.parametrize(
    ("layout", "changes", "named"),
    [
        ("gpt2", {"model_type": "bert"}, "model_type: expected one of gpt2, llama, motegpt, got 'bert'"),
        ("gpt2", {"model_type": "gone"}, "model_type"),
        ("gpt2", {"architectures": ["GPT2ForSequenceClassification"]}, "architectures"),
        ("gpt2", {"architectures": {"a": 1}}, "architectures"),
        ("gpt2", {"n_head": 5}, "n_embd: expected a multiple of n_head = 5"),
        ("gpt2", {"n_embd": 2**40}, "n_embd"),
        ("gpt2", {"vocab_size": 12}, "transformer.wte.weight: expected shape (12, 12), got shape (15, 12)"),
        ("gpt2", {"n_layer": 3}, "transformer.h.2.attn.c_attn.bias: expected shape (36,), got no"),
        ("gpt2", {"n_layer": 1}, "'transformer.h.1.attn.c_attn.bias': expected no such tensor"),
        ("gpt2", {"tie_word_embeddings": False}, "lm_head.weight"),
        ("gpt2", {"activation_function": "silu"}, "activation_function"),
        ("llama", {"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling: rope_type"),
        ("llama", {"sliding_window": 8}, "sliding_window"),
        ("llama", {"attention_bias": True}, "mlp_bias"),
        ("llama", {"final_logit_softcapping": 15.0}, "final_logit_softcapping"),
        ("motegpt", {"ngram_rows": [3, 1]}, "ngram2"),
        ("motegpt", {"norm": "group"}, "norm: expected one of"),
        ("motegpt", {"n_layer": "gone"}, "n_layer"),
        ("motegpt", {"auto_factor": 2}, "auto_factor"),
        ("gpt2", {"first_layer": 0}, "first_layer: expected none, got 0"),
        ("gpt2", {"factor": 0.0}, "factor: expected none, got 0.0"),
        ("gpt2", {"scale_attn_weights": 1}, "scale_attn_weights: expected True, got 1"),
    ],
)  # fmt: skip
def test_unsupported_settings(right, tmp_path, layout, changes, named):
    folder = copy_of(right, layout, tmp_path)
    edited(folder, "config.json", **changes)
    refused(folder, named, tmp_path)


WTE = "transformer.wte.weight"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda found: found.pop(WTE), f"{WTE}: expected shape"),
        (lambda found: found.update(more=found[WTE]), "'more': expected no such tensor"),
        (lambda found: found.update({"wte.weight": found[WTE] + 1}), f"{WTE}: expected it once"),
        (lambda found: found.update({WTE: found[WTE].T.copy()}), f"{WTE}"),
        (lambda found: found.update({WTE: found[WTE].astype(np.int8)}), f"{WTE}: expected F16, BF16"),
        (lambda found: found.update({WTE: found[WTE] * np.nan}), f"{WTE}: expected finite numbers"),
        (lambda found: found.update({"lm_head.weight": found[WTE] + 1}), "lm_head.weight: expected the"),
    ],
)  # fmt: skip
def test_wrong_tensors(right, tmp_path, change, named):
    folder = copy_of(right, "gpt2", tmp_path)
    retensored(folder, change)
    refused(folder, named, tmp_path)


def test_wrong_contexts(right, tmp_path):
    folder = copy_of(right, "motegpt", tmp_path)
    retensored(folder, lambda found: found.update({"ngram2.keys": found["ngram2.keys"][::-1].copy()}))
    refused(folder, "ngram2: expected keys in ascending order", tmp_path)
    retensored(folder, lambda found: found.update({"ngram2.keys": found["ngram2.keys"].astype(np.int32)}))
    refused(folder, "ngram2.keys: expected I64", tmp_path)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 1.3, "top_k": 5}, {"top_p": 0.75, "min_p": 0.125}, {"temperature": 0.0}, {}],
    ids=str,
)
@pytest.mark.parametrize("preset", ["gpt2", "microgpt"])
def test_sampling_leads_there_and_back(tmp_path, preset, settings):
    model = small_model(preset=preset, **settings)
    model.export(tmp_path / "out")
    again = GPT.from_hf(tmp_path / "out", "array")
    for name in ("temperature", "top_k", "top_p", "min_p"):
        assert getattr(again.config.sample, name) == getattr(model.config.sample, name), name
    assert again.generate(3, seed=5) == model.generate(3, seed=5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"do_sample": "yes"}, "do_sample: expected true or false, got 'yes'"),
        ({"do_sample": 1}, "do_sample: expected true or false, got 1"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": False}, "top_k"),
        ({"top_k": -5}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_p": 7}, "top_p"),
        ({"min_p": [0.1]}, "min_p"),
        ({"do_sample": False, "top_p": 7}, "top_p"),
    ],
)
def test_wrong_sampling_settings(right, tmp_path, changes, named):
    folder = copy_of(right, "gpt2", tmp_path)
    edited(folder, "generation_config.json", **changes)
    refused(folder, f"generation_config.json: {named}", tmp_path)


def test_sampling_settings_that_a_folder_does_not_have(right, tmp_path):
    folder = copy_of(right, "gpt2", tmp_path)
    edited(folder, "generation_config.json", temperature=None, top_k=None, odd=[1], num_beams=7)
    expected = settings_of("gpt2")
    assert read_hf(folder).config.sample.temperature == expected["temperature"]
    (folder / "generation_config.json").unlink()
    found = read_hf(folder).config.sample.values()
    assert {name: found[name] for name in found.keys() & expected.keys()}.items() <= expected.items()
    (folder / "generation_config.json").symlink_to(right / "gpt2" / "generation_config.json")
    refused(folder, "generation_config.json: expected a file, got a symbolic link", tmp_path)


def test_what_may_differ(right, tmp_path):
    """Names without the prefix, mask buffers, a head equal to the embedding, 16-bit numbers, and shards."""
    expected = read_hf(right / "gpt2").parameters
    folder = copy_of(right, "gpt2", tmp_path)

    def change(found):
        for name in [one for one in found if one.startswith("transformer.")]:
            found[name.removeprefix("transformer.")] = found.pop(name)
        found["lm_head.weight"] = found["wte.weight"]
        found["h.0.attn.bias"], found["h.1.attn.masked_bias"] = np.ones((1, 1, 9, 9), np.uint8), np.ones(())

    retensored(folder, change)
    found = read_hf(folder).parameters
    assert all((found[name] == array).all() for name, array in expected.items())

    arrays = {
        name: array.astype(np.float16)
        for name, array in load_file(right / "gpt2" / "model.safetensors").items()
    }
    (folder / "model.safetensors").unlink()
    names = sorted(arrays)
    halves = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, inside in halves.items():
        save_file({name: arrays[name] for name in inside}, folder / file, METADATA)
    weight_map = {name: file for file, inside in halves.items() for name in inside}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    found = read_hf(folder)
    assert found.config.train.dtype == "float32"
    for name, array in expected.items():
        assert (found.parameters[name] == array.astype(np.float16)).all(), name
    index.write_text(json.dumps({"weight_map": {**weight_map, names[0]: "model-00002-of-00002.safetensors"}}))
    refused(folder, "expected it in 'model-00002-of-00002.safetensors'", tmp_path)
    for wrong in ("../x.safetensors", "/etc/passwd", 3):
        index.write_text(json.dumps({"weight_map": {**weight_map, names[0]: wrong}}))
        refused(folder, "expected names of safetensors files", tmp_path)


def test_bfloat16_is_exact(right, tmp_path):
    folder = copy_of(right, "llama", tmp_path)
    path = folder / "model.safetensors"
    arrays = load_file(path)
    upper = {name: array.astype("<f4").view("<u4") >> 16 for name, array in arrays.items()}
    header, data = {}, b""
    for name, array in upper.items():
        raw = array.astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": array.shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    found = read_hf(folder).parameters
    assert (found["wte"] == (upper["model.embed_tokens.weight"] << 16).view("<f4")).all()
    assert found["wte"].dtype == np.float32


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_links_and_missing_files(right, tmp_path, name):
    folder = copy_of(right, "gpt2", tmp_path)
    (folder / name).unlink()
    refused(folder, name, tmp_path)
    (folder / name).symlink_to(right / "gpt2" / name)
    refused(folder, "got a symbolic link", tmp_path)
    (folder / name).unlink()
    (folder / name).write_bytes(b"\x80\x04nonsense")
    refused(folder, name, tmp_path)


def test_a_pickle_is_never_opened(right, tmp_path):
    folder = copy_of(right, "gpt2", tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "got a pickle", tmp_path)


def test_a_vocabulary_that_does_not_fit(right, tmp_path):
    folder = copy_of(right, "gpt2", tmp_path)
    larger = small_model(preset="gpt2", tokenizer="bytes")
    larger.export(tmp_path / "bytes")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tmp_path / "bytes" / name).read_bytes())
    refused(folder, "tokenizer.json: expected the 15 tokens", tmp_path)


def test_nothing_is_overwritten(tmp_path):
    model = small_model(preset="microgpt")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis").write_text("years of work")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("full", "file", "link"):
        with pytest.raises(UsageError, match="already exists"):
            model.export(tmp_path / name)
    model.export(tmp_path / "empty")
    assert (tmp_path / "full" / "thesis").read_text() == "years of work"
    for to in ("onnx", None, ["hf"]):
        with pytest.raises(UsageError, match="to: expected hf"):
            model.export(tmp_path / "other", to=to)


def test_a_failure_leaves_nothing(tmp_path):
    def fail():
        with new_folder(tmp_path / "out") as folder:
            (folder / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("No space left on device")

    model = small_model(preset="microgpt")
    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(UsageError, match=r"out: .* cannot be written .*No space left"):
        model.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "failing", ["motegpt.training.run_files.replace_file", "motegpt.training.run_files.RunFiles.lock"]
)
def test_a_failed_import_names_the_folder_that_was_given(right, tmp_path, monkeypatch, failing):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(failing, full)
    with pytest.raises(UsageError) as error:
        import_hf(right / "llama", tmp_path / "run")
    said = f"out: {tmp_path / 'run'} cannot be written (No space left on device); choose another"
    assert str(error.value) == said
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_checked(tmp_path):
    small_model(preset="microgpt").save(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert folder.report() == {}
    for wrong in ([], {"a": "b"}, {"a": float("nan")}, {"a|b": 1.0}, {str(i): 1.0 for i in range(99)}):
        folder._write_json("report.json", {"format": 3, "bits_per_character": wrong})
        with pytest.raises(RunFolderError, match=r"report\.json"):
            folder.report()


def test_the_training_settings_are_those_of_the_preset(right):
    config = read_hf(right / "gpt2").config
    expected = settings_of("gpt2")
    assert all(getattr(config.train, name) == expected[name] for name in ("lr", "schedule", "batch_size"))
    assert layout_of(config.model) is GPT2
