"""Reading the vectors of the n-gram embedding, one position at a time. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.model.spec import table_name
from motegpt.ngrams.vectors import is_dropped, vector_scale

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig
    from motegpt.engines.scalar.model import Tensors, Vector
    from motegpt.ngrams.contexts import Contexts


class NGramReader:
    """used: the name of the table and the row of each vector that was read and not dropped."""

    def __init__(self, w: Tensors, contexts: Contexts, train: TrainConfig, step: int | None = None) -> None:
        """step: of training, which drops vectors; None to keep all."""
        self._w, self._contexts, self._train, self._step = w, contexts, train, step
        self._scale = vector_scale(train, step)
        self.used: set[tuple[str, int]] = set()

    def vectors(self, tokens: Sequence[int], document: int = 0) -> list[Vector]:
        """What to add to the embedding of the last of the tokens, the vectors of the contexts that end there.

        document: the index of the sequence in the whole batch; it begins with the first of the tokens.
        """
        found, at = [], len(tokens) - 1
        for order, row in enumerate(self._contexts.rows_at_end(tokens), 2):
            if self._step is not None and is_dropped(self._train, self._step, order, document, at):
                continue
            self.used.add((name := table_name(order), row))
            vector = self._w[name][row]
            found.append(vector if self._scale == 1.0 else [value * self._scale for value in vector])
        return found
