"""Cause and effect in the page: what changes is what a look with the mask gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.browser import Open, until, wait_for_text
from tests.page_views import look, number, parameters, point, trained


def losses(page: Any) -> list[float]:
    """Loss of the text before and after, and the change, as the cause view shows them."""
    return [
        number(one) for one in page.locator(".cause-losses tbody tr").first.locator("td").all_inner_texts()
    ]


def test_a_cause_has_the_effect_of_a_look_with_its_mask(open_page: Open) -> None:
    page = trained(open_page, 200)
    page.locator("#view-cause").scroll_into_view_if_needed()
    until(page, "document.querySelector('[data-switch=\"heads 0 1\"]')")
    page.click('[data-switch="heads 0 1"]')
    wait_for_text(page, ".cause-list", "Layer 0: head 1 off")
    before, after = look(page), look(page, "{heads: [[0, 1]]}")
    page.wait_for_timeout(300)
    assert losses(page)[:2] == pytest.approx([before["loss"], after["loss"]], rel=6e-4)
    assert page.locator(".cause-losses tbody tr").count() == 2
    assert page.locator("#view-lens .mask-note span").text_content().startswith("With 1 intervention:")
    label, numbers = (page.locator(f".paired li >> nth=0 >> {part}").inner_text() for part in ("b", "span"))
    change = np.abs(after["probabilities"][-1] - before["probabilities"][-1])
    vocabulary = page.evaluate("motegpt.vocabulary")
    assert {"⊢": "<BOS>"}.get(label, label) == vocabulary[int(change.argmax())]
    shares = [float(one.replace("%", "").replace("<", "")) / 100 for one in numbers.split("→")]
    best = int(change.argmax())
    assert shares == pytest.approx([one["probabilities"][-1, best] for one in (before, after)], abs=0.006)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("z")
    until(page, "document.querySelectorAll('.cause-list li').length === 0")
    assert losses(page)[2] == 0


def test_an_attention_cell_and_parts_can_be_switched_off(open_page: Open) -> None:
    page = trained(open_page, 200)
    page.locator("#view-cause").scroll_into_view_if_needed()
    until(page, "document.querySelector('[data-switch=\"parts 0 mlp\"]')")
    page.wait_for_timeout(200)
    point(page, "cause", "blocks.0.attn.hook_pattern", 4, 3, head=0)
    page.mouse.down()
    page.mouse.up()
    wait_for_text(page, ".cause-list", "Layer 0: head 0, attention [4, 3] = 0")
    page.click('[data-switch="parts 0 mlp"]')
    wait_for_text(page, ".cause-list", "Layer 0: MLP off")
    page.wait_for_timeout(300)
    expected = look(page, '{cells: [[0, 0, 4, 3]], parts: [[0, "mlp"]]}')
    assert losses(page)[1] == pytest.approx(expected["loss"], rel=6e-4)
    page.click('[aria-label="Remove: Layer 0: MLP off"]')
    page.wait_for_timeout(300)
    assert losses(page)[1] == pytest.approx(look(page, "{cells: [[0, 0, 4, 3]]}")["loss"], rel=6e-4)


def test_a_weight_is_dragged_or_typed_and_undone(open_page: Open) -> None:
    page = trained(open_page)
    page.locator(".weight-editor").scroll_into_view_if_needed()
    until(page, "document.querySelector('.weight-map .map-box')")
    page.select_option(".weight-editor select", "layer0.attn_wo")
    page.wait_for_timeout(200)
    own = parameters(page)["layer0.attn_wo"]
    box = page.locator(".weight-map .map-box")
    page.evaluate("document.querySelector('.weight-map').scrollIntoView({block: 'center'})")
    area = box.bounding_box()
    x, y = area["x"] + 2.5 * area["width"] / 16, area["y"] + 4.5 * area["height"] / 16
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 20)
    page.mouse.move(x, y - 60)
    page.mouse.up()
    wait_for_text(page, ".cause-list", "layer0.attn_wo[4, 2] = ")
    dragged = float(page.input_value(".weight-value input"))
    assert dragged > own[4, 2] + 0.05
    index = page.evaluate("motegpt.parameters().then(all => Object.keys(all).indexOf('layer0.attn_wo'))")
    sizes = [value.size for value in parameters(page).values()]
    offset = sum(sizes[:index]) + 4 * 16 + 2
    page.wait_for_timeout(300)
    assert losses(page)[1] == pytest.approx(
        look(page, f"{{weights: [[{offset}, {dragged}]]}}")["loss"], rel=6e-4
    )
    page.fill(".weight-value input", "2")
    wait_for_text(page, ".cause-list", "layer0.attn_wo[4, 2] = 2")
    page.wait_for_timeout(300)
    assert losses(page)[1] == pytest.approx(look(page, f"{{weights: [[{offset}, 2]]}}")["loss"], rel=6e-4)
    assert parameters(page)["layer0.attn_wo"] == pytest.approx(own)  # the model itself stays as it is
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("z")  # the number
    page.keyboard.press("z")  # the drag, as a whole
    until(page, "document.querySelectorAll('.cause-list li').length === 0")
