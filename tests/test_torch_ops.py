"""The operations of the torch engine: PyTorch's functions against the definitions, and finite differences."""

from typing import get_args

import numpy as np
import pytest

from motegpt.config.sections.model import Activation, Norm
from tests.conftest import small_engine, small_settings

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

EPS = 1e-5


NORMS = [
    (kind, gain, bias)
    for kind in get_args(Norm)
    for gain in (False, True)
    for bias in (False, True)
    if kind != "none" or not (gain or bias)
]


def assert_equal_to_the_reference(operation, *inputs, clipped=True):
    """operation(ops, *inputs) and its gradients, in double precision, are those of the definitions.

    clipped: also with a node clip, whose bound of infinity clips nothing.
    """
    from motegpt.engines.torch.node_clip import NodeClip
    from motegpt.engines.torch.ops import Operations, Reference

    outcomes = []
    for ops in (Reference(), Operations(), *[NodeClip(float("inf"))] * clipped):
        leaves = [x.clone().requires_grad_() for x in inputs]
        y = operation(ops, *leaves)
        weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
        outcomes.append([y, *torch.autograd.grad((y * weights).sum(), leaves)])
    for outcome in outcomes[1:]:
        for got, expected in zip(outcome, outcomes[0], strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(1)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 4), (3, 2, 33, 7)], ids=str)
class TestOperationsAgainstTheirReference:
    """B, H, T and D of awkward sizes: values and gradients."""

    @pytest.mark.parametrize("bias", [False, True])
    def test_linear(self, shape, bias):
        x, w, b = normal(*shape), normal(3, shape[-1]), normal(3)
        assert_equal_to_the_reference(lambda ops, *given: ops.linear(*given), x, w, *[b] * bias)

    @pytest.mark.parametrize("causal", [True, False])
    @pytest.mark.parametrize("shared", [1, 2, 3])
    def test_attention(self, shape, causal, shared):
        """shared: queries that share a head of keys and values."""
        b, heads, t, d = shape
        q, k, v = normal(b, heads * shared, t, d), normal(*shape), normal(*shape)
        q = q if causal else q[:, :, -1:]
        assert_equal_to_the_reference(
            lambda ops, *qkv: ops.attention(*qkv, causal=causal), q, k, v, clipped=shared == 1
        )

    @pytest.mark.parametrize(("kind", "gain", "bias"), NORMS)
    def test_norm(self, shape, kind, gain, bias):
        def norm(ops, x, *own):
            given = list(own)
            return ops.norm(kind, x, given.pop(0) if gain else None, given.pop() if bias else None, EPS)

        own = [normal(shape[-1]) for _ in range(gain + bias)]
        assert_equal_to_the_reference(norm, normal(*shape), *own)

    @pytest.mark.parametrize("kind", get_args(Activation))
    def test_activation(self, shape, kind):
        assert_equal_to_the_reference(lambda ops, a: ops.activation(a, kind), 3 * normal(*shape))

    def test_rotate_is_that_of_the_array_engine(self, shape):
        from motegpt.engines.array import ops as array_ops
        from motegpt.engines.torch.ops import Operations, rotations

        d = 2 * shape[3]
        model = small_engine("array", small_settings(n_embd=2 * d, position="rope")).model
        x = normal(*shape[:3], d)
        expected, _ = array_ops.rotate(
            x.numpy(), array_ops.rotations(model, 3, shape[2], np.dtype("float64"))
        )
        got = Operations().rotate(x, rotations(model, 3, shape[2], x))
        np.testing.assert_allclose(got, expected, atol=1e-14)

    def test_cross_entropy_beside_padding(self, shape):
        logits, targets = normal(9, shape[2] + 1), torch.arange(9) % (shape[2] + 1)
        weights = torch.rand(9, dtype=torch.float64)
        weights[[2, 8]] = 0.0
        assert_equal_to_the_reference(
            lambda ops, logits: ops.cross_entropy(logits, targets, weights), logits, clipped=False
        )


def test_gelus_at_known_points():
    """Values of gelu(1) and gelu(-2) with 12 digits, from a table of the normal distribution."""
    from motegpt.engines.torch.ops import Operations

    a = torch.tensor([1.0, -2.0], dtype=torch.float64)
    exact, near = (Operations().activation(a, kind).numpy() for kind in ("gelu", "gelu_tanh"))
    np.testing.assert_allclose(exact, [0.841344746069, -2 * 0.022750131948], atol=1e-12)
    assert 1e-5 < np.abs(near - exact).max() < 1e-3


def test_shared_heads_are_neighbors():
    """Query heads 0 and 1 see head 0 of keys and values, 2 and 3 head 1."""
    from motegpt.engines.torch.ops import Operations

    q, v = normal(1, 4, 3, 2), torch.zeros((1, 2, 3, 2), dtype=torch.float64)
    v[:, 1] = 1.0
    y = Operations().attention(q, normal(1, 2, 3, 2), v, causal=True)
    np.testing.assert_allclose(y[0, :, 0, 0], [0.0, 0.0, 1.0, 1.0])
