"""What the browser tests of the page's views share: pointing, reading, and the session's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.browser import Open, until

TEXT = "emma"
VIEWS = ("flow", "attention", "lens", "cause", "embeddings", "histograms", "slow")


def number(text: str) -> float:
    """A number as the page writes it."""
    return float(text.replace("−", "-").replace("∞", "inf").split()[0])


def map_of(view: str, name: str, head: int | None = None) -> str:
    """The selector of a heat map's cells."""
    place = "" if head is None else f" >> nth={head}"
    return f'#view-{view} [data-map="{name}"] .map-box{place}'


def point(page: Any, view: str, name: str, row: int, column: int, head: int | None = None) -> list[str]:
    """Move the pointer to a cell; the lines of the tooltip."""
    box = page.locator(map_of(view, name, head))
    page.mouse.move(1, 1)
    box.scroll_into_view_if_needed()
    rows, columns = box.locator("canvas").evaluate("one => [one.height, one.width]")
    area = box.bounding_box()
    x = area["x"] + (column + 0.5) * area["width"] / columns
    y = area["y"] + (row + 0.5) * area["height"] / rows
    if y < 130:  # under the control bar
        page.evaluate("scrollBy(0, -200)")
        return point(page, view, name, row, column, head)
    page.mouse.move(x, y)
    return page.locator(".tip div").all_inner_texts()


def marks(page: Any, view: str) -> set[tuple[str, str]]:
    """The framed regions: (map, "from-end,from-end"), rows first."""
    found = page.eval_on_selector_all(
        f"#view-{view} .map-mark",
        "all => all.map(one => [one.closest('[data-map]').dataset.map, one.dataset.region])",
    )
    return {(name, region) for name, region in found}


def look(page: Any, mask: str = "{}", text: str = TEXT) -> dict[str, Any]:
    """A look of the session, activations as arrays (heads?, rows, columns)."""
    found = page.evaluate(
        f"""motegpt.look({text!r}, {mask}).then(({{loss, losses, probabilities, ids, look}}) => ({{
          loss, losses: Array.from(losses), probabilities: Array.from(probabilities), T: ids.length,
          logits: Array.from(look.logits), lens: Array.from(look.lens), activations: Object.fromEntries(
            Object.entries(look.activations).map(([name, one]) =>
              [name, {{...one, values: Array.from(one.values)}}]))}}))"""
    )
    for name, one in found["activations"].items():
        heads = [one["heads"]] if one.get("heads") else []
        found["activations"][name] = np.reshape(one["values"], [*heads, one["rows"], one["columns"]])
    for name in ("probabilities", "logits"):
        found[name] = np.reshape(found[name], (found["T"], -1))
    found["lens"] = np.reshape(found["lens"], (-1, *found["logits"].shape))
    return found


def parameters(page: Any) -> dict[str, Any]:
    """The parameters of the page's model as arrays."""
    found = page.evaluate(
        "motegpt.parameters().then(all => Object.fromEntries(Object.entries(all)"
        ".map(([name, {shape, values}]) => [name, [shape, Array.from(values)]])))"
    )
    return {name: np.reshape(values, shape) for name, (shape, values) in found.items()}


def trained(open_page: Open, steps: int = 30, **options: Any) -> Any:
    page = open_page(**options)
    page.evaluate(f"motegpt.setText({TEXT!r}), motegpt.train({steps})")
    until(page, f"motegpt.step === {steps}")
    page.locator("#view-flow").scroll_into_view_if_needed()
    until(page, "document.querySelector('#view-flow .map-box')")
    page.wait_for_timeout(200)
    return page


def draw_all(page: Any) -> None:
    """Scroll to every view, so that it draws."""
    for view in VIEWS:
        page.locator(f"#view-{view}").scroll_into_view_if_needed()
        page.wait_for_timeout(150)


def softmax(logits: Any) -> Any:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
