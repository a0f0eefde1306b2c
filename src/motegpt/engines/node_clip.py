"""The automatic differentiation of Oxidized-GPT, which the setting `clip_node` switches on.

Every engine has it in a node_clip module of its own; the operations beside those modules are the textbook's.
It differs from the textbook in four rules:

- the gradient of a node is clipped to ± clip_node as it is passed on to the node's parents (the sum over all
  uses of a weight is clipped by `clip_value`, an ordinary setting);
- the loss is -log(p + ADDED_TO_P), so it is at most 18.4 nats a token;
- the derivative of log a is 0 where |a| <= FLAT_LOG, and 1 / a elsewhere;
- a / b is a · b^-1, where b^-1 is a node of its own for each division: a softmax has one for each of its
  probabilities, and clips the gradient of each before it adds them up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motegpt.config.presets import expected_settings

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig

ADDED_TO_P = 1e-8
FLAT_LOG = 1e-6
FREE = {  # what Oxidized-GPT has, of any size
    "vocab_size", "n_layer", "n_embd", "n_head", "block_size", "norm_eps", "init_std", "zero_init",
}  # fmt: skip
OPTIMIZER = ("optimizer", "adam")


def why_not_clipped(model: ModelConfig, train: TrainConfig) -> str | None:
    """Why a model and its training cannot have a node clip: they have a part that Oxidized-GPT lacks.

    Every setting of the model but its sizes must be that of Oxidized-GPT, so that no later operation needs a
    clipped version of its own. None if they can.
    """
    if train.clip_node is None:
        return None
    found = {name: x for name, x in vars(model).items() if name not in FREE}
    found |= {name: getattr(train, name) for name in OPTIMIZER}
    has: dict[str, Any] = expected_settings("oxidized")
    for name, x in found.items():
        if x != has[name]:
            return (
                f"clip_node: Oxidized-GPT has no `{name}={x!r}`; leave one out, or try `{name}={has[name]!r}`"
            )
    return None
