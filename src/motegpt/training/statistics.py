"""Statistics of matrices and activations at logged steps, with `log_statistics`.

Of every tensor, where g is its gradient in the step before clipping, w its value after the update and Δw the
change by it; norms are Euclidean, over all elements:

    gradient_norm/NAME    ‖g‖, in nats per unit of w
    gradient_zeros/NAME   share of the elements of g that are 0
    weight_norm/NAME      ‖w‖
    update_ratio/NAME     ‖Δw‖ / ‖w‖, 0 if w is 0

Of the activations after the update, over a fixed batch, the first POSITIONS positions of the training, in
double precision and without dropout:

    rms/layer0.resid_pre          root mean square of the residual stream as it enters the first layer
    rms/layerI.attn_out, mlp_out  of what attention and MLP add to it, and …
    rms/layerI.resid_post         … of the stream as it leaves the layer
    dead/layerI                   share of the MLP's hidden channels that are 0 everywhere; ReLUs alone
    attention_entropy/layerI.headH  mean of -Σ p ln p over the positions after the first, in nats

A number that is not finite is left out. Nothing is computed at other steps; at a logged one a second backward
pass, two copies of the parameters and a forward pass of the array engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.engines.array import model as network
from motegpt.ngrams.vectors import vectors_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig
    from motegpt.data.plan import Plan
    from motegpt.engines.base import Arrays, Engine

    Array = NDArray[np.floating[Any]]

POSITIONS = 256  # of the fixed batch
RELUS = ("relu", "squared_relu")


class Watch:
    """The statistics of one step: made before it, asked after it."""

    def __init__(self, engine: Engine, plan: Plan, step: int) -> None:
        """step: from 0."""
        self._engine, self._plan = engine, plan
        self._before = engine.parameters()
        _, self._gradient = engine.gradients(plan.batch(step), step)

    def statistics(self) -> dict[str, float]:
        """Name -> value, after the update of the step."""
        after = self._engine.parameters()
        of_tensors = tensor_statistics(self._gradient, self._before, after)
        of_activations = activation_statistics(self._engine, after, fixed_batch(self._plan))
        return {name: x for name, x in (of_tensors | of_activations).items() if math.isfinite(x)}


def tensor_statistics(gradient: Arrays, before: Arrays, after: Arrays) -> dict[str, float]:
    """Those of every tensor, grouped by statistic."""
    found: dict[str, dict[str, float]] = {}
    for name, g in gradient.items():
        w = norm(after[name])
        values = {
            "gradient_norm": norm(g),
            "gradient_zeros": float(np.mean(g == 0)),
            "weight_norm": w,
            "update_ratio": norm(np.subtract(after[name], before[name], dtype=np.float64)) / w if w else 0.0,
        }
        for statistic, value in values.items():
            found.setdefault(statistic, {})[name] = value
    return {f"{statistic}/{name}": value for statistic, of in found.items() for name, value in of.items()}


def norm(x: Array) -> float:
    """‖x‖, summed in double precision."""
    return float(np.sqrt(np.sum(np.square(x, dtype=np.float64))))


def fixed_batch(plan: Plan) -> list[list[int]]:
    """The first POSITIONS positions of the training, as sequences of which the last may be cut."""
    rows: list[list[int]] = []
    left, step = POSITIONS, 0
    while left:
        for row in plan.batch(step).inputs:
            if left:
                rows.append(row[:left])
                left -= len(rows[-1])
        step += 1
    return rows


def activation_statistics(engine: Engine, parameters: Arrays, rows: list[list[int]]) -> dict[str, float]:
    """Those of the activations on sequences of token ids."""
    w = {name: np.asarray(values, np.float64) for name, values in parameters.items()}
    vectors = vectors_of(engine.contexts, rows, engine.settings)
    with np.errstate(all="ignore"):
        trace = network.trace_of(w, network.pad(rows), engine.model, vectors)
    lengths = np.array([len(row) for row in rows])
    positions = np.arange(lengths.max())
    return dict(_of_trace(trace, engine.model, positions < lengths[:, None]))


def _of_trace(
    trace: Mapping[str, Array], model: ModelConfig, valid: NDArray[np.bool_]
) -> Iterator[tuple[str, float]]:
    """valid (B, T): positions that are not padding."""
    streams = {"layer0.resid_pre": "blocks.0.hook_resid_pre"}
    for i in range(model.n_layer):
        streams |= {
            f"layer{i}.{part}": f"blocks.{i}.hook_{part}" for part in ("attn_out", "mlp_out", "resid_post")
        }
    for name, hook in streams.items():
        yield f"rms/{name}", float(np.sqrt(np.mean(np.square(trace[hook][valid]))))
    for i in range(model.n_layer if model.activation in RELUS else 0):
        yield f"dead/layer{i}", float(np.mean((trace[f"blocks.{i}.mlp.hook_post"][valid] == 0).all(axis=0)))
    later = valid & (np.arange(valid.shape[1]) > 0)
    for i in range(model.n_layer):
        for head, entropy in enumerate(_entropies(trace[f"blocks.{i}.attn.hook_pattern"], later)):
            yield f"attention_entropy/layer{i}.head{head}", entropy


def _entropies(pattern: Array, valid: NDArray[np.bool_]) -> list[float]:
    """pattern (B, H, T, U), valid (B, T) -> of each head the mean of -Σ p ln p over positions; 0 of none."""
    logs = np.log(pattern, out=np.zeros_like(pattern), where=pattern > 0)
    entropy = -(pattern * logs).sum(axis=-1).swapaxes(1, 2)[valid]  # (positions, H)
    found: list[float] = (entropy.sum(axis=0) / max(1, len(entropy))).tolist()
    return found
