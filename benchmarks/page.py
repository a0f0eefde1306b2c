"""The page in Chromium: its size, steps per second, and how long its frames take while it trains.

    python benchmarks/page.py

It needs Playwright and Chromium, as the tests of the page do. A frame is the time from one animation frame to
the next, while the page trains as fast as its slider allows and draws everything that is on the screen;
"drawing" is the part of it that the page's own code takes.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import re
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from motegpt.page.boot import boot
from motegpt.page.document import MODULE, build_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MODELS: dict[str, dict[str, Any]] = {
    "microgpt, float64": {},
    "microgpt, float32": {"dtype": "float32"},
    "4 layers, 64 wide, batch 16": {"n_layer": 4, "n_embd": 64, "batch_size": 16, "dtype": "float32"},
}
SIZES = ((390, 844), (1280, 900), (1920, 1080))
LONG = 10**9  # steps: no training ends while it is timed
FRAMES = """(seconds) => new Promise((resolve) => {
  const gaps = [];
  const first = motegpt.step, began = performance.now();
  let last = began;
  const frame = (now) => {
    gaps.push(performance.now() - last);
    last = performance.now();
    if (last - began < 1000 * seconds) return requestAnimationFrame(frame);
    const steps = motegpt.step - first;
    return resolve({gaps, drawing: motegpt.frames, steps, seconds: (last - began) / 1000});
  };
  requestAnimationFrame(frame);
})"""


@contextmanager
def opened(document: str) -> Iterator[Any]:
    """A browser and a function that opens the page at a size."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise SystemExit("page: expected Chromium, found none; apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_text(document, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_page(size: tuple[int, int]) -> Any:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.goto(path.as_uri())
            page.wait_for_selector("#view-flow canvas")
            page.evaluate("motegpt.ready.then(() => null)")
            return page

        yield open_page
        browser.close()


def print_sizes() -> None:
    """The page without a model and data, and its parts."""
    module = files("motegpt.page").joinpath(MODULE).read_bytes()
    packed = len(base64.b64encode(gzip.compress(module)))
    whole, everything = len(build_page({}).encode()), len(build_page(boot()).encode())
    print(f"page alone {whole / 1000:.0f} kB, with settings and built-in lists {everything / 1000:.0f} kB")
    print(f"of it the module {packed / 1000:.0f} kB ({len(module) / 1000:.0f} kB unpacked)")


def timed(page: Any, settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What FRAMES measures while a model trains at full speed, after half a second."""
    page.evaluate("(settings) => motegpt.set(settings)", {**settings, "steps": LONG})
    page.locator("#speed").press("End")
    page.evaluate("motegpt.run()")
    page.wait_for_timeout(500)
    found: dict[str, Any] = page.evaluate(FRAMES, seconds)
    page.evaluate("motegpt.pause()")
    return found


def line_of(found: dict[str, Any]) -> str:
    """Steps per second, and the median, the 99th percentile and the maximum of the frames."""
    gaps, drawing = sorted(found["gaps"]), found["drawing"]
    tail = gaps[min(len(gaps) - 1, int(0.99 * len(gaps)))]
    speed = found["steps"] / found["seconds"]
    return (
        f"{speed:10,.0f} steps/s   frames: median {statistics.median(gaps):5.1f} ms, 99 % below {tail:5.1f}, "
        f"longest {gaps[-1]:5.1f}; drawing: median {statistics.median(drawing):4.1f} ms"
    )


def main() -> None:
    """Print the sizes, and a line for each model and size of the window."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    arguments = parser.parse_args()
    print_sizes()
    with opened(build_page(boot())) as open_page:
        for size in SIZES:
            page = open_page(size)
            browser = re.sub(r".*(Chrome/\d+).*", r"\1", page.evaluate("navigator.userAgent"))
            for name, settings in MODELS.items():
                found = timed(page, settings, arguments.seconds)
                print(f"{browser} {size[0]:4} x {size[1]:4}  {name:28} {line_of(found)}", flush=True)
            page.close()


if __name__ == "__main__":
    main()
