"""The worker answers messages while it trains, at the pace that the page asks for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from motegpt.data.corpus import built_in_names
from motegpt.page.boot import boot
from tests.page_node import needs_node, run_script

pytestmark = needs_node

LIST = {"name": "names", "text": built_in_names().decode()}


def talk(*script: tuple[list[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """What a worker sends in a conversation; see worker.mjs."""
    return run_script("worker", {"boot": boot(), "script": script})


def create(**settings: Any) -> dict[str, Any]:
    return {"id": 1, "do": "create", "settings": settings, "list": LIST}


def events(sent: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [one for one in sent if one.get("event") == name]


def answers(sent: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {one["id"]: one for one in sent if "id" in one}


def test_a_run_reports_every_loss_once_and_ends() -> None:
    sent = talk(([create(steps=3000), {"id": 2, "do": "run"}], {"event": "progress", "running": False}))
    reports, next_step = events(sent, "progress"), 0
    for one in reports:
        assert one["first"] == next_step or not one["losses"]
        next_step += len(one["losses"])
        assert one["step"] == next_step
    assert next_step == 3000
    assert [one["running"] for one in reports] == [True] * (len(reports) - 1) + [False]
    assert reports[-1]["stepsPerSecond"] > 100
    assert reports[-1]["tokensPerSecond"] > reports[-1]["stepsPerSecond"]
    gaps = [b["at"] - a["at"] for a, b in pairwise(reports[:-1])]
    assert all(gap > 30 for gap in gaps)
    assert events(sent, "samples")[-1]["step"] == 3000


def test_looks_are_answered_while_training_and_stale_ones_dropped() -> None:
    looks = [{"id": i, "do": "look", "text": "anna"} for i in range(10, 20)]
    others = [{"id": 30, "do": "weights"}, {"id": 31, "do": "weights", "kind": "m"}]
    sent = talk(
        ([create(steps=10**6), {"id": 2, "do": "run"}], {"event": "progress"}),
        ([*looks, *others], 31),
        ([{"id": 40, "do": "pause"}], 40),
    )
    found = answers(sent)
    assert [i for i in range(10, 20) if "ok" in found[i]] == [19]
    assert all(found[i] == {**found[i], "stale": True} for i in range(10, 19))
    assert "ok" in found[30]
    assert "ok" in found[31]
    assert found[40]["ok"] is None
    last = events(sent, "progress")[-1]
    assert not last["running"]
    assert last["step"] < 10**6
    assert events(sent, "samples")[-1]["step"] == last["step"]


def test_the_pace_is_kept() -> None:
    sent = talk(
        ([create(steps=10**6), {"id": 2, "do": "run", "stepsPerFrame": 0.5}], {"event": "progress"}),
        ([], {"event": "samples"}),
        ([{"id": 3, "do": "pause"}], 3),
    )
    reports = events(sent, "progress")
    seconds = (reports[-1]["at"] - reports[0]["at"]) / 1000
    steps = reports[-1]["step"] - reports[0]["step"]
    assert 1 <= steps < 1.2 * 30 * seconds + 5  # half a step per frame, 60 frames per second


def test_seeking_pauses_a_run() -> None:
    sent = talk(
        ([create(steps=10**6), {"id": 2, "do": "run"}], {"event": "progress"}),
        ([], {"event": "progress"}),
        ([{"id": 3, "do": "seek", "step": 0}, {"id": 4, "do": "progress"}], 4),
        ([{"id": 5, "do": "run"}], {"event": "progress", "running": True}),
        ([{"id": 6, "do": "pause"}], 6),
    )
    found = answers(sent)
    assert found[3]["ok"]["step"] == found[4]["ok"]["step"] == 0
    assert found[4]["ok"]["last"] > 0
    after = events([one for one in sent if one["at"] > found[4]["at"]], "progress")
    assert after[0]["first"] == 0


def test_errors_are_sentences_and_nothing_is_lost() -> None:
    sent = talk(
        ([{"id": 1, "do": "run"}], 1),
        ([{**create(n_embd=3), "id": 2}, {**create(), "id": 3}, {"id": 4, "do": "dance"}], 4),
        ([{"id": 5, "do": "step", "n": 2}, {"id": 6, "do": "run", "stepsPerFrame": 0}], 6),
    )
    found = answers(sent)
    assert found[1]["error"].startswith("session: ")
    assert found[2]["error"].startswith("n_embd: ")
    assert found[3]["ok"]["parameters"] > 0
    assert found[4]["error"].startswith("session: expected one of ")
    assert found[5]["ok"]["step"] == 2
    assert found[6]["error"].startswith("stepsPerFrame: ")


def test_divergence_stops_the_run_with_a_sentence() -> None:
    wild = {"optimizer": "sgd", "lr": 1e9, "embedding_norm": False, "dtype": "float32"}
    sent = talk(([create(**wild), {"id": 2, "do": "run"}], {"event": "progress", "running": False}))
    assert events(sent, "failed")[0]["error"].startswith("train: the loss of step ")
