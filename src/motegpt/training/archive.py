"""Files in one: a zip archive of a few files by name, without folders, read where it lies.

An archive is untrusted input, and only the plain form is read: members from the first byte to the directory
at the end, without gaps and each once, stored or deflated. Nothing is unpacked to disk, and nothing is
inflated that is longer than its reader allows.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from motegpt.config.text import shortened
from motegpt.system.files import Buffer, view_file

MAX_BYTES = 2**32 - 1  # of an archive; larger ones have a directory of another form
MAX_DIRECTORY = 2**16  # bytes
MAX_INFLATED = 2**26  # bytes of a deflated member; larger ones are stored
END = struct.Struct("<4s4H2LH")  # signature, 2 disks, 2 counts, size and place of the directory, comment
LOCAL = struct.Struct("<4s5H3L2H")  # signature, …, CRC, sizes, lengths of name and extra fields
ENCRYPTED, SIZES_FOLLOW = 0x1, 0x8  # bits of a member's flags
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ALIGNMENT = 64  # bytes, of stored members that are viewed
PADDING = struct.Struct("<3H")  # an extra field as in aligned packages of Android: id, length, alignment
PADDING_ID = 0xD935
DATE = (1980, 1, 1, 0, 0, 0)  # the same contents give the same archive


class Archive:
    """The members of an archive, all checked when it is opened.

    Raises OSError if the file cannot be read, ValueError if it is not such an archive.
    """

    def __init__(self, path: Path, names: Collection[str]) -> None:
        """names: of possible members."""
        self._data = view_file(path, MAX_BYTES)
        self._members = _members(self._data, names)

    def names(self) -> list[str]:
        """The names of the members."""
        return list(self._members)

    def read(self, name: str, max_bytes: int) -> bytes:
        """The contents of a member; OSError if there is none, ValueError if it is longer or damaged."""
        return bytes(self.view(name, max_bytes))

    def view(self, name: str, max_bytes: int) -> Buffer:
        """As read, but a view of the archive if the member is stored."""
        if name not in self._members:
            raise FileNotFoundError(f"has no {name}")
        member, start = self._members[name]
        most = max_bytes if member.compress_type == zipfile.ZIP_STORED else min(max_bytes, MAX_INFLATED)
        if member.file_size > most:
            raise ValueError(f"expected at most {most:,} bytes, got {member.file_size:,}")
        packed = memoryview(self._data)[start : start + member.compress_size]
        data: Buffer = packed if member.compress_type == zipfile.ZIP_STORED else _inflated(packed, member)
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise ValueError("contents do not match the checksum")
        return data


def _inflated(packed: memoryview, member: zipfile.ZipInfo) -> bytes:
    """The contents of a deflated member, of which no more is inflated than its size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, member.file_size + 1)
    except zlib.error:
        raise ValueError("expected deflated data") from None
    if not inflater.eof or inflater.unused_data:
        raise ValueError("expected deflated data of the size recorded")
    return data


def _members(data: Buffer, names: Collection[str]) -> dict[str, tuple[zipfile.ZipInfo, int]]:
    """The entries of the directory by name, each with the place of its contents; ValueError if invalid."""
    found: dict[str, tuple[zipfile.ZipInfo, int]] = {}
    directory, at = _directory_start(data), 0
    try:
        with zipfile.ZipFile(BytesIO(data[directory:])) as listed:
            entries = sorted(listed.infolist(), key=lambda entry: entry.header_offset)
    except (zipfile.BadZipFile, struct.error, NotImplementedError, ValueError, OSError) as error:
        raise ValueError(f"is not a zip file ({shortened(str(error))})") from None
    for entry in entries:
        entry.header_offset += directory  # zipfile took the directory for the whole file
        name = entry.orig_filename
        if name not in names:
            raise ValueError(f"expected the files of a run, got {shortened(name)}")
        if name in found:
            raise ValueError(f"{name}: occurs twice")
        if reason := _why_not(entry):
            raise ValueError(f"{name}: {reason}")
        start = _contents_start(data, entry, at)
        found[name], at = (entry, start), start + entry.compress_size
    if at != directory:
        raise ValueError(f"expected its directory at byte {at:,}, got {directory:,}")
    return found


def _directory_start(data: Buffer) -> int:
    """Where the directory of an archive begins, which its last bytes give; ValueError if they do not."""
    if len(data) < END.size:
        raise ValueError(f"is not a zip file (only {len(data)} bytes)")
    signature, disk, disks, here, count, size, start, comment = END.unpack(data[-END.size :])
    if signature != b"PK\5\6":
        raise ValueError("is not a zip file, or is incomplete")
    if (disk, disks, comment) != (0, 0, 0) or here != count or size > MAX_DIRECTORY:
        raise ValueError(f"expected one directory of at most {MAX_DIRECTORY:,} bytes and no comment")
    if start + size + END.size != len(data):
        raise ValueError(f"expected {start + size + END.size:,} bytes, got {len(data):,}")
    return int(start)


def _why_not(entry: zipfile.ZipInfo) -> str | None:
    """Why a member is not read; None if it is."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind and not stat.S_ISREG(kind):
        return f"expected a regular file, got a {'link' if stat.S_ISLNK(kind) else 'folder or special file'}"
    if entry.flag_bits & ENCRYPTED:
        return "is encrypted"
    if entry.flag_bits & SIZES_FOLLOW:
        return "expected its sizes before its contents"
    if entry.compress_type not in METHODS:
        return f"expected it stored or deflated, got method {entry.compress_type}"
    if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
        return f"expected {entry.file_size:,} bytes, got {entry.compress_size:,}"
    return None


def _contents_start(data: Buffer, entry: zipfile.ZipInfo, at: int) -> int:
    """Where the contents of a member begin whose header is expected at byte `at`; ValueError otherwise."""
    name = entry.orig_filename.encode()
    header = data[at : at + LOCAL.size]
    if entry.header_offset != at or len(header) < LOCAL.size:
        raise ValueError(f"{entry.orig_filename}: expected at byte {at:,}, got {entry.header_offset:,}")
    signature, _, flags, method, _, _, crc, packed, size, length, extra = LOCAL.unpack(header)
    start = at + LOCAL.size + length + extra
    written = bytes(data[at + LOCAL.size : at + LOCAL.size + length])
    said = (signature, flags, method, crc, packed, size, written)
    listed = (entry.flag_bits, entry.compress_type, entry.CRC, entry.compress_size, entry.file_size, name)
    if said != (b"PK\3\4", *listed) or start + packed > len(data):
        raise ValueError(f"{entry.orig_filename}: its header is not that of the directory")
    return int(start)


def write_archive(file: BinaryIO, members: Mapping[str, bytes], viewed: Collection[str] = ()) -> None:
    """Write an archive. viewed: names of members to store, aligned; others are deflated, unless large.

    ValueError if it would have more than MAX_BYTES.
    """
    size = sum(map(len, members.values())) + MAX_DIRECTORY
    if size > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES:,} bytes in one file, got {size:,}")
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            is_stored = name in viewed or len(data) > MAX_INFLATED
            entry = zipfile.ZipInfo(name, DATE)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.compress_type = zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
            if is_stored:
                start = file.tell() + LOCAL.size + len(name) + PADDING.size
                zeros = bytes(-start % ALIGNMENT)
                entry.extra = PADDING.pack(PADDING_ID, 2 + len(zeros), ALIGNMENT) + zeros
            archive.writestr(entry, data)
