"""The page's shell in a browser: training, settings, data, the time line, samples."""

from __future__ import annotations

from typing import Any

import pytest

from motegpt.api.gpt import GPT
from motegpt.config.presets import settings_of
from motegpt.data.corpus import built_in_names
from motegpt.engines import why_unavailable
from tests.browser import Open, until, wait_for_text

NAMES = built_in_names().decode().split()
needs_native = pytest.mark.skipif(
    why_unavailable("native") is not None, reason="compares with the native engine"
)


def text_of(page: Any, selector: str) -> str:
    return page.inner_text(selector).strip()


def losses(page: Any) -> list[float]:
    return list(page.evaluate("Array.from(motegpt.losses)"))


def change(page: Any, setting: str, value: str) -> None:
    """Type a setting, as a person does."""
    page.fill(f"#setting-{setting}", value)
    page.press(f"#setting-{setting}", "Tab")


def test_the_page_begins_with_a_model(open_page: Open) -> None:
    page = open_page()
    wait_for_text(page, "#shown-step", "0 / 1,000")
    wait_for_text(page, "#parameter-count", "4,160 parameters")
    wait_for_text(page, "#list-about", "98 documents")
    until(page, "document.querySelectorAll('#samples li').length === 20")
    assert not page.is_visible("#broken")


def test_one_step_run_pause_and_start_again(open_page: Open) -> None:
    page = open_page()
    page.click("#control-step")
    until(page, "motegpt.step === 1")
    wait_for_text(page, "#shown-loss", f"{losses(page)[0]:.3f}")
    page.click("#control-run")
    until(page, "motegpt.step > 20")
    wait_for_text(page, "#control-run", "Pause")
    until(page, "document.querySelector('#shown-rate').textContent !== '–'")
    page.click("#control-run")
    wait_for_text(page, "#control-run", "Run")
    step = page.evaluate("motegpt.step")
    page.wait_for_timeout(150)
    assert page.evaluate("motegpt.step") == step
    wait_for_text(page, "#shown-step", f"{step} / 1,000")
    page.click("#control-restart")
    until(page, "motegpt.step === 0")
    assert losses(page) == []


def test_the_slider_sets_the_speed(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.set({steps: 1000000})")
    until(page, "motegpt.config.steps === 1000000")
    rates = []
    for key in ("Home", "End"):
        page.press("#speed", key)
        page.evaluate("motegpt.run()")
        before = page.evaluate("[motegpt.step, performance.now()]")
        page.wait_for_timeout(500)
        after = page.evaluate("[motegpt.step, performance.now()]")
        rates.append((after[0] - before[0]) / (after[1] - before[1]))
    assert rates[1] > 20 * rates[0]
    page.evaluate("motegpt.pause()")


@needs_native
def test_the_losses_are_those_of_the_package(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.train(1000)")
    training = GPT.training(NAMES, preset="microgpt", engine="native", log_every=1)
    expected = [event.loss for event in training]
    assert losses(page) == pytest.approx(expected, abs=1e-12)
    wait_for_text(page, "#control-run", "Run again")


def test_at_the_end_are_the_samples_of_motegpt_train(open_page: Open, motegpt: Any) -> None:
    printed = motegpt("train", "--quiet").out.splitlines()
    page = open_page()
    page.evaluate("motegpt.train(1000)")
    wait_for_text(page, "#samples-about", "at the end")
    shown = page.eval_on_selector_all("#samples li", "all => all.map(one => one.firstChild.textContent)")
    assert len(shown) == settings_of("microgpt")["n"]
    assert [line for line in printed if line.split(": ")[-1] in shown]
    assert all(any(line.endswith(text) for line in printed) for text in shown)


def test_a_setting_starts_a_new_model_and_can_be_undone(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.train(10)")
    change(page, "n_layer", "2")
    wait_for_text(page, "#parameter-count", "7,232 parameters")
    wait_for_text(page, "#shown-step", "0 / 1,000")
    wait_for_text(page, "#message", "A new model: n_layer is 2, it was 1.")
    page.click("#message >> text=Undo")
    wait_for_text(page, "#parameter-count", "4,160 parameters")
    until(page, "document.querySelector('#setting-n_layer').value === '1'")
    page.select_option("#preset", "zeroclaw")
    until(page, "motegpt.config.activation === 'squared_relu'")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("z")
    until(page, "motegpt.config.activation === 'relu'")


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("n_layer", "0", "n_layer: expected a whole number of at least 1"),
        ("n_layer", "1.5", "n_layer: expected a whole number"),
        ("lr", "fast", "lr: expected a number above 0, got 'fast'"),
        ("n_embd", "18", "n_embd: expected a multiple of n_head = 4, got 18"),
    ],
)
def test_a_wrong_setting_is_explained_beside_it(
    open_page: Open, setting: str, value: str, sentence: str
) -> None:
    page = open_page()
    page.evaluate("motegpt.train(3)")
    change(page, setting, value)
    wait_for_text(page, f"#setting-{setting}-error", sentence)
    until(page, f"document.querySelector('#setting-{setting}').ariaInvalid === 'true'")
    assert page.evaluate("motegpt.step") == 3
    assert page.evaluate("motegpt.config.n_layer") == 1


def test_help_texts_and_limits_are_those_of_the_command_line(open_page: Open) -> None:
    from motegpt.config.fields import kinds
    from motegpt.config.sections import ModelConfig

    page = open_page()
    assert page.get_attribute("#setting-n_embd", "title") == kinds(ModelConfig)["n_embd"].help


def test_a_pasted_list_and_a_built_in_one(open_page: Open) -> None:
    page = open_page()
    page.click("#own-list summary")
    page.fill("#paste", "mo\nma\nmi\n\nmu")
    page.click("#use-list")
    wait_for_text(page, "#list-about", "4 documents")
    assert page.evaluate("motegpt.vocabulary").count("m") == 1
    until(page, "document.querySelector('#text').value === 'mo'")
    page.fill("#paste", "  \n")
    page.click("#use-list")
    wait_for_text(page, "#list-error", "expected at least one document")
    assert "4 documents" in text_of(page, "#list-about")
    page.select_option("#lists", "numbers")
    wait_for_text(page, "#list-about", "999 documents")
    until(page, "document.querySelector('#list-error').textContent === ''")


def give(page: Any, name: str, content: bytes) -> None:
    page.set_input_files("#files", {"name": name, "mimeType": "application/octet-stream", "buffer": content})


def test_files_that_are_lists_and_files_that_are_not(open_page: Open) -> None:
    page = open_page()
    give(page, "latin.txt", "Zoë\nJosé\n".encode("latin-1"))
    wait_for_text(page, "#message", "latin.txt: expected UTF-8, got another encoding; motegpt play FILE")
    give(page, "table.csv", b"name,age\n")
    wait_for_text(page, "#message", "motegpt play table.csv")
    give(page, "run.zip", b"PK no zip")
    wait_for_text(page, "#message", "zip")
    assert page.evaluate("motegpt.config.n_layer") == 1
    assert "98 documents" in text_of(page, "#list-about")
    give(page, "animals.txt", "Löwe\nMöwe\n".encode())
    wait_for_text(page, "#list-about", "2 documents")
    assert "animals.txt" in text_of(page, "#lists")


def test_the_time_line_brings_everything_back(open_page: Open) -> None:
    page = open_page()
    state = "motegpt.parameters().then(async (all) => [Array.from(all.wte.values), await motegpt.sample()])"
    page.evaluate("motegpt.train(200)")
    then = page.evaluate(state)
    page.evaluate("motegpt.train(300)")
    whole = losses(page)
    page.evaluate("motegpt.seek(200)")
    until(page, "motegpt.step <= 200")
    step = page.evaluate("motegpt.step")
    wait_for_text(page, ".looking", f"Everything is as it was at step {step} of 500")
    wait_for_text(page, "#samples-about", f"at step {step}")
    if step == 200:
        assert page.evaluate(state) == then
    page.focus("#scrubber")
    page.keyboard.press("ArrowLeft")
    until(page, f"motegpt.step < {step}")
    page.click("#back-to-now")
    until(page, "motegpt.step === 500")
    until(page, "document.querySelector('.looking').hidden")
    page.evaluate("motegpt.seek(200)")
    until(page, "motegpt.step <= 200")
    page.press("#speed", "End")
    page.click("#run-from-here")
    until(page, "motegpt.step > 500")
    page.evaluate("motegpt.pause()")
    assert losses(page)[:500] == whole


def test_a_short_list_is_memorized_and_the_meter_shows_it(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.setList({name: 'few', text: 'anna\\nbert\\ncleo\\n'})")
    until(page, "motegpt.vocabulary.length < 12")
    shares = []
    for steps in (0, 600):
        if steps:
            page.evaluate(f"motegpt.train({steps})")
        wait_for_text(page, "#samples-about", f"at step {steps}")
        shares.append(int(page.get_attribute(".meter", "aria-valuenow")))
        marked = page.eval_on_selector_all(
            "#samples li.known", "all => all.map(one => one.firstChild.textContent)"
        )
        assert len(marked) == round(shares[-1] / 5)
        assert set(marked) <= {"anna", "bert", "cleo"}
    assert shares[0] <= 10
    assert shares[1] >= 80


def test_temperature_and_beginning_of_samples(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.train(500)")
    page.press("#temperature", "Home")
    wait_for_text(page, "#samples-about", "temperature 0. ")
    texts = page.eval_on_selector_all("#samples li", "all => all.map(one => one.textContent)")
    assert len(set(texts)) == 1  # temperature 0 takes the most likely token
    page.fill("#prefix", "ka")
    until(
        page, "[...document.querySelectorAll('#samples li')].every(one => one.textContent.startsWith('ka'))"
    )
    page.fill("#prefix", "@")
    wait_for_text(page, "#samples-error", "@")


def test_the_loss_has_baselines_and_values(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.train(300)")
    baselines = page.evaluate("motegpt.baselines")
    assert baselines["uniform"] > baselines["unigram"] > baselines["bigram"] > baselines["trigram"] > 0
    wait_for_text(page, "#loss-summary", "Step 300")
    for name, loss in baselines.items():
        assert f"{name} {loss:.2f}" in page.inner_text("#loss-summary")
    box = page.locator("#loss-chart").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 50)
    until(page, "!document.querySelector('#loss-values').textContent.startsWith('Step 300')")
    page.focus("#loss-chart")
    page.keyboard.press("ArrowLeft")
    assert "training" in text_of(page, "#loss-values")


def test_held_out_documents_have_a_loss_too(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.set({val_fraction: 0.2})")
    until(page, "motegpt.config.val_fraction === 0.2")
    page.evaluate("motegpt.train(300)")
    wait_for_text(page, "#loss-values", "validation")
    assert "held out" in text_of(page, "#list-about")
