"""motegpt: a GPT small enough to read end to end and fast enough to use.

__init__.pyi is the only list of public names. They are imported on first use, so that `import motegpt` is
fast.
"""


def _modules() -> dict[str, str]:
    """The defining module of each public name."""
    import ast
    from pathlib import Path

    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def __getattr__(name: str) -> object:
    from importlib import import_module

    modules = _modules()
    if name == "__all__":
        return sorted(modules)
    if name not in modules:
        raise AttributeError(f"module 'motegpt' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(modules[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(_modules())
