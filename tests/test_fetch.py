"""Downloads from a local server: correct, corrupt, missing, unreachable, cached."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from motegpt.data import fetch as module
from motegpt.data.corpus import built_in_names
from motegpt.data.fetch import DOWNLOADS, fetch
from motegpt.errors import MotegptError, UsageError

CONTENT = built_in_names()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, counts requests, writes no log."""

    asked: list[str]

    def do_GET(self):
        type(self).asked.append(self.path)
        if self.path == "/short.txt":  # sends less than announced
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"emma")
            return
        super().do_GET()

    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The URL of a server that serves names.txt."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "names.txt").write_bytes(CONTENT)
    (tmp_path / "served" / "wrong.txt").write_bytes(CONTENT + b"mallory\n")
    right = DOWNLOADS["names"]._replace(sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(module.DOWNLOADS, "names", right)
    Quiet.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_downloads_are_cached(server, tmp_path):
    path = fetch("names", tmp_path / "cache", f"{server}/names.txt")
    assert path == tmp_path / "cache" / "names.txt"
    assert path.read_bytes() == CONTENT
    assert fetch("names", tmp_path / "cache", f"{server}/names.txt") == path
    assert Quiet.asked == ["/names.txt"]
    assert fetch("names", tmp_path / "cache", "http://127.0.0.1:9/") == path  # no server: not needed


def test_a_damaged_copy_is_replaced(server, tmp_path):
    (tmp_path / "names.txt").write_text("emma")
    assert fetch("names", tmp_path, f"{server}/names.txt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("/wrong.txt", "expected a file with SHA-256 "),
        ("/none.txt", "the server responded 404"),
        ("/short.txt", "cannot download|expected a file with SHA-256"),
    ],
)
def test_files_with_a_wrong_digest_are_deleted(server, tmp_path, place, message):
    with pytest.raises(MotegptError, match=message) as error:
        fetch("names", tmp_path / "cache", server + place)
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_network(tmp_path):
    with pytest.raises(MotegptError, match=r"no connection; is there a network\?\); or: curl -LO https"):
        fetch("names", tmp_path, "http://127.0.0.1:9/names.txt")
    assert list(tmp_path.iterdir()) == []


def test_cache_without_write_permission(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MotegptError, match="cannot write to"):
        fetch("names", tmp_path / "file", f"{server}/names.txt")


@pytest.mark.parametrize(
    ("name", "url", "message"), [("pets", None, "one of names"), ("names", "x.txt", "http://")]
)
def test_wrong_use(name, url, message):
    with pytest.raises(UsageError, match=message):
        fetch(name, url=url)


def test_the_digest_is_that_of_the_public_list(names_txt):
    data = names_txt.read_bytes()
    assert hashlib.sha256(data).hexdigest() == DOWNLOADS["names"].sha256
    assert len(data.split()) == 32_033


def test_the_command_prints_only_the_path(server, motegpt, tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / project)
    ended = motegpt("data", "fetch", "names", "--url", f"{server}/names.txt")
    assert (ended.code, ended.out, ended.err) == (0, f"{tmp_path / 'motegpt' / 'names.txt'}\n", "")
    assert motegpt("train", ended.out.strip(), "--steps", 1, "-n", 1).code == 0
    failed = motegpt("data", "fetch", "names", "--url", "ftp://x")
    assert (failed.code, failed.out, failed.err.count("\n")) == (2, "", 1)
    (tmp_path / "motegpt" / "names.txt").unlink()
    failed = motegpt("data", "fetch", "names", "--url", "http://127.0.0.1:9/")
    assert (failed.code, failed.out, failed.err.count("\n")) == (1, "", 1)
