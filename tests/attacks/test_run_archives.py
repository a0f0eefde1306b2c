"""Runs that are one file: every damaged, forged or unusual zip is refused in one line that names the part."""

import io
import os
import stat
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.errors import RunFolderError
from motegpt.training.archive import END, LOCAL
from motegpt.training.run_archive import archive_run
from motegpt.training.run_folder import RunFolder
from tests.attacks.forge import make_run
from tests.attacks.oracle import command, look, snapshot

PROFILE = settings(max_examples=150, deadline=None, derandomize=True, database=None)
CONFIG, METRICS, MODEL = "config.json", "metrics.jsonl", "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a run in one file."""
    room = tmp_path_factory.mktemp("runs")
    archive_run(RunFolder(make_run(room, kneser_ney=3)), room / "run.motegpt")
    return (room / "run.motegpt").read_bytes()


def members_of(whole):
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_of(members, method=zipfile.ZIP_STORED):
    """An archive of (name or ZipInfo, contents)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def entry(name, **values):
    made = zipfile.ZipInfo(name)
    for key, value in values.items():
        setattr(made, key, value)
    return made


def renamed(whole, old, new):
    """With the name of a member replaced by one of the same length, in both places."""
    assert len(old) == len(new)
    return whole.replace(old.encode(), new.encode())


def in_directory(whole, name, at, fmt, value):
    """With a field of a member's entry in the directory replaced."""
    data, start = bytearray(whole), END.unpack(whole[-END.size :])[6]
    place = whole.index(name.encode(), start) - 46
    struct.pack_into(fmt, data, place + at, value)
    return bytes(data)


def in_both(whole, name, at, fmt, value):
    """With a field replaced in the directory (at) and in the header of the contents (two bytes before)."""
    data = bytearray(in_directory(whole, name, at, fmt, value))
    struct.pack_into(fmt, data, whole.index(name.encode()) - LOCAL.size + at - 2, value)
    return bytes(data)


def pairs(whole, **others):
    return [*(members_of(whole) | others).items()]


def moved(whole, by):
    """With another start of the directory."""
    *values, size, start, comment = END.unpack(whole[-END.size :])
    return whole[: -END.size] + END.pack(*values, size, start + by, comment)


LINK = (stat.S_IFLNK | 0o777) << 16
BOMB = b"{" + b" " * 2**27 + b"}"
FORGED = {  # what is done to the archive, and what the message says
    "empty": (lambda whole: b"", "is not a zip file"),
    "cut": (lambda whole: whole[:-1], "is not a zip file, or is incomplete"),
    "half": (lambda whole: whole[: len(whole) // 2], "is not a zip file, or is incomplete"),
    "data before it": (lambda whole: b"#!/bin/sh\n" + whole, "bytes, got"),
    "data before it, and offsets that fit": (
        lambda whole: moved(b"#!/bin/sh\n" + whole, 10),
        "its header is not|expected at byte 0",
    ),
    "data after it": (lambda whole: whole + b"x", "is not a zip file, or is incomplete"),
    "a comment": (lambda whole: whole[:-2] + b"\1\0x", "is not a zip file|no comment"),
    "two disks": (lambda whole: whole[:-18] + b"\1\0" + whole[-16:], "one directory"),
    "another number of members": (lambda whole: whole[:-12] + b"\xff\xff" + whole[-10:], "one directory"),
    "a folder": (lambda whole: zip_of([("run/", b""), *pairs(whole)]), "got 'run/'"),
    "files in a folder": (
        lambda whole: zip_of([(f"run/{name}", data) for name, data in pairs(whole)]),
        "got 'run/config.json'",
    ),
    "a path upwards": (lambda whole: renamed(whole, CONFIG, "../../x.pwn"), "got '../../x.pwn'"),
    "an absolute path": (lambda whole: renamed(whole, CONFIG, "/tmp/x.evil"), "got '/tmp/x.evil'"),
    "a zero byte": (lambda whole: renamed(whole, CONFIG, "config.jso\0"), "expected the files of a run"),
    "a surplus member": (lambda whole: zip_of(pairs(whole, **{"model.pkl": b"c"})), "got 'model.pkl'"),
    "the state of a trainer": (
        lambda whole: zip_of(pairs(whole, **{"trainer.safetensors": b""})),
        "got 'trainer.safetensors'",
    ),
    "a member twice": (lambda whole: zip_of([*pairs(whole), (CONFIG, b"{}")]), "config.json: occurs twice"),
    "no settings": (
        lambda whole: zip_of([pair for pair in pairs(whole) if pair[0] != CONFIG]),
        "has no config.json",
    ),
    "no parameters": (
        lambda whole: zip_of([pair for pair in pairs(whole) if pair[0] != MODEL]),
        "has no model.safetensors",
    ),
    "a link": (
        lambda whole: zip_of([(entry(CONFIG, external_attr=LINK), b"/etc/passwd")]),
        "config.json: .* got a link",
    ),
    "a device": (
        lambda whole: zip_of([(entry(CONFIG, external_attr=(stat.S_IFCHR | 0o666) << 16), b"")]),
        "config.json: .* special file",
    ),
    "encrypted": (lambda whole: in_both(whole, CONFIG, 8, "<H", 1), "config.json: is encrypted"),
    "sizes after the contents": (
        lambda whole: in_both(whole, CONFIG, 8, "<H", 8),
        "config.json: expected its sizes",
    ),
    "bzip2": (lambda whole: zip_of(pairs(whole), method=zipfile.ZIP_BZIP2), "config.json: .* got method 12"),
    "an unknown method": (
        lambda whole: in_both(whole, CONFIG, 10, "<H", 99),
        "config.json: .* got method 99",
    ),
    "another checksum of text": (
        lambda whole: in_both(whole, CONFIG, 16, "<L", 7),
        "config.json: contents do not match",
    ),
    "another checksum of tensors": (
        lambda whole: in_both(whole, MODEL, 16, "<L", 7),
        "model.safetensors: contents do not match the checksum",
    ),
    "two checksums": (
        lambda whole: in_directory(whole, CONFIG, 16, "<L", 7),
        "config.json: its header is not",
    ),
    "two names": (
        lambda whole: whole.replace(CONFIG.encode(), b"tokeniz.rjs", 1),
        "config.json: its header is not",
    ),
    "a shorter member": (
        lambda whole: in_both(whole, METRICS, 24, "<L", 3),
        "metrics.jsonl: expected deflated data",
    ),
    "a longer member": (
        lambda whole: in_both(whole, METRICS, 24, "<L", 9**7),
        "metrics.jsonl: expected deflated|contents",
    ),
    "a member of 4 GiB": (
        lambda whole: in_both(whole, CONFIG, 24, "<L", 2**32 - 2),
        "config.json: expected at most",
    ),
    "sizes for 64 bits": (
        lambda whole: in_both(whole, CONFIG, 24, "<L", 2**32 - 1),
        "not a zip file|expected",
    ),
    "overlapping members": (lambda whole: in_directory(whole, MODEL, 42, "<L", 0), "expected at byte"),
    "a bomb": (
        lambda whole: zip_of(pairs(whole, **{CONFIG: BOMB}), method=zipfile.ZIP_DEFLATED),
        "config.json: expected at most 67,108,864 bytes",
    ),
    "a bomb in the records": (
        lambda whole: zip_of(pairs(whole, **{METRICS: BOMB}), method=zipfile.ZIP_DEFLATED),
        "metrics.jsonl: expected at most 67,108,864 bytes",
    ),
    "a bomb in the tensors": (
        lambda whole: zip_of(pairs(whole, **{MODEL: bytes(2**27)}), method=zipfile.ZIP_DEFLATED),
        "model.safetensors: expected at most",
    ),
    "thousands of members": (
        lambda whole: zip_of((f"{i}", b"") for i in range(5000)),
        "one directory of at most 65,536 bytes",
    ),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_archives_are_refused_in_a_line_that_names_the_part(whole, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, message = FORGED[kind]
    file = tmp_path / "run.motegpt"
    file.write_bytes(change(whole))
    before = snapshot(tmp_path)
    for words in (
        ["show", file],
        ["train", "--resume", file],
        ["export", file, "--to", "file", "--out", "x.motegpt"],
    ):
        code, _, _ = command(*map(str, words))
        assert code == 2
    folder = RunFolder(file)
    with pytest.raises(RunFolderError, match=message):
        folder.members()
    assert snapshot(tmp_path) == before


def test_zips_of_other_tools_are_read(whole, tmp_path):
    """Stored or deflated, in any order, without alignment."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        (tmp_path / "run.motegpt").write_bytes(zip_of(reversed(pairs(whole)), method=method))
        again = RunFolder(tmp_path / "run.motegpt").members()
        assert again == members_of(whole)


def test_damage_anywhere_is_refused_or_harmless(whole, tmp_path):
    file = tmp_path / "run.motegpt"
    file.write_bytes(whole)
    expected = RunFolder(file).members()

    @PROFILE
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7), st.booleans())
    def holds(at, bit, cut):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        file.write_bytes(whole[:at] if cut else bytes(damaged))
        try:
            assert RunFolder(file).members() == expected  # a date, an attribute or padding was changed
            assert not cut
        except RunFolderError:
            pass

    holds()


@pytest.mark.parametrize("name", [CONFIG, METRICS])
def test_any_bytes_in_a_member(whole, tmp_path, name):
    file = tmp_path / "run.motegpt"

    @settings(PROFILE, max_examples=20)
    @given(st.binary(max_size=60))
    def holds(data):
        file.write_bytes(zip_of(pairs(whole, **{name: data})))
        look(file)

    holds()


def test_links_and_pipes_of_that_name(whole, tmp_path):
    (tmp_path / "real.motegpt").write_bytes(whole)
    (tmp_path / "link.motegpt").symlink_to(tmp_path / "real.motegpt")
    assert RunFolder(tmp_path / "link.motegpt").members() == members_of(whole)  # links are followed to read
    (tmp_path / "lost.motegpt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.motegpt")
    for name in ("lost", "pipe"):
        assert command("sample", str(tmp_path / f"{name}.motegpt"))[0] == 2
    run = RunFolder(tmp_path / "real.motegpt")
    with pytest.raises(RunFolderError, match="already exists"):
        archive_run(run, tmp_path / "link.motegpt")
    with pytest.raises(RunFolderError, match="already exists"):
        archive_run(run, tmp_path / "lost.motegpt")
    archive_run(run, tmp_path / "link.motegpt", overwrite=True)  # the link is replaced
    assert not (tmp_path / "link.motegpt").is_symlink()
    assert (tmp_path / "real.motegpt").read_bytes() == whole
