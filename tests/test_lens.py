"""The lens: every activation read, changed and differentiated, and logits taken apart."""

from functools import cache

import numpy as np
import pytest

from motegpt import GPT, DataError, PrefixError, UsageError
from motegpt.data.batches import Batch
from motegpt.lens.names import HookPoint
from tests.conftest import ENGINES_HERE
from tests.exported import ARCHITECTURES, small_model

H = 1e-6
TEXTS = ["hanna", "annan"]


@cache
def model_of(architecture):
    return small_model(**ARCHITECTURES[architecture][1])


@pytest.fixture(params=ARCHITECTURES)
def lens(request):
    return model_of(request.param).lens()


@pytest.fixture
def plain():
    """A lens of two layers of three heads, without norms before the head."""
    return model_of("microgpt").lens()


@pytest.fixture
def llama():
    return model_of("llama, grouped, tied, biases").lens()


def moved(name, direction, h):
    """A hook that moves an activation."""
    return (name, lambda value, hook: value + h * direction)


def assert_is_the_gradient(lens, gradients, names, targets=None, before=()):
    """Each gradient, along a random direction, is what central differences of the loss find.

    before: hooks that act too
    """
    random = np.random.default_rng(1)
    for name in names:
        direction = random.standard_normal(gradients[name].shape)
        losses = [
            lens.run_with_hooks(TEXTS, "loss", [*before, moved(name, direction, h)], targets=targets)
            for h in (H, -H)
        ]
        found = (gradients[name] * direction).sum()
        assert found == pytest.approx((losses[0] - losses[1]) / (2 * H), rel=2e-6, abs=2e-8), name


def test_without_hooks_it_is_the_array_engine(lens):
    """Bit for bit, alone and in a batch; with hooks that change nothing, too."""
    ids = lens.to_tokens(TEXTS)
    logits, cache = lens.run_with_cache(TEXTS)
    model = next(model_of(name) for name in ARCHITECTURES if model_of(name).config.model == lens.model)
    expected = model.engine.logits(Batch(ids.tolist(), ids.tolist(), np.ones(ids.shape).tolist()))
    np.testing.assert_array_equal(logits, expected)
    for idle in (lambda value, hook: None, lambda value, hook: value):
        np.testing.assert_array_equal(
            lens.run_with_hooks(TEXTS, "logits", [(lambda name: True, idle)]), logits
        )
    one, alone = lens.run_with_cache("hanna")
    activations = model.activations("hanna")
    assert list(alone) == list(activations) == list(lens.hook_names) == list(cache)
    for name, value in activations.items():
        np.testing.assert_array_equal(alone[name], value)
    np.testing.assert_array_equal(one[0], model.logits("hanna"))
    np.testing.assert_array_equal(one, lens(lens.to_tokens("hanna")))


def test_every_gradient_is_that_of_finite_differences(lens):
    gradients = lens.gradients(TEXTS)
    assert list(gradients) == list(lens.hook_names)
    assert_is_the_gradient(lens, gradients, lens.hook_names)
    assert gradients.loss == lens(TEXTS, "loss")


def keep_half(value, hook):
    """Sets the numbers of the first sequence to constants."""
    value[0] = 0.75


@pytest.mark.parametrize(
    "changed", ["z", "resid_mid", "scale1ln1", "pattern", "post", "mlp_out", "v", "rot_k"]
)
def test_gradients_stop_at_what_a_hook_changed_and_pass_by_what_it_kept(llama, changed):
    hook = ((changed, 1) if changed.isalpha() or "_" in changed else changed, keep_half)
    gradients = llama.gradients(TEXTS, fwd_hooks=[hook])
    assert_is_the_gradient(llama, gradients, llama.hook_names, before=[hook])


def test_a_backward_hook_gives_the_gradient_of_a_change_that_depends_on_the_value(plain):
    steer, halve = ("resid_mid", 0), ("z", 1)
    hooks = [(steer, lambda value, hook: value + 1.0), (halve, lambda value, hook: 0.5 * value)]
    back = [(steer, lambda gradient, hook: gradient), (halve, lambda gradient, hook: 0.5 * gradient)]
    gradients = plain.gradients(TEXTS, fwd_hooks=hooks, bwd_hooks=back)
    assert_is_the_gradient(plain, gradients, plain.hook_names, before=hooks)
    stopped = plain.gradients(TEXTS, fwd_hooks=hooks)
    assert not stopped["embed"].any()
    assert gradients["embed"][:, :-1].all()  # the last position has no target


def test_gradients_of_chosen_targets_and_of_any_function_of_the_logits(plain):
    ids = plain.to_tokens(TEXTS)
    targets = np.full(ids.shape, -1)
    targets[:, -1] = [1, 2]
    gradients = plain.gradients(TEXTS, targets)
    assert_is_the_gradient(plain, gradients, plain.hook_names[::7], targets)
    assert not gradients["logits"][:, :-1].any()
    dlogits = np.zeros((*ids.shape, plain.model.vocab_size))
    dlogits[:, -1, 1], dlogits[:, -1, 2] = 1.0, -1.0
    found = plain.gradients(TEXTS, dlogits=dlogits, names_filter=[("resid_pre", 1), "logits"])
    assert list(found) == ["blocks.1.hook_resid_pre", "logits"]
    np.testing.assert_array_equal(found["logits"], dlogits)
    direction = np.random.default_rng(1).standard_normal(found["resid_pre", 1].shape)
    up, down = (
        plain.run_with_hooks(TEXTS, "logits", [moved(("resid_pre", 1), direction, h)]) for h in (H, -H)
    )
    assert (found["resid_pre", 1] * direction).sum() == pytest.approx(((up - down) * dlogits).sum() / (2 * H))
    assert found.loss == pytest.approx((plain(TEXTS) * dlogits).sum())


def test_a_hook_sees_the_value_and_its_point_and_hooks_act_in_order(plain):
    seen = []

    def see(value, hook):
        seen.append((hook.name, hook.layer(), value.shape, value.flat[0]))

    def write(value, hook):
        value[...] = 3.0

    hooks = [(("q", 1), see), (lambda name: name.endswith("1.attn.hook_q"), write), ("q1", see)]
    logits, cache = plain.run_with_cache(TEXTS, fwd_hooks=hooks)
    assert [entry[:3] for entry in seen] == [("blocks.1.attn.hook_q", 1, (2, 6, 3, 4))] * 2
    assert seen[0][3] != 3.0 == seen[1][3]
    assert (cache["q", 1] == 3.0).all()
    np.testing.assert_array_equal(logits, plain.run_with_hooks(TEXTS, fwd_hooks=hooks))
    assert (logits != plain(TEXTS)).any()
    assert not (plain.run_with_cache(TEXTS)[1]["q", 1] == 3.0).any()


def test_what_a_hook_writes_to_stays_out_of_the_activations_before(plain):
    def erase(value, hook):
        value[...] = 0.0

    _, clean = plain.run_with_cache(TEXTS)
    _, cache = plain.run_with_cache(TEXTS, fwd_hooks=[(("resid_pre", 1), erase)])
    np.testing.assert_array_equal(cache["resid_post", 0], clean["resid_post", 0])
    assert not cache["resid_pre", 1].any()


def test_patching_every_activation_of_another_run_gives_its_logits(lens):
    """Where all that follows depends on it: the residual stream of a layer, and the logits."""
    clean, cache = lens.run_with_cache("hanna")
    for name in lens.hook_names:
        patched = lens.run_with_hooks("annan", "logits", [(name, lambda value, hook: cache[hook.name])])
        assert patched.shape == clean.shape
        if name.endswith(("resid_pre", "resid_post", "logits")):
            np.testing.assert_array_equal(patched, clean, err_msg=name)


def test_every_hook_point_has_an_effect(lens):
    """A value that is only shown, as the sum of embeddings once was, could not be changed."""
    before = lens(TEXTS)
    random = np.random.default_rng(1)
    for name in lens.hook_names:
        after = lens.run_with_hooks(
            TEXTS, "logits", [(name, lambda value, hook: value + random.uniform(0.1, 1.0, value.shape))]
        )
        assert np.abs(after - before).max() > 1e-6, name


def test_the_logits_are_the_sum_of_what_wrote_to_the_residual_stream(lens):
    logits, cache = lens.run_with_cache(TEXTS)
    found = cache.logit_attribution()
    scale = np.abs(found.values).sum(axis=0).max()
    np.testing.assert_allclose(found.values.sum(axis=0), logits, rtol=0, atol=4e-15 * scale)
    assert found.heads.shape == (2, 3, *logits.shape)
    np.testing.assert_array_equal(found.heads[1, 2], found["L1H2"])
    ids = lens.to_tokens(TEXTS)
    right, wrong = ids, (ids + 1) % lens.model.vocab_size
    chosen = cache.logit_attribution(right, wrong)
    of_right, of_wrong = (
        np.take_along_axis(found.values, tokens[None, ..., None], axis=-1)[..., 0]
        for tokens in (right, wrong)
    )
    np.testing.assert_allclose(chosen.values, of_right - of_wrong, atol=1e-13 * scale)
    np.testing.assert_allclose(cache.logit_attribution(3).values, found.values[..., 3], atol=1e-13 * scale)
    sources = cache.source_attribution(right, wrong)
    assert sources.labels == tuple(label for label in found.labels if label.startswith("L"))
    np.testing.assert_allclose(sources.heads.sum(axis=-1), chosen.heads, atol=1e-13 * scale)
    assert not sources.values[..., 0, 1:].any()


def test_without_a_final_norm_the_share_of_a_head_is_what_its_loss_takes_away(plain):
    """Of the last layer without its MLP, whose input the head changes."""
    _, cache = plain.run_with_cache(TEXTS)

    def keep(value, hook):
        return cache[hook.name]

    def erase(value, hook):
        value[:, :, 1] = 0.0

    ablated = plain.run_with_hooks(TEXTS, "logits", [(("z", 1), erase), (("mlp_out", 1), keep)])
    np.testing.assert_allclose(plain(TEXTS) - ablated, cache.logit_attribution()["L1H1"], atol=1e-13)


def test_the_logit_lens_ends_in_the_logits(lens):
    logits, cache = lens.run_with_cache(TEXTS)
    found = cache.logit_lens()
    assert found.shape == (3, *logits.shape)
    np.testing.assert_array_equal(found[-1], logits)
    between = cache.logit_lens(incl_mid=True)
    np.testing.assert_array_equal(between[::2], found)


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_heads_are_ablated_one_by_one(lens, kind):
    found = lens.ablate_heads(TEXTS, kind)
    _, cache = lens.run_with_cache(TEXTS)
    for i, head in ((0, 2), (1, 0)):
        z = cache["z", i].copy()
        z[:, :, head] = z[:, :, head].mean(axis=(0, 1)) if kind == "mean" else 0.0
        loss = lens.run_with_hooks(TEXTS, "loss", [(("z", i), lambda value, hook, z=z: z)])
        assert found[i, head] == loss - lens(TEXTS, "loss")
    assert found.shape == (2, 3)
    assert (found != 0.0).all()


def test_short_keys():
    lens = model_of("n-grams, rope, qk_norm").lens()
    _, cache = lens.run_with_cache(TEXTS)
    for key, name in {
        "embed": "hook_embed",
        ("q", 0): "blocks.0.attn.hook_q",
        "q1": "blocks.1.attn.hook_q",
        ("resid_post", -1): "blocks.1.hook_resid_post",
        ("scale", 0, "ln2"): "blocks.0.ln2.hook_scale",
        "normalized1ln1": "blocks.1.ln1.hook_normalized",
        ("scale", 1, "attn.q_norm"): "blocks.1.attn.q_norm.hook_scale",
        ("pattern", 0, "a"): "blocks.0.attn.hook_pattern",
        ("attn", 0): "blocks.0.attn.hook_pattern",
        ("mlp_post", 1): "blocks.1.mlp.hook_post",
        ("mlp_out", np.int64(0)): "blocks.0.hook_mlp_out",
        ("logits",): "logits",
    }.items():
        assert cache[key] is cache[name], key
        assert key in cache
    final = model_of("llama").lens().run_with_cache(TEXTS)[1]
    assert final["scale"] is final["ln_final.hook_scale"]
    np.testing.assert_array_equal(cache.stack_activation("pattern")[1], cache["pattern", 1])
    assert cache.stack_activation("scale", "ln1").shape == (2, 2, 6, 1)
    for key, said in (
        ("scale0", "blocks.0.ln1.hook_scale or"),
        (("q", 2), "expected the name"),
        ("blocks.0.attn.hook_qq", "did you mean blocks.0.attn.hook_q"),
        ((0, "q"), "name, layer and part"),
        (("q", 0, "attn", 1), "name, layer and part"),
        (("hook_embed", "logits"), "name, layer and part"),
        (3, "name, layer and part"),
    ):
        assert key not in cache
        with pytest.raises(KeyError, match=said):
            cache[key]
    with pytest.raises(ValueError, match="no layer"):
        HookPoint("hook_embed").layer()


def test_inputs(plain):
    ids = plain.to_tokens("anna")
    bos = model_of("microgpt").tokenizer.bos
    assert ids.tolist() == [[bos, *model_of("microgpt").tokenizer.encode("anna")]]
    assert plain.to_str_tokens("anna") == ["<BOS>", "a", "n", "n", "a"]
    assert plain.to_str_tokens(["an", "na"]) == [["<BOS>", "a", "n"], ["<BOS>", "n", "a"]]
    for same in (
        "anna",
        ["anna"],
        ids,
        ids[0],
        ids.tolist(),
        ids[0].tolist(),
        list(ids),
        ids.astype(np.uint8),
    ):
        np.testing.assert_array_equal(plain(same), plain(ids))
    logits, loss = plain(ids, "both")
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    assert loss == pytest.approx(-np.log(p[0, range(4), ids[0, 1:]]).mean())
    assert plain(ids, "loss", targets=[-1, -1, -1, -1, 2]) == pytest.approx(-np.log(p[0, 4, 2]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["anna", "nan"], "one length, got 4 and 5"),
        ([[1, 2], [1]], "one length, got 1 and 2"),
        ([1.5], "expected a text"),
        ([], "expected a text"),
        ([[[1]]], "expected a text"),
        ({"a": 1}, "expected a text"),
        (7, "expected a text"),
        ([0] * 10, "at most block_size = 9"),
        ([-1], "0 to"),
        ([99], "0 to"),
        ("annannannannn", "at most 8"),
    ],
)
def test_inputs_that_the_model_cannot_read(plain, given, said):
    with pytest.raises(DataError, match=said):
        plain(given)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda lens: lens("xyz"), PrefixError, "'y'"),
        (lambda lens: lens("an", "losses"), UsageError, "return_type: expected logits, loss, both"),
        (lambda lens: lens([1], "loss"), DataError, "targets: expected at least one"),
        (lambda lens: lens("an", "loss", targets=[1]), DataError, "targets: expected ids below"),
        (lambda lens: lens("an", "loss", targets=[[1, 2, 99]]), DataError, "targets: expected ids below"),
        (lambda lens: lens.gradients("an", dlogits=[1.0]), DataError, "dlogits: expected shape"),
        (lambda lens: lens.gradients("an", [1, 2, 0], dlogits=[1.0]), UsageError, "instead of targets"),
        (lambda lens: lens.ablate_heads("an", "noise"), UsageError, "kind: expected zero or mean"),
        (lambda lens: lens.run_with_cache("an", names_filter="z"), UsageError, "names_filter: expected the"),
        (lambda lens: lens.run_with_cache("an", names_filter="q0")[1].logit_lens(), UsageError, "needs all"),
        (
            lambda lens: lens.run_with_cache("an")[1].logit_attribution(99),
            DataError,
            "tokens: expected token",
        ),
        (
            lambda lens: lens.run_with_cache("an")[1].logit_attribution([1, 2]),
            DataError,
            r"ids of shape \(1, 3\)",
        ),
        (
            lambda lens: lens.run_with_cache("an")[1].logit_attribution(incorrect_tokens=1),
            UsageError,
            "needs tokens",
        ),
    ],
)
def test_arguments_that_are_refused(plain, call, error, said):
    with pytest.raises(error, match=said):
        call(plain)


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("z", "pairs of a name and a function"),
        (("z0", 1), "pairs of a name and a function"),
        (("blocks.0.hook_z", abs), "did you mean blocks.0"),
        ((lambda name: False, abs), "predicate"),
        (
            ("z0", lambda value, hook: value[0]),
            r"attn.hook_z expected None or numbers of shape \(1, 5, 3, 4\)",
        ),
        (("z0", lambda value, hook: "x"), "got 'x'"),
    ],
)
def test_hooks_that_do_not_fit(plain, hook, said):
    for what, run in (("fwd_hooks", plain.run_with_hooks), ("bwd_hooks", plain.gradients)):
        with pytest.raises(UsageError, match=f"{what}: .*{said}"):
            run("anna", **{what: [hook]})


def test_a_lens_takes_over_the_parameters_of_any_engine():
    few = {"preset": "microgpt", "steps": 3, "dtype": "float64", "seed": 1}
    logits = []
    for engine in (name for name in ENGINES_HERE if name != "torch"):  # it is slow to import
        training = GPT.training(["anna", "nan"], engine=engine, **few)
        list(training)
        logits.append(training.model.lens()("anna"))
        np.testing.assert_allclose(logits[-1], logits[0], atol=1e-12)
    model = GPT.train(["anna", "nan"], engine="array", **few)
    lens, before = model.lens(), model.lens()("nan")
    model.engine.load({name: 0 * array for name, array in model.parameters.items()})
    np.testing.assert_array_equal(lens("nan"), before)
    assert repr(lens) == "Lens(n_layer=1, n_head=4, n_embd=16, hooks=22)"


def test_one_position():
    lens = model_of("llama").lens()
    logits, cache = lens.run_with_cache([[2]])
    assert logits.shape[:2] == (1, 1)
    assert cache["pattern", 0].tolist() == [[[[1.0]]] * 3]
    np.testing.assert_allclose(cache.logit_attribution().values.sum(axis=0), logits, atol=1e-13)
    assert_shapes = lens.gradients([[2]], [[1]])
    assert assert_shapes["z", 1].shape == cache["z", 1].shape
