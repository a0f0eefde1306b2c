"""Memory of training on the torch engine; computed without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.engines.cost import BYTES, Memory, gathered_count, product_count

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.config.sections.model import Activation

HALF = 2  # bytes of a number in 16 bits
# Hidden layers of the MLP that are saved: the input of the last product, and the factors that lead to it.
HIDDEN: dict[Activation, int] = {"relu": 1, "squared_relu": 2, "gelu": 2, "gelu_tanh": 2, "swiglu": 4}


def training_memory(model: ModelConfig, train: TrainConfig, positions: float, ranks: int = 1) -> Memory:
    """See motegpt.engines.

    Products in 16 bits need copies of their matrices. With several ranks DistributedDataParallel stores the
    gradients a second time, in buckets. If sharded, a rank stores 1 / ranks of everything (Rajbhandari et
    al., 2020), and one gathered layer and all tensors outside the layers.
    """
    rows = train.batch_size * positions / ranks / train.accumulate
    memory = Memory.of(model, train, rows * saved_bytes(model, train) / BYTES[train.dtype])
    parameters, gradients, optimizer, products = *memory[:3], product_count(model)
    if train.shard and ranks > 1:
        gathered = BYTES[train.dtype] * gathered_count(model)
        parameters, gradients = parameters // ranks + gathered, gradients // ranks + gathered
        optimizer, products = optimizer // ranks, min(products, gathered_count(model))
    elif ranks > 1:
        gradients *= 2
    copies = HALF * products if train.autocast else 0
    return Memory(parameters + copies, gradients, optimizer, memory.activations)


def saved_bytes(model: ModelConfig, train: TrainConfig) -> float:
    """Bytes per position that autograd saves in model.py; fused attention saves no scores.

    A layer saves its norms, the inputs of its products, q, k, v, and a scale for each head; products and
    attention in 16 bits with autocast, where each product of h saves a copy of it. QK norm saves queries and
    keys before it, queries before their gain, and a scale for each head. With it or with RoPE z is copied to
    merge the heads. With dropout a layer saves 2 · C of masks, and the embedding C.
    """
    c, size, half = model.n_embd, BYTES[train.dtype], train.autocast is not None
    copies = 4 + model.gated if half else 2
    products = (copies + 2) * c + 2 * model.kv_size + HIDDEN[model.activation] * model.mlp_size
    masks, norm = c if train.dropout else 0, norm_numbers(model)
    others = 2 * norm + 2 * masks + model.n_head
    if model.qk_norm:
        products += 2 * c
        others += c + model.kv_size + model.n_head + model.kv_heads
    elif model.position == "rope":
        products += c
    layer = products * (HALF if half else size) + others * size
    layers = model.n_layer * c * size + layer if train.checkpoint_activations else model.n_layer * layer
    return layers + (2 * c + masks + norm * model.final_norm + model.vocab_size) * size


def norm_numbers(model: ModelConfig) -> int:
    """Numbers per position that a norm saves.

    RMSNorm saves its input, a scale, and with a gain what it multiplies; LayerNorm input, mean and scale.
    """
    c = model.n_embd
    return {"rms": c + c * model.norm_gain + 1, "layer": c + 2, "none": 0}[model.norm]
