"""Names of hook points: blocks.0.attn.hook_q, and TransformerLens' short forms of them, ("q", 0) or "q0"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from numbers import Integral
from typing import NamedTuple

from motegpt.config.text import shortened
from motegpt.errors import UsageError

Key = str | tuple[str] | tuple[str, int | None] | tuple[str, int | None, str | None]
Predicate = Callable[[str], bool]
ALIASES = {  # of the last part, in TransformerLens
    "attn": "pattern",
    "attn_logits": "attn_scores",
    "query": "q",
    "key": "k",
    "value": "v",
    "mlp_pre": "pre",
    "mlp_post": "post",
}
PARTS = {"a": "attn", "m": "mlp", "b": "", "attention": "attn", "block": "", "blocks": ""}


class HookPoint(NamedTuple):
    """Where an activation passes: what a hook is given beside the value."""

    name: str

    def layer(self) -> int:
        """The layer, from 0; ValueError where the point belongs to none."""
        found = place_of(self.name).layer
        if found is None:
            raise ValueError(f"layer: {self.name} belongs to no layer")
        return found


class Place(NamedTuple):
    """Where a point is: its layer, the part of it ("attn", "ln1", "" for the block), and its own name."""

    layer: int | None
    part: str
    own: str


def place_of(name: str) -> Place:
    """blocks.0.attn.hook_q -> (0, "attn", "q")"""
    *parts, own = name.split(".")
    layer = int(parts[1]) if parts[:1] == ["blocks"] else None
    return Place(layer, ".".join(parts if layer is None else parts[2:]), own.removeprefix("hook_"))


def full_name(key: Key, names: Collection[str], n_layer: int) -> str:
    """The one of `names` that a key stands for; KeyError if there is none, or more than one.

    Keys: a name; (own, layer), as ("resid_post", -1); (own, layer, part), as ("scale", 0, "ln1"); "q0" for
    ("q", 0), "scale0ln1" for the last. Layers below 0 count from the end. Without a layer and a part, the
    norm is the final one.
    """
    if isinstance(key, str) and key in names:
        return key
    own, layer, part = _parsed(key)
    if layer is not None and layer < 0:
        layer += n_layer
    places = {name: place_of(name) for name in names}
    found = [name for name, place in places.items() if (place.layer, place.own) == (layer, own)]
    if part is None and layer is None and len(found) > 1:
        part = "ln_final"
    if part is not None:
        found = [name for name in found if places[name].part == part]
    if len(found) != 1:
        raise KeyError(_unknown(key, names, found))
    return found[0]


def _parsed(key: Key) -> tuple[str, int | None, str | None]:
    match key:
        case str():
            short = re.fullmatch(r"([a-z_]+?)(\d+)([a-z]\w*)?", key)
            own, layer, part = (short[1], int(short[2]), short[3]) if short else (key, None, None)
        case (str(own),) | (str(own), Integral() | None) | (str(own), Integral() | None, str() | None):
            layer, part = (*key[1:], None, None)[:2]
        case _:
            raise KeyError(f"expected a name, or a tuple of name, layer and part, got {shortened(key)}")
    return ALIASES.get(own, own), layer, part if part is None else PARTS.get(part, part)


def _unknown(key: Key, names: Collection[str], found: Collection[str]) -> str:
    if found:
        return f"expected one hook point, got {shortened(key)}, which is {' or '.join(found)}"
    near = difflib.get_close_matches(key, names, n=1) if isinstance(key, str) else []
    hint = f"did you mean {near[0]}?" if near else "lens.hook_names lists all"
    return f"expected the name of a hook point of this model, got {shortened(key)}; {hint}"


def matching(what: str, wanted: Key | Predicate, names: Collection[str], n_layer: int) -> list[str]:
    """The name that a key stands for, or those for which a predicate is true; UsageError for none.

    what: the argument, for messages
    """
    try:
        found = [*filter(wanted, names)] if callable(wanted) else [full_name(wanted, names, n_layer)]
    except KeyError as error:
        raise UsageError(f"{what}: {error.args[0]}") from None
    if not found:
        raise UsageError(
            f"{what}: the predicate is true for no hook point of this model; lens.hook_names lists all"
        )
    return found
