"""Learning rates, Adam in both forms, SGD, and the clips."""

import math

import numpy as np
import pytest

from motegpt.config.presets import settings_of
from motegpt.config.sections import TrainConfig, section_values
from motegpt.engines.array.optimizers import adam_step, clip_gradient, sgd_step
from motegpt.engines.scalar import optimizers as scalar_optimizers
from motegpt.engines.scalar.graph import Value
from motegpt.model.schedule import learning_rate
from motegpt.optim import OPTIMIZERS

ADAM, SGD = OPTIMIZERS["adam"], OPTIMIZERS["sgd"]


def train_settings(**changes):
    return TrainConfig.of(section_values({**settings_of("microgpt"), **changes}, "train"))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.1, 0.1, 0.1, 0.1]),
        ("linear", [0.1, 0.075, 0.05, 0.025]),
        ("linear_to_zero", [0.075, 0.05, 0.025, 0.0]),
        (
            "cosine",
            [0.1, 0.02 + 0.08 * (1 + math.sqrt(0.5)) / 2, 0.06, 0.02 + 0.08 * (1 - math.sqrt(0.5)) / 2],
        ),
    ],
)
def test_schedules(schedule, rates):
    train = train_settings(schedule=schedule, lr=0.1, lr_min=0.02, steps=4)
    assert [learning_rate(train, step) for step in range(4)] == pytest.approx(rates)


def test_warm_up_rises_to_the_peak_and_hands_over():
    train = train_settings(schedule="linear", lr=0.1, steps=10, warmup_steps=4)
    rates = [learning_rate(train, step) for step in range(10)]
    assert rates[:5] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert rates[4:] == sorted(rates[4:], reverse=True)


@pytest.mark.parametrize(("name", "adam"), [("adam", "corrected"), ("adam", "folded"), ("sgd", "corrected")])
@pytest.mark.parametrize("schedule", ["linear", "linear_to_zero", "cosine", "constant"])
def test_the_scalars_of_a_chunk_are_those_of_its_steps(name, adam, schedule):
    train = train_settings(adam=adam, schedule=schedule, steps=50, warmup_steps=7, weight_decay=0.1)
    optimizer = OPTIMIZERS[name]
    one_by_one = np.array([optimizer.scalars(train, step) for step in range(50)])
    np.testing.assert_allclose(optimizer.chunk(train, 0, 50), one_by_one, rtol=1e-15)
    parts = [optimizer.chunk(train, 0, 13), optimizer.chunk(train, 13, 37)]
    np.testing.assert_array_equal(np.concatenate(parts), optimizer.chunk(train, 0, 50))


def test_corrected_adam_is_the_paper():
    """Kingma and Ba, algorithm 1, written out a second time."""
    train = train_settings(lr=0.1, beta1=0.9, beta2=0.99, schedule="constant")
    w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    theta, first, second = 1.0, 0.0, 0.0
    for t, g in enumerate([0.3, -0.2, 0.5], start=1):
        adam_step(w, np.array([g]), m, v, ADAM.scalars(train, t - 1))
        first, second = 0.9 * first + 0.1 * g, 0.99 * second + 0.01 * g * g
        theta -= 0.1 * (first / (1 - 0.9**t)) / (math.sqrt(second / (1 - 0.99**t)) + 1e-8)
        assert w[0] == pytest.approx(theta, rel=1e-14)


def test_folded_adam_puts_eps_beside_the_uncorrected_root():
    train = train_settings(lr=0.1, beta1=0.9, beta2=0.99, eps=0.5, adam="folded", schedule="constant")
    w, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    adam_step(w, np.array([0.3]), m, v, ADAM.scalars(train, 0))
    expected = 1.0 - 0.1 * math.sqrt(0.01) / 0.1 * 0.03 / (math.sqrt(0.01 * 0.09) + 0.5)
    assert w[0] == pytest.approx(expected, rel=1e-6)  # β in single precision


def independent_sgd(w, gradients, lr, momentum, weight_decay=0.0):
    """Stochastic gradient descent written out a second time."""
    velocity = np.zeros_like(w)
    for g in gradients:
        velocity = momentum * velocity + g
        w = w * (1 - lr * weight_decay) - lr * velocity
    return w


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_is_that_of_five_lines(momentum, weight_decay):
    chosen = {"lr": 0.1, "momentum": momentum, "weight_decay": weight_decay, "schedule": "constant"}
    train = train_settings(optimizer="sgd", **chosen)
    gradients = np.random.default_rng(1).normal(size=(9, 4))
    w, velocity = np.ones(4), np.zeros(4)
    for step, g in enumerate(gradients):
        sgd_step(w, g, velocity, SGD.scalars(train, step))
    expected = independent_sgd(np.ones(4), gradients, 0.1, momentum, weight_decay)
    np.testing.assert_allclose(w, expected, rtol=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_that_of_torch(momentum):
    torch = pytest.importorskip("torch")
    train = train_settings(optimizer="sgd", lr=0.1, momentum=momentum, schedule="linear", steps=9)
    gradients = np.random.default_rng(1).normal(size=(9, 4))
    w, velocity, theirs = np.ones(4), np.zeros(4), torch.ones(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theirs], momentum=momentum, lr=0.1)
    for step, g in enumerate(gradients):
        sgd_step(w, g, velocity, SGD.scalars(train, step))
        optimizer.param_groups[0]["lr"] = learning_rate(train, step)
        theirs.grad = torch.tensor(g)
        optimizer.step()
    np.testing.assert_allclose(w, theirs.detach().numpy(), rtol=1e-13)


def test_weight_decay_is_decoupled():
    train = train_settings(lr=0.1, weight_decay=0.5, schedule="constant")
    w = np.array([2.0])
    adam_step(w, np.zeros(1), np.zeros(1), np.zeros(1), ADAM.scalars(train, 0))
    assert w[0] == pytest.approx(2.0 * (1 - 0.1 * 0.5))


GRADIENT = [3.0, -4.0, 0.0]


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ({}, [3.0, -4.0, 0.0]),
        ({"clip_value": 3.5}, [3.0, -3.5, 0.0]),
        ({"clip_norm": 1.0}, [0.6, -0.8, 0.0]),
        ({"clip_norm": 6.0}, [3.0, -4.0, 0.0]),
        ({"clip_value": 3.0, "clip_norm": math.sqrt(18) / 2}, [1.5, -1.5, 0.0]),
    ],
    ids=str,
)
def test_clips_by_value_and_then_by_norm(clips, expected):
    dw = np.array(GRADIENT)
    clip_gradient([dw], train_settings(**clips))
    assert dw == pytest.approx(expected)
    nodes = [Value(0.0) for _ in GRADIENT]
    for node, gradient in zip(nodes, GRADIENT, strict=True):
        node.grad = gradient
    scalar_optimizers.clip_gradient(nodes, train_settings(**clips))
    assert [node.grad for node in nodes] == pytest.approx(expected)
