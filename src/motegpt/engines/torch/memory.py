"""Memory of training on the torch engine; computed without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.engines.cost import BYTES, Memory, gathered_count, product_count

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig

HALF = 2  # bytes of a number in 16 bits


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

    A layer saves 10 · C inputs of products, and 4 · C to square a ReLU; with autocast they have 16 bits, and
    q, k and v each save a copy of h. QK norm saves queries and keys before it, queries before their gain, and
    a scale for each head. With it or with RoPE z is copied to merge the heads. With dropout a layer saves
    2 · C of masks, and the embedding C.
    """
    c, size, half = model.n_embd, BYTES[train.dtype], train.autocast is not None
    inputs = 10 + {"relu": 0, "squared_relu": 4}[model.activation] + 2 * half
    masks = c if train.dropout else 0
    layer = inputs * c * (HALF if half else size) + (2 * c + 2 * masks + model.n_head + 2) * size
    if model.qk_norm:
        layer += ((3 if half else 4) * c + 2 * model.n_head) * size
    elif model.position == "rope":
        layer += c * (HALF if half else size)
    layers = model.n_layer * c * size + layer if train.checkpoint_activations else model.n_layer * layer
    return layers + (2 * c + masks + model.vocab_size) * size
