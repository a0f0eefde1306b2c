"""Accuracy: the share of targets that the model finds the most likely token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from motegpt.data.plan import Batch
from motegpt.data.sequences import mask_of
from motegpt.evaluation.nll import MAX_LOGITS, Window, counted_in, grouped, windows_in

if TYPE_CHECKING:
    from motegpt.engines.base import LanguageModel


def accuracy(
    engine: LanguageModel, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> float:
    """The share of targets, among those that count, at which the highest logit is that of the target.

    windows: of the sequences, as in mean_nll; None: all. Of equal logits the first counts as the highest.
    """
    hits = total = 0
    is_masked = mask_of(sequences) is not None
    if windows is None:
        windows = windows_in(sequences, engine.model.block_size)
    for group in grouped(windows, max(1, MAX_LOGITS // engine.model.vocab_size)):
        pieces = [sequences[window.sequence][window.start : window.end + 1] for window in group]
        all_logits = engine.logits(Batch.of(pieces, "tokens"))
        for window, piece, logits in zip(group, pieces, all_logits, strict=True):
            is_hit = logits.argmax(axis=1)[-window.targets :] == piece[len(piece) - window.targets :]
            is_hit = is_hit[counted_in(sequences, window)] if is_masked else is_hit
            hits += int(is_hit.sum())
            total += is_hit.size
    return hits / total
