"""An optimizer's state as named slots: only the optimizer and its step functions know the names."""

import ast
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import motegpt
from motegpt import GPT
from motegpt.config.fields import kinds
from motegpt.config.sections import DataConfig, TrainConfig
from motegpt.data.plan import DocumentPlan
from motegpt.data.tokenizers import FRAMINGS, TOKENIZERS
from motegpt.engines import training_memory
from motegpt.engines.array import optimizers as array_optimizers
from motegpt.engines.base import Snapshot
from motegpt.errors import SettingError, UsageError
from motegpt.model.schedule import learning_rate
from motegpt.optim import OPTIMIZERS
from motegpt.optim.base import Optimizer
from motegpt.training.begin import begin
from motegpt.training.run_folder import RunFolder
from motegpt.training.state import FORMAT, Best
from tests.conftest import ENGINES_HERE, random_sequences, small_engine, small_settings

FORMAT_2 = Path(__file__).parent / "format2"  # a run on WORDS, stopped after 4 of 6 steps by motegpt 0.9
WORDS = ["anna", "hanna", "nana"]
SMALL = {"n_embd": 4, "n_head": 2, "block_size": 4, "steps": 6, "log_every": 1, "n": 1}


def plan_of(batch_size=2):
    return DocumentPlan(random_sequences(5, 8, 6), batch_size, "documents")


class ThirdScalars(NamedTuple):
    lr: float


class Third(Optimizer):
    """An optimizer that nobody else has: three slots, which count steps and sum gradients and their signs."""

    name = "sgd"  # in its place, as the setting `optimizer` knows no other
    slots = ("steps", "sum", "signs")

    def _varying(self, train, steps):
        return ([learning_rate(train, step) for step in steps],)

    def _scalars(self, train, *varying):
        return ThirdScalars(*varying)


def third_step(w, dw, steps, total, signs, scalars, decayed):
    steps += 1.0
    total += dw
    signs += np.sign(dw)
    w -= scalars.lr * (total / steps + 0.1 * signs)


@pytest.fixture
def third(monkeypatch):
    """The other optimizer as one registration and one step function of the array engine."""
    monkeypatch.setitem(OPTIMIZERS, "sgd", Third())
    monkeypatch.setitem(array_optimizers.STEPS, "sgd", third_step)
    return {**SMALL, "optimizer": "sgd"}


def test_an_optimizer_of_three_slots_trains_saves_and_resumes_as_if_never_stopped(third, tmp_path):
    whole = GPT.train(WORDS, engine="array", **third, preset="microgpt")
    trainer, *_ = begin(WORDS, third, preset="microgpt", engine="array", out=tmp_path / "run")
    list(trainer.run(until=3))
    state = RunFolder(tmp_path / "run").trainer_state(trainer.config, trainer.tokenizer)
    assert list(state.snapshot.slots) == ["steps", "sum", "signs"]
    assert (state.snapshot.slots["steps"]["wte"] == 3.0).all()
    resumed = GPT.train(WORDS, resume=tmp_path / "run")
    np.testing.assert_array_equal(
        resumed.engine.export().parameters["wte"], whole.engine.export().parameters["wte"]
    )


def test_the_cost_of_three_slots(third):
    engine = small_engine("array", small_settings(optimizer="sgd"))
    found = training_memory("array", engine.model, engine.settings, 4.0)
    assert found.optimizer == 3 * found.parameters


def test_a_slot_that_is_not_finite_is_found(third):
    trainer, *_ = begin(WORDS, third, preset="microgpt", engine="array")
    snapshot = trainer.engine.export()
    snapshot.slots["signs"]["wpe"][0, 0] = np.inf
    trainer.engine.load(snapshot)
    with pytest.raises(motegpt.MotegptError, match="parameters that are not finite"):
        trainer.save()


SOURCE = Path(motegpt.__file__).parent
OWN = (
    "optim/adam.py",
    "optim/sgd.py",
    *(f"engines/{name}/optimizers.py" for name in ("scalar", "array", "torch")),
)
OTHER_V = (  # of attention; a class in a picture
    "lens/attribution.py",
    "engines/array/model.py",
    "engines/scalar/groups.py",
    "engines/scalar/picture.py",
)
SLOT_NAMES = {name for optimizer in OPTIMIZERS.values() for name in optimizer.slots}
SHORT = ("lens/names.py",)  # of hook points: "m" of those of the MLP


def names_of_slots(program):
    """Where a program names a slot: as a text, an attribute, or an argument."""
    for node in ast.walk(ast.parse(program)):
        match node:
            case ast.Constant(value=str(text)) if text.rstrip(".") in SLOT_NAMES:
                yield text
            case ast.Attribute(attr=name) | ast.keyword(arg=str(name)) if name.lstrip("_") in SLOT_NAMES:
                yield name


def test_nobody_else_knows_the_name_of_a_slot():
    paths = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*.py")}
    assert set(OWN) <= set(paths)
    found = {(at, name) for at, path in paths.items() for name in names_of_slots(path.read_text())}
    assert not {
        (at, name) for at, name in found if at not in OWN + OTHER_V + SHORT or (at in OTHER_V and name != "v")
    }


@pytest.mark.parametrize("line", ['groups["m"]', "state.v", "self._m = 1", "f(velocity=1)", '("w.", "m.")'])
def test_that_test_sees_a_name(line):
    assert list(names_of_slots(line))


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_sgd_is_five_lines_of_numpy_over_the_gradients(name):
    chosen = small_settings(
        optimizer="sgd", momentum=0.9, lr=0.1, weight_decay=0.1, batch_size=2, clip_norm=0.3, steps=9
    )
    engine, reference = small_engine(name, chosen), small_engine("array", chosen)
    w = reference.export().parameters
    velocity, expected = {name: np.zeros_like(one) for name, one in w.items()}, []
    for step in range(9):
        loss, g = reference.gradients(plan_of().batch(step))
        norm, lr = np.sqrt(sum((one**2).sum() for one in g.values())), 0.1 * (1 - step / 9)
        for name, one in w.items():
            velocity[name] = 0.9 * velocity[name] + g[name] * min(1.0, 0.3 / norm)
            w[name] = one * (1 - lr * 0.1) - lr * velocity[name]
        reference.load(w)
        expected.append(loss)
    assert engine.train(plan_of(), 0, 9) == pytest.approx(expected, abs=1e-12)
    got = engine.export()
    for name, one in velocity.items():
        np.testing.assert_allclose(got.slots["velocity"][name], one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_run_with_sgd_resumes_as_if_never_stopped(name, tmp_path):
    chosen = {**SMALL, "optimizer": "sgd", "lr": 0.1}
    whole = GPT.train(WORDS, engine=name, **chosen, preset="microgpt")
    trainer, *_ = begin(WORDS, chosen, preset="microgpt", engine=name, out=tmp_path / "run")
    list(trainer.run(until=3))
    resumed = GPT.train(WORDS, resume=tmp_path / "run")
    for one, other in zip(
        *(model.engine.export().parameters.values() for model in (whole, resumed)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_run_goes_from_engine_to_engine_with_its_slots():
    chosen = small_settings(optimizer="sgd", lr=0.1, batch_size=2)
    expected = small_engine("scalar", chosen).train(plan_of(), 0, 2 * len(ENGINES_HERE))
    state: Snapshot | None = None
    for i, name in enumerate(ENGINES_HERE):
        engine = small_engine(name, chosen)
        if state is not None:
            engine.load(state)
        losses = engine.train(plan_of(), 2 * i, 2)
        assert losses == pytest.approx(expected[2 * i : 2 * i + 2], abs=1e-12)
        state = engine.export()


def test_parameters_alone_leave_every_slot_at_zero():
    for name in ENGINES_HERE:
        engine = small_engine(name, small_settings(batch_size=2))
        engine.train(plan_of(), 0, 2)
        engine.load(engine.export().parameters)
        for slot in engine.export().slots.values():
            assert not any(array.any() for array in slot.values())


@pytest.mark.parametrize(
    ("optimizer", "other", "given"),
    [
        ("adam", "sgd", {"momentum": 0.5}),
        ("sgd", "adam", {"beta1": 0.85}),
        ("sgd", "adam", {"adam": "folded"}),
    ],
    ids=str,
)
def test_a_setting_of_another_optimizer_is_refused(motegpt, optimizer, other, given):
    ((name, value),) = given.items()
    said = f"{name}: the {optimizer} optimizer does not have it; leave it out, or try `optimizer='{other}'`"
    with pytest.raises(SettingError, match=said):
        GPT.train(WORDS, optimizer=optimizer, **given, preset="microgpt")
    ended = motegpt("train", "--optimizer", optimizer, f"--{name}", value)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert f"--optimizer {other}" in ended.err


def test_a_default_may_be_given_to_every_optimizer():
    GPT.train(WORDS, optimizer="adam", momentum=0.9, **SMALL, preset="microgpt")


def test_a_run_keeps_its_optimizer(tmp_path):
    trainer, *_ = begin(WORDS, SMALL, out=tmp_path / "run")
    list(trainer.run(until=3))
    with pytest.raises(UsageError, match="resume: optimizer cannot change within a run"):
        GPT.train(WORDS, resume=tmp_path / "run", optimizer="sgd")
    with pytest.raises(SettingError, match="momentum: the adam optimizer does not have it"):
        GPT.train(WORDS, resume=tmp_path / "run", momentum=0.5)


def test_a_run_of_format_2_goes_on_as_if_never_stopped(tmp_path):
    whole = GPT.train(WORDS, engine="array", **SMALL, preset="microgpt")
    shutil.copytree(FORMAT_2, tmp_path / "run")
    before = GPT.load(tmp_path / "run")
    assert (before.config.format, before.config.train.optimizer) == (2, "adam")
    resumed = GPT.train(WORDS, resume=tmp_path / "run")
    for one, other in zip(
        *(model.engine.export().parameters.values() for model in (whole, resumed)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert GPT.load(tmp_path / "run").config.format == FORMAT


def test_the_settings_offer_what_is_registered():
    assert kinds(TrainConfig)["optimizer"].choices == tuple(OPTIMIZERS)
    assert kinds(DataConfig)["tokenizer"].choices == tuple(TOKENIZERS)
    assert kinds(DataConfig)["framing"].choices == tuple(FRAMINGS)


def test_an_older_name_in_a_checkpoint():
    """Checkpoints of format 2 called the evaluations since the best one "waited"."""
    older = {"step": 3, "loss": 2.5, "waited": 4}
    assert Best.of(older) == Best(step=3, loss=2.5, evaluations_since_best=4)
    assert older == {"step": 3, "loss": 2.5, "waited": 4}
