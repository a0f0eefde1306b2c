"""microgpt once more, independent of the package: a few numbers with a tape, Python's `random`, one loop.

It shares no line with motegpt. tests/test_reference.py shows that it reproduces the original's losses,
and then lets it judge shapes and seeds for which there is no reference file.
"""

import math
import random


class V:
    """A number that remembers how it came about."""

    def __init__(self, x, back=()):
        self.x, self.g, self.back = x, 0.0, back

    def __add__(self, o):
        o = o if isinstance(o, V) else V(o)
        return V(self.x + o.x, ((self, 1.0), (o, 1.0)))

    def __mul__(self, o):
        o = o if isinstance(o, V) else V(o)
        return V(self.x * o.x, ((self, o.x), (o, self.x)))

    def power(self, n):
        return V(self.x**n, ((self, n * self.x ** (n - 1)),))

    def exp(self):
        return V(math.exp(self.x), ((self, math.exp(self.x)),))

    def log(self):
        return V(math.log(self.x), ((self, 1 / self.x),))

    def relu(self):
        return V(max(0.0, self.x), ((self, 1.0 if self.x > 0 else 0.0),))


def add_up(values):
    total = values[0]
    for v in values[1:]:
        total = total + v
    return total


def matvec(w, x):
    return [add_up([a * b for a, b in zip(row, x, strict=True)]) for row in w]


def norm(x):
    scale = (add_up([v * v for v in x]) * (1 / len(x)) + 1e-5).power(-0.5)
    return [v * scale for v in x]


def soft(x):
    e = [(v + -max(u.x for u in x)).exp() for v in x]
    total = add_up(e).power(-1)
    return [v * total for v in e]


def differentiate(root):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        v, done = stack.pop()
        if done:
            order.append(v)
        elif id(v) not in seen:
            seen.add(id(v))
            stack.append((v, True))
            stack.extend((p, False) for p, _ in v.back)
    root.g = 1.0
    for v in reversed(order):
        for p, slope in v.back:
            p.g += slope * v.g


def losses(docs, steps, count, n_layer=1, n_embd=16, n_head=4, block_size=16, seed=42, batch_size=1):
    """The first `count` losses of a training of `steps` steps."""
    chance, docs = random.Random(seed), list(docs)
    chance.shuffle(docs)
    letters = sorted(set("".join(docs)))
    bos, head = len(letters), n_embd // n_head

    def matrix(rows, columns):
        return [[V(chance.gauss(0, 0.08)) for _ in range(columns)] for _ in range(rows)]

    wte, wpe, out = matrix(bos + 1, n_embd), matrix(block_size, n_embd), matrix(bos + 1, n_embd)
    shapes = [(n_embd, n_embd)] * 4 + [(4 * n_embd, n_embd), (n_embd, 4 * n_embd)]
    layers = [[matrix(*shape) for shape in shapes] for _ in range(n_layer)]
    every = [v for m in [wte, wpe, out, *[m for layer in layers for m in layer]] for row in m for v in row]
    first, second, seen = [0.0] * len(every), [0.0] * len(every), []

    def document_loss(doc):
        ids = [bos, *(letters.index(c) for c in doc), bos]
        n, past, parts = min(block_size, len(ids) - 1), [([], []) for _ in layers], []
        for t in range(n):
            x = norm([a + b for a, b in zip(wte[ids[t]], wpe[t], strict=True)])
            for (wq, wk, wv, wo, fc1, fc2), (ks, vs) in zip(layers, past, strict=True):
                h = norm(x)
                q = matvec(wq, h)
                ks.append(matvec(wk, h))
                vs.append(matvec(wv, h))
                y = []
                for at in range(0, n_embd, head):
                    dots = [add_up([q[i] * k[i] for i in range(at, at + head)]) * head**-0.5 for k in ks]
                    p = soft(dots)
                    y += [
                        add_up([a * v[i] for a, v in zip(p, vs, strict=True)]) for i in range(at, at + head)
                    ]
                x = [a + b for a, b in zip(x, matvec(wo, y), strict=True)]
                g = [v.relu() for v in matvec(fc1, norm(x))]
                x = [a + b for a, b in zip(x, matvec(fc2, g), strict=True)]
            parts.append(soft(matvec(out, x))[ids[t + 1]].log() * -1.0)
        return add_up(parts) * (1 / n)

    for step in range(count):
        batch = [docs[(step * batch_size + b) % len(docs)] for b in range(batch_size)]
        loss = add_up([document_loss(doc) for doc in batch]) * (1 / batch_size)
        differentiate(loss)
        seen.append(loss.x)
        rate = 0.01 * (1 - step / steps)
        for i, v in enumerate(every):
            first[i] = 0.85 * first[i] + 0.15 * v.g
            second[i] = 0.99 * second[i] + 0.01 * v.g**2
            m, s = first[i] / (1 - 0.85 ** (step + 1)), second[i] / (1 - 0.99 ** (step + 1))
            v.x -= rate * m / (s**0.5 + 1e-8)
            v.g = 0.0
    return seen
