"""What a command does not spend its time on."""

import os
import subprocess
import sys

import pytest

from motegpt.engines import why_unavailable
from motegpt.system import startup
from motegpt.system.processors import affinity

MAIN = "from motegpt.__main__ import main\ntry: main()\nfinally: print({figure}, file=sys.stderr)"


def figure_of(figure, *words):
    """A number at the end of a command, as an expression of a program that has imported gc, sys and time."""
    program = f"import gc, sys, time\nsys.argv = {['motegpt', *words]}\n" + MAIN.format(figure=figure)
    set_by_tests = (startup.BLAS_SPIN[0], "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in set_by_tests}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stderr.split()[-1])


def test_idle_threads_sleep():
    """One that spins for work takes 30 ms of each command."""
    others = figure_of("time.process_time() - time.thread_time()", "data", "check", "--preset", "microgpt")
    assert others < 0.01 * affinity()


def test_the_exit_looks_at_no_object():
    assert figure_of("gc.get_freeze_count() / (1 + gc.get_count()[0])", "--version") > 100


def test_garbage_is_hardly_looked_for():
    """65 collections took 8 of 170 ms; Python itself makes some before the command begins."""
    words = ("train", "--preset", "microgpt", "--steps", "1", "-n", "1")
    assert figure_of("sum(one['collections'] for one in gc.get_stats())", *words) <= 30


@pytest.mark.slow
@pytest.mark.skipif(why_unavailable("torch") is not None, reason="PyTorch is not installed")
def test_one_process_with_pytorch_imports_nothing_for_several():
    """FSDP and SymPy take 0.9 of 2.5 s."""
    words = ("train", "--engine", "torch", "--preset", "microgpt", "--steps", "2", "-n", "1")
    assert figure_of("len({'sympy', 'torch.distributed.fsdp'} & set(sys.modules))", *words) == 0


def test_a_limit_that_the_user_set_stays(monkeypatch):
    monkeypatch.setattr(startup.gc, "set_threshold", lambda count: None)
    name, value = startup.BLAS_SPIN
    monkeypatch.setenv(name, "26")
    startup.save_processor_time()
    assert os.environ[name] == "26" != value
    monkeypatch.delenv(name)
    startup.save_processor_time()
    assert os.environ[name] == value
