"""What the documentation site has beside the pages of this folder; mkdocs.yml and its API reference call it."""

import ast
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {"index.md": "README.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
OUTSIDE = re.compile(r"\]\((?:\.\./|docs/)(?=[\w/.#-]*\))")  # links from a page to the root, and from the root to docs/


def on_files(files, config):
    """Add the README as the first page, the notebooks as they are, and a page for each public name."""
    for name, source in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    for path in [ROOT / "LICENSE", *sorted((ROOT / "notebooks").glob("*.ipynb"))]:
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    for name, text in api_pages():
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files


def api_pages():
    """Names and texts of the pages of the API: one for each public class and function, one for all errors."""
    stub = ast.parse((ROOT / "src" / "motegpt" / "__init__.pyi").read_text(encoding="utf-8"))
    public = [(node.module, node.names[0].name) for node in stub.body if isinstance(node, ast.ImportFrom)]
    errors = [name for module, name in public if module == "motegpt.errors"]
    for module, name in public:
        if name not in errors:
            yield name, f"::: {module}.{name}\n"
    yield "errors", "# Errors\n\n" + "\n".join(
        f"::: motegpt.errors.{name}\n    options:\n      heading_level: 2\n" for name in errors
    )


def on_page_markdown(markdown, page, config, files):
    """Links between the root and docs/, as the site has both in one folder."""
    return OUTSIDE.sub("](", markdown)


class Doctests(griffe.Extension):
    """Puts the >>> lines of docstrings into blocks of code."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^>>>(?:.+\n?)+", lambda found: f"```python\n{found[0].rstrip()}\n```\n", obj.docstring.value, flags=re.MULTILINE
            )
