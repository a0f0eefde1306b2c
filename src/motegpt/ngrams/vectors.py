"""Which vectors of the n-gram embedding the positions of a batch, or of a decoder, read.

In training each vector, one order at one position, is dropped as a whole with probability ngram_dropout, else
multiplied by 1 / (1 - ngram_dropout). model/dropout.py decides: the site of a vector is its order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.model.dropout import mask_hash, mask_key, threshold
from motegpt.ngrams.keys import NONE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import TrainConfig
    from motegpt.ngrams.contexts import Contexts


class Vectors(NamedTuple):
    """rows (orders, B, T): of each table, NONE where there is no vector; scale: its factor."""

    rows: NDArray[np.int64]
    scale: float


def vectors_of(
    contexts: Contexts, sequences: Sequence[Sequence[int]], train: TrainConfig, step: int | None = None
) -> Vectors | None:
    """The vectors of a batch of ragged sequences, padded on the right without vectors; None without tables.

    step: of training, which drops vectors; None to keep all. The sequences are the whole batch of the step.
    """
    if not contexts.keys:
        return None
    import numpy as np

    lengths = np.array([len(sequence) for sequence in sequences])
    outside = np.arange(lengths.max()) >= lengths[:, None]
    tokens = np.zeros(outside.shape, np.int64)
    tokens[~outside] = np.concatenate(sequences)
    rows = contexts.rows(tokens)
    rows[:, outside] = NONE
    if step is not None and train.ngram_dropout:
        document, position = (np.arange(size, dtype=np.uint64) for size in outside.shape)
        for order, of_order in enumerate(rows, 2):
            of_order[is_dropped(train, step, order, document[:, None], position)] = NONE
    return Vectors(rows, vector_scale(train, step))


def is_dropped(train: TrainConfig, step: int, order: int, document: Any, position: Any) -> Any:
    """Whether a training step drops the vector of this order.

    document: index in the whole batch; position: in it; ints, or NumPy arrays of uint64.
    """
    key = mask_key(train.seed, step, order, document)
    return mask_hash(key, position) < threshold(train.ngram_dropout)


def vector_scale(train: TrainConfig, step: int | None) -> float:
    """The factor of the vectors that a training step keeps; 1 outside of training, where step is None."""
    return 1.0 if step is None else 1.0 / (1.0 - train.ngram_dropout)


class LastTokens:
    """The last tokens of the n sequences of a decoder, as many as the longest contexts have."""

    def __init__(self, contexts: Contexts, n: int) -> None:
        self._contexts, self._n = contexts, n
        self.reset()

    def reset(self) -> None:
        """Forget them: contexts never reach before the window."""
        import numpy as np

        self._tokens = np.zeros((self._n, 0), np.int64)

    def reorder(self, sources: Sequence[int]) -> None:
        """Let sequence i continue from sequence sources[i]."""
        self._tokens = self._tokens[list(sources)]

    def feed(self, ids: Sequence[int]) -> Vectors:
        """Append a token to each; the vectors (orders, n, 1) of the contexts that end there."""
        import numpy as np

        tokens = np.concatenate([self._tokens, np.asarray(ids, np.int64)[:, None]], axis=1)
        self._tokens = tokens[:, -self._contexts.longest :]
        return Vectors(self._contexts.rows(self._tokens)[:, :, -1:], 1.0)
