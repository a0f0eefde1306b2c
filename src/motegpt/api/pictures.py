"""Pictures of a model and of its training: those of `motegpt plot`, as figures or drawn into given axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from motegpt.api.inspection import Inspection, checked_text
from motegpt.config.fields import plain
from motegpt.errors import UsageError
from motegpt.views.runs import RunView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Arrays
    from motegpt.ngrams.contexts import Contexts
    from motegpt.training.records import StepRecord
    from motegpt.training.state import RunConfig

    Indices = int | Sequence[int] | None


class MemoryView(RunView):
    """A model in memory. name: for titles."""

    def __init__(
        self,
        name: str,
        config: RunConfig,
        tokenizer: Tokenizer,
        records: Sequence[StepRecord],
        parameters: Arrays,
        contexts: Contexts,
    ) -> None:
        self.path, self.config, self.tokenizer = name, config, tokenizer
        self.records = [record.values() for record in records]
        self._parameters, self._contexts = parameters, contexts

    @property
    def name(self) -> str:
        return self.path

    @property
    def records_source(self) -> str:
        return "records"

    def parameters(self) -> Arrays:
        return self._parameters

    def contexts(self) -> Contexts:
        return self._contexts


class Pictures(Inspection):
    """Methods of a GPT that draw it with matplotlib.

    Without `ax` they return a new figure, which a notebook shows; figure.savefig writes it to a file. With
    `ax` they draw into these axes, and return them. Raise LibraryUnavailable without matplotlib.
    """

    def plot_attention(
        self, text: str, *, layers: Indices = None, heads: Indices = None, ax: Any = None
    ) -> Figure | Any:
        """Attention maps of a text, one per layer and head; row: the position that looks, column: looked at.

        layers, heads: indices from 0 (default: all, at most 8 of each). ax: axes, or one for each map, by
        layer and then by head. Raises DataError, PrefixError, and UsageError for an unknown layer or head or
        another number of axes.
        """
        from motegpt.plots.attention import attention_figure, draw_attention

        view, of = self._view(), (_indices("layers", layers), _indices("heads", heads))
        text = checked_text(text)
        if ax is None:
            return attention_figure(view, text, *of)
        draw_attention(_flat(ax), view, text, *of)
        return ax

    def plot_embeddings(
        self, text: str | None = None, *, layer: int | None = None, ax: Any = None
    ) -> Figure | Any:
        """Maps of vectors on their first two principal components, and the cosine of each pair.

        text: None for the token embeddings; else the residual stream at its positions, before the first layer
        and after each. ax: axes for one map alone, of a text that after `layer` layers (default: all).
        Raises DataError and PrefixError for the text, UsageError for a layer without `ax` or beyond the last.
        """
        from motegpt.plots.embeddings import draw_map, text_figure, vocabulary_figure

        view = self._view()
        text = None if text is None else checked_text(text)
        if ax is not None:
            draw_map(ax, view, text, layer)
            return ax
        if layer is not None:
            raise UsageError("layer: expected axes as well, got none; pass ax, or leave it out")
        return vocabulary_figure(view) if text is None else text_figure(view, text)

    def plot_loss(
        self,
        *,
        ax: Any = None,
        label: str | None = None,
        baselines: Mapping[str, float] | None = None,
        window: int | None = None,
        along: Literal["step", "tokens"] = "step",
    ) -> Figure | Any:
        """The losses of the training, in nats per token; with a validation set also those.

        baselines: name -> loss, such as Evaluation.losses, drawn as lines; window: records per running mean
        (default: a tenth of all). With `ax`, for several models in one picture: a line in the next color with
        this label; baselines are left out. Raises UsageError for a model without records, as `load` returns.
        """
        return plot_loss(self._view(), ax, label, baselines, window, along)

    def _view(self) -> RunView:
        """The model as pictures show it: a copy of its parameters."""
        name, contexts = type(self).__name__, self.engine.contexts
        return MemoryView(name, self.config, self.tokenizer, self.records, self.parameters, contexts)


def plot_loss(
    view: RunView,
    ax: Any,
    label: str | None,
    baselines: Mapping[str, float] | None,
    window: int | None,
    along: Literal["step", "tokens"],
) -> Figure | Any:
    """See Pictures.plot_loss."""
    from motegpt.plots.curves import draw_losses, loss_figure

    if not view.records:
        raise UsageError("plot: expected losses to draw, got none; train, or `motegpt plot` the run's folder")
    if along not in ("step", "tokens"):
        raise UsageError(f"along: expected step or tokens, got {along!r}")
    if window is not None and not (type(window) is int and window >= 1):
        raise UsageError(f"window: expected a whole number of at least 1, got {window!r}")
    if ax is None:
        return loss_figure([view], baselines=baselines, window=window, along=along)
    draw_losses(ax, view, label, window, along)
    return ax


def _indices(name: str, given: Indices) -> list[int]:
    """A list of one index or several; empty for None."""
    found = [] if given is None else [plain(given)] if isinstance(plain(given), int) else [*map(plain, given)]  # type: ignore[arg-type]
    if not all(type(index) is int for index in found):
        raise UsageError(f"{name}: expected whole numbers, got {given!r}")
    return found


def _flat(ax: Any) -> list[Any]:
    """Axes, or an array or nested lists of them, as a list."""
    if hasattr(ax, "ravel"):
        return list(ax.ravel())
    return [one for part in ax for one in _flat(part)] if isinstance(ax, list | tuple) else [ax]
