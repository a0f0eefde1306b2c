"""The pages of docs/ and the README: transcripts, scripts, links and pictures."""

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from motegpt.engines import engine_class, why_unavailable
from tests.transcripts import (
    Block,
    PageError,
    Session,
    blocks,
    checked,
    commands,
    fits,
    in_process,
    is_similar,
)

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = [
    page
    for page in PAGES
    if any(block.language in ("console", "python") for block in blocks(page.read_text()))
]
PICTURES = (".png", ".svg")
LARGEST_PICTURE = 100_000  # bytes
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
MISTAKE = re.compile(r"^\| `\$ motegpt (.*?)` \| `(.*?)` \|", re.MULTILINE)  # command, message, repair
NEEDED = pytest.mark.skipif(why_unavailable("native") is not None, reason="pages show the native engine")


@pytest.mark.slow
@NEEDED
@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_the_transcripts_of_a_page_are_true(page, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    if page == README:
        if engine_class("native").level() == "baseline":
            pytest.skip("the README shows the model that the budget buys from AVX2 on")
        (tmp_path / "names.txt").symlink_to(request.getfixturevalue("names_txt"))
    text = page.read_text(encoding="utf-8")
    assert list(checked(text, tmp_path))
    for command, message in MISTAKE.findall(text):
        output, code = in_process(shlex.split(command))
        assert code in (1, 2), command
        assert message in output, output


def test_the_three_kinds_of_user_have_a_page_with_transcripts():
    for name in ("learning.md", "your-list.md", "research.md"):
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert sum(len(commands(block)) for block in blocks(page) if block.language == "console") >= 5
        assert f"(docs/{name})" in README.read_text(encoding="utf-8")


def test_links_lead_somewhere_and_pictures_are_small():
    pictures = set()
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            path = (page.parent / target).resolve()
            assert path.exists(), f"{page.name}: {target}"
            if path.suffix in PICTURES:
                pictures.add(path)
                assert path.stat().st_size < LARGEST_PICTURE, target
    assert pictures == {
        path for path in (ROOT / "docs" / "images").iterdir() if path.suffix in (".svg", ".png")
    }


def test_source_files_that_pages_name_are_there():
    for page in PAGES:
        for name in re.findall(
            r"`((?:src|tests|cpp|docs|benchmarks)/[\w/.]+)`", page.read_text(encoding="utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_script_of_a_picture_imports_what_exists():
    for statement in ast.parse((ROOT / "docs" / "images" / "learning.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.module.startswith("motegpt"):
            module = pytest.importorskip("matplotlib") and import_module(statement.module)
            assert all(hasattr(module, name.name) for name in statement.names)


TRUE_PAGE = """
Some prose.

```text list.txt
anna
hanna
```

```console
$ cat list.txt
anna
hanna
$ cat <<'EOF'
> one
> two
> three
> EOF
one
...
three
$ motegpt train list.txt --engine array --steps 3 -n 1 --quiet --out run > /dev/null
$ motegpt sample run -n 0
motegpt: n: expected a whole number of at least 1, got 0
$ echo $?
2
```

```python
from motegpt import GPT
model = GPT.load("run")
```

```python
>>> model.config.train.steps
3
>>> len(model.generate(n=2, seed=1))
2
```
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_true_page_passes(folder):
    assert len(list(checked(TRUE_PAGE, folder))) == 4


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("anna\nhanna\n$", "anna\nhanni\n$"),  # a letter
        ("anna\nhanna\n$", "anna\n$"),  # a line missing
        ("anna\nhanna\n$", "hanna\nanna\n$"),  # another order
        ("anna\nhanna\n$", "anna\nhanna\nnan\n$"),  # a line too many
        ("anna\nhanna\n$", "anna\n\nhanna\n$"),  # an empty line too many
        ("one\n...\nthree", "one\nthree"),  # what is left out is not marked
        ("one\n...\nthree", "...\none"),
        ("one\n...\nthree", "three\n...\none"),
        ("one\n...\nthree", "one\n...\nthree\nfour"),
        ("> /dev/null\n$", "> /dev/null\nsaved\n$"),  # prints nothing
        ("got 0\n", "got 1\n"),
        ("$ echo $?\n2\n", "$ echo $?\n0\n"),
        ("$ echo $?\n2\n", ""),  # an unexpected failure
        ("$ echo $?\n2\n", "$ true\n"),
        ("steps\n3", "steps\n4"),
        (">>> len(model.generate(n=2, seed=1))\n2", ">>> len(model.generate(n=2, seed=1))\n3"),
        ('GPT.load("run")', 'GPT.load("nowhere")'),
    ],
)
def test_a_false_page_fails(folder, true, false):
    assert true in TRUE_PAGE
    with pytest.raises(PageError):
        list(checked(TRUE_PAGE.replace(true, false), folder))


def test_a_checker_that_crashes_has_found_nothing(folder, monkeypatch):
    monkeypatch.setattr("tests.transcripts.fits", lambda *lines: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(checked(TRUE_PAGE, folder))


def test_the_error_says_where(folder):
    with pytest.raises(PageError, match=r"line 10: \$ cat list.txt"):
        list(checked(TRUE_PAGE.replace("anna\nhanna\n$", "nan\n$"), folder))


@pytest.mark.parametrize(
    ("shown", "printed", "verdict"),
    [
        ("", "", True),
        ("", "a", False),
        ("...", "", True),
        ("...", "a b", True),
        ("a ...", "a", True),
        ("... a", "b a", True),
        ("... a", "a b", False),
        ("a ... b ... c", "a x b y b c", True),
        ("a ... b ... c", "a c b", False),
        ("a ... a", "a", False),  # one line is not two
        ("a b ... b c", "a b c", False),
        ("... b ... b ...", "x b y", False),
    ],
)
def test_lines_left_out(shown, printed, verdict):
    assert fits(shown.split(), printed.split()) is verdict


@pytest.mark.parametrize(
    ("shown", "printed", "verdict"),
    [
        ("sample  1: cardo", "sample  1: mia", True),
        ("sample  1: cardo", "sample  2: cardo", False),
        ("sample  1: cardo", "cardo", False),
        ("marstin", "marley", True),
        ("marstin", "no name", False),
        ("both 2.773", "both 2.80", True),
        ("both 2.773", "both 2.871", False),  # no better than the n-grams
        ("both 2.773", "both 2.773, more 1.0", False),
        ("step 2003 / 2003", "step 2002 / 2003", False),
    ],
)
def test_similar_lines(shown, printed, verdict):
    assert is_similar(shown, printed) is verdict
    assert fits([shown], [printed], is_similar) is verdict


def test_output_before_any_command_is_an_error():
    with pytest.raises(PageError, match="line 7: expected a command"):
        commands(Block("console", None, "a\n", 7))


def test_files_of_a_page_are_written_as_they_stand(tmp_path):
    Session(tmp_path).run(Block("toml", "a.toml", "steps = 3\n", 1))
    assert (tmp_path / "a.toml").read_text() == "steps = 3\n"
