"""Settings of generation, validated and prepared once for calls that name the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.api.names import check_names
from motegpt.config.fields import kinds
from motegpt.config.sections import SampleConfig
from motegpt.data.documents import normalize_sample_texts
from motegpt.errors import SettingError
from motegpt.sampling.starts import Starts, prepare_starts

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import LanguageModel
    from motegpt.training.state import RunConfig

MOST = 16  # requests that are kept


class Prepared(NamedTuple):
    """settings: all of them; starts: how the texts begin."""

    settings: SampleConfig
    starts: Starts


def prepared_request(
    config: RunConfig,
    tokenizer: Tokenizer,
    model: LanguageModel,
    n: int | None,
    settings: dict[str, Any],
    function: Callable[..., object],
) -> Prepared:
    """The request for n texts with the settings of a call of `function`, or else those of the run."""
    check_names(settings, kinds(SampleConfig), function)
    given = {**settings, **({} if n is None else {"n": n})}
    sample = SampleConfig.of({**config.sample.values(), **given})
    sample = normalize_sample_texts(sample, config.data)
    if "beams" in settings and n is not None and sample.beams is not None and n > sample.beams:
        raise SettingError(f"n: expected at most beams = {sample.beams}, got {n}; try `beams={n}`")
    return Prepared(sample, prepare_starts(model, tokenizer, sample))


class Requests:
    """The last few requests by the settings of the call. Several threads may use it."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[tuple[object, ...], Prepared]] = {}

    def of(
        self, given: Mapping[str, Any], model: tuple[object, ...], prepare: Callable[[], Prepared]
    ) -> Prepared:
        """What `prepare` returns for the given settings and this model.

        model: what it depends on besides; a request is prepared again if one of these is another object.
        Where the probabilities of a model choose among several starts, it is always prepared again.
        """
        try:
            key = tuple((name, type(value), value) for name, value in given.items())
            found = self._kept.get(key)
        except TypeError:  # a value that has no hash
            return prepare()
        if found is not None and all(map(_is_same, found[0], model)):
            return found[1]
        prepared = prepare()
        if len(prepared.starts.requests) == 1:
            if len(self._kept) >= MOST:
                self._kept = {}
            self._kept[key] = model, prepared
        return prepared


def _is_same(one: object, other: object) -> bool:
    return one is other
