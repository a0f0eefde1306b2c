"""Where progress can be shown: a terminal that redraws a line, or a notebook that updates an output."""

from __future__ import annotations

import os
import sys
from typing import TextIO

DUMB = ("dumb", "unknown")  # values of TERM for terminals without cursor movement
# Of the environment of a Jupyter kernel, which its `!command` inherits, with a pseudo-terminal on POSIX.
KERNEL, BACKEND = "JPY_PARENT_PID", "matplotlib_inline"


def is_live(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal on which a line can be redrawn; False for `!command` in a notebook.

    A notebook keeps every state of such a line in its output.
    """
    environment = os.environ.get
    is_command_of_notebook = environment(KERNEL) is not None or BACKEND in environment("MPLBACKEND", "")
    return (
        stream is not None
        and not stream.closed
        and stream.isatty()
        and environment("TERM") not in DUMB
        and not is_command_of_notebook
    )


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook; IPython is asked only if it is loaded."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return getattr(get_ipython and get_ipython(), "kernel", None) is not None
