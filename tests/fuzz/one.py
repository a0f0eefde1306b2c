"""One target under atheris for some seconds: python -m tests.fuzz.one TARGET SECONDS FOLDER.

Ends with 0 if nothing was found. FOLDER holds the inputs to begin from, and what is found.
"""

from __future__ import annotations

import sys
from pathlib import Path

SLOWEST = 20  # seconds that one input may take
LARGEST = 4096  # MB
LONGEST = 2**14  # bytes of an input


def main() -> None:
    """Fuzz, and never come back: libFuzzer ends the process."""
    import atheris

    name, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    with atheris.instrument_imports(include=["motegpt"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]()
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOWEST}",
        f"-rss_limit_mb={LARGEST}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={folder}/found-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
