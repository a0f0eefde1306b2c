"""The fuzzer's targets hold on what they begin from, and a bug does not get past one."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.fuzz.__main__ import NAMES, PLANTED
from tests.fuzz.targets import TARGETS, DataFile


@pytest.mark.parametrize("name", NAMES)
def test_seeds_hold(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    target = TARGETS[name]()
    for seed in target.seeds():
        target(seed)
    target(b"")


def test_a_bug_comes_through(monkeypatch):
    target = DataFile()
    monkeypatch.setattr("motegpt.data.formats.lines.rechunk", lambda pieces, separator: list(pieces)[10**6])
    with pytest.raises(IndexError):
        target(target.seeds()[0])


def test_every_target_is_known():
    assert set(TARGETS) == {*NAMES, PLANTED}


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="pip install '.[fuzz]'")
def test_the_fuzzer_finds_a_planted_bug_and_shows_the_input():
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    command = [sys.executable, "-m", "tests.fuzz", "5", PLANTED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 1
    assert "IndexError: planted" in done.stdout
    assert "the input, found-crash-" in done.stdout
