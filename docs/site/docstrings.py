"""Docstrings as Markdown: what is prose stays prose, and what Python would run becomes a block of code."""

import re

from griffe import Extension, Object

DOCTEST = re.compile(r"(?:^[ ]*>>> .*\n?(?:^[ ]*[^\s].*\n?)*)+", re.MULTILINE)
OPTION = re.compile(r"\s*# doctest: .*")  # for the test
CODE = re.compile(r"(`[^`\n]+`)")
SPECIAL = re.compile(r"([\\*\[\]<_#|])")


class Docstrings(Extension):
    """Rewrites each docstring before mkdocstrings renders it."""

    def on_instance(self, *, obj: Object, **_: object) -> None:
        """Called with every module, class and function."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """The docstring as Markdown.

    >>> markdown("f: [a]\\n\\n>>> f(1)\\n2\\n")
    'f: \\\\[a\\\\]\\n\\n```python\\n>>> f(1)\\n2\\n```\\n'
    """
    parts, end = [], 0
    for block in DOCTEST.finditer(text):
        parts += [prose(text[end : block.start()]), f"```python\n{OPTION.sub('', block[0]).rstrip()}\n```\n"]
        end = block.end()
    return "".join([*parts, prose(text[end:])])


def prose(text: str) -> str:
    """Text whose special characters Markdown leaves alone, but for `code`."""
    return "".join(part if CODE.fullmatch(part) else SPECIAL.sub(r"\\\1", part) for part in CODE.split(text))
