"""Ctrl-C in GPT.train and in an iterated training: the model so far, whatever was going on."""

import pickle
import signal
import threading

import pytest

from motegpt import GPT, MotegptError, TrainingInterrupted
from motegpt.engines import engine_class
from motegpt.training.run_folder import RunFolder
from tests.conftest import ENGINES_HERE

WORDS = ["anna", "hanna", "nan", "hana"]
QUICK = {"steps": 30, "log_every": 1, "seed": 1, "n": 2}


def press(monkeypatch, name, at, times=1):
    """Let Ctrl-C be pressed while an engine does step `at`."""
    kind = engine_class(name)
    train = kind.train

    def pressed(engine, plan, start, count):
        losses = train(engine, plan, start, count)
        if start <= at < start + count:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(kind, "train", pressed)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_while_a_step_is_done(monkeypatch, tmp_path, name):
    press(monkeypatch, name, 12)
    with pytest.raises(TrainingInterrupted) as stopped:
        GPT.train(WORDS, engine=name, out=tmp_path / "run", **QUICK)
    monkeypatch.undo()
    model = stopped.value.model
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert str(stopped.value) == (
        f"train: interrupted after step 13 of 30; .model is the model so far; "
        f"`resume={str(tmp_path / 'run')!r}` goes on"
    )
    assert [record.step for record in model.records] == list(range(1, 14))
    part = GPT.training(WORDS, engine=name, **QUICK)
    next(record for record in part if record.step == 13)
    assert model.generate(5, seed=1) == part.model.generate(5, seed=1)
    whole, gone_on = GPT.train(WORDS, engine=name, **QUICK), GPT.train(WORDS, resume=tmp_path / "run")
    assert gone_on.generate(5, seed=1) == whole.generate(5, seed=1)


def test_while_a_callback_is_called(tmp_path):
    def call(record):
        if record.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterrupted) as stopped:
        GPT.train(WORDS, engine="array", callbacks=call, out=tmp_path / "run", **QUICK)
    assert len(stopped.value.model.records) == 7
    folder = RunFolder(tmp_path / "run")
    assert folder.trainer_state(folder.config(), folder.tokenizer()).done == 7
    assert stopped.value.model.generate(1)


def test_every_record_comes_before_the_exception(monkeypatch):
    press(monkeypatch, "array", 3)
    seen = []
    with pytest.raises(TrainingInterrupted) as stopped:
        GPT.train(WORDS, engine="array", callbacks=seen.append, **QUICK)
    assert seen == stopped.value.model.records
    assert len(seen) == 4


def test_an_iterated_training_goes_on(monkeypatch):
    press(monkeypatch, "array", 12)
    training = GPT.training(WORDS, engine="array", **QUICK)
    with pytest.raises(TrainingInterrupted) as stopped:
        list(training)
    assert len(stopped.value.model.records) == len(training.records) == 13
    monkeypatch.undo()
    list(training)
    whole = GPT.train(WORDS, engine="array", **QUICK)
    assert training.model.generate(5, seed=1) == whole.generate(5, seed=1)


def test_in_the_loop_of_an_iterated_training_it_is_what_it_is_everywhere():
    training = GPT.training(WORDS, engine="array", **QUICK)

    def loop():
        for record in training:
            if record.step == 5:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        loop()
    assert stopped.type is KeyboardInterrupt
    assert len(training.model.records) == 5


def test_a_second_one_stops_at_once_and_what_is_torn_is_refused(monkeypatch, tmp_path):
    press(monkeypatch, "array", 12, times=2)
    training = GPT.training(WORDS, engine="array", out=tmp_path / "run", **QUICK)
    with pytest.raises(KeyboardInterrupt) as stopped:
        list(training)
    assert stopped.type is KeyboardInterrupt
    monkeypatch.undo()
    for use in (list, lambda training: training.model):
        with pytest.raises(MotegptError, match=r"stopped in the middle of a step; .*`resume=.*run'`"):
            use(training)
    assert GPT.train(WORDS, resume=tmp_path / "run").generate(1)
    press(monkeypatch, "array", 12, times=2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        GPT.train(WORDS, engine="array", **QUICK)
    assert stopped.type is KeyboardInterrupt


def test_an_exception_of_a_handler_in_the_middle_of_a_step_tears_it_too(monkeypatch):
    class TooLong(Exception):
        pass

    def stop(number, frame):
        raise TooLong

    before = signal.signal(signal.SIGINT, stop)
    try:
        press(monkeypatch, "array", 12)
        training = GPT.training(WORDS, engine="array", **QUICK)
        with pytest.raises(TooLong):
            list(training)
        with pytest.raises(MotegptError, match="in the middle of a step; begin it again"):
            list(training)
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_as_they_were(monkeypatch):
    training = GPT.training(WORDS, engine="array", **QUICK)
    before, during = signal.getsignal(signal.SIGINT), set()
    for _ in training:
        during.add(signal.getsignal(signal.SIGINT))
    assert during == {before} == {signal.getsignal(signal.SIGINT)}
    press(monkeypatch, "array", 12)
    with pytest.raises(TrainingInterrupted):
        GPT.train(WORDS, engine="array", **QUICK)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_program_stays_in_charge(monkeypatch):
    pressed = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        press(monkeypatch, "array", 12)
        assert len(GPT.train(WORDS, engine="array", **QUICK).records) == 30
        assert pressed == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_handled():
    models = []
    thread = threading.Thread(target=lambda: models.append(GPT.train(WORDS, engine="array", **QUICK)))
    thread.start()
    thread.join()
    assert len(models[0].records) == 30


def test_during_the_last_samples(monkeypatch):
    from motegpt.training import loop as train

    def draw(engine, tokenizer, settings, rng, interrupted):
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        return []

    monkeypatch.setattr(train, "generate_sequentially", draw)
    with pytest.raises(TrainingInterrupted, match="interrupted after step 30 of 30") as stopped:
        GPT.train(WORDS, engine="array", **QUICK)
    assert len(stopped.value.model.records) == 30


def test_it_can_be_pickled():
    model = GPT.train(WORDS, engine="array", **QUICK)
    error = pickle.loads(pickle.dumps(TrainingInterrupted("why", model)))
    assert str(error) == "why"
    assert error.model.generate(3, seed=1) == model.generate(3, seed=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda model: model.train(WORDS),
            r"train: .*call `GPT.train\(docs\)` for a new one, or `GPT.train\(res",
        ),
        (lambda model: model.training(WORDS), r"training: .*call `GPT.training\(docs\)` for a new one"),
        (lambda model: model.load("run"), r"load: .*call `GPT.load\(path\)`$"),
    ],
)
def test_a_model_is_not_what_to_train_with(call, said):
    model = GPT.train(WORDS, engine="array", **QUICK)
    with pytest.raises(MotegptError, match=said) as error:
        call(model)
    assert "\n" not in str(error.value)


def test_a_subclass_trains_and_loads_itself(tmp_path):
    class Mine(GPT):
        @classmethod
        def train(cls, *args, **more):
            return super().train(*args, **more)

    model = Mine.train(WORDS, engine="array", **QUICK)
    model.save(tmp_path / "run")
    assert (
        type(model) is type(Mine.load(tmp_path / "run")) is type(Mine.training(WORDS, **QUICK).model) is Mine
    )
