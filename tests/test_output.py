"""Files that commands write: whole, or not there."""

import errno
import os

import pytest

COMMANDS = [
    (["data", "make", "parity", "--count", 8, "--out", "out.npz"], "out.npz"),
    (["play", "--out", "out.html"], "out.html"),
    (["graph", "emma", "--out", "out.svg"], "out.svg"),
    (["plot", "run", "--no-baselines", "--out", "out.png"], "out.png"),
]


@pytest.fixture
def full_disk(monkeypatch):
    """A function after which nothing reaches the disk."""

    def no_space(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    return lambda: monkeypatch.setattr(os, "fsync", no_space)


@pytest.mark.parametrize(("words", "name"), COMMANDS, ids=lambda words: words[0])
def test_a_full_disk_leaves_what_was_there(motegpt, tmp_path, full_disk, words, name):
    if words[0] == "plot":
        pytest.importorskip("matplotlib")
        (tmp_path / "names.txt").write_text("anna\nhanna\nnan\n")
        trained = motegpt("train", "names.txt", "--preset", "microgpt", "--steps", 3, "--out", "run")
        assert trained.code == 0, trained.err
    there = sorted(tmp_path.iterdir())
    full_disk()
    ended = motegpt(*words)
    assert (ended.code, ended.out) == (2, "")
    assert f"out: {name} cannot be written (No space left on device); choose another" in ended.err
    assert sorted(tmp_path.iterdir()) == there
    (tmp_path / name).write_text("precious")
    assert "cannot be written" in motegpt(*words, "--overwrite").err
    assert (tmp_path / name).read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == sorted([*there, tmp_path / name])
