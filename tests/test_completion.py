"""What the shells are told when Tab is pressed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from motegpt.cli import COMMANDS
from motegpt.config.fields import kinds
from motegpt.config.sections import FOUND_FROM_DATA, SECTIONS
from motegpt.config.synonyms import flag_of

BIN = Path(sys.executable).parent


def completed(line, *before):
    """kind, word of each completion of a line, by click's protocol for bash; `before` is run ahead."""
    words = line.split(" ")
    environment = {**os.environ, "_MOTEGPT_COMPLETE": "bash_complete", "COMP_WORDS": line,
                   "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    program = "\n".join([*before, "from motegpt.cli import main", "main([])"])
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    return [tuple(line.split(",", 1)) for line in ended.stdout.splitlines() if line]


def plain(*words):
    return [("plain", word) for word in words]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("motegpt tr", plain("train")),
        ("motegpt ", plain(*COMMANDS)),
        ("motegpt --v", plain("--version")),
        ("motegpt data ", plain("check", "fetch", "make")),
        ("motegpt data check --col", plain("--column")),
        ("motegpt train --n-e", plain("--n-embd")),
        ("motegpt train --no-ti", plain("--no-tied")),
        ("motegpt train --schedule c", plain("cosine", "constant")),
        ("motegpt train --normalize n", plain("nfc", "nfkc", "none")),
        ("motegpt train --preset z", plain("zeroclaw")),
        ("motegpt train li", [("file", "li")]),
        ("motegpt train --config ", [("file", "")]),
        ("motegpt train --out ru", [("dir", "ru")]),
        ("motegpt train --resume ru", [("dir", "ru")]),
        ("motegpt sample ru", [("dir", "ru")]),
        ("motegpt sample runs/a --output x", [("file", "x")]),
        ("motegpt plot runs/a ru", [("dir", "ru")]),
        ("motegpt eval runs/a na", [("file", "na")]),
        ("motegpt show ", [("dir", "")]),
        ("motegpt completion ", plain("bash", "zsh", "fish")),
        ("motegpt data fetch --url h", []),
        ("motegpt nonsense ", plain(*COMMANDS)),
    ],
)
def test_words(line, expected):
    assert completed(line) == expected


def test_every_setting_completes():
    flags = {word for _, word in completed("motegpt train --")}
    settings = {name for config in SECTIONS.values() for name in kinds(config)} - FOUND_FROM_DATA - {"n"}
    assert set(map(flag_of, settings)) <= flags


def test_completing_imports_nothing_heavy():
    blocked = "import sys; sys.modules.update(numpy=None, safetensors=None, rich=None, matplotlib=None)"
    for command in COMMANDS:
        assert ("plain", "--help") in completed(f"motegpt {command} --h", blocked)
    commands_blocked = (
        "import sys; sys.modules.update({f'motegpt.cli.{n}': None for n in ('train', 'bench')})"
    )
    assert completed("motegpt ", commands_blocked) == plain(*COMMANDS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_in_a_real_bash(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runes.txt").touch()
    script = """
        eval "$(motegpt completion bash)"
        complete -p motegpt
        ask() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _motegpt_completion motegpt 2> /dev/null
            echo "${COMPREPLY[*]}"
        }
        ask motegpt tr
        ask motegpt train --schedule li
        ask motegpt data ch
    """
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.stdout.splitlines() == [
        "complete -o nosort -F _motegpt_completion motegpt", "train", "linear linear_to_zero", "check",
    ]  # fmt: skip
    assert ended.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(motegpt, shell):
    ended = motegpt("completion", shell)
    assert (ended.code, ended.err) == (0, "")
    assert f"_MOTEGPT_COMPLETE={shell}_complete" in ended.out
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=ended.out, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_help_tells_where_to_put_it(motegpt):
    page = motegpt("completion", "--help").out
    for place in ("~/.bashrc", "~/.zshrc", "~/.config/fish/completions/motegpt.fish"):
        assert place in page
