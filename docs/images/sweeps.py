"""Draw the picture of docs/sweeps.md: python docs/images/sweeps.py, in the root of the repository."""

from pathlib import Path
from tempfile import TemporaryDirectory

import motegpt
from motegpt.plots.canvas import save

ROOT = Path(__file__).parents[2]


def table() -> str:
    """The table in docs/sweeps.md."""
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    return page.partition("```toml sweep.toml\n")[2].partition("```")[0]


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        file = Path(folder, "sweep.toml")
        file.write_text(table(), encoding="utf-8")
        figure = motegpt.sweep(file).plot("lr", "n_embd", form="map")
        save(figure, ROOT / "docs" / "images" / "sweep.svg", overwrite=True)
