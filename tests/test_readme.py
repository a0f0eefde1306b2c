"""The README fits a few screens, and docs/architecture.md names every package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "motegpt"
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_readme_has_about_a_hundred_lines_and_a_picture_first():
    assert len(README.splitlines()) <= 110
    assert README.index("](docs/images/") < README.index("```")


def packages(page):
    """The first column of the table of packages."""
    table = page.partition("## The packages")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


@pytest.mark.skipif(not (SOURCE / "training").exists(), reason="the modules are not in packages yet")
def test_every_package_has_a_row_and_every_row_a_package():
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert sorted(packages(ARCHITECTURE)) == sorted(modules | folders)
