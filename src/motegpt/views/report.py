"""The report of a run of the preset "auto", as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from motegpt.views.text import one_line

if TYPE_CHECKING:
    from motegpt.training.records import Report

NAMES = {"kneser-ney": "Kneser-Ney", "gpt": "GPT alone", "model": "this model"}


def report_lines(report: Report) -> Iterator[str]:
    """Bits per character on held-out documents, and how many samples are copies."""
    if report.evaluation is not None:
        bits = ", ".join(f"{NAMES.get(name, name)} {value:.3f}" for name, value in report.bits().items())
        of = " by a second model, trained without them" if report.of_second else ""
        yield f"bits per character of {report.evaluation.documents:,} held-out documents{of}: {bits}"
    found = report.novelty
    if found is not None:
        near = ", ".join(f"{one_line(one.text)} ({one_line(one.document)})" for one in found.nearest)
        examples = f"; new ones, and the nearest documents: {near}" if near else ""
        yield f"{found.in_training / found.texts:.0%} of samples would be in the list, were they not left out"
        yield f"{found.distinct:,} of {found.texts:,} samples are different{examples}"


def report_values(report: Report) -> dict[str, Any]:
    """The same as JSON values."""
    found = report.novelty
    return {
        "bits_per_character": report.bits(),
        "second_model": report.of_second,
        "in_training": None if found is None else found.in_training / found.texts,
        "nearest": [] if found is None else [vars(one) for one in found.nearest],
    }
