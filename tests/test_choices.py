"""A choice that is none of those there are fails wherever it is branched on: it never computes another."""

import pytest

from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan, longest_sequence
from motegpt.data.tokenizers import CharacterTokenizer, Tokenizer
from motegpt.engines import training_memory
from motegpt.engines.array import ops
from motegpt.engines.scalar.graph import Value
from motegpt.engines.scalar.model import FUSED, activate, norm
from motegpt.model.schedule import learning_rate
from motegpt.model.spec import KEPT, _tensors
from motegpt.ngrams.counts import baselines
from motegpt.optim import OPTIMIZERS
from tests.conftest import small_engine, small_settings

THIRD = "a third"


def with_values(one, **values):
    """An object with values that no check let through."""
    for name, value in values.items():
        object.__setattr__(one, name, value)
    vars(one).pop(KEPT, None)  # the tensors of a model that was right
    return one


def settings(section, **changes):
    """The settings of a small run, one of them a third choice."""
    return with_values(getattr(small_engine("array", small_settings()), section), **changes)


def tokenizer(**changes):
    return with_values(CharacterTokenizer("ab", "bos"), **changes)


def torch_activation(module, name):
    operations = pytest.importorskip(f"motegpt.engines.torch.{module}")
    arguments = (1.0,) if name == "NodeClip" else ()
    torch = pytest.importorskip("torch")
    return getattr(operations, name)(*arguments).activation(torch.ones(2), THIRD)


def torch_norm():
    operations = pytest.importorskip("motegpt.engines.torch.ops").Operations()
    return operations.norm(THIRD, pytest.importorskip("torch").ones(2), None, None, 1.0)


def torch_position():
    pytest.importorskip("torch")
    engine = small_engine("torch", small_settings())
    with_values(engine.model, position=THIRD)
    return engine.logits(Batch.of([[0, 1]], "documents"))


BRANCHES = {
    "activation, scalar": lambda: activate(THIRD, Value(1.0)),
    "activation, array": lambda: ops.ACTIVATIONS[THIRD],
    "activation, torch": lambda: torch_activation("ops", "Operations"),
    "activation, torch, node clip": lambda: torch_activation("node_clip", "NodeClip"),
    "norm, scalar": lambda: norm([Value(1.0)], "", {}, settings("model", norm=THIRD), FUSED, "", None),
    "norm, array": lambda: ops.NORMS[THIRD],
    "norm, cost, array": lambda: training_memory(
        "array", settings("model", norm=THIRD), settings("settings"), 4
    ),
    "position, specification": lambda: list(_tensors(settings("model", position=THIRD))),
    "activation, torch, reference": lambda: torch_activation("ops", "Reference"),
    "norm, torch": torch_norm,
    "position, torch": torch_position,
    **{
        f"{name}, memory of torch": lambda name=name: training_memory(
            "torch", settings("model", **{name: THIRD}), settings("settings"), 4
        )
        for name in ("activation", "norm", "position")
    },
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
