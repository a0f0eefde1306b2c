"""How commands start and end in less processor time."""

import gc
import os

# Idle threads of NumPy's OpenBLAS spin for 2^N cycles before they sleep, by default 2^26, also when NumPy is
# imported: 30 ms of processor time each. 2^20 is long enough for the next of several products in a row.
BLAS_SPIN = ("OPENBLAS_THREAD_TIMEOUT", "20")
# Objects after which Python looks for unreachable ones, by default 700. Starting makes 50,000 that stay.
NEW_OBJECTS = 100_000


def save_processor_time() -> None:
    """Let idle threads sleep soon, unless the environment says when, and collect garbage rarely.

    Called before anything large is imported.
    """
    os.environ.setdefault(*BLAS_SPIN)
    gc.set_threshold(NEW_OBJECTS)


def leave_garbage() -> None:
    """Let Python exit without looking through all objects again: a seventh of a short command."""
    gc.freeze()
