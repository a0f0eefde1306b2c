"""docs/examples: programs for other libraries, with a small substitute where one is missing."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.exported import ARCHITECTURES, TOKENIZERS, small_model

torch = pytest.importorskip("torch")
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


class HookPoint(torch.nn.Module):
    """As that of TransformerLens, but without hooks: what passes is kept."""

    def forward(self, x):
        self.seen = x
        return x


class HookedRootModule(torch.nn.Module):
    def setup(self):
        self.mod_dict = dict(self.named_modules())

    def run_with_cache(self, ids):
        logits = self(ids)
        points = {name: one for name, one in self.mod_dict.items() if isinstance(one, HookPoint)}
        return logits, {name: point.seen for name, point in points.items()}


@pytest.fixture
def hooked(monkeypatch):
    """The class of the example."""
    if importlib.util.find_spec("transformer_lens") is None:
        library, points = ModuleType("transformer_lens"), ModuleType("transformer_lens.hook_points")
        library.HookedRootModule, points.HookPoint = HookedRootModule, HookPoint
        monkeypatch.setitem(sys.modules, "transformer_lens", library)
        monkeypatch.setitem(sys.modules, "transformer_lens.hook_points", points)
    path = EXAMPLES / "transformer_lens_hooks.py"
    specification = importlib.util.spec_from_file_location("transformer_lens_hooks", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.HookedMotegpt


CASES = {
    **{name: settings for name, (_, settings) in ARCHITECTURES.items()},
    "stream of bytes": {"preset": "llama", **TOKENIZERS["stream"], "tokenizer": "bytes"},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_every_hook_has_the_value_of_the_trace(hooked, settings):
    model = small_model(**settings)
    ids = [*([] if model.tokenizer.bos is None else [model.tokenizer.bos]), *model.tokenizer.encode("hanna")]
    _, cache = hooked(model).run_with_cache(torch.tensor([ids]))
    expected = model.activations("hanna")
    assert cache.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(cache[name].numpy(), array, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_every_gradient_of_the_lens_is_that_of_autograd(hooked, settings):
    lens, network, seen = small_model(**settings).lens(), hooked(small_model(**settings)), {}

    def keep(name, value):
        value.retain_grad()
        seen[name] = value

    for w in network.w.values():
        w.requires_grad_()
    for name in lens.hook_names:
        network.mod_dict[name].register_forward_hook(lambda point, given, value, name=name: keep(name, value))
    ids = torch.tensor(lens.to_tokens(["hanna", "annan"]))
    logits = network(ids)
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    found = lens.gradients(ids)
    assert list(found) == list(seen)
    for name, value in seen.items():
        np.testing.assert_allclose(found[name], value.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("settings", [CASES["zeroclaw"], CASES["llama, grouped, tied, biases"]])
def test_what_a_hook_changes_is_what_follows_computes_with(hooked, settings):
    lens, network = small_model(**settings).lens(), hooked(small_model(**settings))
    ids = lens.to_tokens("hanna")
    for name in lens.hook_names:
        hook = network.mod_dict[name].register_forward_hook(lambda point, given, value: 1.25 * value + 0.5)
        expected = network(torch.tensor(ids)).numpy()
        hook.remove()
        found = lens.run_with_hooks(ids, fwd_hooks=[(name, lambda value, hook: 1.25 * value + 0.5)])
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=name)
