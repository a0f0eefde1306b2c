"""What a command does not spend its time on."""

import os
import subprocess
import sys

from motegpt.system import startup
from motegpt.system.processors import affinity

MAIN = "from motegpt.__main__ import main\ntry: main()\nfinally: print({figure}, file=sys.stderr)"


def figure_of(figure, *words):
    """A number at the end of a command, as an expression of a program that has imported gc, sys and time."""
    program = f"import gc, sys, time\nsys.argv = {['motegpt', *words]}\n" + MAIN.format(figure=figure)
    environment = {name: value for name, value in os.environ.items() if name != startup.BLAS_SPIN[0]}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stderr.split()[-1])


def test_idle_threads_sleep():
    """One that spins for work takes 30 ms of each command."""
    others = figure_of("time.process_time() - time.thread_time()", "data", "check", "--preset", "microgpt")
    assert others < 0.01 * affinity()


def test_garbage_is_hardly_looked_for():
    """65 collections took 8 of 170 ms; Python itself makes some before the command begins."""
    words = ("train", "--preset", "microgpt", "--steps", "1", "-n", "1")
    assert figure_of("sum(one['collections'] for one in gc.get_stats())", *words) <= 30


def test_a_limit_that_the_user_set_stays(monkeypatch):
    monkeypatch.setattr(startup.gc, "set_threshold", lambda count: None)
    name, value = startup.BLAS_SPIN
    monkeypatch.setenv(name, "26")
    startup.save_processor_time()
    assert os.environ[name] == "26" != value
    monkeypatch.delenv(name)
    startup.save_processor_time()
    assert os.environ[name] == value
