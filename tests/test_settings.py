"""Settings accept numbers and strings of any type, and store built-in ones."""

import enum
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig, SampleConfig, TrainConfig, section_values
from motegpt.errors import SettingError
from tests.conftest import ENGINES_HERE


class Int(int):
    """A subclass of int with another repr."""

    def __repr__(self):
        return "Int"


class Text(str):
    """A subclass of str with another str()."""

    def __str__(self):
        return "something else"


class Size(enum.IntEnum):
    SMALL = 3


class Rate(enum.Enum):
    LOW = 0.5


class Decay(enum.StrEnum):
    COSINE = "cosine"


class Mixed(str, enum.Enum):  # noqa: UP042  # the older idiom, whose str() is Mixed.COSINE
    COSINE = "cosine"


class Number(float, enum.Enum):
    HALF = 0.5


class Choice(enum.Enum):
    YES = True


WHOLE = [3, Int(3), Size.SMALL, np.int8(3), np.uint64(3), np.int64(3), np.array(3), np.longlong(3)]
REAL = [0.5, np.float16(0.5), np.float32(0.5), np.float64(0.5), np.longdouble(0.5), np.array(0.5), Rate.LOW,
        Number.HALF, Fraction(1, 2)]  # fmt: skip
TEXT = ["cosine", Text("cosine"), np.str_("cosine"), Decay.COSINE, Mixed.COSINE, np.array("cosine")]
BOOL = [True, np.bool_(True), np.array(True), Choice.YES]


def train(**changes):
    return TrainConfig.of({**section_values(settings_of("microgpt"), "train"), **changes})


def check(found, name, value):
    """The setting stores the built-in value, and derived values equal those of the built-in value."""
    plain = found.replace(**{name: value})
    assert type(getattr(found, name)) is type(value)
    assert getattr(found, name) == value
    assert found == plain
    assert repr(found) == repr(plain)
    assert json.dumps(found.values()) == json.dumps(plain.values())


@pytest.mark.parametrize("value", WHOLE, ids=lambda value: type(value).__name__)
def test_integers(value):
    check(train(steps=value), "steps", 3)
    check(train(lr=value), "lr", 3.0)
    check(train(warmup_steps=value), "warmup_steps", 3)


@pytest.mark.parametrize("value", REAL, ids=lambda value: type(value).__name__)
def test_real_numbers(value):
    check(train(lr=value), "lr", 0.5)
    with pytest.raises(SettingError, match="steps: expected a whole number"):
        train(steps=value)


@pytest.mark.parametrize("value", TEXT, ids=lambda value: type(value).__name__)
def test_strings(value):
    check(train(schedule=value), "schedule", "cosine")
    check(DataConfig(framing="bos", cut="tokens", shuffle=True, column=value), "column", "cosine")
    with pytest.raises(SettingError, match="steps: expected a whole number"):
        train(steps=value)


@pytest.mark.parametrize("value", BOOL, ids=lambda value: type(value).__name__)
def test_bools_are_not_numbers(value):
    check(train(compile=value), "compile", True)
    for name in ("steps", "lr", "schedule"):
        with pytest.raises(SettingError, match=f"{name}: expected"):
            train(**{name: value})


@pytest.mark.parametrize("value", [1, 0, 1.0, "true", None, np.int64(1), Size.SMALL], ids=repr)
def test_numbers_and_strings_are_not_bools(value):
    with pytest.raises(SettingError, match="compile: expected true or false"):
        train(compile=value)


NEITHER = [
    math.nan, math.inf, np.float64("nan"), np.float32("-inf"), 10**400, Fraction(10**400), 1j, b"0.5", "0.5",
    np.complex128(1), np.array([0.5]), np.array([0.5, 0.5]), np.array([]), np.array(None), np.bytes_(b"x"),
    np.datetime64("2026-01-01"), np.timedelta64(1, "s"), np.void(b"x"), [0.5], {"lr": 0.5}, object(), len,
    enum.Enum("Empty", []), enum.Enum("Other", {"X": (1, 2)}).X,
]  # fmt: skip


@pytest.mark.parametrize("value", NEITHER, ids=lambda value: repr(value)[:16])
def test_other_types_are_refused_in_one_line(value):
    for name in ("lr", "steps", "compile", "device"):
        with pytest.raises(SettingError, match=rf"^{name}: expected .*, got ") as error:
            train(**{name: value})
        assert "\n" not in str(error.value)


@pytest.mark.skipif("torch" not in ENGINES_HERE, reason="PyTorch is not here")
def test_zero_dimensional_tensors():
    import torch

    check(train(lr=torch.tensor(0.5)), "lr", 0.5)
    check(train(steps=torch.tensor(3)), "steps", 3)
    with pytest.raises(SettingError, match="lr: expected"):
        train(lr=torch.tensor([0.5, 0.5]))


def test_a_choice_of_numbers():
    check(train(count_from=np.int64(0)), "count_from", 0)
    with pytest.raises(SettingError, match="count_from: expected one of 0, 1"):
        train(count_from=False)


def test_none_is_allowed_for_optional_settings():
    assert SampleConfig(n=1, temperature=1, top_k=None).top_k is None
    with pytest.raises(SettingError, match="n: expected"):
        SampleConfig(n=None, temperature=1)
