"""What a training costs before it is begun: operations, memory, communication.

Pure functions of the settings, standard library only. docs/scale.md derives each formula, names its source
and holds it against measurements. Letters are those of docs/notation.md; memory and communication are in
bytes, and operations are floating-point operations, a multiply and an add counting as two.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from motegpt.model.spec import parameter_count, tensors
from motegpt.optim import OPTIMIZERS

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig

BYTES = {"float64": 8, "float32": 4}
HALF = 2  # bytes of a number in 16 bits
ONE_LAYER = "layer0"  # module that stands for every layer
GROUP_CACHE, GROUP_ROWS, GROUP_NUMBERS = 1792 * 1024, 512, 18  # best_group_rows of cpp/motegpt/workers.hpp


@dataclass(frozen=True)
class Execution:
    """Who computes a step, and how.

    engine: one of TAPES; threads: of the native engine; ranks: processes that share a step, each with a
    device; accumulate: parts that a rank does one after the other; half: matrix products in 16 bits;
    shard: each rank holds only its part of parameters, gradients and slots (torch alone has the last four).
    """

    engine: str = "native"
    threads: int = 1
    ranks: int = 1
    accumulate: int = 1
    half: bool = False
    shard: bool = False


class Tape(NamedTuple):
    """Numbers that an engine keeps of each position for the way back.

    narrow, wide: channels a layer, inputs of products and others; under `half` the former have 16 bits.
    scores: of H · T a layer; sums: of H a layer. ends: channels outside the layers, buffers included; the
    logits are beside them.
    """

    narrow: int
    wide: int
    scores: int
    sums: int
    ends: int


# array: the two tapes of engines/array/model.py, and the logits. native: LayerTape and Group of
# cpp/motegpt/tape.hpp, whose Group has room for the gradients of one layer too. torch: what its autograd
# saves of engines/torch/model.py; fused attention keeps no scores.
TAPES = {
    "array": Tape(narrow=10, wide=6, scores=1, sums=0, ends=2),
    "native": Tape(narrow=10, wide=4, scores=1, sums=0, ends=11),
    "torch": Tape(narrow=10, wide=2, scores=0, sums=1, ends=2),
}
SQUARED, CAST = 4, 2  # torch: the root of a squared ReLU; h is cast to 16 bits for q, k and v each


@dataclass(frozen=True)
class Memory:
    """Bytes on each device while a model learns; parameters with all their copies, optimizer: its slots."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.activations


def product_count(model: ModelConfig, modules: Collection[str] | None = None) -> int:
    """Parameters that are factors of matrix products, each once per product; of some modules, else of all."""
    return sum(
        tensor.size * tensor.products
        for tensor in tensors(model)
        if modules is None or tensor.module in modules
    )


def operations_per_token(model: ModelConfig, positions: float) -> float:
    """Operations a token learned from, in sequences of so many positions, without the optimizer.

    Each weight of a matrix product costs a multiply and an add forward and twice that backward: 6 a
    token (Kaplan et al., 2020, section 2.1). Attention's two products over T positions, causal and so
    halved, add 6 · L · C · T a token. (Chowdhery et al., 2022, appendix B, count attention unhalved,
    12 · L · H · D · T; a utilisation by that formula is higher.)
    """
    return 6.0 * (product_count(model) + model.n_layer * model.n_embd * positions)


def recomputed_per_token(model: ModelConfig, positions: float) -> float:
    """What checkpoint_activations adds to that: the forward pass of the layers once more."""
    per_layer = product_count(model, modules=(ONE_LAYER,))
    return 2.0 * model.n_layer * (per_layer + model.n_embd * positions)


def memory(model: ModelConfig, train: TrainConfig, execution: Execution, positions: float) -> Memory:
    """The largest that a device holds, in sequences of so many positions; padding and code not counted.

    Parameters P, gradients P, each slot of the optimizer P. The native engine keeps a gradient for each
    thread, and the matrices of products a second time, transposed. torch copies those in 16 bits where it
    multiplies in 16, and with several ranks has the gradients twice, the second time in
    DistributedDataParallel's buckets.
    Sharded, a rank keeps 1 / ranks of all (Rajbhandari et al., 2020); whole are one layer at a time, and what
    is outside the layers.
    """
    size, count, products = BYTES[train.dtype], parameter_count(model), product_count(model)
    parts, whole, copies, gradients = 1, 0, 0, 1
    if execution.engine == "native":
        copies, gradients = size * products, execution.threads
    elif execution.engine == "torch":
        if execution.shard and execution.ranks > 1:
            parts, whole = execution.ranks, size * gathered_count(model)
            products = min(products, gathered_count(model))
        elif execution.ranks > 1:
            gradients = 2
        copies = HALF * products if execution.half else 0
    held = positions_at_once(model, train, execution, positions)
    return Memory(
        parameters=size * count // parts + whole + copies,
        gradients=size * count * gradients // parts + whole,
        optimizer=len(OPTIMIZERS[train.optimizer].slots) * size * count // parts,
        activations=round(held * tape_bytes(model, train, execution, positions)),
    )


def gathered_count(model: ModelConfig) -> int:
    """Parameters of one layer and of what is outside the layers."""
    return sum(tensor.size for tensor in tensors(model) if tensor.module in ("", ONE_LAYER))


def positions_at_once(
    model: ModelConfig, train: TrainConfig, execution: Execution, positions: float
) -> float:
    """Positions whose activations are held together: a rank's part, or on native a group a thread."""
    step = train.batch_size * positions
    if execution.engine != "native":
        return step / execution.ranks / execution.accumulate
    row = (GROUP_NUMBERS * model.n_embd + model.n_head * model.block_size) * BYTES[train.dtype]
    group = GROUP_CACHE // row if GROUP_CACHE // row > model.n_embd else GROUP_ROWS
    return execution.threads * min(step, max(group, model.block_size))


def tape_bytes(model: ModelConfig, train: TrainConfig, execution: Execution, positions: float) -> float:
    """Bytes kept of each position: 12 to 16 channels a layer, and where attention is not fused H · T scores.

    Checkpointing (Chen et al., 2016) keeps each layer's input, and the rest of one layer at a time. The
    native engine's attention for heads narrower than a vector keeps up to C · (T + 3) / 2 for H · T.
    """
    size, tape = BYTES[train.dtype], TAPES[execution.engine]
    c, heads = model.n_embd, model.n_head * (tape.scores * positions + tape.sums)
    narrow, product = tape.narrow, HALF if execution.half else size
    if execution.engine == "torch":
        narrow += {"relu": 0, "squared_relu": SQUARED}[model.activation] + CAST * execution.half
    layer = narrow * c * product + (tape.wide * c + heads + 2) * size
    ends = (tape.ends * c + model.vocab_size) * size
    if train.checkpoint_activations and execution.engine != "array":
        return model.n_layer * c * size + layer + ends
    return model.n_layer * layer + ends


def cache_bytes(model: ModelConfig, dtype: str) -> int:
    """The KV cache of one sequence of block_size: a key and a value of C numbers a layer and position."""
    return 2 * model.n_layer * model.block_size * model.n_embd * BYTES[dtype]


def all_reduce(count: int, ranks: int) -> float:
    """Numbers each rank sends to sum `count` over all, by a ring: 2 (N-1)/N, the least there is.

    Patarasuk and Yuan, 2009. A reduce-scatter and an all-gather are half of it each.
    """
    return 2.0 * count * (ranks - 1) / ranks


def communication(model: ModelConfig, train: TrainConfig, execution: Execution) -> float:
    """Bytes each rank sends a step: gradients summed once; sharded, parameters gathered twice a part too.

    Li et al., 2020, and Rajbhandari et al., 2020, section 7: 2 and 3 times the parameters for large N. All
    in the parameters' own precision, as the torch engine sends them. (What is outside the layers may stay
    whole from forward to backward, and is then gathered once.)
    """
    half_ring = all_reduce(parameter_count(model), execution.ranks) / 2.0
    gathers = 2 * execution.accumulate if execution.shard else 1
    return BYTES[train.dtype] * half_ring * (1 + gathers)
