"""The pages that the documentation's site adds to those of docs/."""

import sys
from pathlib import Path

import pytest

import motegpt

SITE = Path(__file__).parents[1] / "docs/site"
sys.path.append(str(SITE))
import pages  # noqa: E402


@pytest.mark.parametrize(
    ("text", "root", "expected"),
    [
        ("[a](docs/page.md) ![b](docs/images/page.png)", "", "[a](page.md) ![b](images/page.png)"),
        ("[a](../CHANGELOG.md), [b](notation.md#words)", "../", "[a](changelog.md), [b](notation.md#words)"),
        ("[a](../notebooks/attention.ipynb)", "../", "[a](notebooks/attention.md)"),
        ("[a](https://docs/x.md) [b](#here)", "", "[a](https://docs/x.md) [b](#here)"),
    ],
)
def test_links_lead_to_pages_of_the_site(text, root, expected):
    assert pages.relinked(text, root) == expected


def test_words_for_the_tests_do_not_reach_the_reader():
    assert pages.on_page_markdown("```console similar\n$ ls\n```\n```\nx y\n```") == (
        "```console\n$ ls\n```\n```\nx y\n```"
    )


def test_the_reference_has_every_public_name_once():
    found = [line.split(".")[-1] for line in pages.reference().splitlines() if line.startswith(":::")]
    assert sorted(found) == motegpt.__all__


def test_docstrings_keep_their_characters():
    docstrings = pytest.importorskip("docstrings", reason="needs griffe: make docs", exc_type=ImportError)
    assert docstrings.markdown("f: a_b [c] of `d_e`\n\n>>> f(1)  # doctest: +SKIP\n2\n\nEnd.") == (
        "f: a\\_b \\[c\\] of `d_e`\n\n```python\n>>> f(1)\n2\n```\n\nEnd."
    )
