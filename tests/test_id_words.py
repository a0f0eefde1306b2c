"""Every command and every value of a model of token ids speaks of tokens, not of characters."""

import json
import math
import shlex

import pytest

from motegpt import GPT, DataError, PrefixError, UsageError
from motegpt.cli import COMMANDS
from motegpt.data.ids.check import described
from motegpt.data.ids.memory import ids_in_memory
from motegpt.data.ids.tasks import make
from motegpt.data.ids.writing import npz_bytes

SMALL = ["--preset", "microgpt", "--n-embd", 8, "--block-size", 3, "--engine", "array", "--n", 1]
TRAINED = [*SMALL, "--val-fraction", 0.4, "--steps", 4, "--log-every", 2]
SWEEP = """name = "a"
data = "sums.npz"
[fixed]
preset = "microgpt"
steps = 2
block_size = 3
[grid]
n_embd = [4, 8]
"""
WRONG = (
    "per character", "per_character", "character ", "U+00", "Traceback",
    "num docs", " documents", "hallucinated",
)  # fmt: skip
WITHOUT_A_MODEL = {"import", "gradcheck", "bench", "completion"}
LINES = {  # command -> its lines on a model or a file of ids; what follows #: words of the error
    "train": ["train sums.npz", "train --resume run --steps 5", "train sums.npz --from run --steps 1"],
    "sweep": ["sweep sweep.toml --out swept"],
    "sample": [
        "sample run --prefix '1 2 5'",
        "sample run --prefix 'a' # expected ids below 6",
        "sample run --prefix '1 2 3 4 1' # at most 3 tokens",
        "sample run --stop 3 --format jsonl",
    ],
    "score": [
        "score run '1 2 5 3'",
        "score run '1 2 5 3' --json",
        "score run '1 9'",
        "score run '1'",
    ],
    "eval": ["eval run", "eval run sums.npz --json", "eval run chain.npz # below the model's vocab_size"],
    "show": ["show run", "show swept"],
    "plot": [
        "plot run",
        "plot run --attention '1 2 5'",
        "plot run --embeddings",
        "plot run --attention '' # at least one token",
        "plot run --attention '9' # expected ids below 6",
        "plot swept",
    ],
    "export": [
        "export run --to file --out a.motegpt",
        "export run --to gguf --out a.gguf # got ids",
        "export run --out hf",
    ],
    "play": [
        "play run --out a.html # got ids",
        "play sums.npz --out a.html # got token ids",
    ],
    "data": ["data check sums.npz", "data make parity --out bits.npz"],
    "cost": ["cost sums.npz --preset microgpt"],
    "graph": [
        "graph '1 2 5 3' --run run",
        "graph --run run --summary",
        "graph ' ' --run run # at least one token",
        "graph '1' --run run # at least two tokens",
    ],
}  # fmt: skip


def test_every_command_is_here():
    assert LINES.keys() == COMMANDS.keys() - WITHOUT_A_MODEL


@pytest.fixture
def run(motegpt, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "sums.npz").write_bytes(npz_bytes(make("modular", modulus=5)))
    (tmp_path / "chain.npz").write_bytes(npz_bytes(make("markov", states=9, count=9)))
    (tmp_path / "sweep.toml").write_text(SWEEP)
    assert motegpt("train", "sums.npz", *TRAINED, "--out", "run").code == 0
    assert motegpt("sweep", "sweep.toml", "--out", "swept").code == 0
    return motegpt


@pytest.mark.parametrize("command", LINES)
def test_a_command_speaks_of_tokens(run, command, tmp_path):
    for line in LINES[command]:
        words, _, expected = line.partition(" # ")
        before = set(tmp_path.iterdir())
        ended = run(*shlex.split(words))
        said = ended.out + ended.err
        assert ended.code == (2 if expected else 0), f"{line}: {said}"
        assert expected in ended.err, line
        if expected:
            assert ended.err.count("\n") == 1, line
            assert set(tmp_path.iterdir()) == before, line
        for word in WRONG:
            assert word not in said.replace("loss_mean documents", ""), line


def test_the_unit_is_in_the_values(run):
    assert json.loads(run("score", "run", "1 2 5 3", "--json").out)["bits_per_token"] > 0
    values = json.loads(run("eval", "run", "--json").out)
    assert values["bits_per_token"]["uniform"] == pytest.approx(math.log2(6))
    assert "characters" not in values
    assert "bits per token" in run("eval", "run").out
    ended = run("score", "run", "1 9", "x 1")
    assert ended.err == "'1 9': not in the vocabulary: '9'\n'x 1': not in the vocabulary: 'x'\n"
    assert ended.out.startswith("-inf\tinf\t1 9\n")


@pytest.fixture(scope="module")
def model():
    return GPT.train(make("modular", modulus=5), preset="microgpt", block_size=3, steps=2, engine="array")


def test_scores_and_evaluations_are_per_token(model):
    (score,) = scores = model.score(["1 2 5 3"])
    assert score.bits == pytest.approx(-score.log_probability / math.log(2) / 3)
    assert "bits_per_token=" in repr(score)
    assert "bits per token" in scores._repr_html_()
    found = model.evaluate(ids=[[1, 2, 5, 3]])
    assert found.bits()["model"] == pytest.approx(score.bits)
    assert "bits per token" in found._repr_html_()
    assert model.evaluate(["1 2 5 3"]).bits()["model"] == pytest.approx(score.bits)
    for per_character in (lambda: score.bits_per_character, lambda: found.bits_per_character("model")):
        with pytest.raises(UsageError, match="expected a model of texts, got one of ids; bits are per token"):
            per_character()


def test_ids_as_texts_are_told_how(model):
    or_ids = ", or ids= and mask=, as np.load has them of a file"
    for given, more in ((model.score, ""), (model.evaluate, or_ids)):
        with pytest.raises(DataError, match=rf"expected strings of ids, as in \['0 1'\]{more}, got \[1, 2\]"):
            given([[1, 2]])
    with pytest.raises(DataError, match=f"{or_ids}, got 'sums.npz'"):
        model.evaluate("sums.npz")


def test_one_sequence_is_no_sequences(motegpt, tmp_path):
    assert described(ids_in_memory([[0, 1]])) == "1 sequence, 1 target, vocab_size 2"
    (tmp_path / "one.jsonl").write_text('{"ids": [0, 1, 2], "mask": [0, 2]}\n')
    (line,) = (line for line in motegpt("data", "check", "one.jsonl").out.splitlines() if "targets" in line)
    assert line.endswith("2, 1 of them unmasked, each of weight 2")


def test_show_tells_accuracies_of_training_and_validation_apart(run):
    lines = run("show", "run").out.splitlines()
    at = lines.index("accuracy, share of the targets")
    assert [line.split()[0] for line in lines[at + 1 : at + 5]] == ["training", "last", "validation", "last"]
    assert "25 sequences" in " ".join(lines[1:4])


def test_a_text_without_a_target(model):
    """Nothing predicts the first id, so it has no probability of its own."""
    for text in ("1", "", " "):
        (score,) = model.score([text])
        assert (score.log_probability, score.bits, score.tokens) == (0, 0, 0)
        with pytest.raises(PrefixError, match="at least 2 ids"):
            model.evaluate([text])
    with pytest.raises(DataError, match=r"a document that the model can read, got none; .* ids below 6"):
        model.evaluate(["1 9"])


def test_the_right_axis_of_losses_is_per_token(model):
    from motegpt.plots.curves import bits_of

    assert bits_of([model]) == "bits per token"


def test_looking_inside(model):
    """Everything reads texts of ids; a sequence one longer than the block has a target for every input."""
    logits, cache = model.lens().run_with_cache("1 2 5")
    assert logits.shape == (1, 3, 6)
    assert model.lens().run_with_cache([1, 2, 5])[0] == pytest.approx(logits)
    assert cache["hook_embed"].shape == (1, 3, 16)
    assert model.logits("1 2 5") == pytest.approx(logits[0])
    loss, gradients = model.gradients("1 2 5 3")
    assert loss == pytest.approx(-model.score(["1 2 5 3"])[0].log_probability / 3)
    assert gradients["wte"].any(axis=1).tolist() == [False, True, True, False, False, True]
    assert model.next("1 2").keys() == {str(one) for one in range(6)}
    for wrong, words in (("1 2 3 4 5", "at most 4 tokens"), ("1", "at least 2 ids"), ("6", "ids below 6")):
        with pytest.raises((DataError, PrefixError), match=words):
            model.gradients(wrong)
