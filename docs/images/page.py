"""Photograph the page for the README: 800 steps of the microgpt preset, in Chromium.

python docs/images/page.py page.png
"""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from motegpt.page.boot import boot
from motegpt.page.document import build_page

STEPS, SIZE = 800, {"width": 1280, "height": 860}  # of the window, in CSS pixels
COLORS = 128  # which keep the file small


def photograph(path: str) -> None:
    """Write a PNG of the page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        document = Path(folder) / "page.html"
        document.write_text(build_page(boot()), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
        page.goto(document.as_uri())
        page.wait_for_selector("#view-flow canvas")
        page.evaluate("motegpt.ready.then(() => null)")
        page.evaluate(f"motegpt.train({STEPS})")
        page.wait_for_timeout(3000)  # until the samples of the last step are there
        page.screenshot(path=path)
        browser.close()
    Image.open(path).quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


photograph(sys.argv[1])
