"""No call in the source can execute what it reads."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
BUILT_IN = {"eval", "exec", "compile", "__import__"}
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "code",
}
CALLS = {
    "os": {"system", "popen", "execv", "execve", "execvp", "execvpe", "execl", "execlp", "spawnl", "spawnv"},
    "torch": {"load"},
    "runpy": {"run_path", "run_module"},
    "subprocess": {"getoutput", "getstatusoutput"},
}
STARTERS = {
    "bench/measure.py",
    "bench/machine.py",
    "views/cli/processes.py",
}  # a command the user gave, or our own


def dangers(tree: ast.AST) -> list[str]:
    """What in a module could execute data."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {alias.name for alias in node.names}
            found += [node.module] * (node.module.partition(".")[0] in MODULES)
            found += [f"{node.module}.{name}" for name in names & CALLS.get(node.module, set())]
        elif isinstance(node, ast.Call):
            found += dangers_of_call(node)
    return found


def dangers_of_call(node: ast.Call) -> list[str]:
    function = node.func
    found = [function.id] if isinstance(function, ast.Name) and function.id in BUILT_IN else []
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        found += [f"{function.value.id}.{function.attr}"] * (
            function.attr in CALLS.get(function.value.id, ())
        )
        if (function.value.id, function.attr) in (("np", "load"), ("numpy", "load"), ("np", "fromfile")):
            found.append("np.load")
    for keyword in node.keywords:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        if keyword.arg in ("shell", "allow_pickle") and value is not False:
            found.append(f"{keyword.arg}=…")
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_source_file_executes_data(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert dangers(tree) == []
    if "subprocess" in {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }:
        assert str(path.relative_to(SOURCE / "motegpt")) in STARTERS


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "import yaml", "eval(text)", "exec(text)",
        "compile(text, name, 'exec')", "os.system(text)", "os.popen(text)", "from os import system",
        "np.load(path)", "np.load(path, allow_pickle=True)", "torch.load(path)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=yes)", "__import__(name)", "def f():\n    import marshal",
    ],
)  # fmt: skip
def test_the_check_goes_red(line):
    assert dangers(ast.parse(line))


@pytest.mark.parametrize("line", ["model.eval(x)", "re.compile(x)", "json.loads(x)", "engine.load(x)"])
def test_and_stays_green(line):
    assert dangers(ast.parse(line)) == []
