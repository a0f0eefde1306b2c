"""The automatic differentiation of Oxidized-GPT, enabled by the setting `clip_node`.

Each engine implements it in its own node_clip module. It differs from the usual chain rule in four points:

- the gradient of a node is clipped to ± clip_node before it propagates to the node's parents (the gradient of
  a weight, summed over its uses, is clipped by `clip_value`, an independent setting);
- the loss is -log(p + ADDED_TO_P), so it is at most 18.4 nats per token;
- the derivative of log a is 0 where |a| <= FLAT_LOG, and 1 / a elsewhere;
- a / b is a · b^-1, where each division has its own node b^-1: a softmax has one per probability, and clips
  the gradient of each before summing them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motegpt.config.presets import expected_settings

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig

ADDED_TO_P = 1e-8
FLAT_LOG = 1e-6
SIZES = {  # Oxidized-GPT has these with any value
    "vocab_size", "n_layer", "n_embd", "n_head", "block_size", "norm_eps", "init_std", "zero_init",
}  # fmt: skip
TRAINING = ("optimizer", "adam", "dropout")


def why_not_clipped(model: ModelConfig, train: TrainConfig) -> str | None:
    """Why clip_node is not supported: a setting that Oxidized-GPT lacks; None if it is supported.

    All settings of the model but its sizes must be those of Oxidized-GPT, so that other operations need no
    clipped version.
    """
    if train.clip_node is None:
        return None
    settings = {name: value for name, value in model.values().items() if name not in SIZES}
    settings |= {name: getattr(train, name) for name in TRAINING}
    expected: dict[str, Any] = expected_settings("oxidized")
    for name, value in settings.items():
        other = expected[name]
        if value != other:
            return (
                f"clip_node: Oxidized-GPT has no `{name}={value!r}`; leave one out, or try `{name}={other!r}`"
            )
    return None
