"""Speed and peak memory of reading long lists and texts.

    python benchmarks/reading.py            files of 100 MB
    python benchmarks/reading.py --mb 1000  of 1 GB

Each row is the duration and peak memory of one process, also relative to the size of the file. Lists have
names of 10 characters, texts have lines of 80; in other scripts a character takes two or three bytes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LATIN, CYRILLIC = "aeinorstlmdkuyhc", "аеинорстлмдкуыхц"
CJK = "".join(map(chr, range(0x4E00, 0x5600)))
TRAIN = ("train", "--steps", "100", "--log-every", "100", "-n", "1")
READ = (__file__, "--read")  # this program, which only reads


def lines(alphabet: str, longest: int, spaces: bool) -> Iterator[bytes]:
    """An endless file, in pieces of 100,000 lines."""
    rng = random.Random(1)
    letters = alphabet + " " * (len(alphabet) // 5) * spaces
    text = "".join(rng.choices(letters, k=10**6))
    while True:
        piece = []
        for _ in range(100_000):
            start = rng.randrange(len(text) - longest)
            piece.append(text[start : start + rng.randint(longest // 2, longest)].strip() or "a")
        yield ("\n".join(piece) + "\n").encode()


def write(path: Path, size: int, alphabet: str, longest: int, spaces: bool = False) -> Path:
    """Write a file of `size` bytes or a little more."""
    with path.open("wb") as file:
        for piece in lines(alphabet, longest, spaces):
            file.write(piece)
            if file.tell() >= size:
                return path
    raise AssertionError("lines() is endless")


def measure(*words: str) -> tuple[float, float]:
    """Seconds and peak memory, in bytes, of a Python process."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def read(path: str, form: str) -> None:
    """Read a file as for training."""
    from motegpt.config.sections import ReadConfig
    from motegpt.data.corpus import read_corpus

    read_corpus(path, ReadConfig(format=form))


def main() -> None:
    """Write the files, measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--mb", type=int, default=100, help="size of the files")
    options.add_argument("--read", nargs=2, metavar=("FILE", "FORMAT"), help="read this file and exit")
    arguments = options.parse_args()
    if arguments.read:
        read(*arguments.read)
        return
    size = arguments.mb * 10**6
    folder = Path(tempfile.mkdtemp(prefix="motegpt-reading-"))
    print(f"{'':34} {'seconds':>8} {'MB/s':>7} {'peak MB':>8} {'x file':>7}")
    try:
        files = {
            "list": write(folder / "list.txt", size, LATIN, 14),
            "list in Cyrillic": write(folder / "cyrillic.txt", size, CYRILLIC, 14),
            "list in Chinese": write(folder / "chinese.txt", size, CJK, 6),
            "text": write(folder / "text.txt", size, LATIN, 80, spaces=True),
        }
        for name, path in files.items():
            form = "stream" if name == "text" else "text"
            report(f"read a {name}", path, *READ, str(path), form)
            flags = ("--format", "stream") if form == "stream" else ("--block-size", "16")
            report(f"train on a {name}", path, "-m", "motegpt", *TRAIN, str(path), *flags)
        path = files["list"]
        report("data check of a list", path, "-m", "motegpt", "data", "check", str(path))
        packed = folder / "list.txt.gz"
        with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as file:
            shutil.copyfileobj(plain, file)
        report("read a gzipped list", path, *READ, str(packed), "text")
    finally:
        shutil.rmtree(folder)


def report(label: str, path: Path, *words: str) -> None:
    """Print a row of the table. path: the uncompressed file."""
    size = path.stat().st_size
    seconds, peak = measure(*words)
    print(
        f"{label:34} {seconds:8.2f} {size / seconds / 1e6:7.1f} {peak / 1e6:8.0f} {peak / size:7.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
