"""Data for many trainings: read, split and encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from threading import RLock
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import check_names, current_names, kinds
from motegpt.config.presets import REFERENCE_PRESET, settings_of
from motegpt.config.sections import DataConfig, ReadConfig, section_values
from motegpt.config.text import concise
from motegpt.data.corpus import Corpus, corpus_from
from motegpt.data.ids.given import source_of
from motegpt.training.encoded import Encoded

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping
    from os import PathLike

MOST_KEPT = 8  # splits and encodings
# Settings of the data that change neither their split nor their encoding.
LATER = frozenset({"cut", "shuffle", "reshuffle", "ngram_min_count", "split_seed"})


class Data:
    """Documents for many trainings: they are read once, and split and encoded once per distinct settings.

    `GPT.train`, `GPT.training` and `train_many` take it in place of documents, in any number of threads. Its
    settings, fields of DataConfig, override those of the preset; those of a training override both.

    >>> data = Data(["anna", "hanna", "nan", "ann"], val_fraction=0.25, split_seed=1)
    >>> data
    Data(documents=4, val_fraction=0.25, split_seed=1)

    settings: as given.
    """

    def __init__(
        self,
        source: Iterable[str] | str | PathLike[str] | Iterable[PathLike[str]] | None = None,
        *,
        ids: Any = None,
        mask: Any = None,
        vocab_size: int | None = None,
        **settings: Any,
    ) -> None:
        """source: strings; a file or folder, or several as paths; None: the built-in names.

        ids, mask, vocab_size: instead of source, token ids as in `GPT.train`.
        settings: fields of DataConfig; what they leave out is up to each training. Raises DataError and
        SettingError.
        """
        self.settings = current_names(settings)
        check_names(self.settings, kinds(DataConfig))
        source = source_of(source, ids, mask, vocab_size)
        self._source = list(source) if isinstance(source, Iterator | list | tuple) else source
        self._lock = RLock()
        self._corpora: dict[Hashable, Corpus] = {}
        self._encoded: dict[Hashable, Encoded] = {}
        default = {**section_values(settings_of(REFERENCE_PRESET), "data"), **self.settings}
        self._first = self.corpus(DataConfig.of(default))

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"documents": len(self._first.documents), **self.settings})

    @property
    def source(self) -> Any:
        """What was read: strings, a path or paths, ids as documents, or None for the built-in names."""
        return self._source

    @property
    def found(self) -> dict[str, Any]:
        """The settings that the documents themselves decide."""
        return self._first.found

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes of the files, or of the documents joined by newlines."""
        return self._first.sha256

    def corpus(self, data: DataConfig) -> Corpus:
        """The documents, read with these settings; DataError if they do not fit the source."""
        with self._lock:
            key = _values(data.values(), kinds(ReadConfig))
            if key not in self._corpora:
                corpus = self._corpora[key] = corpus_from(self._source, data)
                # Trainings have what was found among their settings.
                self._corpora.setdefault(
                    _values({**data.values(), **corpus.found}, kinds(ReadConfig)), corpus
                )
            return self._corpora[key]

    def encoded(self, data: DataConfig, seed: int) -> Encoded:
        """The documents, split and encoded with these settings. seed: of the training."""
        with self._lock:
            corpus = self.corpus(data)
            is_drawn = data.val_fraction > 0 and not (data.is_stream or corpus.documents.splits_itself)
            split_seed = (seed if data.split_seed is None else data.split_seed) if is_drawn else None
            key = (*_values(data.values(), kinds(DataConfig).keys() - LATER), split_seed)
            encoded = self._encoded.pop(key, None) or Encoded(corpus, data, seed)
            self._encoded[key] = encoded  # the last used is the last
            while len(self._encoded) > MOST_KEPT:
                del self._encoded[next(iter(self._encoded))]
            encoded.ids, encoded.sequences, encoded.identical  # noqa: B018  # no thread computes them again
        return encoded


def _values(settings: Mapping[str, Hashable], names: Collection[str]) -> tuple[Hashable, ...]:
    """The settings of these names."""
    return tuple(settings[name] for name in sorted(names))
