"""Any call of the Python API with any arguments: a correct result or a one-line error."""

import decimal
import enum
import math
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import motegpt
from motegpt import (
    GPT,
    ModelConfig,
    SampleConfig,
    make_engine,
    make_rng,
    settings_of,
)
from motegpt.config.fields import kinds
from motegpt.config.sections import SECTIONS, section_values
from tests.attacks.oracle import check_python_message, refused_or_right

PROFILE = settings(max_examples=1000, deadline=None, derandomize=True, database=None)
WORDS = ["anna", "hanna", "nan", "hana"]
SMALL = {
    "preset": "microgpt",
    "steps": 2,
    "n_embd": 4,
    "n_head": 1,
    "block_size": 4,
    "n": 1,
    "engine": "array",
}
# Of one of many trainings, none of whose models generates.
ONE = {name: value for name, value in SMALL.items() if name != "n"}
TABLE = {
    **{name: ONE[name] for name in ("preset", "engine")},
    "fixed": {name: value for name, value in ONE.items() if name not in ("preset", "engine")},
    "grid": {"seed": [1, 2]},
}


class Color(enum.Enum):
    RED = "array"
    ONE = 1


class Failing:
    """Raises an error when compared."""

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    __hash__ = None


ODD = [
    None, True, False, 0, 1, 2, -1, 3, 2**31, 2**63, 2**64, -(2**63), 10**400, 10**5000, 0.5, 1.0, -0.0,
    1e308, 1e-320, math.nan, math.inf, 1j, Fraction(1, 2), decimal.Decimal("0.5"),
    "", "a", "anna", "b", "array", "last", "none", "text", "a\0b", "a\nb", "\ud800", "x" * 300, "new", "run",
    "list.txt", ".", "/dev/null", Path("new"), Path("run"), Path("list.txt"),
    b"", b"anna", bytearray(b"a"), memoryview(b"ab"), [], ["anna"], ["a", 1], [None], [[]], (), ("anna",), {},
    {"n": 1}, set(), range(3), iter(["ab"]), object(), object, len, print, lambda *_: True, Failing(), Color,
    Color.RED, Color.ONE, Ellipsis, NotImplemented, type, os, ModelConfig,
    np.float64(0.5), np.int64(2), np.nan, np.bool_(True), np.str_("anna"), np.array(2), np.array([1, 2]),
    np.array(["ab", "b"]), np.array([]), np.array(None),
]  # fmt: skip
SETTINGS = {name: kind for section in SECTIONS.values() for name, kind in kinds(section).items()}
FIT = {  # valid values of arguments; those of settings derive from their kinds
    "docs": [WORDS, "list.txt", None], "preset": ["zeroclaw"], "engine": ["array", "scalar"], "out": ["new"],
    "overwrite": [True], "resume": ["run"], "checkpoint": ["last", 2], "callbacks": [print], "seed": [3],
    "unique": [True], "novel": [False], "data": ["list.txt"], "texts": [WORDS], "path": ["run", "new"],
    "n": [2], "name": ["lcg", "array", "microgpt"], "settings": [[ONE]],
    "source": [WORDS, "list.txt", None],
    "curves": [True], "keep": ["all", "best", None], "table": [TABLE], "folder": ["new"],
    "model": [5], "train": [5],
}  # fmt: skip
LARGE = {"n_layer", "n_embd", "block_size", "batch_size", "steps", "epochs", "max_new_tokens", "beams", "n",
         "tries", "min_new_tokens", "min_length", "max_length", "threads"}  # fmt: skip


def fits(name):
    """Values that an argument or a setting takes, none of them large."""
    if name in FIT:
        return FIT[name]
    kind = SETTINGS[name]
    if kind.choices or kind.base is bool:
        return [*(kind.choices or (True, False)), *([None] if kind.optional else [])]
    return {int: [1, 2], float: [0.5, 1], str: ["a"], tuple: [(), (2,)]}[kind.base]


def value_of(name):
    """Mostly odd values; for settings that make a model large, only invalid or small ones."""
    odd = [one for one in ODD if not (name in LARGE and type(one) is int and 3 < one < 2**63)]
    return st.sampled_from([*odd, *fits(name) * 12])


def arguments(*names):
    """Some of the arguments by name."""
    return st.lists(st.sampled_from(names), max_size=3, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: value_of(name) for name in chosen})
    )


SAMPLING = [*kinds(SampleConfig), "seed", "data"]
TRAINING = [*SETTINGS, "docs", "preset", "engine", "out", "overwrite", "resume", "checkpoint", "callbacks"]


def quiet(callback):
    """A callback whose own errors do not count; what is none stays."""

    def call(record):
        with suppress(Exception):
            return callback(record)

    return call if callable(callback) else callback


def train(model, given):
    if "callbacks" in given:
        given["callbacks"] = quiet(given["callbacks"])
    docs, given = given.pop("docs", WORDS), {**({} if "resume" in given else SMALL), **given}
    GPT.train(docs, **given)


def iterate(model, given):
    given.pop("callbacks", None)
    docs, given = given.pop("docs", WORDS), {**({} if "resume" in given else SMALL), **given}
    training = GPT.training(docs, **given)
    assert len(training), repr(training)
    assert list(training) == training.model.records


def make(config, section):
    """Make a config in every way."""
    values = section_values({**settings_of("microgpt"), "vocab_size": 3}, section)

    def call(model, given):
        assert (
            config(**{**values, **given})
            == config.of({**values, **given})
            == config(**values).replace(**given)
        )

    return call, list(kinds(config))


CALLS = {
    "train": (train, TRAINING),
    "training": (iterate, TRAINING),
    "load": (lambda model, given: GPT.load(**{"path": "run", **given}), ["path", "engine", "checkpoint"]),
    "save": (lambda model, given: model.save(**{"path": "new", **given}), ["path", "overwrite"]),
    "generate": (lambda model, given: model.generate(**{"tries": 20, **given}), SAMPLING),
    "samples": (lambda model, given: list(model.samples(**{"tries": 20, **given})), SAMPLING),
    "score": (lambda model, given: model.score(**{"texts": None, **given}), ["texts"]),
    "evaluate": (lambda model, given: model.evaluate(**{"docs": None, **given}), ["docs"]),
    "checkpoints": (lambda model, given: motegpt.checkpoints(**{"path": "run", **given}), ["path"]),
    "Csv": (lambda model, given: motegpt.Csv(**{"path": "new", **given}), ["path"]),
    "TensorBoard": (lambda model, given: motegpt.TensorBoard(**{"folder": "new", **given}), ["folder"]),
    "train_many": (
        lambda model, given: list(motegpt.train_many(**{"settings": [SMALL], "data": WORDS, **given})),
        ["settings", "data", "threads", "curves", "keep"],
    ),
    "sweep": (
        lambda model, given: motegpt.sweep(**{"table": TABLE, "data": WORDS, **given}),
        ["table", "data", "out", "threads", "curves"],
    ),
    "Data": (
        lambda model, given: motegpt.Data(**{"source": WORDS, **given}),
        ["source", *kinds(motegpt.DataConfig)],
    ),
    "make_rng": (lambda model, given: make_rng(**{"name": "lcg", "seed": 1, **given}), ["name", "seed"]),
    "settings_of": (lambda model, given: settings_of(**{"preset": None, **given}), ["preset"]),
    "make_engine": (
        lambda model, given: make_engine(
            **{"name": "array", "model": model.config.model, "train": model.config.train, **given}
        ),
        ["name", "model", "train"],
    ),
    **{config.__name__: make(config, section) for section, config in SECTIONS.items()},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model, in a folder with its run and a list."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("calls"))
    Path("list.txt").write_text("\n".join(WORDS))
    yield GPT.train(WORDS, out="run", **SMALL)
    os.chdir(before)


@pytest.mark.slow
def test_any_call(model):
    done = set()

    @PROFILE
    @given(st.sampled_from(sorted(CALLS)), st.data())
    def holds(name, data):
        call, names = CALLS[name]
        given = data.draw(arguments(*names))
        with refused_or_right(check_python_message):
            call(model, dict(given))
            done.add(name)

    holds()
    assert done == CALLS.keys(), "every call was right once at least"


def test_every_public_name_is_called():
    """The others are what the calls give."""
    others = {
        "GPT", "Training", "Score", "Scores", "Evaluation", "Report", "StepRecord", "Gradients", "NextToken",
        "SweepRows", "Lens", "ActivationCache", "ActivationGradients", "Attribution",
    }  # fmt: skip
    names = {name for name in motegpt.__all__ if not isinstance(getattr(motegpt, name), type)}
    assert names | {config.__name__ for config in SECTIONS.values()} <= CALLS.keys()
    classes = {name for name in motegpt.__all__ if name not in names}
    assert {name for name in classes if not issubclass(getattr(motegpt, name), BaseException)} <= (
        others | CALLS.keys()
    )
