"""The activations of one run, and what can be computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.engines.array import model as network
from motegpt.errors import UsageError
from motegpt.lens import attribution
from motegpt.lens.activations import Activations
from motegpt.lens.inputs import token_ids

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.ops import Array
    from motegpt.lens.attribution import Attribution


class ActivationCache(Activations):
    """The activations of a run. The methods need all of them: UsageError after a run with `names_filter`.

    What a hook of the run changed is in the cache as changed; if it changed the residual stream itself, its
    parts no longer add up to the logits.
    """

    def __init__(
        self, values: Mapping[str, Array], model: ModelConfig, w: network.Weights, complete: bool
    ) -> None:
        super().__init__(values, model.n_layer)
        self._model, self._w, self._complete = model, w, complete

    def logit_lens(self, incl_mid: bool = False) -> Array:
        """(L + 1, B, T, V): the logits of the residual stream before the first layer and after each layer.

        Each through the final norm, if there is one, and the head (nostalgebraist, 2020); the last are the
        logits. incl_mid: also between attention and MLP of each layer, (2 L + 1, B, T, V).
        """
        self._check("logit_lens")
        streams = [self["resid_pre", 0]]
        for i in range(self._n_layer):
            streams += [self["resid_mid", i]] * incl_mid + [self["resid_post", i]]
        return np.stack([network.unembed(self._w, x, self._model) for x in streams])

    def logit_attribution(self, tokens: Any = None, incorrect_tokens: Any = None) -> Attribution:
        """What embeddings, heads, MLPs and biases add to the logits, with the scales of norms as they were.

        values (P, B, T, V), which sum to the logits. tokens: one id, or ids (B, T), for their logits alone,
        (P, B, T); incorrect_tokens: ids whose logits are subtracted. DataError for ids that no token has.
        """
        self._check("logit_attribution")
        if tokens is None and incorrect_tokens is not None:
            raise UsageError("logit_attribution: incorrect_tokens needs tokens")
        chosen = self._tokens("tokens", tokens), self._tokens("incorrect_tokens", incorrect_tokens)
        return attribution.logit_attribution(self, self._w, self._model, *chosen)

    def source_attribution(self, tokens: Any, incorrect_tokens: Any = None) -> Attribution:
        """What heads add to the logits of tokens by the position they take it from.

        values (L·H, B, T, U); the sum over U is the head's row of `logit_attribution`. Arguments as there.
        """
        self._check("source_attribution")
        chosen = self._tokens("tokens", tokens), self._tokens("incorrect_tokens", incorrect_tokens)
        return attribution.source_attribution(self, self._w, self._model, *chosen)

    def _tokens(self, name: str, given: Any) -> Any:
        """Ids (B, T), or None for None."""
        shape = self["resid_post", -1].shape[:2]
        return None if given is None else token_ids(name, given, shape, self._model)

    def _check(self, method: str) -> None:
        if not self._complete:
            raise UsageError(f"{method}: needs all activations; run again without names_filter")
