"""The page as one HTML document: markup, style, scripts, the core as WebAssembly, and what it starts from."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from motegpt.page.scripts import joined

MODULE, STYLES, LOADER = "motegpt.wasm", ("style.css", "views.css"), "loader.js"
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
POLICY = {  # nothing is loaded from anywhere; no script runs but the loader, and what it and the page unpack
    "default-src": "'none'",
    "script-src": "'{script}' blob: 'wasm-unsafe-eval'",
    "worker-src": "blob:",
    "style-src": "'unsafe-inline'",
    "img-src": "data: blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
}


def build_page(boot: Mapping[str, Any]) -> str:
    """The document. boot: what it starts from (boot.py). The loader, which is small, unpacks the rest."""
    assets = files("motegpt.page")
    loader = _inline((assets / LOADER).read_text(encoding="utf-8"))
    script, worker = (packed(joined(assets / "js", entry).encode()) for entry in ("main.js", "worker.js"))
    parts = {
        "policy": html.escape(_policy(loader), quote=True),
        "style": "".join((assets / name).read_text(encoding="utf-8") for name in STYLES),
        "boot": packed(json.dumps(boot, ensure_ascii=False, separators=(",", ":")).encode()),
        "module": packed((assets / MODULE).read_bytes()),
        "worker": worker,
        "script": script,
        "loader": loader,
    }
    template = (assets / "index.html").read_text(encoding="utf-8")
    return PLACEHOLDER.sub(lambda name: parts[name[1]], template)


def _inline(script: str) -> str:
    """A script for an element <script>, which the first closing tag would end, even one in a string."""
    if "<!--" in script:
        raise ValueError("scripts: expected none with <!--, which hides what follows in HTML")
    return script.replace("</script", "<\\/script")


def _policy(script: str) -> str:
    """The Content-Security-Policy of the document."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return "; ".join(f"{name} {value}" for name, value in POLICY.items()).format(script=f"sha256-{digest}")


def packed(data: bytes) -> str:
    """gzip in base64; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()
