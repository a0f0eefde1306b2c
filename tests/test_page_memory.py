"""The memory of the page in a browser does not grow with the steps that it trained."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.browser import Open, until

psutil = pytest.importorskip("psutil", reason="needs psutil: pip install '.[bench]'")
SHARE = 0.1  # by which the memory of a process may differ from one look to the next


def resident(page: Any) -> int:
    """Bytes of the processes that run pages, after garbage was collected."""
    page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    children = psutil.Process(os.getpid()).children(recursive=True)
    return sum(one.memory_info().rss for one in children if "--type=renderer" in one.cmdline())


def train_until(page: Any, step: int) -> None:
    page.evaluate(f"motegpt.train({step} - motegpt.step)")
    until(page, f"motegpt.step === {step}")
    page.wait_for_timeout(300)  # the samples and snapshots of the last step


@pytest.mark.slow
def test_memory_after_many_steps_is_that_after_a_tenth_of_them(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.set({steps: 1e6})")
    train_until(page, 2_000)
    before = resident(page)
    assert before > 10_000_000  # a process that runs the page was found
    train_until(page, 20_000)
    assert resident(page) == pytest.approx(before, rel=SHARE)
