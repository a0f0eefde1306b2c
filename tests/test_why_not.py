"""What each engine refuses, and the message a user reads; abilities are asked for, never known by types."""

import re
from pathlib import Path

import pytest

import motegpt
from motegpt.config.sections import model_and_training
from motegpt.engines import check_settings, engine_class, fresh_engine
from motegpt.errors import SettingError, UsageError
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from tests.conftest import ENGINES_HERE, small_engine, small_settings

REQUEST = Request((0,), 4, None, Filters(1.0))

# The engines that refuse it, what is asked, and why not.
REFUSED = {
    "single precision": (
        ("scalar",), {"dtype": "float32"},
        "dtype: the scalar engine expected float64, got float32; try `dtype='float64'`",
    ),
    "autocast of double precision": (
        ("torch",), {"autocast": "bfloat16"},
        "autocast: expected parameters in float32, got float64; add `dtype='float32'`",
    ),
    "node clip of scaled gradients": (
        ("torch",), {"autocast": "float16", "dtype": "float32", "clip_node": 1.0},
        "clip_node: cannot go with `autocast='float16'`, whose gradients are scaled; try bfloat16",
    ),
    "node clip without nodes": (
        ("torch",), {"compile": True, "clip_node": 1.0},
        "clip_node: cannot go with `compile=True`, which has no nodes; leave one out",
    ),
    **{
        f"node clip and {name}": (
            ENGINES_HERE, {"clip_node": 1.0, name: value},
            f"clip_node: Oxidized-GPT has no `{name}={value!r}`; leave one out, or try `{name}={other!r}`",
        )
        for name, value, other in (
            ("activation", "squared_relu", "relu"), ("tied", True, False), ("embedding_norm", False, True),
            ("position", "rope", "learned"), ("qk_norm", True, False), ("dropout", 0.1, 0.0),
            ("optimizer", "sgd", "adam"), ("adam", "folded", "corrected"),
        )
    },
}  # fmt: skip

GIVEN = {
    "device": ("cpu", ("torch",)),
    "autocast": ("bfloat16", ("torch",)),
    "tf32": (True, ("torch",)),
    "compile": (True, ("torch",)),
    "accumulate": (2, ("torch",)),
    "shard": (True, ("torch",)),
    "level": ("baseline", ("native",)),
    "threads": (2, ("native", "torch")),
    "checkpoint_activations": (True, ("native", "torch")),
}


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("case", REFUSED)
def test_what_an_engine_cannot_train_is_refused_in_one_line(case, name):
    """A setting that rests, of another engine, is no reason: it goes with the run."""
    engines, changes, reason = REFUSED[case]
    model, train = model_and_training(small_settings(**changes), 6)
    expected = reason if name in engines else None
    if name == "scalar" and train.dtype != "float64":
        expected = REFUSED["single precision"][2]
    assert engine_class(name).why_not(model=model, train=train) == expected
    if expected is not None:
        with pytest.raises(SettingError, match=re.escape(expected)):
            fresh_engine(name, model, train)


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("setting", GIVEN)
def test_a_setting_of_other_engines_is_refused(setting, name):
    value, engines = GIVEN[setting]
    others = " or ".join(f"`engine={other!r}`" for other in engines)
    expected = f"{setting}: the {name} engine does not have it; leave it out, or try {others}"
    reason = engine_class(name).why_not(given={"lr": 0.1, setting: value})
    assert reason == (None if name in engines else expected)
    if reason is not None:
        with pytest.raises(SettingError, match=re.escape(reason)):
            check_settings(name, {setting: value})


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_who_draws_token_by_token_says_so(name):
    engine = small_engine(name, small_settings())
    reason = engine.why_not(request=REQUEST)
    if name == "native":
        assert reason is None
        return
    assert reason == f"generate: the {name} engine generates token by token"
    with pytest.raises(UsageError, match="token by token"):
        engine.generate(REQUEST, [])


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_who_trains_in_one_process_says_so(name, monkeypatch):
    if name == "torch":
        assert engine_class(name).why_not(processes=8) is None
        return
    engine = small_engine(name, small_settings())
    reason = f"torchrun started 8 processes, but the {name} engine trains in one; try `engine='torch'`"
    assert engine.why_not(processes=8) == f"engine: {reason}"
    assert engine.why_not(processes=1) is None
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UsageError, match=re.escape(reason)):
        engine.follow(None)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_peak_that_is_not_known_is_none(name):
    peak = small_engine(name, small_settings()).peak()
    assert peak > 0 if name == "torch" else peak is None


def test_no_ability_and_no_plan_is_known_by_its_type():
    gone = re.compile(
        r"\b(BatchGenerator|KnowsItsPeak|Follower|PlanInCore|runtime_checkable)\b"
        r"|isinstance\([^)]*\b(Stream|Lcg|Engine|Plan|DocumentPlan|WindowPlan)\b"
    )
    sources = list(Path(motegpt.__file__).parent.rglob("*.py"))
    assert sources
    assert [path.name for path in sources if gone.search(path.read_text())] == []
    assert gone.search("if isinstance(rng, Stream):")
