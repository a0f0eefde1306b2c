"""The names a program may rely on, and the three-line API."""

import subprocess
import sys

import pytest

import motegpt
from motegpt import GPT, DataError, PrefixError, SettingError

PUBLIC = [
    "GPT", "DataConfig", "DataError", "EngineUnavailable", "ModelConfig", "MotegptError", "PrefixError",
    "RunFolderError", "SampleConfig", "SettingError", "TrainConfig", "TrainingDiverged", "UsageError",
    "make_engine", "make_rng", "settings_of",
]  # fmt: skip


def test_the_public_names_are_pinned():
    assert motegpt.__all__ == PUBLIC
    assert all(getattr(motegpt, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no attribute 'Gpt'"):
        motegpt.Gpt  # noqa: B018


def test_importing_costs_nothing():
    program = "import motegpt, sys; assert not {'numpy', 'safetensors', 'click', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_three_lines(tmp_path):
    model = GPT.train(["anna", "hanna", "nan"], steps=20, seed=1)
    model.save(tmp_path / "names")
    texts = GPT.load(tmp_path / "names").generate(n=3, seed=7)
    assert texts == model.generate(n=3, seed=7)
    assert [record.step for record in model.records] == [1, 20]


def test_training_on_a_file_and_on_the_built_in_names(tmp_path):
    (tmp_path / "list.txt").write_text("anna\nbob\n")
    assert GPT.train(tmp_path / "list.txt", steps=1).tokenizer.characters == "abno"
    assert GPT.train(steps=1).config.source.documents == 98


def test_generate_without_a_seed_is_new_each_time():
    model = GPT.train(["anna", "hanna", "nan"], steps=1)
    assert model.generate(50) != model.generate(50)


def test_wrong_use():
    with pytest.raises(SettingError, match="did you mean steps"):
        GPT.train(["ab"], stepz=3)
    with pytest.raises(DataError):
        GPT.train([])
    model = GPT.train(["ab"], steps=1)
    with pytest.raises(PrefixError):
        model.generate(prefix="z")
    with pytest.raises(SettingError, match="temperature"):
        model.generate(temperature=-1.0)
