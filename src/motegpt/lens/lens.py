"""Run a GPT with hooks, with the names and calls of TransformerLens (Nanda and Bloom, 2022).

Every run is the forward pass of the array engine in double precision, and has its bits where no hook changes
anything. B sequences, T positions, L layers, H heads, D channels of a head, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from motegpt.config.text import concise, shortened
from motegpt.engines.array import model as network
from motegpt.engines.array import ops
from motegpt.engines.array.tape import Tape
from motegpt.errors import DataError, UsageError
from motegpt.lens.activations import ActivationGradients
from motegpt.lens.cache import ActivationCache
from motegpt.lens.hooks import changes
from motegpt.lens.inputs import ids_of, targets_of
from motegpt.lens.names import matching
from motegpt.ngrams.vectors import Vectors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.ops import Array, Ids
    from motegpt.lens.hooks import Hook
    from motegpt.lens.names import HookPoint, Key, Predicate
    from motegpt.ngrams.contexts import Contexts

    NamesFilter = Key | Predicate | list[Key] | None
    ReturnType = Literal["logits", "loss", "both"]

RETURN_TYPES = ("logits", "loss", "both")
ABLATIONS = ("zero", "mean")


class Lens:
    """A GPT as it was when `model.lens()` was called, to be looked into and changed while it computes.

    >>> from motegpt import GPT
    >>> model = GPT.train(["anna", "hanna", "nan"], steps=50, seed=1, engine="array", preset="microgpt")
    >>> lens = model.lens()
    >>> logits, cache = lens.run_with_cache("ann")
    >>> logits.shape, cache["pattern", 0].shape
    ((1, 4, 4), (1, 4, 4, 4))

    Inputs are a text, several of one length in tokens, or token ids (T) or (B, T); arrays always have the
    axis B. Ragged texts are refused, not padded. Hooks are pairs (name, function): a name is one of
    `hook_names`, a short form as ("z", 0), or a predicate of names; the function gets (value, hook), with
    hook.name and hook.layer(), and returns what takes the place of the value, or None. It may write to the
    value.

    `return_type` is "logits" (B, T, V), "loss", the mean over the targets in nats, or "both". Targets are ids
    (B, T), of which those below 0 do not count; None: the token after each position.

    Raises DataError for inputs that the model cannot read, PrefixError for characters that it never saw,
    UsageError for hooks that do not fit it.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        model: ModelConfig,
        contexts: Contexts,
        read: Callable[[str], Sequence[int]],
        names: Callable[[Sequence[int]], list[str]],
    ) -> None:
        """contexts: of the n-gram embedding; read: text -> ids; names: ids -> their texts."""
        self.model, self._contexts, self._read, self._names = model, contexts, read, names
        self._w: network.Weights = {name: np.array(array, np.float64) for name, array in parameters.items()}

    def __repr__(self) -> str:
        sizes = {name: getattr(self.model, name) for name in ("n_layer", "n_head", "n_embd")}
        return concise(type(self).__name__, {**sizes, "hooks": len(self.hook_names)})

    @cached_property
    def hook_names(self) -> tuple[str, ...]:
        """The names of all hook points in the order of the forward pass; docs/notation.md describes them."""
        return tuple(self._run(np.zeros((1, 1), np.intp))[1].values)

    def to_tokens(self, given: Any) -> Ids:
        """The ids (B, T) of an input; texts begin with BOS, if the model's texts do."""
        return ids_of(given, self._read, self.model)

    def to_str_tokens(self, given: Any) -> list[str] | list[list[str]]:
        """The T tokens of an input, one list for each of several sequences."""
        found = [self._names(row) for row in self.to_tokens(given).tolist()]
        return found[0] if len(found) == 1 else found

    def to_single_token(self, text: str) -> int:
        """The id of a text of one token; DataError for others."""
        *_, token = self.to_tokens(text)[0].tolist()
        if self._names([token]) != [text]:
            raise DataError(f"text: expected one token, got {shortened(text)}")
        return int(token)

    def __call__(self, given: Any, return_type: ReturnType = "logits", *, targets: Any = None) -> Any:
        """A run without hooks."""
        return self.run_with_hooks(given, return_type, targets=targets)

    def run_with_hooks(
        self,
        given: Any,
        return_type: ReturnType = "logits",
        fwd_hooks: Iterable[Hook] = (),
        *,
        targets: Any = None,
    ) -> Any:
        """A run in which hooks see and change activations; returns what `return_type` says."""
        ids = self.to_tokens(given)
        logits, _ = self._run(ids, ops.Points(self._changes("fwd_hooks", fwd_hooks), keep=_none))
        return self._result(logits, ids, return_type, targets)

    def run_with_cache(
        self,
        given: Any,
        return_type: ReturnType = "logits",
        names_filter: NamesFilter = None,
        *,
        fwd_hooks: Iterable[Hook] = (),
        targets: Any = None,
    ) -> tuple[Any, ActivationCache]:
        """A run whose activations are kept: what `return_type` says, and an ActivationCache.

        names_filter: a name, names, or a predicate of those to keep (default: all).
        """
        ids, keep = self.to_tokens(given), self._filter(names_filter)
        logits, points = self._run(ids, ops.Points(self._changes("fwd_hooks", fwd_hooks), keep=keep))
        cache = ActivationCache(points.values, self.model, self._w, names_filter is None)
        return self._result(logits, ids, return_type, targets), cache

    def gradients(
        self,
        given: Any,
        targets: Any = None,
        *,
        dlogits: Any = None,
        fwd_hooks: Iterable[Hook] = (),
        bwd_hooks: Iterable[Hook] = (),
        names_filter: NamesFilter = None,
    ) -> ActivationGradients:
        """d loss / d activation of every activation, by name.

        dlogits (B, T, V): instead of the loss, of Σ dlogits · logits, such as a difference of two logits, or
        of any function of the logits whose gradient this is. With fwd_hooks the gradient is that of the value
        after them; it passes to what is before the hook where the hook kept the number, and stops where it
        changed it. bwd_hooks: functions of (gradient, hook), whose result is passed on instead.
        """
        ids, tape = self.to_tokens(given), Tape(ops.BACKWARD, [])
        hooks = self._changes("fwd_hooks", fwd_hooks), self._changes("bwd_hooks", bwd_hooks)
        points = ops.Points(*hooks, keep=self._filter(names_filter))
        logits, _ = self._run(ids, points, tape)
        with np.errstate(all="ignore"):
            if dlogits is None:
                loss = tape.apply(ops.cross_entropy, logits, *targets_of(targets, ids, self.model))
                tape.backward(loss)
            else:
                weights = self._dlogits(dlogits, targets, ids).reshape(logits.shape)
                loss = (weights * logits).sum()
                tape.backward(logits, weights)
        values = {name: points.gradients[name] for name in self.hook_names if name in points.gradients}
        return ActivationGradients(values, self.model.n_layer, float(loss))

    def ablate_heads(self, given: Any, kind: str = "zero", *, targets: Any = None) -> Array:
        """(L, H): by how much the loss rises, in nats per target, when one head is taken out of the run.

        kind: what its result `z` is set to: "zero", or "mean", its mean over all sequences and positions.
        """
        if kind not in ABLATIONS:
            raise UsageError(f"kind: expected {' or '.join(ABLATIONS)}, got {shortened(kind)}")
        ids, model = self.to_tokens(given), self.model
        loss, cache = self.run_with_cache(ids, "loss", lambda name: name.endswith("hook_z"), targets=targets)
        found = np.zeros((model.n_layer, model.n_head))
        for i, head in np.ndindex(*found.shape):
            z = cache["z", i][:, :, head].mean(axis=(0, 1)) if kind == "mean" else 0.0

            def ablate(value: Array, hook: HookPoint, head: int = head, z: Any = z) -> None:
                value[:, :, head] = z

            found[i, head] = self.run_with_hooks(ids, "loss", [(("z", i), ablate)], targets=targets)
        difference: Array = found - loss
        return difference

    def _run(
        self, ids: Ids, points: ops.Points | None = None, tape: Tape | None = None
    ) -> tuple[Array, ops.Points]:
        """ids (B, T) -> logits (N, V), and the points."""
        points = ops.Points() if points is None else points
        vectors = Vectors(self._contexts.rows(ids), 1.0) if self._contexts.keys else None
        with np.errstate(all="ignore"):  # numbers that overflow show in what comes of them
            return network.forward(self._w, ids, self.model, tape, points=points, vectors=vectors), points

    def _changes(self, what: str, hooks: Iterable[Hook]) -> dict[str, ops.Change]:
        hooks = list(hooks)
        return changes(what, hooks, self.hook_names, self.model.n_layer) if hooks else {}

    def _filter(self, wanted: NamesFilter) -> Callable[[str], bool]:
        """A predicate of names; UsageError for names of no hook point."""
        if wanted is None:
            return lambda name: True
        several = wanted if isinstance(wanted, list) else [wanted]
        found = (matching("names_filter", one, self.hook_names, self.model.n_layer) for one in several)
        return set(chain.from_iterable(found)).__contains__

    def _result(self, logits: Array, ids: Ids, return_type: ReturnType, targets: Any) -> Any:
        if return_type not in RETURN_TYPES:
            raise UsageError(f"return_type: expected {', '.join(RETURN_TYPES)}, got {shortened(return_type)}")
        shaped = logits.reshape(*ids.shape, -1)
        if return_type == "logits":
            return shaped
        with np.errstate(all="ignore"):
            loss = float(ops.cross_entropy(logits, *targets_of(targets, ids, self.model))[0])
        return loss if return_type == "loss" else (shaped, loss)

    def _dlogits(self, given: Any, targets: Any, ids: Ids) -> Array:
        """(B, T, V); UsageError beside targets, DataError for another shape."""
        if targets is not None:
            raise UsageError("dlogits: is used instead of targets; leave one out")
        found = np.asarray(given, np.float64)
        if found.shape != (*ids.shape, self.model.vocab_size):
            raise DataError(
                f"dlogits: expected shape {(*ids.shape, self.model.vocab_size)}, got {found.shape}"
            )
        return found


def _none(name: str) -> bool:
    return False
