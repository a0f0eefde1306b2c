"""A choice that is none of those there are fails wherever it is branched on: it never computes another."""

from types import SimpleNamespace

import pytest

from motegpt.data.plan import Batch, DocumentPlan, longest_sequence
from motegpt.data.tokenizers import CharacterTokenizer, Tokenizer
from motegpt.engines import training_memory
from motegpt.engines.array import ops
from motegpt.engines.scalar.graph import Value
from motegpt.engines.scalar.model import activate
from motegpt.model.schedule import learning_rate
from motegpt.ngrams.counts import baselines
from motegpt.optim import OPTIMIZERS
from tests.conftest import small_engine, small_settings

THIRD = "a third"


def settings(section, **changes):
    """The settings of a small run, one of them a choice that no check let through."""
    values = {**vars(getattr(small_engine("array", small_settings()), section)), **changes}
    values["n_hidden"] = 4 * values.get("n_embd", 0)
    return SimpleNamespace(**values)


def tokenizer(**changes):
    one = CharacterTokenizer("ab", "bos")
    for name, value in changes.items():
        object.__setattr__(one, name, value)
    return one


def torch_activation(module, name):
    operations = pytest.importorskip(f"motegpt.engines.torch.{module}")
    arguments = (1.0,) if name == "NodeClip" else ()
    torch = pytest.importorskip("torch")
    return getattr(operations, name)(*arguments).activation(torch.ones(2), THIRD)


BRANCHES = {
    "activation, scalar": lambda: activate(THIRD, Value(1.0)),
    "activation, array": lambda: ops.ACTIVATIONS[THIRD],
    "activation, torch": lambda: torch_activation("ops", "Operations"),
    "activation, torch, node clip": lambda: torch_activation("node_clip", "NodeClip"),
    "activation, cost": lambda: training_memory(
        "torch", settings("model", activation=THIRD), settings("settings"), 4
    ),
    "schedule": lambda: learning_rate(settings("settings", schedule=THIRD), 0),
    "adam": lambda: OPTIMIZERS["adam"].scalars(settings("settings", adam=THIRD), 0),
    "loss_mean": lambda: Batch.of([[0, 1]], THIRD),
    "loss_mean, chunk": lambda: DocumentPlan([[0, 1]], 1, THIRD).chunk(0, 1),
    "loss_mean, baselines": lambda: baselines([[0, 1]], [[0, 1]], 2, THIRD),
    "cut": lambda: longest_sequence(4, THIRD),
    "framing, bos": lambda: tokenizer(framing=THIRD).bos,
    "framing, stop": lambda: tokenizer(framing=THIRD).stop,
    "framing, ids": lambda: tokenizer(framing=THIRD).encode("a"),
    "tokenizer": lambda: Tokenizer.of(["ab"], "bos", THIRD),
}


@pytest.mark.parametrize("branch", BRANCHES)
def test_a_third_value_fails(branch):
    with pytest.raises((AssertionError, KeyError), match=THIRD):
        BRANCHES[branch]()
