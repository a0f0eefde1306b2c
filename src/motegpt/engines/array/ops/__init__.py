"""The operations of the model over arrays, each forward directly above its backward.

dx is the gradient of the loss with respect to x. Letters: B sequences, T positions, N = B·T rows, C
channels, H heads, D = C / H, V vocabulary; in attention, U positions that T positions may look at.

The convention of all pairs:

    y, saved = operation(*inputs)            saved: a named tuple of all that the backward needs
    dx = operation_backward(dy, saved)       a tuple if several inputs have a gradient

Inputs that have a gradient, parameters included, come before those that have none (ids, masks, numbers).
A backward returns the gradient of each in order: the contribution of this operation alone. The tape
accumulates: it adds what is returned to what other operations returned. A backward never writes to dy.

A new operation is such a pair, `@backward_of(operation)` above its backward, and a line in the model.py of
the engine.
"""

# ruff: noqa: F403
from __future__ import annotations

from motegpt.engines.array.ops.activations import *
from motegpt.engines.array.ops.attention import *
from motegpt.engines.array.ops.base import *
from motegpt.engines.array.ops.elementwise import *
from motegpt.engines.array.ops.embeddings import *
from motegpt.engines.array.ops.heads import *
from motegpt.engines.array.ops.loss import *
from motegpt.engines.array.ops.matrices import *
from motegpt.engines.array.ops.norms import *
from motegpt.engines.array.ops.points import *
from motegpt.engines.array.ops.rotation import *
