"""The arithmetic of the page's views, in Node, against Python."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from motegpt.config.presets import settings_of
from motegpt.config.sections import ModelConfig, TrainConfig, model_and_training
from motegpt.engines import make_engine
from motegpt.engines.array.model import trace_of
from motegpt.engines.array.optimizers import STEPS
from motegpt.evaluation.inspect import cosines, principal_plane
from motegpt.model.spec import tensors
from motegpt.optim import OPTIMIZERS
from tests.conftest import small_settings
from tests.page_node import needs_node, run_script

pytestmark = needs_node
EMPTY: dict[str, list[Any]] = {"heads": [], "parts": [], "cells": [], "weights": []}
MODEL, SHARING = (
    model_and_training(small_settings(n_layer=2, n_head=2, n_embd=8, **changes), 11)[0]
    for changes in (
        {},
        {"n_kv_head": 1, "norm_gain": True, "bias": True, "final_norm": True, "activation": "swiglu"},
    )
)


def anatomy(model: ModelConfig) -> dict[str, Any]:
    """What the page's script is given of a model and a look at three tokens."""
    ids = [9, 4, 5]
    engine = make_engine("array", model, model_and_training(small_settings(), 11)[1])
    hooks = trace_of(engine.export().parameters, np.array([ids]), model)
    return {
        "layers": 2, "heads": 2, "headSize": 4, "embeddingNorm": True, "head": "lm_head", "ids": ids,
        "sharing": model.n_head // model.kv_heads, "hooks": dict.fromkeys(hooks, 1),
        "tensors": [tensor.name for tensor in tensors(model)],
    }  # fmt: skip


def ask(name: str, value: Any) -> Any:
    (answer,) = run_script("views", [[name, value]])
    assert not (isinstance(answer, dict) and "error" in answer), answer
    return answer


def distances(points: Any) -> Any:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def test_the_plane_is_that_of_the_package_and_moves_little() -> None:
    rng = np.random.default_rng(1)
    start, drift = rng.normal(size=(2, 27, 16)) * np.linspace(2, 0.5, 16)
    frames = [start + 0.02 * i * drift for i in range(20)]
    found = ask("planes", {"frames": [frame.ravel().tolist() for frame in frames], "rows": 27, "columns": 16})
    shown = [np.reshape(one["points"], (27, 2)) for one in found]
    for frame, points, one in zip(frames, shown, found, strict=True):
        expected = principal_plane(frame)
        assert distances(points) == pytest.approx(distances(expected.points), abs=1e-4)
        assert one["shares"] == pytest.approx(list(expected.shares), abs=1e-6)
    assert shown[0] == pytest.approx(principal_plane(start).points, abs=1e-4)
    moved = [np.abs(after - before).max() for before, after in pairwise(shown)]
    assert max(moved) < 0.15 * np.abs(shown[0]).max()


def train_settings(**changes: Any) -> TrainConfig:
    names = TrainConfig.__dataclass_fields__
    preset = {name: value for name, value in settings_of("microgpt").items() if name in names}
    return replace(TrainConfig(**preset), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_decay": 0.1},
        {"adam": "folded"},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "weight_decay": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("decayed", [True, False])
def test_the_update_in_numbers_is_the_optimizers(changes: dict[str, Any], decayed: bool) -> None:
    train = train_settings(**changes)
    optimizer = OPTIMIZERS[train.optimizer]
    step, w, g = 7, np.array([0.3]), np.array([-0.02])
    slots = [np.array([0.01]), np.array([0.0004])][: len(optimizer.slots)]
    given = dict(zip(optimizer.slots, (float(slot[0]) for slot in slots), strict=True))
    scalars = optimizer.scalars(train, step)
    (lr,) = optimizer._varying(train, [step])[0]
    rows = ask(
        "update",
        {
            "settings": {"optimizer": train.optimizer, "adam": train.adam},
            "scalars": list(scalars), "lr": lr, "w": 0.3, "gradient": -0.02, "slots": given,
            "decayed": decayed,
        },
    )  # fmt: skip
    STEPS[train.optimizer](w, g, *slots, scalars, decayed)
    assert rows["new w"] == pytest.approx(w[0], rel=1e-14)
    for name, slot in zip(optimizer.slots, slots, strict=True):
        assert rows[name] == pytest.approx(slot[0], rel=1e-14)
    if train.optimizer == "adam" and train.adam == "corrected":
        assert rows["m̂"] == pytest.approx(rows["m"] / (1 - train.beta1 ** (step + 1)), rel=1e-12)
        assert rows["v̂"] == pytest.approx(rows["v"] / (1 - train.beta2 ** (step + 1)), rel=1e-12)


def test_distributions() -> None:
    values = [1.0, -2.0, 0.5, 1e3]
    logits = np.array(values) / 250.0
    expected = np.exp(logits / 0.5) / np.exp(logits / 0.5).sum()
    assert ask("softmax", {"values": list(logits), "temperature": 0.5}) == pytest.approx(list(expected))
    assert sum(ask("softmax", {"values": values, "temperature": 0.1})) == pytest.approx(1)
    assert ask("entropy", [0.25] * 4) == 2
    assert ask("entropy", [1.0, 0.0]) == 0
    assert ask("top", {"values": [3, 9, 1, 9, 5], "n": 3}) == [1, 3, 4]
    pair = np.array([[1.0, 2.0, 3.0], [-2.0, 0.5, 1.0]])
    assert ask("cosine", {"values": pair.ravel().tolist(), "columns": 3}) == pytest.approx(
        cosines(pair)[0, 1]
    )
    found = ask("histogram", {"values": [0, 0, 1, 2, 9], "low": 0, "high": 4, "bins": 4})
    assert found["counts"] == [2, 1, 1, 0]
    assert (found["zeros"], found["counted"]) == (0.4, 4)
    assert found["std"] == pytest.approx(np.std([0, 0, 1, 2, 9]))


@pytest.mark.parametrize(
    ("model", "name", "head", "cell", "expected"),
    [
        (MODEL, "hook_embed", None, (2, 6), {"wte": ([5, 6], [6, 7])}),
        (
            MODEL, "blocks.0.hook_resid_pre", None, (1, 3),
            dict.fromkeys(("hook_embed", "hook_pos_embed"), ([1, 2], None)),
        ),
        (
            MODEL, "blocks.1.attn.hook_q", None, (2, 5),
            {"blocks.1.ln1.hook_normalized": ([2, 3], None), "layer1.attn_wq": ([5, 6], None)},
        ),
        (
            MODEL, "blocks.1.attn.hook_pattern", 1, (2, 0),
            {"blocks.1.attn.hook_q": ([2, 3], [4, 8]), "blocks.1.attn.hook_k": ([0, 1], [4, 8])},
        ),
        (
            MODEL, "blocks.0.attn.hook_z", None, (2, 5),
            {"blocks.0.attn.hook_pattern 1": ([2, 3], [0, 3]), "blocks.0.attn.hook_v": ([0, 3], [5, 6])},
        ),
        (
            MODEL, "blocks.1.hook_resid_mid", None, (1, 2),
            dict.fromkeys(("blocks.0.hook_resid_post", "blocks.1.hook_attn_out"), ([1, 2], [2, 3])),
        ),
        (
            MODEL, "blocks.0.hook_mlp_out", None, (1, 2),
            {"blocks.0.mlp.hook_post": ([1, 2], None), "layer0.mlp_fc2": ([2, 3], None)},
        ),
        (
            MODEL, "logits", None, (0, 9),
            {"blocks.1.hook_resid_post": ([0, 1], None), "lm_head": ([9, 10], None)},
        ),
        (MODEL, "layer0.attn_wq", None, (0, 0), {}),
        (
            SHARING, "blocks.1.ln1.hook_normalized", None, (2, 5),
            {"blocks.0.hook_resid_post": ([2, 3], None), "layer1.ln1_gain": ([0, 1], [5, 6])},
        ),
        (
            SHARING, "blocks.0.attn.hook_pattern", 1, (2, 0),
            {"blocks.0.attn.hook_q": ([2, 3], [4, 8]), "blocks.0.attn.hook_k": ([0, 1], [0, 4])},
        ),
        (
            SHARING, "blocks.0.attn.hook_z", None, (2, 5),
            {"blocks.0.attn.hook_pattern 1": ([2, 3], [0, 3]), "blocks.0.attn.hook_v": ([0, 3], [1, 2])},
        ),
        (
            SHARING, "blocks.0.mlp.hook_pre", None, (1, 2),
            {
                "blocks.0.ln2.hook_normalized": ([1, 2], None), "layer0.mlp_gate": ([2, 3], None),
                "layer0.mlp_gate_bias": ([0, 1], [2, 3]),
            },
        ),
        (
            SHARING, "blocks.0.mlp.hook_post", None, (1, 2),
            dict.fromkeys(("blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_pre_linear"), ([1, 2], [2, 3])),
        ),
        (
            SHARING, "logits", None, (0, 9),
            {"ln_final.hook_normalized": ([0, 1], None), "lm_head": ([9, 10], None)},
        ),
    ],
)  # fmt: skip
def test_what_a_cell_was_computed_from(
    model: ModelConfig, name: str, head: Any, cell: tuple[int, int], expected: Any
) -> None:
    given = {"name": name} if head is None else {"name": name, "head": head}
    found = ask("sources", {"map": given, "row": cell[0], "column": cell[1], "anatomy": anatomy(model)})
    named = {
        f"{one['name']} {one.get('head', '')}".strip(): (one.get("rows"), one.get("columns")) for one in found
    }
    assert named == expected


def test_interventions() -> None:
    steps = [
        ["toggle", "heads", [0, 1]], ["toggle", "heads", [0, 2]], ["toggle", "heads", [0, 1]],
        ["toggle", "cells", [0, 3, 2, 1]], ["weight", 21, 0.5, 0.1], ["weight", 21, 0.75, 0.1],
        ["weight", 3, 0.1, 0.1],
    ]  # fmt: skip
    mask = ask("mask", {"mask": EMPTY, "steps": steps})
    assert mask == {"heads": [[0, 2]], "parts": [], "cells": [[0, 3, 2, 1]], "weights": [[21, 0.75]]}
    tensors = [{"name": "wte", "shape": [4, 4], "offset": 0}, {"name": "wpe", "shape": [3, 4], "offset": 16}]
    assert ask("names", {"tensors": tensors, "indices": [0, 7, 16, 27]}) == [
        "wte[0, 0]", "wte[1, 3]", "wpe[0, 0]", "wpe[2, 3]",
    ]  # fmt: skip
    found = ask("interventions", {"mask": mask, "tensors": tensors})
    assert [one["text"] for one in found] == [
        "Layer 0: head 2 off", "Layer 0: head 3, attention [2, 1] = 0", "wpe[1, 1] = 0.75",
    ]  # fmt: skip
    assert found[0]["without"] == {**mask, "heads": []}


def test_ratios_are_kept_in_bounded_memory_and_forgotten_when_wound_back() -> None:
    found = ask("ratios", list(range(2000)))
    assert len(found["steps"]) <= 512
    assert found["steps"][-1] == 1999
    assert found["last"] == pytest.approx(-2)
    assert ask("ratios", [1, 2, 5, 9, 4])["steps"] == [1, 2, 4]
