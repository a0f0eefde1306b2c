"""motegpt play"""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any

import click

from motegpt.cli.console import log
from motegpt.cli.options import (
    FILE,
    checkpoint_option,
    data_argument,
    given_settings,
    named_flags,
    overwrite_option,
    paths_given,
)
from motegpt.config.fields import kinds
from motegpt.config.sections import ReadConfig
from motegpt.data.corpus import read_corpus
from motegpt.data.documents import Documents
from motegpt.data.source import training_documents
from motegpt.errors import UsageError
from motegpt.page.boot import boot, list_of, run_of
from motegpt.page.document import build_page
from motegpt.page.server import PageServer
from motegpt.system.runs import is_run
from motegpt.views.output import REVEALS, ending_of, write_new
from motegpt.views.runs import Run


@click.command()
@data_argument
@click.option("--out", type=FILE, metavar="FILE.html", help="Write the page to a file; serve nothing.")
@overwrite_option
@click.option("--with-list", is_flag=True, help="Put the list that RUN was trained on into the page too.")
@checkpoint_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to serve at.  [a free one]")
@click.option("--browser/--no-browser", default=True, help="Open a browser.")
@named_flags(kinds(ReadConfig))
def command(
    data: tuple[str, ...],
    out: str | None,
    overwrite: bool,
    with_list: bool,
    checkpoint: str | None,
    port: int,
    browser: bool,
    **flags: Any,
) -> None:
    """Open a page in which a GPT trains, and everything in it can be looked at, wound back and changed.

    DATA is a list to train on (files or folders, as in train), or a run folder to look into; without it,
    the page starts with the built-in names. It needs no network, and neither does a file written with --out.

    Example: motegpt play names.txt

    Example: motegpt play runs/names --out names.html
    """
    reading = given_settings(flags)
    if out is not None:
        ending_of(Path(out), (".html",))
    if len(data) == 1 and is_run(Path(data[0])):
        start = _from_run(data[0], checkpoint, with_list, reading)
    else:
        _check_unused({"checkpoint": checkpoint is not None, "with-list": with_list}, "a run folder")
        start = _from_list(data, reading)
    document = build_page(start)
    if out is None:
        _serve(PageServer(document, port), browser)
    else:
        _write(Path(out), document, overwrite, start["run"] is not None)


def _from_run(path: str, checkpoint: str | None, with_list: bool, reading: dict[str, Any]) -> dict[str, Any]:
    _check_unused(dict.fromkeys(reading, True), "a list")
    run = Run.read(path, checkpoint)
    documents = _training_list(run) if with_list else None
    return boot(None if documents is None else list_of(run.data, documents), run_of(run))


def _training_list(run: Run) -> Documents:
    """The list that a run was trained on."""
    return training_documents(run.config.source, run.config.data, repair="leave out `with_list`")


def _from_list(data: tuple[str, ...], reading: dict[str, Any]) -> dict[str, Any]:
    paths = paths_given(data)
    if paths is None:
        _check_unused(dict.fromkeys(reading, True), "a list")
        return boot()
    corpus = read_corpus(paths if len(paths) > 1 else paths[0], ReadConfig.of(reading))
    for assumed in corpus.assumed:
        log(assumed)
    return boot(list_of(paths[0].name, corpus.documents))


def _check_unused(given: dict[str, bool], applies_to: str) -> None:
    """UsageError if an option was given that does not apply here."""
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{name}: applies to {applies_to} only; leave it out")


def _serve(server: PageServer, browser: bool) -> None:
    """Serve until Ctrl-C."""
    with server:
        click.echo(f"the page is at {server.url} (Ctrl-C stops it)")
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log("stopped")


def _write(path: Path, document: str, overwrite: bool, has_run: bool) -> None:
    write_new(path, document, overwrite)
    click.echo(f"written to {path}: {len(document.encode()) / 1000:,.0f} kB")
    if has_run:
        log(REVEALS)
