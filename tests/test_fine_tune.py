"""Fine-tuning: what is kept of a model, what is new, and what is refused."""

import json
import math
import pickle
import random

import numpy as np
import pytest

from motegpt import GPT, DataError, PrefixError, RunFolderError, SettingError, UsageError
from motegpt.data.corpus import corpus_of
from motegpt.data.tokenizers import Tokenizer
from motegpt.model.rng import make_rng
from motegpt.training.auto import RELATED, UNRELATED
from motegpt.training.fine_tune import Base
from motegpt.training.run_folder import RunFolder
from tests.conftest import ENGINES_HERE

OLD = ["anna", "hanna", "nan", "hana", "nah", "anan"]
NEW = ["hanan", "nana", "haha", "ann"]
STRANGE = ["hanan", "ñandu", "über"]
QUICK = {"steps": 6, "log_every": 1, "engine": "array", "preset": "microgpt", "dtype": "float64"}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder of a small run with an n-gram embedding."""
    folder = tmp_path_factory.mktemp("old") / "run"
    GPT.train(OLD, out=folder, **{**QUICK, "ngram_orders": 3, "ngram_min_count": 1, "seed": 5})
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def parameters(model):
    return model.engine.export().parameters


def started(model, docs, **settings):
    """A fine-tuning before its first step."""
    return model.fine_tuning(docs, **{**QUICK, **settings})


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_it_starts_from_the_weights_and_the_loss_of_the_model(old, engine):
    model = GPT.load(old, engine)
    training = started(model, NEW, engine=engine, batch_size=len(NEW), loss_mean="tokens")
    assert_equal(parameters(training.model), parameters(model))
    first = next(iter(training))
    expected = model.evaluate(NEW).losses["model"]
    assert first.loss == pytest.approx(expected, rel=1e-9 if engine != "torch" else 1e-6)


def test_the_model_itself_stays_as_it_is(old):
    model = GPT.load(old)
    before, sampled = parameters(model), model.generate(5, seed=1)
    tuned = model.fine_tune(NEW, **QUICK)
    assert_equal(parameters(model), before)
    assert model.generate(5, seed=1) == sampled
    assert model.config.base is None
    assert tuned is not model
    assert any((parameters(tuned)[name] != before[name]).any() for name in before)
    again = model.fine_tune(NEW, **QUICK)
    assert_equal(parameters(again), parameters(tuned))


def test_what_is_kept_and_what_is_new(old):
    model = GPT.load(old)
    tuned = model.fine_tune(NEW, **{**QUICK, "lr": 0.003, "temperature": 0.7, "val_fraction": 0.25})
    assert tuned.config.model == model.config.model
    assert tuned.tokenizer == model.tokenizer
    assert [list(keys) for keys in tuned.engine.contexts.keys] == [
        list(keys) for keys in model.engine.contexts.keys
    ]
    assert tuned.config.source.documents == len(NEW)
    assert (tuned.config.train.lr, tuned.config.sample.temperature) == (0.003, 0.7)
    assert tuned.records[-1].val_loss is not None


def test_the_command_line_and_python_give_the_same_run(motegpt, old, tmp_path):
    (tmp_path / "new.txt").write_text("\n".join(NEW))
    flags = ["--steps", "6", "--log-every", "1", "--engine", "array", "--dtype", "float64"]
    ended = motegpt("train", "new.txt", "--from", old, "--out", "cli", *flags)
    assert ended.code == 0, ended.err
    assert f"fine-tuning {old.name}: its architecture" in ended.err
    GPT.load(old).fine_tune(tmp_path / "new.txt", out=tmp_path / "python", **QUICK)
    assert files(tmp_path / "cli") == files(tmp_path / "python")


def test_a_run_as_one_file_is_fine_tuned_like_its_folder(motegpt, old, tmp_path):
    GPT.load(old).export(tmp_path / "old.motegpt", to="file")
    (tmp_path / "new.txt").write_text("\n".join(NEW))
    flags = ["--steps", "6", "--log-every", "1", "--engine", "array", "--dtype", "float64"]
    ended = motegpt("train", "new.txt", "--from", "old.motegpt", "--out", "one", *flags)
    assert ended.code == 0, ended.err
    expected = GPT.load(old).fine_tune(NEW, **QUICK)
    assert_equal(parameters(GPT.load(tmp_path / "one")), parameters(expected))


def test_the_origin_is_recorded_and_shown(motegpt, old, tmp_path):
    before = files(old)
    tuned = GPT.load(old).fine_tune(NEW, out=tmp_path / "new", **QUICK)
    origin = tuned.config.base
    assert (origin.path, origin.step, origin.steps) == (str(old), 6, 6)
    assert origin == RunFolder(tmp_path / "new").config().base
    assert origin.sha256 == GPT.load(old).fine_tune(OLD, **QUICK).config.base.sha256
    assert origin.sha256 != tuned.fine_tune(OLD, **QUICK).config.base.sha256
    shown = motegpt("show", "new")
    assert f"step 6 of 6, parameters {origin.sha256[:12]}" in " ".join(shown.out.split())
    assert json.loads(motegpt("show", "new", "--json").out)["base"] == origin.values()
    assert json.loads(motegpt("show", old, "--json").out)["base"] is None
    assert files(old) == before


def test_a_fine_tuned_run_goes_on_as_if_it_had_never_stopped(old, tmp_path):
    (tmp_path / "new.txt").write_text("\n".join(STRANGE * 3))
    for name, until in (("whole", 6), ("parts", 3)):
        training = GPT.load(old).fine_tuning(
            tmp_path / "new.txt", out=tmp_path / name, extend_vocabulary=True, **QUICK
        )
        next(record for record in training if record.step == until)
        del training
    GPT.train(resume=tmp_path / "parts")
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_run_that_measures_itself_goes_on_too(tmp_path):
    """Its second model starts from the same parameters, which the run folder keeps."""
    words = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklm" for c in "nopqrstu"]
    quick = {"engine": "array", "n_layer": 1, "n_embd": 8, "ngram_orders": 2, "seconds": 60}
    base = GPT.train(words[::2], **quick, steps=8, kneser_ney=3)
    (tmp_path / "new.txt").write_text("\n".join([*words[1:230], "ábc"]))
    reports = []
    for name, until in (("whole", 10), ("parts", 4)):
        training = base.fine_tuning(
            tmp_path / "new.txt", out=tmp_path / name, extend_vocabulary=True, steps=10, log_every=2
        )
        for record in training:
            if record.step == until < 10:
                break
        reports.append(training.model.report)
    assert reports[0].of_second
    assert reports[1] is None
    resumed = GPT.train(resume=tmp_path / "parts")
    assert resumed.report.bits() == reports[0].bits()
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert "start.safetensors" in files(tmp_path / "whole")


def test_the_second_model_starts_from_the_base_too():
    """So its loss before the first step is that of the base, not that of a new model."""
    words = [f"{a}{b}{c}" for a in "abcdefg" for b in "hijklm" for c in "nopqrstu"]
    base = GPT.train(words, engine="array", n_layer=1, n_embd=8, ngram_orders=None, epochs=20, lr=0.02)
    tuned = base.fine_tune(words[:210], steps=1, lr=1e-9)
    assert tuned.report.of_second
    assert tuned.report.bits()["gpt"] < 0.8 * tuned.report.bits()["uniform"]


def test_kneser_ney_is_counted_on_the_new_data(old, tmp_path):
    assert GPT.load(old).fine_tune(NEW, **QUICK).average is None
    averaged = GPT.train(OLD, **QUICK, kneser_ney=3)
    tuned = averaged.fine_tune(NEW, **QUICK)
    assert tuned.average.kneser_ney.order == 3
    expected = GPT.train([*NEW, "h"], **QUICK, kneser_ney=3).average.kneser_ney  # the same four letters
    assert tuned.average.kneser_ney.targets == expected.targets - 2
    assert averaged.fine_tune(NEW, **QUICK, kneser_ney=2).average.kneser_ney.order == 2
    assert averaged.fine_tune(NEW, **{**QUICK, "kneser_ney": None}).average is None
    chosen = averaged.fine_tune(NEW, engine="array")
    assert chosen.average is not None
    assert GPT.load(old).fine_tune(NEW, engine="array").average is None


def test_novel_samples_are_in_neither_list(tmp_path):
    base = GPT.train(OLD, **QUICK, novel=True, out=tmp_path / "base")
    for model in (base, GPT.load(tmp_path / "base")):
        tuned = model.fine_tune(NEW, **QUICK, novel=True, out=tmp_path / "new", overwrite=True)
        for one in (tuned, GPT.load(tmp_path / "new"), pickle.loads(pickle.dumps(tuned))):
            assert all(text in one.known for text in OLD + NEW)
            assert not set(one.generate(20, seed=1)) & {*OLD, *NEW}
    training = base.fine_tuning(NEW, **QUICK, novel=True, out=tmp_path / "parts")
    next(iter(training))
    del training
    resumed = GPT.train(NEW, resume=tmp_path / "parts")
    assert all(text in resumed.known for text in OLD + NEW)


@pytest.mark.parametrize("framing", ["bos", "bos_eos"])
@pytest.mark.parametrize("tied", [True, False])
def test_appended_characters_change_no_id_and_no_other_logit(framing, tied):
    base = GPT.train(OLD, **QUICK, framing=framing, tied=tied)
    with pytest.raises(DataError, match=r"got 7 others, .*U\+0062.*add them with `extend_vocabulary=True`"):
        base.fine_tune(STRANGE, **QUICK)
    bigger = started(base, STRANGE, extend_vocabulary=True).model
    before, after = base.tokenizer, bigger.tokenizer
    assert after.vocab_size == before.vocab_size + 7 == bigger.config.model.vocab_size
    assert (after.bos, after.stop) == (before.bos, before.stop)
    assert all(after.encode(text) == before.encode(text) for text in OLD)
    assert [after.decode(after.encode(text)) for text in STRANGE] == STRANGE
    assert after.encode("ñ")[0] >= before.vocab_size
    np.testing.assert_allclose(
        bigger.logits("hanna")[..., : before.vocab_size], base.logits("hanna"), rtol=1e-12
    )
    assert Tokenizer.from_values(after.values()) == after
    with pytest.raises(PrefixError):
        base.generate(prefix="ñ")
    tuned = base.fine_tune(STRANGE * 5, **{**QUICK, "steps": 60}, extend_vocabulary=True)
    assert set("".join(tuned.generate(20, seed=1))) & set("bderuñü")


def test_new_rows_are_drawn_from_the_seed_as_others_are():
    base = GPT.train(OLD, **QUICK)
    count = base.tokenizer.vocab_size
    one, other = (
        parameters(started(base, STRANGE, extend_vocabulary=True, seed=seed, shuffle=False).model)
        for seed in (1, 2)
    )
    rng, width = make_rng("python", 1), base.config.model.n_embd
    for name in ("wte", "lm_head"):
        np.testing.assert_array_equal(one[name][:count], parameters(base)[name])
        drawn = np.reshape(rng.gauss_array(0.0, base.config.model.init_std, 7 * width), (7, width))
        np.testing.assert_array_equal(one[name][count:], drawn)
        assert (one[name][count:] != other[name][count:]).all()
    assert_equal({"wpe": one["wpe"]}, {"wpe": parameters(base)["wpe"]})


def test_twice_extended(tmp_path):
    base = GPT.train(OLD, **QUICK)
    once = base.fine_tune(["ñah"], **QUICK, extend_vocabulary=True)
    twice = once.fine_tune(["ühn"], **QUICK, extend_vocabulary=True, out=tmp_path / "twice")
    loaded = GPT.load(tmp_path / "twice")
    for tokenizer in (twice.tokenizer, loaded.tokenizer):
        assert tokenizer.encode("ahnñü") == [0, 1, 2, 4, 5]
        assert tokenizer.bos == tokenizer.stop == 3
        assert tokenizer.alphabet == "ahnñü"
        assert tokenizer.decode([3, 4, 5, 3]) == "<BOS>ñü<BOS>"
    assert loaded.generate(5, seed=1, prefix="ü") == twice.generate(5, seed=1, prefix="ü")


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer": "words"},
        {"tokenizer": "regex", "token_pattern": "an|."},
        {"tokenizer": "bpe"},
    ],
    ids=lambda settings: settings["tokenizer"],
)
def test_longer_tokens_are_kept_and_characters_appended(settings, tmp_path):
    base = GPT.train(OLD * 3, **QUICK, **settings)
    with pytest.raises(DataError, match="extend_vocabulary=True"):
        base.fine_tune(STRANGE, **QUICK)
    tuned = base.fine_tune(STRANGE, **QUICK, extend_vocabulary=True, out=tmp_path / "run")
    for tokenizer in (tuned.tokenizer, GPT.load(tmp_path / "run").tokenizer):
        unknown = base.tokenizer.unknown_in(STRANGE)
        assert tokenizer.vocab_size == base.tokenizer.vocab_size + len(unknown)
        assert tokenizer.bos == base.tokenizer.bos
        assert [tokenizer.encode(text) for text in OLD] == [base.tokenizer.encode(text) for text in OLD]
        assert [tokenizer.decode(tokenizer.encode(text)) for text in STRANGE] == STRANGE


def test_bytes_know_every_character():
    base = GPT.train(OLD, **QUICK, tokenizer="bytes")
    for extend in (True, False):
        tuned = base.fine_tune(STRANGE, **QUICK, extend_vocabulary=extend)
        assert tuned.tokenizer == base.tokenizer


def test_a_tokenizer_file_cannot_grow(tmp_path):
    library = pytest.importorskip("tokenizers")
    models = library.models
    known = library.Tokenizer(models.WordLevel({letter: i for i, letter in enumerate("ahn")}))
    known.pre_tokenizer = library.pre_tokenizers.Split("", "isolated")
    known.decoder = library.decoders.Fuse()
    known.save(str(tmp_path / "tokenizer.json"))
    base = GPT.train(OLD, **QUICK, tokenizer="file", tokenizer_file=str(tmp_path / "tokenizer.json"))
    base.fine_tune(NEW, **QUICK)
    with pytest.raises(DataError, match=r"`tokenizer='file'`, whose tokens are fixed; leave out texts with"):
        base.fine_tune(STRANGE, **QUICK, extend_vocabulary=True)
    with pytest.raises(DataError, match=r"got 7 others, .*U\+0062") as caught:
        base.fine_tune(STRANGE, **QUICK)
    assert "extend_vocabulary" not in str(caught.value)


def test_a_stream_is_fine_tuned_on_a_stream(tmp_path):
    (tmp_path / "text.txt").write_text("hanna and anna and nan " * 20)
    base = GPT.train(tmp_path / "text.txt", format="stream", **QUICK)
    tuned = base.fine_tune(tmp_path / "text.txt", **QUICK)
    assert tuned.config.data.format == "stream"
    with pytest.raises(SettingError, match=r"format: expected one long text \(stream\), as in the model"):
        base.fine_tune(tmp_path / "text.txt", format="text", **QUICK)
    with pytest.raises(SettingError, match="format: expected documents, as in the model to fine-tune"):
        GPT.train(OLD, **QUICK).fine_tune(tmp_path / "text.txt", format="stream", **QUICK)


@pytest.mark.parametrize("preset", ["zeroclaw", "oxidized"])
def test_models_of_other_presets(preset, tmp_path):
    base = GPT.train(OLD, preset=preset, steps=3, out=tmp_path / "base")
    same = base.fine_tune(NEW, preset=preset, steps=3, out=tmp_path / "same")
    assert (same.config.train.rng, same.config.train.adam) == (base.config.train.rng, base.config.train.adam)
    assert GPT.load(tmp_path / "base").fine_tune(NEW, steps=3).config.model == base.config.model


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"n_embd": 32}, SettingError, "n_embd: expected 16, as in the model to fine-tune, got 32; leave it"),
        ({"block_size": 8}, SettingError, "block_size: expected 16, as in the model"),
        ({"tokenizer": "bytes"}, SettingError, "tokenizer: expected characters, as in the model"),
        ({"framing": "bos_eos"}, SettingError, "framing: expected bos, as in the model"),
        ({"ngram_orders": None}, SettingError, "ngram_orders: expected 3, as in the model.*got none"),
        ({"ngram_min_count": 3}, SettingError, "ngram_min_count: expected 1"),
        ({"activation": "sigmoid"}, SettingError, "activation: expected one of"),
        ({"vocab_size": 9}, SettingError, "vocab_size is determined by the data"),
        (
            {"extend_vocab": True},
            SettingError,
            "unknown setting .*; did you mean extend_vocabulary",
        ),
        ({"extend_vocabulary": 3}, SettingError, "extend_vocabulary"),
    ],
)
def test_settings_that_contradict_the_model_are_refused(old, given, kind, said):
    with pytest.raises(kind, match=said):
        GPT.load(old).fine_tune(NEW, **{**QUICK, **given})


def test_settings_that_agree_with_the_model_are_not(old):
    tuned = GPT.load(old).fine_tune(NEW, **QUICK, n_embd=16, ngram_orders=3, framing="bos", cut="tokens")
    assert tuned.config.data.cut == "tokens"


def test_none_and_its_value_agree(old):
    base = GPT.load(old)
    given = {"n_kv_head": base.config.model.n_head, "n_hidden": 4 * base.config.model.n_embd}
    assert base.config.model.values().items() >= dict.fromkeys(given).items()
    explicit = base.fine_tune(NEW, **QUICK, **given)
    assert explicit.generate(3, seed=1) == base.fine_tune(NEW, **QUICK).generate(3, seed=1)
    assert explicit.fine_tune(NEW, **QUICK, **dict.fromkeys(given)).config.model.n_hidden is None
    with pytest.raises(SettingError, match=r"n_hidden: expected none, .* got 63"):
        base.fine_tune(NEW, **QUICK, n_hidden=63)
    with pytest.raises(SettingError, match="n_kv_head"):
        base.fine_tune(NEW, **QUICK, n_kv_head=1)


def test_what_is_refused_on_the_command_line(motegpt, old, tmp_path):
    (tmp_path / "new.txt").write_text("\n".join(NEW))
    (tmp_path / "strange.txt").write_text("\n".join(STRANGE))
    before = files(old)
    for words, said in (
        (["--from", old], "data: expected documents to fine-tune the model on, got none"),
        (["new.txt", "--from", old, "--resume", old], "--resume"),
        (["new.txt", "--extend-vocabulary"], "extend_vocabulary: expected a model to fine-tune, got none"),
        (["new.txt", "--from", old, "--out", old], "expected another folder"),
        (["new.txt", "--from", old, "--out", old, "--overwrite"], "expected another folder"),
        (["new.txt", "--from", old, "--n-layer", "3"], "n_layer: expected 1, as in the model to fine-tune"),
        (["strange.txt", "--from", old], "add them with --extend-vocabulary"),
        (["new.txt", "--from", "nowhere"], "nowhere: no such run folder"),
        (["new.txt", "--from", old, "--checkpoint", "2"], "has no checkpoint of step 2"),
    ):
        ended = motegpt("train", *words)
        assert (ended.code, ended.out) in [(1, ""), (2, "")], words
        assert said in ended.err
        assert ended.err.count("\n") == 1
    assert files(old) == before
    assert not (tmp_path / "runs").exists()


def test_a_damaged_run_is_refused_as_when_it_is_opened(old, tmp_path):
    import shutil

    for name, damage in (
        ("config.json", lambda data: data.replace(b'"format": 3', b'"format": 99')),
        ("config.json", lambda data: data.replace(b'"n_embd": 16', b'"n_embd": 32')),
        ("model.safetensors", lambda data: data[:-8]),
        ("tokenizer.json", lambda data: data.replace(b"ahn", b"ahm")),
        ("contexts.safetensors", lambda data: data[:-1] + b"\x7f"),
    ):
        folder = tmp_path / name / "run"
        shutil.copytree(old, folder, dirs_exist_ok=True)
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
        with pytest.raises(RunFolderError) as opened:
            GPT.load(folder)
        with pytest.raises(RunFolderError) as tuned:
            Base.read(RunFolder(folder))
        assert str(tuned.value) == str(opened.value)


@pytest.mark.parametrize("appended", [-1, 3, 4, 1.0, "1", True, None])
def test_a_changed_number_of_appended_tokens_is_refused(appended):
    with pytest.raises(RunFolderError, match="appended"):
        Tokenizer.from_values({"characters": "abc", "framing": "bos", "appended": appended})


def test_a_checkpoint_that_was_kept(old, tmp_path):
    GPT.train(OLD, **QUICK, checkpoint_every=2, keep=5, out=tmp_path / "base")
    third = GPT.load(tmp_path / "base", checkpoint=4)
    tuned = third.fine_tuning(NEW, **QUICK).model
    assert_equal(parameters(tuned), parameters(third))
    assert tuned.config.base.step == 4


def test_the_best_parameters_are_the_ones_that_go_on(tmp_path):
    model = GPT.train(OLD * 3, **{**QUICK, "steps": 40}, val_fraction=0.4, lr=0.3, out=tmp_path / "base")
    tuned = model.fine_tuning(NEW, **QUICK).model
    assert_equal(parameters(tuned), parameters(GPT.load(tmp_path / "base")))
    assert (
        tuned.config.base.step == GPT.load(tmp_path / "base").fine_tuning(NEW, **QUICK).model.config.base.step
    )


def test_documents_that_are_too_long_and_no_way_to_a_longer_block(old):
    with pytest.warns(UserWarning, match=r"fine-tuning keeps it, and a new model with `block_size=\d+`"):
        GPT.load(old).fine_tune(["hanna" * 9], **QUICK)


def test_callbacks_stop_it(old):
    seen = []
    tuned = GPT.load(old).fine_tune(
        NEW, **QUICK, callbacks=lambda record: seen.append(record) or len(seen) == 2
    )
    assert [record.step for record in tuned.records] == [1, 2]


def test_a_model_alone_has_no_other_documents():
    base = GPT.train(OLD, **QUICK)
    with pytest.raises(UsageError, match="expected documents to fine-tune the model on"):
        base.fine_tune(None, **QUICK)


def names(count, seed=0):
    """Names of three parts, as two lists have in common."""
    chance = random.Random(seed)
    parts = (["ka", "lo", "mi", "nu", "ra"], ["ber", "dan", "gor", "lin"], ["a", "e", "os", "um"])
    return ["".join(map(chance.choice, parts)) for _ in range(count)]


@pytest.fixture(scope="module")
def knowing():
    """A model that knows the names."""
    return GPT.train(names(400), engine="array", epochs=10, n_layer=1, n_embd=16, kneser_ney=3)


def test_a_model_that_knows_the_data_learns_slower_and_shorter(knowing):
    known = Base.tuning(knowing._base(), corpus_of(names(60, 1)))
    other = Base.tuning(knowing._base(), corpus_of([name[::-1] for name in names(60, 1)]))
    assert (known, other) == (RELATED, UNRELATED)
    config = knowing.fine_tuning(names(60, 1)).model.config
    assert config.train.lr == pytest.approx(0.02 * RELATED.rate, rel=1e-3)
    assert config.train.steps == math.ceil(RELATED.epochs * 60 / config.train.batch_size)
    assert config.train.ngram_weight_decay == 0.0  # which would erase the tables
    assert (config.check, config.train.kneser_ney_weight) == ("none", RELATED.weight)
    assert knowing.fine_tuning(names(60, 1), lr=0.5, steps=3).model.config.train.lr == 0.5


def test_with_too_little_to_fit_it_the_weight_of_the_n_grams_stays_fixed(knowing):
    new = [f"{name}{i}" for i, name in enumerate(names(210, 1))]
    model = knowing.fine_tune(new, extend_vocabulary=True, epochs=1)
    assert model.report.of_second
    assert model.report.weight == model.average.weight == UNRELATED.weight
    fitted = knowing.fine_tune(new, extend_vocabulary=True, epochs=1, val_fraction=0.9)
    assert fitted.config.train.kneser_ney_weight not in (None, UNRELATED.weight)


def test_fine_tuning_beats_a_new_model_on_a_short_list(knowing):
    new, held_out = names(60, 1), names(300, 2)
    tuned, fresh = knowing.fine_tune(new), GPT.train(new, engine="array")
    bits = [model.evaluate(held_out).bits_per_character("model") for model in (tuned, fresh)]
    assert bits[0] < bits[1] - 0.1


@pytest.mark.parametrize("preset", ["gpt2", "llama"])
def test_every_architecture(preset, tmp_path):
    small = {"n_layer": 2, "n_embd": 8, "n_head": 2, "block_size": 8, "engine": "array", "preset": preset}
    base = GPT.train(OLD, **small, steps=2, batch_size=2, out=tmp_path / "base")
    assert_equal(
        parameters(started(base, STRANGE, extend_vocabulary=True).model),
        parameters(started(GPT.load(tmp_path / "base"), STRANGE, extend_vocabulary=True).model),
    )
    tuned = base.fine_tune(STRANGE, extend_vocabulary=True, steps=2, lr=0.01)
    assert tuned.config.model == base.config.model.replace(vocab_size=base.tokenizer.vocab_size + 7)


def test_messages_write_true_and_false_as_elsewhere():
    base = GPT.train(OLD, **QUICK)
    with pytest.raises(
        SettingError, match=r"^tied: expected false, as in the model to fine-tune, got true; "
    ):
        base.fine_tune(NEW, tied=True)
    with pytest.raises(SettingError, match=r"^n_kv_head: expected none, .*, got 2; "):
        base.fine_tune(NEW, n_kv_head=2)
