"""`motegpt play`: the document, what it starts from, and the server that answers this machine alone."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motegpt.api.gpt import GPT
from motegpt.config.fields import kinds
from motegpt.config.presets import expected_settings
from motegpt.config.sections import REQUESTS, ModelConfig
from motegpt.errors import DataError, UsageError
from motegpt.page.boot import boot, list_of, run_of
from motegpt.page.document import build_page
from motegpt.page.lists import in_words, lists
from motegpt.page.scripts import COMMENT, joined
from motegpt.page.server import PageServer
from motegpt.views.runs import Run
from tests.conftest import Ended
from tests.page_node import JS

SIZE_LIMIT = 350_000  # bytes of the page without a model and data
PACKED = re.compile(r'id="(boot|module)">([A-Za-z0-9+/=]+)</script>')


def packed_parts(document: str) -> dict[str, bytes]:
    """The gzipped parts of a page, by id."""
    return {name: gzip.decompress(base64.b64decode(text)) for name, text in PACKED.findall(document)}


def boot_of(document: str) -> dict[str, Any]:
    return json.loads(packed_parts(document)["boot"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of preset auto: n-gram embedding, Kneser-Ney average."""
    path = tmp_path_factory.mktemp("run") / "towns"
    names = [
        f"{a}{b}{c}" for a in ("an", "be", "co", "du") for b in "lmnr" for c in ("a", "is", "otte", "en")
    ]
    GPT.train(names * 4, seconds=0.05, seed=1, out=path)
    return path


def test_the_page_is_small_and_whole() -> None:
    document = build_page(boot())
    without_data = build_page({})
    assert "{{" not in re.sub(r"<script.*?</script>", "", without_data, flags=re.DOTALL)
    assert packed_parts(document)["module"].startswith(b"\0asm")
    assert len(without_data.encode()) < SIZE_LIMIT
    assert build_page(boot()) == document


def test_nothing_is_loaded_from_anywhere() -> None:
    document = build_page(boot())
    outside = re.findall(r'(?:src|href)="(?!#|data:)[^"]*"|@import|url\((?!["\']?(?:data:|#))', document)
    assert outside == []
    assert "default-src &#x27;none&#x27;" in document or "default-src 'none'" in document


def test_the_page_knows_every_setting_and_preset() -> None:
    start = boot()
    known = {name for section in REQUESTS.values() for name in kinds(section)} - {"vocab_size", "ngram_rows"}
    assert set(start["fields"]) == known
    assert start["presets"]["microgpt"] == expected_settings("microgpt")
    assert start["fields"]["n_layer"]["at_least"] == 1
    assert start["fields"]["activation"]["choices"] == list(kinds(ModelConfig)["activation"].choices)
    assert list(start["presets"]) == ["microgpt", "oxidized", "zeroclaw"]  # those that a browser can train
    assert start["fields"]["tokenizer"]["choices"] == ["characters", "bytes"]  # those that the page has


def test_built_in_lists_have_distinct_lines() -> None:
    for one in lists():
        lines = one.text.splitlines()
        assert lines
        assert all(lines)
        assert one.name == "names" or one.name == "echoes" or len(set(lines)) == len(lines)
    assert [in_words(n) for n in (7, 19, 20, 21, 100, 342)] == [
        "seven", "nineteen", "twenty", "twenty-one", "one hundred", "three hundred forty-two",
    ]  # fmt: skip


def test_a_list_with_line_breaks_is_refused() -> None:
    assert list_of("a.txt", ["anna", "bob"]) == {"name": "a.txt", "text": "anna\nbob\n"}
    with pytest.raises(DataError, match="line break in document 2"):
        list_of("a.jsonl", ["anna", "b\nob"])


def test_a_run_comes_with_its_weights_but_without_its_list(trained: Path) -> None:
    run = run_of(Run.read(str(trained)))
    parameters = Run.read(str(trained)).parameters()
    assert run["tensors"].keys() == parameters.keys()
    for name, stored in run["tensors"].items():
        found = np.frombuffer(base64.b64decode(stored["base64"]), "<f2").reshape(stored["shape"])
        np.testing.assert_allclose(found, parameters[name], rtol=2**-11, atol=2**-24)
    assert run["kneser_ney"]["levels"]
    assert 0 < run["kneser_ney"]["weight"] < 1
    assert len(run["contexts"]) == len(run["config"]["model"]["ngram_rows"])
    assert run["config"]["source"] == {"documents": 256}


def test_a_run_comes_with_the_step_of_its_weights(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"preset": "microgpt", "steps": 25, "log_every": 10, "checkpoint_every": 5}
    path = str(tmp_path / "run")
    GPT.train(["anna", "hanna"], engine="array", keep=9, out=path, **settings)
    assert [run_of(Run.read(path, step))["step"] for step in (None, "last", "15")] == [25, 25, 15]
    (tmp_path / "run" / "trainer.safetensors").unlink()
    assert run_of(Run.read(path))["step"] == 25


def test_a_run_of_other_tokens_is_refused(motegpt: Any, tmp_path: Path) -> None:
    GPT.train(
        ["anna", "hanna"], tokenizer="bpe", steps=1, engine="array", preset="microgpt", out=tmp_path / "run"
    )
    found = motegpt("play", tmp_path / "run", "--out", tmp_path / "page.html")
    assert found.code == 2
    assert "characters or bytes, as the page shows texts, got bpe" in found.err
    assert not (tmp_path / "page.html").exists()


def test_play_writes_one_file(trained: Path, motegpt: Any, tmp_path: Path) -> None:
    ended = motegpt("play", trained, "--out", "towns.html")
    assert ended.code == 0
    assert re.fullmatch(r"written to towns\.html: [\d,]+ kB\n", ended.out)
    assert "trained on" in ended.err
    start = boot_of((tmp_path / "towns.html").read_text(encoding="utf-8"))
    assert start["run"]["name"] == "towns"
    assert start["list"] is None
    again: Ended = motegpt("play", trained, "--out", "towns.html")
    assert again.code == 2
    assert "already exists" in again.err


def test_the_list_of_a_run_comes_as_the_page_reads_it(motegpt: Any, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("name,year\nanna,1\nbob,2\n")
    settings = ["--preset", "microgpt", "--column", "name", "--steps", 3, "--out", "run"]
    assert motegpt("train", "list.csv", *settings).code == 0
    assert motegpt("play", "run", "--with-list", "--out", "page.html").code == 0
    start = boot_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert start["list"] == {"name": "list", "text": "anna\nbob\n"}
    data = start["run"]["config"]["data"]
    assert (data["format"], data["column"], data["encoding"]) == ("text", None, None)


def test_play_starts_with_a_list_of_any_format(motegpt: Any, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('name,year\n"anna, the first",1\nbob,2\n')
    assert motegpt("play", "list.csv", "--column", "name", "--out", "page.html").code == 0
    start = boot_of((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert start["list"] == {"name": "list", "text": "anna, the first\nbob\n"}
    assert start["run"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.txt"], "missing.txt"),
        (["--out", "page.txt"], "*.html"),
        (["--column", "name", "--out", "page.html"], "column: applies to a list only"),
        (["--with-list", "--out", "page.html"], "with-list: applies to a run folder only"),
        (["--port", "99999"], "99999"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], message: str, motegpt: Any, tmp_path: Path) -> None:
    ended = motegpt("play", *words)
    assert ended.code in (1, 2)
    assert message in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer("<p>anna</p>") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answer(server: PageServer, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def test_the_server_has_one_page(server: PageServer) -> None:
    assert answer(server) == (200, b"<p>anna</p>")
    assert answer(server, "/?a=1") == (200, b"<p>anna</p>")
    assert answer(server, method="HEAD") == (200, b"")
    assert answer(server, Host=f"localhost:{server.server_port}")[0] == 200
    assert answer(server, "/../etc/passwd")[0] == 404
    assert answer(server, method="POST")[0] == 501


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example", ""]
)
def test_the_server_refuses_other_hosts(server: PageServer, host: str) -> None:
    status, body = answer(server, Host=host)
    assert status == 403
    assert b"anna" not in body


def test_the_server_answers_this_machine_alone(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(UsageError, match=f"port: {server.server_port} cannot be used"):
        PageServer("", server.server_port)


def test_a_broken_request_does_not_stop_the_server(server: PageServer, capsys: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(b"\0\0\0\r\n\r\n")
    assert answer(server)[0] == 200
    assert capsys.readouterr().err == ""


def write_modules(folder: Path, **modules: str) -> Path:
    for name, code in modules.items():
        (folder / f"{name}.js").write_text(code)
    return folder


def test_modules_are_joined_in_the_order_of_their_imports(tmp_path: Path) -> None:
    folder = write_modules(
        tmp_path,
        main='import {\n  two,\n} from "./two.js";\nimport { one } from "./one.js";\none + two();\n',
        two='import { one } from "./one.js";\nexport function two() { return one + 1; }\n',
        one="export const one = 1;\n",
    )
    script = joined(folder, "main.js")
    assert re.findall(r"modules\['(\w+)\.js'\] = ", script) == ["one", "two", "main"]
    assert not re.search(r"^(import|export)", script, re.MULTILINE)


def test_comments_on_lines_of_their_own_are_left_out(tmp_path: Path) -> None:
    code = '// 1\nconst a = "// text"; // said\n/** two\n * lines */\n  // three\nconst b = 1 /* 4 */ + 2;\n'
    script = joined(write_modules(tmp_path, main=code), "main.js")
    assert 'const a = "// text"; // said\nconst b = 1 /* 4 */ + 2;\n' in script


def test_no_comment_begins_inside_a_text() -> None:
    """In a template of several lines a line may look like one: then a backtick is open before it."""
    for path in sorted(JS.rglob("*.js")):
        source = path.read_text(encoding="utf-8")
        for comment in COMMENT.finditer(source):
            before = COMMENT.sub("", source[: comment.start()]).replace('"`"', "")
            assert before.count("`") % 2 == 0, (path.name, comment[0])


def test_the_page_alone_stays_small() -> None:
    assert len(build_page(boot()).encode()) <= 370_000


@pytest.mark.parametrize(
    "code",
    [
        'import x from "./one.js";\n',
        'import * as x from "./one.js";\n',
        'export { one } from "./one.js";\n',
        "export default 1;\n",
    ],
)
def test_other_forms_are_refused(code: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected an import of names"):
        joined(write_modules(tmp_path, main=code, one="export const one = 1;\n"), "main.js")


def test_modules_that_import_each_other_are_refused(tmp_path: Path) -> None:
    folder = write_modules(
        tmp_path,
        main='import { one } from "./one.js";\n',
        one='import { two } from "./two.js";\nexport const one = 1;\n',
        two='import { one } from "./one.js";\nexport const two = 2;\n',
    )
    with pytest.raises(ValueError, match=r"one\.js -> two\.js -> one\.js"):
        joined(folder, "main.js")
