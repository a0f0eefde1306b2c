"""What block_size keeps from the model: the ends of documents that are longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motegpt.data.plan import longest_sequence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import CutRule
    from motegpt.data.documents import Documents
    from motegpt.data.tokenizers import Tokenizer

    Sizes = NDArray[np.integer[Any]]

LARGEST_BLOCK = 256  # the largest block_size that is recommended
# The block_size that is recommended keeps this part of the documents whole, and all of them if that takes at
# most so many times as much.
KEPT, WORTH = 0.95, 2


@dataclass(frozen=True)
class Cut:
    """How many documents lose their end, and how many tokens that is in all.

    fitting: the block_size that cuts nothing; advised: one that cuts little, and how many documents it cuts.
    """

    block_size: int
    documents: int
    tokens: int
    fitting: int
    advised: int
    advised_documents: int


def sizes_of(documents: Documents, tokenizer: Tokenizer) -> Sizes:
    """Tokens of each document, special ones not counted."""
    import numpy as np

    return np.asarray(tokenizer.lengths(documents))


def cut_of(sizes: Sizes, block_size: int, cut: CutRule) -> Cut:
    """What training cuts off documents of these sizes, each between two special tokens."""
    import numpy as np

    framed = sizes.astype(np.int64) + 2
    beyond = longest_sequence(0, cut)  # tokens of a sequence that block_size need not hold
    fitting, most = int(framed.max()) - beyond, quantile(framed, KEPT) - beyond
    advised = fitting if fitting <= min(LARGEST_BLOCK, WORTH * most) else max(block_size, most)
    over = np.maximum(framed - (block_size + beyond), 0)
    return Cut(
        block_size=block_size,
        documents=int((over > 0).sum()),
        tokens=int(over.sum()),
        fitting=fitting,
        advised=advised,
        advised_documents=int((framed > advised + beyond).sum()),
    )


def quantile(sizes: Sizes, part: float) -> int:
    """A size that this part of them does not exceed."""
    import numpy as np

    return int(np.quantile(sizes, part, method="lower"))
