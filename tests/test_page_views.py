"""The page's views of the inside of the model, in a browser: the numbers shown are the session's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motegpt.api.gpt import GPT
from motegpt.data.batches import Batch
from motegpt.data.corpus import built_in_names
from motegpt.engines import make_engine
from tests.browser import Open, until, wait_for_text
from tests.page_views import TEXT, draw_all, look, map_of, marks, number, parameters, point, softmax, trained

NAMES = built_in_names().decode().split()
FOUR_BY_64 = "motegpt.set({n_layer: 4, n_embd: 64})"


def test_the_flow_shows_the_numbers_of_the_session(open_page: Open) -> None:
    page = trained(open_page)
    found, w = look(page), parameters(page)
    shown = point(page, "flow", "blocks.0.mlp.hook_pre", 2, 37)
    assert shown[0].startswith("blocks.0.mlp.hook_pre[2, 37] = ")
    assert number(shown[0].split(" = ")[1]) == pytest.approx(
        found["activations"]["blocks.0.mlp.hook_pre"][2, 37], rel=6e-4
    )
    assert shown[1] == "position 2 “m”, hidden unit 37"
    shown = point(page, "flow", "blocks.0.attn.hook_q", 3, 9)
    assert shown[0].startswith("blocks.0.attn.hook_q[3, 2, 1] = ")
    assert number(shown[0].split(" = ")[1]) == pytest.approx(
        found["activations"]["blocks.0.attn.hook_q"][3, 9], rel=6e-4
    )
    shown = point(page, "flow", "blocks.0.attn.hook_pattern", 4, 1, head=2)
    assert shown[0].startswith("blocks.0.attn.hook_pattern[2, 4, 1] = ")
    assert number(shown[0].split(" = ")[1]) == pytest.approx(
        found["activations"]["blocks.0.attn.hook_pattern"][2, 4, 1], rel=6e-4
    )
    shown = point(page, "flow", "probabilities", 4, 0)
    assert number(shown[0].split(" = ")[1]) == pytest.approx(found["probabilities"][4, 0], rel=6e-4)
    best = page.evaluate("motegpt.vocabulary")[int(found["probabilities"][-1].argmax())].replace("<BOS>", "⊢")
    summary = page.locator("#view-flow [aria-live]")
    assert summary.text_content().startswith(f"Most likely next characters: {best} ")
    assert summary.get_attribute("aria-live") == "polite"
    shown = point(page, "flow", "layer0.attn_wq", 3, 5)
    assert shown[0].startswith("layer0.attn_wq[3, 5] = ")
    assert number(shown[0].split(" = ")[1]) == pytest.approx(w["layer0.attn_wq"][3, 5], rel=6e-4)


OTHER_PARTS = """motegpt.set({n_layer: 2, activation: 'swiglu', n_kv_head: 2, norm: 'layer', norm_gain: true,
    norm_bias: true, bias: true, final_norm: true, n_hidden: 24})"""


def test_the_flow_shows_every_part_of_another_architecture(open_page: Open) -> None:
    """Gate, gains and biases with their numbers; a cell's sources, of which two heads share the keys."""
    page = open_page()
    page.evaluate(OTHER_PARTS)
    page.click("#message [aria-label='Close this message']")
    page.evaluate(f"motegpt.setText({TEXT!r}), motegpt.train(5)")
    until(page, "motegpt.step === 5")
    page.locator("#view-flow").scroll_into_view_if_needed()
    until(page, "document.querySelector('#view-flow .map-box')")
    page.wait_for_timeout(300)
    found, w = look(page)["activations"], parameters(page)
    for name in ("blocks.0.mlp.hook_pre", "blocks.0.mlp.hook_pre_linear", "ln_final.hook_normalized"):
        shown = point(page, "flow", name, 2, 7)[0].split(" = ")
        assert shown[0] == f"{name}[2, 7]"
        assert number(shown[1]) == pytest.approx(found[name][2, 7], rel=6e-4)
    for name in ("layer0.ln1_gain", "layer0.mlp_gate_bias", "ln_f_bias"):
        shown, place = point(page, "flow", name, 0, 3)
        assert number(shown.split(f"{name}[3] = ")[1]) == pytest.approx(w[name][3], rel=6e-4)
        assert place == "channel 3"
    point(page, "flow", "blocks.0.mlp.hook_pre", 2, 7)
    assert marks(page, "flow") == {
        ("blocks.0.ln2.hook_normalized", "2-3,0-16"), ("layer0.mlp_gate", "7-8,0-16"),
        ("layer0.mlp_gate_bias", "0-1,7-8"),
    }  # fmt: skip
    point(page, "flow", "blocks.0.attn.hook_pattern", 4, 1, head=3)
    assert marks(page, "flow") == {
        ("blocks.0.attn.hook_q", "4-5,12-16"), ("blocks.0.attn.hook_k", "1-2,4-8"),
    }  # fmt: skip
    point(page, "flow", "logits", 3, 2)
    assert ("ln_final.hook_normalized", "3-4,0-16") in marks(page, "flow")


def test_the_flow_shows_gradients_of_the_text(open_page: Open) -> None:
    page = trained(open_page)
    model = GPT.training(NAMES, preset="microgpt", engine="array", steps=1).model
    engine = make_engine("array", model.config.model, model.config.train)
    engine.load(parameters(page))
    bos = model.tokenizer.bos
    ids = [bos, *model.tokenizer.encode(TEXT), bos]
    _, gradient = engine.gradients(Batch.of([ids], "documents"))
    page.check("#view-flow input[value=gradients]")
    page.wait_for_timeout(300)
    for name, row, column in [("layer0.attn_wq", 3, 5), ("layer0.mlp_fc2", 7, 40), ("lm_head", 12, 3)]:
        shown = point(page, "flow", name, row, column)[0].split(" = ")[1]
        assert number(shown) == pytest.approx(gradient[name][row, column], rel=6e-4, abs=1e-12)
    page.check("#view-flow input[value=activations]")
    until(page, "getComputedStyle(document.querySelector('#view-flow .parameter')).display === 'none'")


def test_the_colors_are_those_of_the_numbers(open_page: Open) -> None:
    page = trained(open_page)
    values = look(page)["activations"]["blocks.0.hook_resid_post"]
    pixels = page.eval_on_selector(
        '#view-flow [data-map="blocks.0.hook_resid_post"] canvas',
        "one => Array.from(one.getContext('2d').getImageData(0, 0, one.width, one.height).data)",
    )
    red, blue = (np.reshape(pixels, (*values.shape, 4))[..., i].astype(int) for i in (0, 2))
    strong = np.abs(values) > 0.1 * np.abs(values).max()
    assert ((blue > red) == (values > 0))[strong].all()


def test_pointing_at_an_output_frames_what_it_was_computed_from(open_page: Open) -> None:
    page = trained(open_page)
    point(page, "flow", "blocks.0.attn.hook_k", 2, 6)
    assert marks(page, "flow") == {
        ("blocks.0.ln1.hook_normalized", "2-3,0-16"),
        ("layer0.attn_wk", "6-7,0-16"),
    }
    point(page, "flow", "blocks.0.attn.hook_pattern", 3, 1, head=1)
    assert marks(page, "flow") == {("blocks.0.attn.hook_q", "3-4,4-8"), ("blocks.0.attn.hook_k", "1-2,4-8")}
    point(page, "flow", "blocks.0.hook_resid_mid", 4, 15)
    assert marks(page, "flow") == {
        ("blocks.0.hook_resid_pre", "4-5,15-16"),
        ("blocks.0.hook_attn_out", "4-5,15-16"),
    }
    page.mouse.move(2, 2)
    until(page, "document.querySelectorAll('#view-flow .map-mark').length === 0")
    assert page.locator(".tip").is_hidden()


def test_a_heat_map_works_by_keyboard_and_enlarges(open_page: Open) -> None:
    page = trained(open_page)
    name = "blocks.0.hook_attn_out"
    values = look(page)["activations"][name]
    page.keyboard.press("Tab")
    page.locator(map_of("flow", name)).focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator(".tip div").first.inner_text().startswith(f"{name}[2, 2] = ")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('dialog.large[open]')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    reading = page.inner_text(".large-reading")
    assert reading.startswith(f"{name}[3, 3] = ")
    assert number(reading.split(" = ")[1]) == pytest.approx(values[3, 3], rel=6e-4)
    assert page.locator(".large .map-labels span").all_inner_texts() == ["⊢", *TEXT]
    assert page.locator(".large .map-across span").nth(3).inner_text() in ("3", "")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('dialog.large')")
    assert page.evaluate("document.activeElement.matches('.map-box')")


def test_a_tap_reads_a_cell(open_page: Open) -> None:
    page = trained(open_page, size=(390, 844), has_touch=True)
    box = page.locator(map_of("flow", "blocks.0.hook_resid_pre"))
    box.scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, 150)")
    area = box.bounding_box()
    page.touchscreen.tap(area["x"] + 3, area["y"] + 3)
    assert page.locator(".tip div").first.inner_text().startswith("blocks.0.hook_resid_pre[0, 0] = ")
    assert page.locator("dialog.large").count() == 0


def test_layers_are_folded_except_one(open_page: Open) -> None:
    page = open_page()
    page.evaluate(FOUR_BY_64)
    until(page, "document.querySelectorAll('#view-flow .folded').length === 3")
    assert page.locator('#view-flow [data-map="layer0.mlp_fc1"]').count() == 1
    page.locator("#view-flow .unfold").nth(1).click()
    assert page.locator('#view-flow [data-map="layer2.mlp_fc1"]').count() == 1
    assert page.locator('#view-flow [data-map="layer0.mlp_fc1"]').count() == 0


def test_attention_names_its_characters_and_what_it_shows(open_page: Open) -> None:
    page = trained(open_page)
    pattern = look(page)["activations"]["blocks.0.attn.hook_pattern"]
    page.locator("#view-attention").scroll_into_view_if_needed()
    until(page, "document.querySelectorAll('#view-attention .map').length === 4")
    page.wait_for_timeout(200)
    first = page.locator("#view-attention .map").first
    assert first.locator(".map-labels span").all_inner_texts() == ["⊢", *TEXT]
    assert first.locator(".map-across span").all_inner_texts() == ["⊢", *TEXT]
    most = int(pattern[0, 4].argmax())
    assert f"looks most at position {most}, " in first.locator(".map-box").get_attribute("aria-label")
    assert number(
        point(page, "attention", "blocks.0.attn.hook_pattern", 3, 2, head=3)[0].split(" = ")[1]
    ) == (pytest.approx(pattern[3, 3, 2], rel=6e-4))


def lens_cells(page: Any) -> list[list[str]]:
    return page.eval_on_selector_all(
        "#view-lens tbody tr",
        "all => all.map(row => [...row.querySelectorAll('td')].map(cell => cell.innerText))",
    )


def test_the_lens_ends_in_the_probabilities_of_the_model(open_page: Open) -> None:
    page = trained(open_page, 200)
    page.locator("#view-lens").scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    found, vocabulary = look(page), page.evaluate("motegpt.vocabulary")
    stages = [*softmax(found["lens"])]
    assert stages[-1] == pytest.approx(found["probabilities"], abs=1e-12)
    for temperature in (1, 0.5, 2):
        page.fill("#lens-temperature", str(temperature))
        page.wait_for_timeout(150)
        heated = softmax(np.log(found["probabilities"]) / temperature)
        cells = lens_cells(page)
        assert len(cells) == len(stages) + 1
        for shown, expected in zip(cells, [*stages, heated], strict=True):
            for cell, p in zip(shown, expected, strict=True):
                label, share = cell.split("\n")
                assert {"⊢": "<BOS>"}.get(label, label) == vocabulary[int(p.argmax())]
                assert float(share.removesuffix(" %")) / 100 == pytest.approx(p.max(), abs=0.0051)
        bits = page.locator(".lens-entropy td").all_inner_texts()
        entropy = -(heated * np.log2(heated)).sum(-1)
        assert [float(one) for one in bits] == pytest.approx(list(entropy), abs=0.0051)
    page.locator("#view-lens tbody tr >> nth=0 >> td >> nth=1").hover()
    assert "position 1" in page.inner_text("#view-lens .bars-title")
    assert page.locator("#view-lens .bars li b").first.inner_text() == lens_cells(page)[0][1].split("\n")[0]


def test_the_map_of_embeddings_names_the_nearest(open_page: Open) -> None:
    page = trained(open_page, 200)
    page.locator("#view-embeddings").scroll_into_view_if_needed()
    wait_for_text(page, "#view-embeddings .inline", "% of the variance")
    wte = parameters(page)["wte"]
    unit = wte / np.linalg.norm(wte, axis=1, keepdims=True)
    nearest = (unit @ unit[4])[[i for i in range(len(wte)) if i != 4]].max()
    page.keyboard.press("Tab")
    page.locator("#view-embeddings canvas").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    heading, cosines = page.locator(".tip div").all_inner_texts()
    assert heading == "wte[4] “e”"
    assert number(cosines.split(":")[1].split(",")[0].split()[1]) == pytest.approx(nearest, rel=6e-4)
    page.check("#view-embeddings input[value=wpe]")
    assert "16 embeddings of wpe" in page.locator("#view-embeddings canvas").get_attribute("aria-label")


def test_histograms_count_zeros_and_update_ratios(open_page: Open) -> None:
    page = trained(open_page, 30)
    page.locator("#view-histograms").scroll_into_view_if_needed()
    until(page, "document.querySelectorAll('#view-histograms .panel:last-child .legend li').length === 9")
    page.wait_for_timeout(300)
    g = look(page)["activations"]["blocks.0.mlp.hook_post"]
    said = page.locator("#view-histograms .panel").first.locator(".legend small").inner_text()
    assert f"zero after ReLU {100 * (g == 0).mean():.0f} %" in said
    labels = page.locator("#view-histograms .panel").last.locator(".legend li span").all_inner_texts()
    shown = page.locator("#view-histograms .panel").last.locator(".legend li small").all_inner_texts()
    before = parameters(page)
    page.evaluate("motegpt.train(1)")
    after = parameters(page)
    for label, ratio in zip(labels, shown, strict=True):
        expected = math.log10((after[label] - before[label]).std() / before[label].std())
        assert number(ratio) == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize("settings", ["{}", "{optimizer: 'sgd', lr: 0.1}", "{weight_decay: 0.1, n_layer: 2}"])
def test_slow_motion_ends_in_the_update_of_the_core(open_page: Open, settings: str) -> None:
    page = open_page()
    page.evaluate(f"motegpt.set({settings})")
    page.evaluate("motegpt.train(7)")
    page.locator("#view-slow").scroll_into_view_if_needed()
    before = parameters(page)
    page.click("text=Take the next step slowly")
    until(page, "document.querySelector('.slow-frame[data-frame=\"0\"] .slow-table')")
    page.keyboard.press("ArrowRight")
    mean = float(page.get_attribute(".slow-sum strong", "data-mean"))
    terms = [number(one.split("=")[1]) for one in page.locator(".slow-losses code").all_inner_texts()]
    assert mean == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    page.click("[aria-label='Next frame']")
    assert page.locator('.slow-frame [data-map="dlogits"]').count() == 1
    shown = number(point(page, "slow", "dlogits", 0, 0)[0].split(" = ")[1])
    assert -1 / len(terms) <= shown <= 1 / len(terms)
    page.click("text=4 Update")
    rows = page.eval_on_selector_all(
        ".slow-update tr",
        "all => Object.fromEntries(all.map(one => [one.dataset.row, Number(one.dataset.value)]))",
    )
    core = float(page.get_attribute(".slow-frame [data-after]", "data-after"))
    assert rows["new w"] == pytest.approx(core, rel=1e-12)
    assert rows["new w"] != rows["w"]
    index = int(page.get_attribute(".slow-update", "data-index"))
    flat = np.concatenate([one.ravel() for one in before.values()])
    assert rows["w"] == flat[index]
    page.evaluate("motegpt.train(1)")
    taken = np.concatenate([one.ravel() for one in parameters(page).values()])
    assert taken[index] == pytest.approx(core, rel=1e-12)
    assert np.abs(taken - flat).max() == pytest.approx(abs(core - flat[index]))
    assert page.evaluate("motegpt.losses.at(-1)") == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("size", [(390, 844), (1280, 900), (1920, 1080)], ids=lambda size: str(size[0]))
@pytest.mark.parametrize("settings", ["{}", "{n_layer: 4, n_embd: 64}"], ids=["1x16", "4x64"])
def test_nothing_is_wider_than_the_page(open_page: Open, size: tuple[int, int], settings: str) -> None:
    page = open_page(size=size, color_scheme="dark")
    page.evaluate(f"motegpt.set({settings})")
    page.evaluate("motegpt.setText('maximiliana')")
    draw_all(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = page.evaluate(
        "[...document.querySelectorAll('#model .map-box, #model canvas, #model button')].filter(one =>"
        " !one.closest('.contents') && one.getBoundingClientRect().right > innerWidth + 1)"
        ".map(one => one.outerHTML.slice(0, 100))"
    )
    assert wide == []


@pytest.mark.parametrize(
    "change",
    ["motegpt.setPreset('zeroclaw')", "motegpt.set({position: 'rope', qk_norm: true, dtype: 'float32'})"],
    ids=["zeroclaw", "rope"],
)
def test_other_kinds_of_model_are_drawn(open_page: Open, change: str) -> None:
    page = open_page()
    page.evaluate(change)
    page.evaluate("motegpt.setText('emma'), motegpt.train(5)")
    draw_all(page)
    for view in ("flow", "attention", "cause"):
        assert page.locator(f"#view-{view} .map-box").count() >= 4
    shown = point(page, "flow", "logits", 4, 3)[0].split(" = ")[1]
    assert number(shown) == pytest.approx(look(page)["logits"][4, 3], rel=6e-4)
    page.click("#view-slow .view-tools button")
    until(page, "document.querySelector('.slow-frame .slow-table')")
    page.click("text=4 Update")
    rows = page.eval_on_selector_all(".slow-update tr", "all => all.map(one => Number(one.dataset.value))")
    core = float(page.get_attribute(".slow-frame [data-after]", "data-after"))
    assert rows[-1] == pytest.approx(core, rel=1e-6)  # single precision


def test_a_run_with_an_embedding_of_n_grams_is_drawn(open_page: Open, tmp_path: Path, motegpt: Any) -> None:
    run, document = tmp_path / "run", tmp_path / "page.html"
    motegpt("train", "--steps", "20", "--ngram-orders", "3", "--kneser-ney", "3", "--val-fraction", "0.1",
            "--out", str(run), "--quiet")  # fmt: skip
    motegpt("play", str(run), "--out", str(document))
    page = open_page(document=document)
    page.evaluate("motegpt.setText('emma')")
    draw_all(page)
    assert page.locator('#view-flow [data-map="hook_ngram_embed"]').count() == 1
    names = page.locator(".weight-editor option").all_inner_texts()
    assert "wte" in names
    assert not any(name.startswith("ngram") for name in names)
