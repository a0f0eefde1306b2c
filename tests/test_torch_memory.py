"""Memory of the torch engine: its formulas against what autograd saves."""

from typing import get_args

import pytest

from motegpt.config.sections import model_and_training
from motegpt.config.sections.model import Activation
from motegpt.engines import training_memory
from motegpt.model.dropout import sites_of
from motegpt.model.spec import parameter_count
from tests.conftest import VOCABULARY, small_settings

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

T = 6
GROUPED = {"n_head": 4, "n_kv_head": 2}


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "own",
    [
        {},
        {"dropout": 0.1},
        {"position": "rope"},
        {"position": "none", "n_hidden": 72, "bias": True},
        {"qk_norm": True},
        {"position": "rope", "qk_norm": True, "dropout": 0.1},
        GROUPED,
        {**GROUPED, "position": "rope", "norm_gain": True},
        {**GROUPED, "qk_norm": True, "norm_gain": True, "norm_bias": True},
        {"norm": "layer"},
        {"norm": "layer", "norm_gain": True, "norm_bias": True},
        {"norm": "none"},
    ],
    ids=str,
)
def test_activations_of_the_torch_engine(activation, half, own):
    """The bytes that autograd saves for one more layer, without weights but with their 16-bit copies."""
    changes = {"activation": activation, **own}
    saved = [saved_by_autograd(half, n_layer=layers, **changes) for layers in (3, 2)]
    computed = [computed_for_torch(half, n_layer=layers, **changes) for layers in (3, 2)]
    assert saved[0] - saved[1] == computed[0] - computed[1] > 0


@pytest.mark.parametrize("own", [{}, {"norm_gain": True}, {"norm": "layer"}], ids=str)
def test_a_final_norm_saves_what_one_more_norm_does(own):
    changes = [{"final_norm": final, **own} for final in (True, False)]
    saved = [saved_by_autograd(False, **one) for one in changes]
    computed = [computed_for_torch(False, **one) for one in changes]
    assert saved[0] - saved[1] == computed[0] - computed[1] > 0


def saved_by_autograd(half, **changes):
    """Bytes that the torch engine's network saves for two full sequences."""
    from motegpt.engines.torch.model import Transformer
    from motegpt.engines.torch.ops import Operations

    model, train = settings_of_model(**changes)
    network = Transformer(model, Operations(), dropout=train.dropout)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept = {}

    def pack(x):
        if x.untyped_storage().data_ptr() not in weights:
            kept[x.untyped_storage().data_ptr()] = x
        return x

    ids = torch.zeros((2, T), dtype=torch.long)
    keys = torch.zeros((2, len(sites_of(model.n_layer))), dtype=torch.long) if train.dropout else None
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        network(ids, ids, torch.ones(2, T), keys)
    return sum(x.untyped_storage().nbytes() for x in kept.values())


def computed_for_torch(half, **changes):
    """The same by the formula, and the 16-bit copies of matrices."""
    model, train = settings_of_model(batch_size=2, autocast="bfloat16" if half else None, **changes)
    needed = training_memory("torch", model, train, T)
    return needed.activations + needed.parameters - 4 * parameter_count(model)


def settings_of_model(**changes):
    return model_and_training(small_settings(dtype="float32", n_embd=64, **changes), VOCABULARY)
