"""Draw the picture of docs/sweeps.md: python docs/images/sweeps.py, in the root of the repository."""

from pathlib import Path
from tempfile import TemporaryDirectory

import motegpt
from motegpt.plots.canvas import save
from motegpt.plots.sweeps.map import map_figure
from motegpt.sweeps.results import Results

ROOT = Path(__file__).parents[2]


def table() -> str:
    """The table in docs/sweeps.md."""
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    return page.partition("```toml sweep.toml\n")[2].partition("```")[0]


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        file = Path(folder, "sweep.toml")
        file.write_text(table(), encoding="utf-8")
        motegpt.sweep(file, out=Path(folder, "lr"))
        figure = map_figure(Results.read(Path(folder, "lr")), "lr", "n_embd")
        save(figure, ROOT / "docs" / "images" / "sweep.svg", overwrite=True)
