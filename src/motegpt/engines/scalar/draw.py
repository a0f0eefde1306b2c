"""A computation graph as Graphviz text, its values, and the texts of its nodes. Standard library only.

Constants are part of the operation that uses them, as in "+ 0.5".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import isfinite, isnan
from typing import NamedTuple

from motegpt.engines.scalar.graph import Value, topological
from motegpt.engines.scalar.groups import Graph

DIGITS = 4  # significant digits of a number in a picture
BLUE, WHITE, RED = (0x2A, 0x78, 0xB8), (0xFF, 0xFF, 0xFF), (0xE0, 0x7B, 0x39)  # gradient below 0, 0, above
CONSTANT = "constant"


def all_nodes(root: Value) -> list[Value]:
    """The root and all values it depends on, parents first."""
    seen: dict[Value, None] = {}
    for current in topological(root):
        seen.update(dict.fromkeys((*current.parents, current)))
    return list(seen)


def count_ops(root: Value) -> dict[str, int]:
    """Number of values by operation, most frequent first."""
    return dict(Counter(node.op for node in all_nodes(root)).most_common())


def number_text(x: float) -> str:
    """A number with DIGITS significant digits.

    >>> number_text(0.5), number_text(-1234567.0), number_text(0.0), number_text(1e-5)
    ('0.5000', '-1.235e6', '0', '1.000e-5')
    """
    mantissa, e, exponent = f"{x:#.{DIGITS}g}".partition("e")
    return "0" if x == 0 else f"{mantissa.rstrip('.')}{e}{int(exponent) if e else ''}"


def operation_text(node: Value) -> str:
    """The operation of a node, with its constants: "dot", "× 0.5", "^ -0.5"."""
    constants = [parent.data for parent in node.parents if is_constant(parent)]
    if node.op == "pow" and len(node.parents) == 1:
        (x,), (dx,) = node.parents, node.local_grads
        exponent = dx * x.data / node.data if node.data and x.data else None  # dx = y x^(y-1)
        return "pow" if exponent is None else f"^ {exponent:.4g}"
    if not constants or node.op not in ("add", "mul") or len(constants) == len(node.parents):
        return node.op
    (c,) = constants
    if node.op == "mul":
        return f"× {c:.4g}"
    return f"- {-c:.4g}" if c < 0 else f"+ {c:.4g}"


class Colors(NamedTuple):
    """Gradient -> color: white at 0, RED or BLUE from `largest` on, by the cube root between."""

    largest: float

    @classmethod
    def of(cls, graph: Graph) -> Colors:
        """largest: of the gradients but the highest twentieth, so that a few do not make all others pale."""
        sizes = sorted(
            abs(node.grad) for node in drawn_nodes(graph.loss) if node.grad and isfinite(node.grad)
        )
        return cls(sizes[int(0.95 * (len(sizes) - 1))] if sizes else 1.0)

    def rgb(self, gradient: float) -> tuple[int, int, int]:
        """Three numbers below 256; white if the gradient is not a number."""
        share = 0.0 if isnan(gradient) else min(1.0, abs(gradient) / self.largest) ** (1 / 3)
        r, g, b = (
            round(white + (color - white) * share)
            for white, color in zip(WHITE, RED if gradient > 0 else BLUE, strict=True)
        )
        return r, g, b

    def hex(self, gradient: float) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.rgb(gradient))


def drawn_nodes(root: Value) -> list[Value]:
    """All nodes but constants."""
    return [node for node in all_nodes(root) if node is root or not is_constant(node)]


def is_constant(node: Value) -> bool:
    """Whether a node is a constant, or an operation on constants alone, as in x - 0.5."""
    return node.op == CONSTANT or (bool(node.parents) and all(one.op == CONSTANT for one in node.parents))


def to_dot(graph: Graph) -> str:
    """The graph in Graphviz' language, a cluster for each group."""
    nodes, colors = drawn_nodes(graph.loss), Colors.of(graph)
    number = {node: i for i, node in enumerate(nodes)}
    lines = ["digraph loss {", '  node [shape=box, fontname="sans-serif", style=filled];']
    for node, i in number.items():
        label = "\\n".join(part.replace('"', '\\"') for part in label_of(node, graph.names))
        lines.append(f'  n{i} [label="{label}", fillcolor="{colors.hex(node.grad)}"];')
    for i, group in enumerate(graph.groups):
        members = " ".join(f"n{number[value]};" for value in group.values)
        lines.append(f'  subgraph cluster_{i} {{ label="{group.heading}"; {members} }}')
    lines += [
        f"  n{number[parent]} -> n{number[node]};"
        for node in nodes
        for parent in node.parents
        if parent in number
    ]
    return "\n".join([*lines, "}"]) + "\n"


def label_of(node: Value, names: Mapping[Value, str]) -> tuple[str, str, str]:
    """The name and operation of a node, its value, and its gradient."""
    name = names.get(node)
    parts = [part for part in (name, operation_text(node) if node.parents else "") if part]
    return " = ".join(parts) or node.op, number_text(node.data), number_text(node.grad)
