"""Documents truncated by block_size, and a block_size that truncates few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motegpt.data.plan import longest_sequence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections.data import CutRule
    from motegpt.data.documents import Documents
    from motegpt.data.tokenizers import Tokenizer

    Sizes = NDArray[np.integer[Any]]

LARGEST_BLOCK = 256  # largest recommended block_size
# The recommended block_size fits this fraction of the documents, or all of them if that needs at most
# MAX_GROWTH times as much.
MIN_FITTING, MAX_GROWTH = 0.95, 2


@dataclass(frozen=True)
class Cut:
    """The number of documents truncated by block_size, and of tokens lost.

    fitting: the smallest block_size that truncates none; advised, advised_documents: the recommended one, and
    the number of documents that it truncates.
    """

    block_size: int
    documents: int
    tokens: int
    fitting: int
    advised: int
    advised_documents: int


def sizes_of(documents: Documents, tokenizer: Tokenizer) -> Sizes:
    """Tokens of each document, without special tokens."""
    import numpy as np

    return np.asarray(tokenizer.lengths(documents))


def cut_of(sizes: Sizes, block_size: int, cut: CutRule, specials: int = 2) -> Cut:
    """Truncation of documents of these sizes, each framed by so many special tokens."""
    import numpy as np

    framed = sizes.astype(np.int64) + specials
    extra = longest_sequence(0, cut)  # tokens of a sequence beyond block_size
    fitting, typical = int(framed.max()) - extra, quantile(framed, MIN_FITTING) - extra
    advised = fitting if fitting <= min(LARGEST_BLOCK, MAX_GROWTH * typical) else max(block_size, typical)
    over = np.maximum(framed - (block_size + extra), 0)
    return Cut(
        block_size=block_size,
        documents=int((over > 0).sum()),
        tokens=int(over.sum()),
        fitting=fitting,
        advised=advised,
        advised_documents=int((framed > advised + extra).sum()),
    )


def quantile(sizes: Sizes, q: float) -> int:
    """The q-quantile of the sizes, rounded down to one of them."""
    import numpy as np

    return int(np.quantile(sizes, q, method="lower"))
