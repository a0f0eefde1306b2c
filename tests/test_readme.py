"""The README fits a few screens and opens with a picture."""

from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_readme_has_about_a_hundred_lines_and_a_picture_first():
    assert len(README.splitlines()) <= 110
    assert README.index("](docs/images/") < README.index("```")
