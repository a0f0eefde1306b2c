"""Join the ES modules of the page into one classic script.

A page opened from a file:// address cannot load modules, and neither can a worker started from a Blob. So
each module becomes a function that is called once and returns its exports. Comments, a fourth of the packed
script, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import dirname, join, normpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

IMPORT = re.compile(r'^import \{([\w$,\s]+)\} from "(\.[\w./-]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:const|let|function\*?|class) ([\w$]+))", re.MULTILINE)
COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?:(?!\*/)[\s\S])*\*/[ \t]*)\n", re.MULTILINE)  # on lines of its own
LEFT = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)  # in a form that is not joined


def joined(folder: Traversable, entry: str) -> str:
    """The module `entry` of a folder with all modules that it imports, as one script.

    Imports are of names, by relative paths; exports are declarations. ValueError for any other form, and for
    modules that import each other.
    """
    parts = [
        f"modules[{path!r}] = (() => {{\n{code}}})();\n" for path, code in _modules(folder, entry, (), set())
    ]
    return '"use strict";\n(() => {\nconst modules = {};\n' + "".join(parts) + "})();\n"


def _modules(
    folder: Traversable, path: str, importing: tuple[str, ...], done: set[str]
) -> Iterator[tuple[str, str]]:
    """Each module that is not done yet, after those that it imports: its path and its code as a function."""
    if path in importing:
        raise ValueError(f"{path}: modules import each other: {' -> '.join([*importing, path])}")
    if path in done:
        return
    done.add(path)
    source = folder.joinpath(path).read_text(encoding="utf-8")
    for imported in IMPORT.finditer(source):
        yield from _modules(folder, _resolved(path, imported[2]), (*importing, path), done)
    yield path, _as_function(path, source)


def _as_function(path: str, source: str) -> str:
    """The body of a function that returns the exports of a module."""
    names = [name[1] for name in EXPORT.finditer(source)]
    code = IMPORT.sub(lambda one: f"const {{{one[1]}}} = modules[{_resolved(path, one[2])!r}];", source)
    code = COMMENT.sub("", EXPORT.sub("", code))
    if left := LEFT.search(code):
        raise ValueError(f"{path}: expected an import of names or an exported declaration, got {left[0]!r}")
    return f"{code}\nreturn {{ {', '.join(names)} }};\n"


def _resolved(path: str, relative: str) -> str:
    return normpath(join(dirname(path), relative))
