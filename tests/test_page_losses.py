"""The losses that the page keeps: each one, or means of buckets, in bounded memory."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.page_node import needs_node, run_script

pytestmark = needs_node


def kept(chunks: list[tuple[int, list[float]]], ranges: Any = (), capacity: int = 8) -> dict[str, Any]:
    given = {
        "capacity": capacity,
        "chunks": [{"first": first, "losses": losses} for first, losses in chunks],
        "ranges": list(ranges),
    }
    return run_script("losses", given)


def test_few_losses_are_kept_as_they_are() -> None:
    result = kept([(0, [3.0, 2.0]), (2, [1.0])], [(0, 3), (1, 2), (3, 5)])
    assert result == {"width": 1, "steps": 3, "values": [3, 2, 1], "means": [2, 2, None]}


def test_many_losses_are_kept_as_means_in_the_same_memory() -> None:
    losses = [random.Random(7).random() for _ in range(1)] + [i / 10 for i in range(1, 100)]
    result = kept([(i, [loss]) for i, loss in enumerate(losses)], [(0, 100), (32, 64)])
    assert (result["width"], result["steps"]) == (16, 100)
    assert len(result["values"]) == 7
    expected = [sum(part) / len(part) for part in (losses[i : i + 16] for i in range(0, 100, 16))]
    assert result["values"] == pytest.approx(expected)
    assert result["means"] == pytest.approx([sum(losses) / 100, sum(losses[32:64]) / 32])


def test_running_again_from_a_step_forgets_what_came_after() -> None:
    result = kept([(0, [3.0, 2.0, 9.0, 9.0]), (2, [1.0])])
    assert result["values"] == [3, 2, 1]


def test_steps_without_a_record_have_no_loss() -> None:
    result = kept([(0, [3.0]), (4, [1.0])], [(0, 5), (1, 4)])
    assert result["steps"] == 5
    assert result["values"] == [3, None, None, None, 1]
    assert result["means"] == [2, None]
