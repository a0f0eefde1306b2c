"""The pages of the site that are not in docs/: files of the root, the notebooks, the reference of the API."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
FENCE = re.compile(r"^(```\w+) .+$", re.MULTILINE)  # the words after the language are for the tests
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")
GROUPS = {  # heading -> what the names of the API below it end with
    "Errors": re.compile(r"error|Unavailable|Interrupted|Diverged|Exhausted|OutOfMemory", re.IGNORECASE),
    "Settings": re.compile(r"Config$|settings_of"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, after mkdocs has found those in docs/."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=relinked(text, "")))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for name, content in executed(path).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    files.append(File.generated(config, "reference.md", content=reference()))
    files.append(File.generated(config, "css/code.css", content=colors_of_code()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Pages link as in the repository; make those links that lead out of docs/ links of the site."""
    return FENCE.sub(r"\1", relinked(markdown, "../"))


def colors_of_code() -> str:
    """The style sheet of the code in light and in dark."""
    from pygments.formatters import HtmlFormatter

    light, dark = (HtmlFormatter(style=style, nobackground=True) for style in ("default", "github-dark"))
    return light.get_style_defs(".codehilite") + dark.get_style_defs("[data-bs-theme=dark] .codehilite")


def executed(path: Path) -> dict[str, str | bytes]:
    """A notebook run in a kernel, as a page and the pictures that it shows, by file name."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter
    from traitlets.config import Config

    notebook = nbformat.read(path, as_version=4)
    quiet = Config(KernelManager={"transport": "ipc"})  # over TCP, a kernel warns that it is not encrypted
    NotebookClient(notebook, kernel_name="python3", config=quiet).execute()
    resources = {"unique_key": path.stem, "output_files_dir": "."}
    page, found = MarkdownExporter().from_notebook_node(notebook, resources)
    return {f"{path.stem}.md": page, **found["outputs"]}


def relinked(text: str, root: str) -> str:
    """The text with its links as in the site; `root` is what those begin with that lead out of docs/."""

    def target(link: re.Match[str]) -> str:
        path = link[2].removeprefix(root).removeprefix("docs/")
        return link[1] + PAGES.get(path, path.replace(".ipynb", ".md"))

    return LINK.sub(target, text)


def reference() -> str:
    """The page of all public names, which mkdocstrings fills from their docstrings."""
    stub = ast.parse((ROOT / "src/motegpt/__init__.pyi").read_text(encoding="utf-8"))
    names = {
        alias.name: f"{node.module}.{alias.name}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    grouped = {heading: [name for name in names if ends.search(name)] for heading, ends in GROUPS.items()}
    rest = [name for name in names if not any(name in group for group in grouped.values())]
    parts = ["# The Python API", "Everything here is imported from `motegpt`: `from motegpt import GPT`."]
    for heading, group in {"Models and trainings": rest, **grouped}.items():
        parts += [
            f"## {heading}",
            *(f"::: {names[name]}\n    options: {{heading_level: 3}}" for name in group),
        ]
    return "\n\n".join(parts) + "\n"
