"""Draw the picture of the README: the loss of a training, and names generated on the way.

python docs/images/learning.py names.txt learning.svg
"""

import sys
from pathlib import Path

from motegpt import GPT
from motegpt.plots.canvas import PALE, add_heading, drawing, new_figure, save

MARKS = (1, 10, 100, 1_000, 10_000)
BLUE = "#0b6db7"


def train(names: str) -> tuple[list[int], list[float], dict[int, list[str]]]:
    """Steps, their losses, and names generated after the steps in MARKS."""
    training = GPT.training(
        names, steps=MARKS[-1], n_embd=32, batch_size=32, schedule="cosine", loss_mean="tokens",
        dtype="float32", log_every=1, seed=1, preset="microgpt"
    )  # fmt: skip
    texts: dict[int, list[str]] = {}
    steps, losses = [], []
    for record in training:
        steps.append(record.step)
        losses.append(record.loss)
        if record.step in MARKS:
            texts[record.step] = training.model.generate(6, seed=1, temperature=0.8)
    return steps, losses, texts


def smooth(steps: list[int], losses: list[float]) -> tuple[list[float], list[float]]:
    """Mean losses over bins that are equally wide on a logarithmic axis."""
    x, y, start = [], [], 0
    while start < len(steps):
        end = max(start + 1, round(start * 1.12))
        x.append((steps[start] * steps[min(end, len(steps)) - 1]) ** 0.5)
        y.append(sum(losses[start:end]) / len(losses[start:end]))
        start = end
    return x, y


@drawing()
def draw(names: str, out: str) -> None:
    """Train on a list of names and draw."""
    steps, losses, texts = train(names)
    figure = new_figure(8.4, 3.9)
    axes = figure.add_subplot()
    axes.plot(*smooth(steps, losses), color=BLUE, linewidth=2)
    axes.set(xscale="log", xlim=(0.8, 2.6e4), ylim=(1.9, 5.2), xlabel="step", ylabel="loss, nats per token")
    axes.set_xticks(MARKS, [f"{step:,}" for step in MARKS])
    axes.minorticks_off()
    axes.set_yticks([2, 2.5, 3, 3.5])
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    for step, drawn in texts.items():
        axes.axvline(step, ymax=0.52, color=PALE, linewidth=0.7, linestyle=(0, (2, 3)))
        for line, text in enumerate(drawn):
            axes.text(step, 5.15 - 0.25 * line, text, ha="left", va="top", size=10)
    add_heading(
        figure,
        "A model learns what a name is",
        "32,033 names, 14,528 parameters; six names that it generates after 1, 10, … 10,000 steps",
    )
    save(figure, Path(out), overwrite=True)


if __name__ == "__main__":
    draw(*sys.argv[1:])
