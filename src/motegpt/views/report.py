"""The report of a run of the preset "auto", as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from motegpt.views.text import clipped, columns, one_line

if TYPE_CHECKING:
    from motegpt.evaluation.novelty import Novelty
    from motegpt.training.records import Report

NAMES = {"kneser-ney": "Kneser-Ney", "gpt": "GPT alone"}
WIDTH, WIDTH_OF_TEXT = 100, 30  # columns of a line, and of a text in it


def report_lines(report: Report) -> Iterator[str]:
    """Bits per character on held-out documents, and how many samples are copies."""
    if report.evaluation is not None:
        found = report.bits()
        names = {**NAMES, "model": "both" if "gpt" in found else "GPT"}
        bits = ", ".join(f"{names.get(name, name)} {value:.3f}" for name, value in found.items())
        of = " by a second model, trained without them" if report.of_second else ""
        size, unit = report.evaluation.documents, "documents"
        if report.is_stream:
            size, unit = report.evaluation.characters, f"{report.evaluation.unit}s"
        yield f"bits per {report.evaluation.unit} of {size:,} held-out {unit}{of}; less is better:"
        yield f"  {bits}"
    if (novelty := report.novelty) is not None:
        copies = (
            f"{novelty.in_training:,} in the list, which are left out" if novelty.in_training else "all new"
        )
        yield f"{novelty.texts:,} samples: {novelty.distinct:,} different, {copies}"
        if line := _examples(novelty):
            yield line


def _examples(novelty: Novelty) -> str:
    """New texts, and the nearest documents; as many as fit a line; "" if none are new."""
    line = ""
    for one in novelty.nearest:
        text, document = (clipped(one_line(each), WIDTH_OF_TEXT) for each in (one.text, one.document))
        longer = (
            f"{line}, {text} ({document})" if line else f"new, with the nearest entry: {text} ({document})"
        )
        if columns(longer) > WIDTH:
            break
        line = longer
    return line


def report_values(report: Report) -> dict[str, Any]:
    """The same as JSON values."""
    found = report.novelty
    return {
        "bits_per_character": report.bits(),
        "second_model": report.of_second,
        "in_training": None if found is None else found.in_training / found.texts,
        "nearest": [] if found is None else [vars(one) for one in found.nearest],
    }
