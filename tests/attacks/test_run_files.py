"""The JSON files of a run folder: whatever they say, a clear error or a right result."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.training.run_folder import RunFolder
from tests.attacks.forge import ODD, changed, copied, edit_json, leaves, make_run
from tests.attacks.oracle import command, look, refused_or_right

PROFILE = settings(max_examples=60, deadline=None, derandomize=True, database=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FILES = ("config.json", "tokenizer.json", "metrics.jsonl")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run; each test leaves it as it was."""
    return make_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def kept(run):
    """Its files, put back in the end."""
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    yield run
    for name, data in before.items():
        (run / name).write_bytes(data)


def try_text(run, name, data):
    before = (run / name).read_bytes()
    (run / name).write_bytes(data)
    try:
        look(run)
    finally:
        (run / name).write_bytes(before)


@pytest.mark.parametrize("name", FILES)
def test_any_bytes(run, name):
    @PROFILE
    @given(st.binary(max_size=80))
    def holds(data):
        try_text(run, name, data)

    holds()


@pytest.mark.parametrize("name", FILES)
def test_any_json(run, name):
    @PROFILE
    @given(JSON)
    def holds(value):
        text = json.dumps({"format": 2, **value} if isinstance(value, dict) else value)
        try_text(run, name, text.encode() + b"\n")

    holds()


@pytest.mark.slow
def test_every_key_of_the_settings_with_every_odd_value(run):
    values = json.loads((run / "config.json").read_text())
    accepted = 0
    for path in leaves(values):
        for odd in ODD:
            text = json.dumps(changed(values, path, odd)).encode()
            before = (run / "config.json").read_bytes()
            (run / "config.json").write_bytes(text)
            try:
                with refused_or_right():
                    RunFolder(run).config()
                    accepted += 1
                    look(run)
            finally:
                (run / "config.json").write_bytes(before)
    assert accepted > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tokenizer.json", "metrics.jsonl"])
def test_every_key_of_the_other_files_with_every_odd_value(run, name):
    first, *others = (run / name).read_text().splitlines() if name == "metrics.jsonl" else [
        (run / name).read_text()
    ]  # fmt: skip
    for path in leaves(json.loads(first)):
        for odd in ODD:
            lines = [json.dumps(changed(json.loads(first), path, odd)), *others]
            try_text(run, name, ("\n".join(lines) + "\n").encode())


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format":2,"a":' * 50_000,
        '{"format": 2, "format": 3}',
        '{"format": NaN}',
        '{"format": ' + "9" * 5000 + "}",
        '{"format": 2' + " " * 100_000,
        '{"step": ' + "9" * 4000 + "}\n",
        '{"step": 1, "loss": ' + "9" * 4000 + "}\n",
        '{"step": 1, "loss": ' + "[" * 900 + "]" * 900 + "}\n",
        '{"format": 2, "engine": ' + "[" * 940 + "]" * 940 + "}",
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("name", FILES)
def test_bombs(run, name, text):
    try_text(run, name, text.encode())


def test_the_vocabulary_and_the_settings_must_agree(kept, tmp_path):
    """An id beyond the matrix of embeddings was an IndexError, a framing without ends a division by zero."""
    for keys, value in ((("model", "vocab_size"), 7), (("data", "framing"), "bos_eos"),
                        (("data", "tokenizer"), "bytes"), (("data", "format"), "stream")):  # fmt: skip
        run = copied(kept, tmp_path / "copy")
        edit_json(run / "config.json", *keys, value=value)
        for words in (["sample", "-n", "2"], ["show"], ["eval", "--engine", "array"], ["score"]):
            code, _, error = command(words[0], str(run), *words[1:], *["anna"][: words[0] == "score"])
            assert code == 2, error
