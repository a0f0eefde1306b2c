"""Imports point one way: down the list of packages, those for types and those inside functions included."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "motegpt"
PAGE = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## The packages, in their order")[2].partition("\n## ")[0]
# The packages and modules in the order of the data, as the page lists them, and the entry points.
ORDER = [*re.findall(r"^\| `(\w+)` \|", TABLE, re.MULTILINE), "__main__", "__init__"]


def module_of(path):
    """src/motegpt/engines/base.py -> engines.base; a package is called engines.__init__."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


MODULES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports_of(tree, modules=MODULES):
    """The modules of motegpt that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "motegpt":
                continue
            inner = name.removeprefix("motegpt").removeprefix(".")
            parent = inner.rpartition(".")[0]
            candidates = [inner, f"{inner}.__init__", parent, f"{parent}.__init__"]
            found = next((one for one in candidates if one in modules), None)
            if found is not None:
                yield found


GRAPH = {name: set(imports_of(ast.parse(path.read_text("utf-8")))) for name, path in MODULES.items()}


def upward(graph):
    """The imports that point up the list of packages."""
    rank = {name: ORDER.index(name.split(".")[0]) for name in graph}
    return sorted(f"{name} -> {other}" for name in graph for other in graph[name] if rank[other] > rank[name])


def test_every_package_has_a_row_and_every_row_a_package():
    assert {name.split(".")[0] for name in MODULES} == set(ORDER)


def test_the_page_lists_what_each_package_imports():
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| ([\w, ]*)\|$", TABLE, re.MULTILINE))
    assert list(rows) == ORDER[:-2]
    for package in rows:
        names = (other for name in GRAPH if name.split(".")[0] == package for other in GRAPH[name])
        imported = {name.split(".")[0] for name in names} - {package}
        assert rows[package].strip() == ", ".join(sorted(imported, key=ORDER.index)), package


def test_no_import_points_up():
    assert upward(GRAPH) == []


def test_there_is_no_circle():
    TopologicalSorter(GRAPH).prepare()


def test_engines_do_not_import_each_other():
    """Nor does anything but their registry import one, beside the commands and inspection that show one."""
    for name, imported in GRAPH.items():
        parts = name.split(".")
        engine = parts[1] if parts[0] == "engines" and len(parts) > 2 else None
        if engine:
            others = {one for one in imported if one.startswith("engines.") and len(one.split(".")) > 2}
            assert {one.split(".")[1] for one in others} <= {engine}, name


def test_a_false_import_is_found():
    assert upward({"data.plan": {"engines.base"}, "engines.base": set()}) == ["data.plan -> engines.base"]
    tree = ast.parse("def f():\n    from motegpt.engines import base, array\n    import motegpt.errors")
    assert set(imports_of(tree, {"engines.base": 0, "engines.__init__": 0, "errors": 0})) == {
        "engines.base",
        "engines.__init__",
        "errors",
    }
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()
