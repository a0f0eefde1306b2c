"""The core as WebAssembly (src/motegpt/page/motegpt.wasm through js/core.js), against the array engine."""

import numpy as np
import pytest

from motegpt.config.sections import model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.evaluation.inspect import trace
from tests.conftest import VOCABULARY, random_sequences, small_engine, small_settings
from tests.test_parity import TRAININGS
from tests.tolerances import LOSSES
from tests.wasm import WasmEngine, needs_node

pytestmark = needs_node

MODELS = {
    "microgpt": small_settings("microgpt"),
    "oxidized": small_settings("oxidized"),
    "zeroclaw": small_settings("zeroclaw"),
    "RoPE and QK norm": small_settings(position="rope", qk_norm=True, n_layer=3, tied=True),
}
IDS = [0, 3, 2, 5, 1]


def twins(chosen):
    """An array engine, and one of WebAssembly with the same parameters."""
    array = small_engine("array", chosen)
    wasm = WasmEngine(*model_and_training(chosen, VOCABULARY))
    wasm.load(array.export().parameters)
    return array, wasm


@pytest.mark.parametrize("training", TRAININGS)
def test_whole_trainings_agree(training):
    chosen = {**TRAININGS[training], "steps": 40}
    plan = DocumentPlan(random_sequences(5, 8, 6), chosen["batch_size"], chosen.get("loss_mean", "documents"))
    array, wasm = twins(chosen)
    assert wasm.train(plan, 0, 40) == pytest.approx(array.train(plan, 0, 40), abs=LOSSES["float64"])


@pytest.mark.parametrize("model", MODELS)
def test_a_look_records_what_the_array_engine_computes(model):
    array, wasm = twins(MODELS[model])
    found = wasm.remote.call("look", IDS, {})
    expected = trace(array.export().parameters, array.model, IDS)
    missing = {name for name in expected if name not in found["activations"]}
    assert all(name == "logits" or "hook_scale" in name or "_norm.hook" in name for name in missing), missing
    for name, record in found["activations"].items():
        values = record["values"].reshape(expected[name].shape)
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(found["logits"], expected["logits"].ravel(), rtol=0, atol=1e-12)
