"""What the README says is true today."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_has_a_line():
    table = README[README.index("## Every file") :]
    listed = set()
    for group in re.findall(r"`(src/[^`]+)`", table):
        stem, braces, rest = group.partition("{")
        names, _, ending = rest.partition("}")
        listed |= {f"{stem}{name}{ending}" for name in names.split(",")} if braces else {group}
    files = {
        str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.py") if path.stat().st_size > 200
    }
    assert files - listed == {"src/motegpt/__init__.py"} - listed
    assert [path for path in listed if not (ROOT / path).exists()] == []
