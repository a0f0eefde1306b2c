"""microgpt and Oxidized-GPT once more, independent of the package: numbers with a tape, and one loop each.

It shares no line with motegpt. tests/test_reference.py shows that it reproduces the originals' losses, and
then uses it to check shapes and seeds for which there is no reference file.
"""

import math
import random
import struct


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

    def log(self, flat=0.0):
        return V(math.log(self.x), ((self, 1 / self.x if abs(self.x) > flat else 0.0),))

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


def exponentials(x):
    e = [(v + -max(u.x for u in x)).exp() for v in x]
    return e, add_up(e)


def soft(x):
    """Divides by the sum once for all."""
    e, total = exponentials(x)
    inverse = total.power(-1)
    return [v * inverse for v in e]


def soft_by_divisions(x):
    """Divides by the sum for each anew."""
    e, total = exponentials(x)
    return [v * total.power(-1) for v in e]


def microgpt_cost(logits, target):
    return soft(logits)[target].log() * -1.0


def oxidized_cost(logits, target):
    return (soft_by_divisions(logits)[target] + 1e-8).log(flat=1e-6) * -1.0


def differentiate(root, bound=math.inf):
    """Each number passes on no more than ± bound."""
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
            p.g += slope * max(-bound, min(bound, v.g))


class Model:
    """gauss: gives the weights one by one."""

    def __init__(self, docs, gauss, n_layer, n_embd, n_head, block_size):
        def matrix(rows, columns):
            return [[V(gauss()) for _ in range(columns)] for _ in range(rows)]

        self.letters, self.block_size = sorted(set("".join(docs))), block_size
        self.bos, self.head = len(self.letters), n_embd // n_head
        tokens = self.bos + 1
        self.wte, self.wpe, self.out = (matrix(rows, n_embd) for rows in (tokens, block_size, tokens))
        shapes = [(n_embd, n_embd)] * 4 + [(4 * n_embd, n_embd), (n_embd, 4 * n_embd)]
        self.layers = [[matrix(*shape) for shape in shapes] for _ in range(n_layer)]
        matrices = [self.wte, self.wpe, self.out, *(m for layer in self.layers for m in layer)]
        self.weights = [v for m in matrices for row in m for v in row]
        self.first, self.second = [0.0] * len(self.weights), [0.0] * len(self.weights)

    def loss(self, doc, soft, cost):
        """The mean of the costs of a document's letters and its end."""
        ids = [self.bos, *(self.letters.index(c) for c in doc), self.bos]
        n, past, parts = min(self.block_size, len(ids) - 1), [([], []) for _ in self.layers], []
        for t in range(n):
            x = norm([a + b for a, b in zip(self.wte[ids[t]], self.wpe[t], strict=True)])
            for (wq, wk, wv, wo, fc1, fc2), (ks, vs) in zip(self.layers, past, strict=True):
                h = norm(x)
                q = matvec(wq, h)
                ks.append(matvec(wk, h))
                vs.append(matvec(wv, h))
                y = []
                for at in range(0, len(x), self.head):
                    part = range(at, at + self.head)
                    p = soft([add_up([q[i] * k[i] for i in part]) * self.head**-0.5 for k in ks])
                    y += [add_up([a * v[i] for a, v in zip(p, vs, strict=True)]) for i in part]
                x = [a + b for a, b in zip(x, matvec(wo, y), strict=True)]
                g = [v.relu() for v in matvec(fc1, norm(x))]
                x = [a + b for a, b in zip(x, matvec(fc2, g), strict=True)]
            parts.append(cost(matvec(self.out, x), ids[t + 1]))
        return add_up(parts) * (1 / n)

    def adam(self, step, rate, beta1, beta2, bound=math.inf):
        """One update; each gradient is cut to ± bound first."""
        for i, v in enumerate(self.weights):
            g = max(-bound, min(bound, v.g))
            self.first[i] = beta1 * self.first[i] + (1 - beta1) * g
            self.second[i] = beta2 * self.second[i] + (1 - beta2) * g**2
            m, s = self.first[i] / (1 - beta1 ** (step + 1)), self.second[i] / (1 - beta2 ** (step + 1))
            v.x -= rate * m / (s**0.5 + 1e-8)
            v.g = 0.0


def losses(docs, steps, count, n_layer=1, n_embd=16, n_head=4, block_size=16, seed=42, batch_size=1):
    """The first `count` losses of microgpt's training of `steps` steps."""
    chance, docs, seen = random.Random(seed), list(docs), []
    chance.shuffle(docs)
    model = Model(docs, lambda: chance.gauss(0, 0.08), n_layer, n_embd, n_head, block_size)
    for step in range(count):
        batch = [docs[(step * batch_size + b) % len(docs)] for b in range(batch_size)]
        loss = add_up([model.loss(doc, soft, microgpt_cost) for doc in batch]) * (1 / batch_size)
        differentiate(loss)
        seen.append(loss.x)
        model.adam(step, 0.01 * (1 - step / steps), 0.85, 0.99)
    return seen


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


class Congruential:
    """The numbers of Oxidized-GPT, with its arithmetic in single precision."""

    def __init__(self, seed):
        self.state = seed

    def draw(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state

    def uniform(self):
        return f32(f32(self.draw() >> 32) / f32(2**32 - 1))

    def gauss(self):
        u1, u2 = self.uniform(), self.uniform()
        root = f32(math.sqrt(f32(-2 * f32(math.log(u1)))))
        return f32(f32(root * f32(math.cos(f32(f32(2 * math.pi) * u2)))) * f32(0.08))

    def shuffle(self, docs):
        for i in range(len(docs) - 1, 0, -1):
            j = self.draw() % (i + 1)
            docs[i], docs[j] = docs[j], docs[i]


def oxidized_losses(
    docs, steps, count, n_layer=1, n_embd=16, n_head=4, block_size=16, seed=42, clip_node=10.0, clip_value=5.0
):
    """The first `count` losses of Oxidized-GPT's training of `steps` steps, in double precision."""
    chance, docs, seen = Congruential(seed), list(docs), []
    chance.shuffle(docs)
    model = Model(docs, chance.gauss, n_layer, n_embd, n_head, block_size)
    for step in range(count):
        loss = model.loss(docs[step % len(docs)], soft_by_divisions, oxidized_cost)
        differentiate(loss, clip_node)
        seen.append(loss.x)
        model.adam(step, 0.005 * (1 - step / steps), 0.9, 0.999, clip_value)
    return seen
