"""motegpt: a GPT small enough to read end to end and fast enough to use.

The public names are listed in __init__.pyi alone and imported when first used, so that `import motegpt` costs
nothing.
"""


def _homes() -> dict[str, str]:
    """Public name -> the module that defines it."""
    import ast
    from pathlib import Path

    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def __getattr__(name: str) -> object:
    from importlib import import_module

    homes = _homes()
    if name == "__all__":
        return sorted(homes)
    if name not in homes:
        raise AttributeError(f"module 'motegpt' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(homes[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(_homes())
