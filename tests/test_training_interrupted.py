"""Ctrl-C in GPT.train and in an iterated training: the exception holds the model so far."""

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


def send_interrupt(monkeypatch, name, at, times=1):
    """Send SIGINT `times` times while the engine computes step `at`."""
    kind = engine_class(name)
    train = kind.train

    def train_and_interrupt(engine, plan, start, count):
        losses = train(engine, plan, start, count)
        if start <= at < start + count:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(kind, "train", train_and_interrupt)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_during_a_step(monkeypatch, tmp_path, name):
    send_interrupt(monkeypatch, name, 12)
    with pytest.raises(TrainingInterrupted) as stopped:
        GPT.train(WORDS, engine=name, callbacks=id, out=tmp_path / "run", **QUICK, preset="microgpt")
    monkeypatch.undo()
    model = stopped.value.model
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert str(stopped.value) == (
        f"train: interrupted after step 13 of 30; .model is the model so far; "
        f"resume the run with `resume={str(tmp_path / 'run')!r}`"
    )
    assert [record.step for record in model.records] == list(range(1, 14))
    part = GPT.training(WORDS, engine=name, **QUICK, preset="microgpt")
    next(record for record in part if record.step == 13)
    assert model.generate(5, seed=1) == part.model.generate(5, seed=1)
    whole, resumed = (
        GPT.train(WORDS, engine=name, **QUICK, preset="microgpt"),
        GPT.train(WORDS, resume=tmp_path / "run"),
    )
    assert resumed.generate(5, seed=1) == whole.generate(5, seed=1)


def test_during_a_callback(tmp_path):
    def call(record):
        if record.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingInterrupted) as stopped:
        GPT.train(WORDS, engine="array", callbacks=call, out=tmp_path / "run", **QUICK, preset="microgpt")
    assert len(stopped.value.model.records) == 7
    folder = RunFolder(tmp_path / "run")
    assert folder.trainer_state(folder.config(), folder.tokenizer()).done == 7
    assert stopped.value.model.generate(1)


def test_callbacks_receive_every_record_before_the_exception(monkeypatch):
    send_interrupt(monkeypatch, "array", 3)
    seen = []
    with pytest.raises(TrainingInterrupted) as stopped:
        GPT.train(WORDS, engine="array", callbacks=seen.append, **QUICK, preset="microgpt")
    assert seen == stopped.value.model.records
    assert len(seen) == 4


def test_an_interrupted_training_can_be_continued(monkeypatch):
    send_interrupt(monkeypatch, "array", 12)
    training = GPT.training(WORDS, engine="array", **QUICK, preset="microgpt")
    with pytest.raises(TrainingInterrupted) as stopped:
        list(training)
    assert len(stopped.value.model.records) == len(training.records) == 13
    monkeypatch.undo()
    list(training)
    whole = GPT.train(WORDS, engine="array", **QUICK, preset="microgpt")
    assert training.model.generate(5, seed=1) == whole.generate(5, seed=1)


def test_in_the_body_of_the_loop_it_is_a_keyboard_interrupt():
    training = GPT.training(WORDS, engine="array", **QUICK, preset="microgpt")

    def loop():
        for record in training:
            if record.step == 5:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stopped:
        loop()
    assert stopped.type is KeyboardInterrupt
    assert len(training.model.records) == 5


def test_a_second_interrupt_aborts_the_step_and_invalidates_the_training(monkeypatch, tmp_path):
    send_interrupt(monkeypatch, "array", 12, times=2)
    training = GPT.training(WORDS, engine="array", out=tmp_path / "run", **QUICK, preset="microgpt")
    with pytest.raises(KeyboardInterrupt) as stopped:
        list(training)
    assert stopped.type is KeyboardInterrupt
    monkeypatch.undo()
    for use in (list, lambda training: training.model):
        with pytest.raises(MotegptError, match=r"stopped in the middle of a step; .*`resume=.*run'`"):
            use(training)
    assert GPT.train(WORDS, resume=tmp_path / "run").generate(1)
    send_interrupt(monkeypatch, "array", 12, times=2)
    with pytest.raises(KeyboardInterrupt) as stopped:
        GPT.train(WORDS, engine="array", **QUICK, preset="microgpt")
    assert stopped.type is KeyboardInterrupt


def test_an_exception_of_a_signal_handler_invalidates_the_training_too(monkeypatch):
    class TooLong(Exception):
        pass

    def stop(number, frame):
        raise TooLong

    before = signal.signal(signal.SIGINT, stop)
    try:
        send_interrupt(monkeypatch, "array", 12)
        training = GPT.training(WORDS, engine="array", **QUICK, preset="microgpt")
        with pytest.raises(TooLong):
            list(training)
        with pytest.raises(MotegptError, match="in the middle of a step; train again"):
            list(training)
    finally:
        signal.signal(signal.SIGINT, before)


def test_signal_handlers_are_restored(monkeypatch):
    training = GPT.training(WORDS, engine="array", **QUICK, preset="microgpt")
    before, during = signal.getsignal(signal.SIGINT), set()
    for _ in training:
        during.add(signal.getsignal(signal.SIGINT))
    assert during == {before} == {signal.getsignal(signal.SIGINT)}
    send_interrupt(monkeypatch, "array", 12)
    with pytest.raises(TrainingInterrupted):
        GPT.train(WORDS, engine="array", **QUICK, preset="microgpt")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_program_is_not_replaced(monkeypatch):
    received = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        send_interrupt(monkeypatch, "array", 12)
        assert len(GPT.train(WORDS, engine="array", **QUICK, preset="microgpt").records) == 30
        assert received == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_handler_is_installed_in_another_thread():
    models = []
    thread = threading.Thread(
        target=lambda: models.append(GPT.train(WORDS, engine="array", **QUICK, preset="microgpt"))
    )
    thread.start()
    thread.join()
    assert len(models[0].records) == 30


def test_no_samples_that_nobody_sees(monkeypatch):
    from motegpt.training import loop

    monkeypatch.setattr(loop, "generate_sequentially", lambda *arguments: pytest.fail("samples"))
    GPT.train(WORDS, engine="array", **QUICK, preset="microgpt")


def test_the_exception_can_be_pickled():
    model = GPT.train(WORDS, engine="array", **QUICK, preset="microgpt")
    error = pickle.loads(pickle.dumps(TrainingInterrupted("why", model)))
    assert str(error) == "why"
    assert error.model.generate(3, seed=1) == model.generate(3, seed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: model.train(WORDS),
            r"train: .*call `GPT.train\(docs\)` to train a new model, or `GPT.train\(res",
        ),
        (
            lambda model: model.training(WORDS),
            r"training: .*call `GPT.training\(docs\)` to train a new model",
        ),
        (lambda model: model.load("run"), r"load: .*call `GPT.load\(path\)`$"),
    ],
)
def test_class_methods_cannot_be_called_on_a_model(call, message):
    model = GPT.train(WORDS, engine="array", **QUICK, preset="microgpt")
    with pytest.raises(MotegptError, match=message) as error:
        call(model)
    assert "\n" not in str(error.value)


def test_class_methods_of_a_subclass_return_it(tmp_path):
    class Mine(GPT):
        @classmethod
        def train(cls, *args, **more):
            return super().train(*args, **more)

    model = Mine.train(WORDS, engine="array", **QUICK)
    model.save(tmp_path / "run")
    assert (
        type(model) is type(Mine.load(tmp_path / "run")) is type(Mine.training(WORDS, **QUICK).model) is Mine
    )
