"""The page's shell in a browser: tour, links, files, keyboard, widths, themes, old browsers."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from motegpt.api.gpt import GPT
from motegpt.page.boot import boot, list_of, run_of
from motegpt.page.document import build_page
from motegpt.views.runs import Run
from tests.browser import Open, Tabs, until, wait_for_text

ROOT = Path(__file__).parents[1]
WIDTHS = (320, 390, 820, 1280, 1920)
WORDS = [f"{a}{b}{c}" for a in ("an", "be", "co", "du") for b in "lmnr" for c in ("a", "is", "otte")]
LEAST_CONTRAST = 4.5  # of text, by the Web Content Accessibility Guidelines (AA)


def test_every_chapter_of_the_tour_sets_the_page_up(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    page.evaluate("motegpt.set({n_layer: 2})")
    until(page, "motegpt.config.n_layer === 2")
    page.keyboard.press("t")
    titles = []
    for number in range(1, 9):
        wait_for_text(page, "#tour h2", f"{number}. ")
        until(page, "document.querySelector('.in-tour')")
        told = page.locator(".in-tour")
        until(
            page,
            "(top => top > -5 && top < innerHeight)"
            "(document.querySelector('.in-tour').getBoundingClientRect().top)",
        )
        assert told.count() == 1
        titles.append(page.inner_text("#tour h2"))
        assert page.evaluate("motegpt.config.n_layer") == 1
        page.keyboard.press("ArrowRight")
        if number < 8:
            until(page, f"!document.querySelector('#tour h2').textContent.startsWith('{number}.')")
    assert len(set(titles)) == 8
    page.keyboard.press("ArrowLeft")
    wait_for_text(page, "#tour h2", "7. ")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('#tour').hidden")
    page.evaluate("motegpt.undo()")
    until(page, "motegpt.config.n_layer === 2")


def test_a_link_opens_the_same_model(open_page: Open) -> None:
    page = open_page()
    page.evaluate("motegpt.setList({name: 'mine', text: 'löwe\\nmöwe\\nm🦁\\n'})")
    page.evaluate("motegpt.set({n_layer: 2, seed: 7})")
    page.evaluate("motegpt.setText('möwe')")
    until(page, "motegpt.config.seed === 7")
    page.click("#copy-link")
    wait_for_text(page, "#message", "The link is")
    page.evaluate("motegpt.train(20)")
    other = open_page(page.evaluate("location.hash"))
    assert other.evaluate("motegpt.config") == page.evaluate("motegpt.config")
    until(other, "document.querySelector('#text').value === 'möwe'")
    other.evaluate("motegpt.train(20)")
    assert other.evaluate("Array.from(motegpt.losses)") == page.evaluate("Array.from(motegpt.losses)")


def test_a_long_list_is_left_out_of_the_link(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        "motegpt.setList({name: 'long', text: "
        "Array.from({length: 20000}, (_, i) => (i * 7919 % 99991).toString(36)).join('\\n')})"
    )
    page.click("#copy-link")
    wait_for_text(page, "#message", "motegpt play FILE --out page.html")
    assert len(page.evaluate("location.hash")) < 8000


@pytest.mark.parametrize("hash", ["#m=1abc", "#m=", "#m=0eyJhIjoxfQ", "#m=2!!", "#m=1" + "A" * 9000])
def test_a_damaged_link_is_explained(open_page: Open, hash: str) -> None:
    page = open_page(hash)
    wait_for_text(page, "#message", "The link is damaged")
    assert page.evaluate("motegpt.config.n_layer") == 1


def test_a_link_with_a_setting_that_cannot_be(open_page: Open) -> None:
    import base64

    value = {"preset": "microgpt", "set": {"n_embd": 18}, "text": "emma", "list": "names"}
    packed = base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    page = open_page(f"#m=0{packed}")
    wait_for_text(page, "#message", "expected a multiple of n_head = 4, got 18")
    assert page.evaluate("motegpt.config.n_embd") == 16


def test_the_run_folder_goes_out_and_comes_back(open_page: Open, tmp_path: Path, motegpt: Any) -> None:
    page = open_page()
    page.evaluate("motegpt.train(60)")
    with page.expect_download() as saved:
        page.click("#download")
    path = tmp_path / saved.value.suggested_filename
    saved.value.save_as(path)
    assert path.name == "names.zip"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "names")
    folder = next((tmp_path / "names").rglob("config.json")).parent
    assert motegpt("sample", folder, "-n", 3).code == 0
    other = open_page()
    other.set_input_files("#files", path)
    wait_for_text(other, "#message", "the model is at step 60")
    assert other.evaluate("motegpt.parameters()") == page.evaluate("motegpt.parameters()")
    for one in (page, other):
        one.evaluate("motegpt.train(40)")
    assert (
        other.evaluate("Array.from(motegpt.losses)")[60:] == page.evaluate("Array.from(motegpt.losses)")[60:]
    )


def test_a_dropped_list_is_read(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["one\\ntwo\\nthree\\n"], "counts.txt"));
          for (const name of ["dragenter", "dragover", "drop"]) {
            const event = new DragEvent(name, {dataTransfer: transfer, bubbles: true, cancelable: true});
            document.body.dispatchEvent(event);
          }
        }"""
    )
    wait_for_text(page, "#list-about", "3 documents")
    assert not page.is_visible("#drop")


def test_everything_works_by_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {
        "open-tour",
        "copy-link",
        "control-run",
        "control-step",
        "speed",
        "lists",
        "setting-n_layer",
    } <= reached
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(".")
    until(page, "motegpt.step === 1")
    page.keyboard.press("Space")
    until(page, "motegpt.running && motegpt.step > 3")
    page.keyboard.press("Space")
    until(page, "!motegpt.running")
    wait_for_text(page, "#spoken", "Paused at")
    page.keyboard.press("r")
    until(page, "motegpt.step === 0")
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type("zoe r.z?")
    assert page.evaluate("motegpt.step") == 0  # keys that are typed do nothing else
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    keys = page.inner_text("#keys table")
    documented = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    for key in ("Space", ".", "R", "Z", "/", "T", "?"):
        assert re.search(rf"^{re.escape(key)}\s", keys, re.MULTILINE)
        assert f"\n| {key} | " in documented
    page.keyboard.press("Escape")
    assert not page.is_visible("#keys")


@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_scrolls_sideways(open_page: Open, width: int) -> None:
    page = open_page(size=(width, 800))
    page.evaluate("motegpt.train(30)")
    for tab in ("setup", "model", "results"):
        if width < 720:
            page.click(f".tabs [data-tab={tab}]")
        page.wait_for_timeout(50)
        assert page.is_visible(f"#{tab}")
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], tab


@pytest.mark.parametrize("script", ["fetch('http://127.0.0.1:9/').catch(() => 0)", "console.error('oh')"])
def test_requests_and_errors_are_noticed(chromium: Any, page_html: Path, script: str) -> None:
    tabs = Tabs(chromium, page_html)
    page = tabs.open()
    page.evaluate(script)
    page.wait_for_timeout(50)
    with pytest.raises(AssertionError):
        tabs.close()


def luminance(color: str) -> float:
    """Relative luminance of a CSS color rgb(r, g, b)."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_of_contrast_is_right() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast_in_both_themes(open_page: Open, theme: str) -> None:
    page = open_page(color_scheme=theme)
    assert page.get_attribute("html", "data-theme") == theme
    pairs = page.evaluate(
        """() => {
          const probe = document.body.appendChild(document.createElement("i"));
          const rgb = (name) => {
            probe.style.color = `var(--${name})`;
            return getComputedStyle(probe).color;
          };
          const texts = ["text", "muted", "accent", "bad", "series-1", "series-2"];
          const grounds = ["background", "surface"];
          const pairs = texts.flatMap((text) => grounds.map((ground) => [text, ground]));
          pairs.push(["on-accent", "accent"], ["background", "text"]);
          return pairs.map(([text, ground]) => [text, ground, rgb(text), rgb(ground)]);
        }"""
    )
    low = {(text, ground): contrast(one, other) for text, ground, one, other in pairs}
    assert {pair: value for pair, value in low.items() if value < LEAST_CONTRAST} == {}


def test_the_theme_button_is_remembered(open_page: Open) -> None:
    page = open_page(color_scheme="light")
    page.click("#theme")
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    page.reload()
    until(page, "document.documentElement.dataset.theme === 'dark'")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("WebAssembly.validate = () => false", "has no vector instructions (SIMD)"),
        ("delete globalThis.WebAssembly", "has no WebAssembly"),
        ("delete globalThis.DecompressionStream", "has no DecompressionStream"),
        ("delete globalThis.Worker", "has no workers"),
    ],
)
def test_an_old_browser_is_told_what_it_lacks(open_page: Open, missing: str, sentence: str) -> None:
    page = open_page(before=missing, ready=False)
    wait_for_text(page, "#broken", sentence)
    assert page.is_visible("#broken")
    assert not page.is_visible("#control-run")


def test_frames_are_timed_while_training(open_page: Open) -> None:
    """benchmarks/page.py compares them with what they may take; here other work may slow them down."""
    page = open_page()
    page.evaluate("motegpt.set({steps: 100000})")
    page.press("#speed", "End")
    page.evaluate("motegpt.run()")
    until(page, "motegpt.frames.length > 30")
    page.evaluate("motegpt.pause()")
    assert all(time >= 0 for time in page.evaluate("motegpt.frames"))
    assert max(page.evaluate("motegpt.frames")) > 0


def test_every_control_has_a_name(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("t")
    for number in range(page.locator(".view").count()):
        page.locator(".view").nth(number).scroll_into_view_if_needed()
        page.wait_for_timeout(60)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll(
            "button, input:not([hidden]), select, textarea, [role=img], [role=meter]")]
          .filter((one) => !(one.ariaLabel || one.title || one.textContent.trim() || one.labels?.length
            || one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


def test_the_page_begins_with_the_list_of_the_user(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "own.html"
    path.write_text(build_page(boot(data=list_of("own.txt", ["ab", "ba", "aa"]))), encoding="utf-8")
    page = open_page(document=path)
    wait_for_text(page, "#list-about", "3 documents")
    assert "own.txt" in page.inner_text("#lists")


def test_a_trained_run_is_shown_and_generates_without_its_list(open_page: Open, tmp_path: Path) -> None:
    steps = GPT.train(WORDS * 4, seconds=0.05, seed=1, out=tmp_path / "run").config.train.steps
    path = tmp_path / "run.html"
    run = run_of(Run.read(str(tmp_path / "run")))
    path.write_text(build_page(boot(run=run)), encoding="utf-8")
    page = open_page(document=path)
    wait_for_text(page, "#list-about", "is not part of the page")
    wait_for_text(page, "#bar", f"{run['step']:,} / {steps:,}")
    until(page, "document.querySelectorAll('#samples li').length === 20")
    assert page.is_disabled("#control-run")
    assert not page.is_visible(".memory")
    assert page.input_value("#text")
    change = "document.querySelector('#setting-n_layer')"
    page.evaluate(f"{change}.value = 3; {change}.dispatchEvent(new Event('change'))")
    wait_for_text(page, "#settings-error", "expected a list to train a new model on")
    page.select_option("#lists", "names")
    wait_for_text(page, "#list-about", "98 documents")
    assert page.evaluate("motegpt.config.activation") == "relu"
    page.evaluate("motegpt.train(3)")


def page_of_run(
    tmp_path: Path, texts: list[str] | Path = WORDS, data: dict[str, Any] | None = None, **settings: Any
) -> Path:
    """The page of a run of texts, with a list if there is one."""
    GPT.train(texts, **{"preset": "microgpt", "steps": 300, **settings}, out=tmp_path / "run")
    path = tmp_path / "run.html"
    path.write_text(build_page(boot(data, run_of(Run.read(str(tmp_path / "run"))))), encoding="utf-8")
    return path


def test_a_run_too_large_to_train_in_the_page_opens_and_says_so(open_page: Open, tmp_path: Path) -> None:
    large = {"block_size": 1024, "batch_size": 16, "steps": 1}
    page = open_page(document=page_of_run(tmp_path, **large))
    assert page.evaluate("motegpt.config.block_size") == 1024
    until(page, "document.querySelectorAll('#samples li').length === 20")
    assert not page.is_visible("#message")
    files = [path for path in (tmp_path / "run").iterdir() if path.is_file()]
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    page.set_input_files("#files", [*files, tmp_path / "list.txt"])
    wait_for_text(page, "#list-about", f"{len(WORDS)} documents")
    page.click("#control-run")
    wait_for_text(page, "#message", "expected steps of at most 64,000,000 activations")
    assert not page.evaluate("motegpt.running")


def test_a_trained_run_is_at_its_last_step(open_page: Open, tmp_path: Path) -> None:
    page = open_page(document=page_of_run(tmp_path, preset="llama", n_embd=24, block_size=16))
    wait_for_text(page, "#bar", "300 / 300")
    wait_for_text(page, "#samples-about", "20 samples at step 300")
    wait_for_text(page, "#loss-values", "Step 300: its loss is not known here")
    assert page.evaluate("motegpt.step") == 300


def test_a_run_has_the_preset_of_none(open_page: Open, tmp_path: Path) -> None:
    path = page_of_run(tmp_path, data=list_of("w", WORDS), preset="llama", n_embd=24, block_size=16, steps=2)
    page = open_page(document=path)
    shown = "document.querySelector('#preset').selectedOptions[0].textContent"
    until(page, f"{shown} === 'none: settings of a run'")
    page.evaluate("motegpt.set({n_layer: 1})")
    assert page.evaluate(shown) == "none: settings of a run"
    until(page, "location.hash")
    other = open_page(page.evaluate("location.hash"))
    assert other.evaluate("motegpt.config.activation") == "swiglu"
    page.select_option("#preset", "oxidized")
    until(page, f"{shown} === 'oxidized' && motegpt.config.clip_node === 10")


def test_a_run_uses_the_list_that_came_with_it(open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("\n".join(["word,n", *(f"{word},1" for word in WORDS)]))
    path = page_of_run(tmp_path, tmp_path / "words.csv", list_of("words.csv", WORDS), column="word")
    page = open_page(document=path)
    wait_for_text(page, "#list-about", f"{len(WORDS)} documents")
    wait_for_text(page, "#bar", "300 / 300")
    assert not page.is_visible("#message")
    found = page.evaluate("motegpt.sample({n: 100})")
    assert [one["known"] for one in found["texts"]] == [one["text"] in WORDS for one in found["texts"]]
    assert 0 < found["share"] <= 1
    page.wait_for_timeout(500)  # the address is written after a while
    assert page.evaluate("location.hash") == ""
    page.evaluate("motegpt.set({n_layer: 2})")
    assert page.evaluate("motegpt.step") == 0
    page.evaluate("motegpt.train(3)")
    until(page, "location.hash")


def test_the_page_begins_with_a_list_of_another_format(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "own.html"
    path.write_text(build_page(boot(data=list_of("own.csv", ["ab", "ba", "aa"]))), encoding="utf-8")
    page = open_page(document=path)
    wait_for_text(page, "#list-about", "3 documents")


def test_undo_keeps_to_what_can_be_undone(open_page: Open) -> None:
    page = open_page()
    weight = "motegpt.parameters().then((all) => all.wte.values[0])"
    before = page.evaluate(weight)
    page.evaluate("motegpt.edit({index: 0, value: 9})")
    assert page.evaluate(weight) == 9
    page.evaluate("motegpt.undo()")
    assert page.evaluate(weight) == before
    page.evaluate("motegpt.edit({index: 0, value: 9})")
    page.evaluate("motegpt.set({n_layer: 2})")
    page.evaluate("motegpt.undo()")
    assert page.evaluate("motegpt.config.n_layer") == 1
    page.evaluate("motegpt.undo()")
    wait_for_text(page, "#message", "There is nothing to undo")


def test_the_scripts_names_are_documented(open_page: Open) -> None:
    page = open_page()
    names = set(page.evaluate("Object.keys(motegpt)"))
    text = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
    table = text[text.index("## Scripts") : text.index("## Sharing")]
    assert names == set(re.findall(r"`(\w+)(?:\([^`]*\))?`(?=[^|\n]*\|.*\|$)", table, re.MULTILINE))


def test_a_list_that_cannot_be_learned_is_explained(open_page: Open, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(build_page(boot(list_of("same.txt", ["aa", "aa"]))), encoding="utf-8")
    page = open_page(document=path)
    wait_for_text(page, "#message", "The list cannot be used: vocabulary: expected at least 2")
    assert page.evaluate("motegpt.vocabulary.length") > 2
