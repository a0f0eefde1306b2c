"""How new generated texts are: which of them were in the data, and how near the others come to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_DISTANCES = 2**24  # distances held at a time


@dataclass(frozen=True)
class Nearest:
    """A text, the training document nearest to it, and how many edits lie between (Levenshtein, 1966)."""

    text: str
    document: str
    distance: int


@dataclass(frozen=True)
class Novelty:
    """Of how many texts how many are what.

    distinct: different texts; in_training, in_validation: that were documents to learn from, or held out;
    new: neither; nearest: for each distinct text that is not in the training data, in their order.
    """

    texts: int
    distinct: int
    in_training: int
    in_validation: int
    new: int
    nearest: list[Nearest]

    @property
    def mean_distance(self) -> float | None:
        """Edits from a distinct text that was not learned to the nearest that was, in the mean."""
        if not self.nearest:
            return None
        return sum(one.distance for one in self.nearest) / len(self.nearest)


def novelty(texts: Sequence[str], training: Sequence[str], validation: Sequence[str] = ()) -> Novelty:
    """Compare texts with the documents of both sides of the split."""
    learned, held_out = set(training), set(validation)
    unseen = [text for text in dict.fromkeys(texts) if text not in learned]
    return Novelty(
        texts=len(texts),
        distinct=len(set(texts)),
        in_training=sum(text in learned for text in texts),
        in_validation=sum(text in held_out for text in texts),
        new=sum(text not in learned and text not in held_out for text in texts),
        nearest=nearest_documents(unseen, list(dict.fromkeys(training))),
    )


def nearest_documents(texts: Sequence[str], documents: Sequence[str]) -> list[Nearest]:
    """For each text the document with the fewest edits between; the first of equals."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    found: list[Nearest] = []
    together = max(1, MAX_DISTANCES // len(documents))
    for start in range(0, len(texts), together):
        some = texts[start : start + together]
        distances = cdist(some, documents, scorer=Levenshtein.distance)
        places = distances.argmin(axis=1)
        found += [
            Nearest(text, documents[place], int(distances[row, place]))
            for row, (text, place) in enumerate(zip(some, places, strict=True))
        ]
    return found
