"""Novelty of generated texts: exact copies of documents, and edit distances to the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_DISTANCES = 2**24  # in memory at a time


@dataclass(frozen=True)
class Nearest:
    """A text, its nearest training document and their edit distance (Levenshtein, 1966)."""

    text: str
    document: str
    distance: int


@dataclass(frozen=True)
class Novelty:
    """Counts of generated texts.

    distinct: different texts; in_training, in_validation: copies of documents of that set; new: in neither;
    nearest: for each distinct text that is not in the training set, in order.
    """

    texts: int
    distinct: int
    in_training: int
    in_validation: int
    new: int
    nearest: list[Nearest]

    @property
    def mean_distance(self) -> float | None:
        """The mean edit distance of `nearest`; None if it is empty."""
        if not self.nearest:
            return None
        return sum(match.distance for match in self.nearest) / len(self.nearest)


def novelty(texts: Sequence[str], training: Sequence[str], validation: Sequence[str] = ()) -> Novelty:
    """Compare texts with the training set and the validation set."""
    training_set, validation_set = set(training), set(validation)
    unseen = [text for text in dict.fromkeys(texts) if text not in training_set]
    return Novelty(
        texts=len(texts),
        distinct=len(set(texts)),
        in_training=sum(text in training_set for text in texts),
        in_validation=sum(text in validation_set for text in texts),
        new=sum(text not in training_set and text not in validation_set for text in texts),
        nearest=nearest_documents(unseen, list(dict.fromkeys(training))),
    )


def nearest_documents(texts: Sequence[str], documents: Sequence[str]) -> list[Nearest]:
    """The document with the smallest edit distance to each text; the first, if tied."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    result: list[Nearest] = []
    batch_size = max(1, MAX_DISTANCES // len(documents))
    for start in range(0, len(texts), batch_size):
        batch = texts[start : start + batch_size]
        distances = cdist(batch, documents, scorer=Levenshtein.distance)
        indices = distances.argmin(axis=1)
        result += [
            Nearest(text, documents[index], int(distances[row, index]))
            for row, (text, index) in enumerate(zip(batch, indices, strict=True))
        ]
    return result
