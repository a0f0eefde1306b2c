"""Synthetic data: pure functions of their arguments, with the lowest loss that any model can reach.

Each function returns sequences of ids, with a mask of the targets that are determined, or random with a known
distribution, and `optimum`, the expected loss of a model that knows that distribution, in nats per unmasked
target. Random numbers are hashes of (seed, place), so the same arguments give the same data everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.fields import checked_seed, plain
from motegpt.config.sections.bounds import LARGEST_SIZE
from motegpt.config.text import shortened
from motegpt.data.ids.documents import IdDocuments, sequences_of
from motegpt.errors import UsageError
from motegpt.model.rng import splitmix64

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_DATA = 2**28  # ids
OPERATIONS: dict[str, Callable[[Any, Any, int], Any]] = {
    "add": lambda a, b, p: (a + b) % p,
    "subtract": lambda a, b, p: (a - b) % p,
    "multiply": lambda a, b, p: a * b % p,
    "divide": lambda a, b, p: a * np.array([pow(int(one), -1, p) for one in b]) % p,
}


def modular(modulus: int = 31, operation: str = "add") -> IdDocuments:
    """Arithmetic modulo N: a b = c for all pairs; "=" is the id N, and the answer alone is unmasked.

    With `operation="divide"` b has an inverse. Optimum: 0.
    """
    _check("modulus", modulus, 2, 2**12)
    if operation not in OPERATIONS:
        raise UsageError(f"operation: expected {', '.join(OPERATIONS)}, got {shortened(operation)}")
    a, b = np.divmod(np.arange(modulus**2), modulus)
    if operation == "divide":
        has_inverse = np.gcd(b, modulus) == 1
        a, b = a[has_inverse], b[has_inverse]
    answers = OPERATIONS[operation](a, b, modulus)
    ids = np.stack([a, b, np.full(len(a), modulus), answers], axis=1)
    return _documents(ids, _last(ids, 1), modulus + 1, 0.0)


def parity(count: int = 2000, length: int = 8, seed: int = 0) -> IdDocuments:
    """Parity of `length` random bits: bits, 2, their sum modulo 2, which alone is unmasked. Optimum: 0."""
    _check("length", length, 1, LARGEST_DATA)
    _check_size(count, length + 2)
    bits = _integers(seed, (count, length), 2)
    ids = np.column_stack([bits, np.full(count, 2), bits.sum(axis=1) % 2])
    return _documents(ids, _last(ids, 1), 3, 0.0)


def copy(count: int = 2000, length: int = 8, vocabulary: int = 16, seed: int = 0) -> IdDocuments:
    """`length` random symbols, a separator, and the same symbols, which alone are unmasked. Optimum: 0."""
    _check("vocabulary", vocabulary, 2, LARGEST_SIZE - 1)
    _check("length", length, 1, LARGEST_DATA)
    _check_size(count, 2 * length + 1)
    symbols = _integers(seed, (count, length), vocabulary)
    ids = np.column_stack([symbols, np.full(count, vocabulary), symbols])
    return _documents(ids, _last(ids, length), vocabulary + 1, 0.0)


def induction(count: int = 2000, length: int = 12, vocabulary: int = 32, seed: int = 0) -> IdDocuments:
    """… A B … A, then B: `length` different symbols, one of them again, and the one that followed it.

    That last one alone is unmasked. Optimum: 0.
    """
    _check("length", length, 2, LARGEST_SIZE)
    _check("vocabulary", vocabulary, length, LARGEST_SIZE)
    _check_size(count, max(length + 2, vocabulary))
    keys = splitmix64(splitmix64(seed, 0), np.arange(count * vocabulary, dtype=np.uint64))
    symbols = keys.reshape(count, vocabulary).argsort(axis=1, kind="stable")[:, :length]
    place = _integers(seed, (count, 1), length - 1, stream=1)
    again, answers = (np.take_along_axis(symbols, place + shift, 1) for shift in (0, 1))
    ids = np.column_stack([symbols, again, answers])
    return _documents(ids, _last(ids, 1), vocabulary, 0.0)


def dyck(count: int = 2000, pairs: int = 8, kinds: int = 2, seed: int = 0) -> IdDocuments:
    """Balanced brackets of some kinds, all words of `pairs` pairs equally likely; no mask.

    Kind i opens with the id i and closes with kinds + i. Of n pairs there are C_n words, a Catalan number,
    with k^n choices of k kinds; the first id, one of k, is no target:
    optimum = (log C_n + (n - 1) log k) / (2 n - 1).
    """
    _check("kinds", kinds, 1, LARGEST_SIZE // 2)
    _check("pairs", pairs, 1, 512)
    _check_size(count, 2 * pairs)
    opens, uniforms = _open_probabilities(pairs), _uniforms(seed, (count, 2 * pairs))
    kind_of = _integers(seed, (count, 2 * pairs), kinds, stream=1)
    rows, depth = np.arange(count), np.zeros(count, np.int64)
    stack, ids = np.zeros((count, pairs + 1), np.int64), np.empty((count, 2 * pairs), np.int64)
    for t in range(2 * pairs):
        is_open = uniforms[:, t] < opens[2 * pairs - t, depth]
        closed = kinds + stack[rows, depth]
        depth += np.where(is_open, 1, -1)
        ids[:, t] = np.where(is_open, kind_of[:, t], closed)
        stack[rows[is_open], depth[is_open]] = kind_of[is_open, t]
    words = math.log(math.comb(2 * pairs, pairs) // (pairs + 1)) + (pairs - 1) * math.log(kinds)
    return _documents(ids, None, 2 * kinds, words / (2 * pairs - 1))


def _open_probabilities(pairs: int) -> NDArray[np.float64]:
    """(symbols left, depth): the share of words that continue with an opening bracket."""
    steps = 2 * pairs
    counts = [[0] * (pairs + 2) for _ in range(steps + 1)]  # of continuations, by symbols left and depth
    counts[0][0] = 1
    for left in range(1, steps + 1):
        for depth in range(pairs + 1):
            counts[left][depth] = counts[left - 1][depth + 1] + (counts[left - 1][depth - 1] if depth else 0)
    found = np.zeros((steps + 1, pairs + 1))
    for left in range(1, steps + 1):
        for depth in range(pairs + 1):
            if counts[left][depth]:
                found[left, depth] = counts[left - 1][depth + 1] / counts[left][depth]
    return found


def markov(count: int = 2000, length: int = 64, states: int = 16, seed: int = 0) -> IdDocuments:
    """A Markov chain of random transitions, begun in its stationary distribution π; no mask.

    Optimum: its entropy rate, -Σ_i π_i Σ_j P_ij log P_ij.
    """
    _check("states", states, 2, 2**12)
    _check("length", length, 2, LARGEST_SIZE)
    _check_size(count, length)
    u = _uniforms(seed, (states, states))
    odds = ((u + 2.0**-32) / (1 - u)) ** 2  # a few transitions of each state are likely
    transitions = odds / odds.sum(axis=1, keepdims=True)
    pi = stationary(transitions)
    ends, draws = transitions.cumsum(axis=1), _uniforms(seed, (count, length), stream=1)
    ids = np.empty((count, length), np.int64)
    ids[:, 0] = np.minimum(np.searchsorted(pi.cumsum(), draws[:, 0], side="right"), states - 1)
    for t in range(1, length):
        ids[:, t] = np.minimum((draws[:, t, None] >= ends[ids[:, t - 1]]).sum(axis=1), states - 1)
    rate = -float((pi[:, None] * transitions * np.log(transitions)).sum())
    return _documents(ids, None, states, rate)


def stationary(transitions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distribution π with π P = π and Σ π = 1.   P (n, n) -> (n)"""
    size = len(transitions)
    equations = np.vstack([(transitions.T - np.eye(size))[:-1], np.ones(size)])
    found: NDArray[np.float64] = np.linalg.solve(equations, np.eye(size)[-1])
    return found


TASKS: dict[str, Callable[..., IdDocuments]] = {
    task.__name__: task for task in (modular, parity, dyck, copy, induction, markov)
}


def make(task: str, **arguments: Any) -> IdDocuments:
    """The data of a task by name; UsageError for unknown arguments or values out of range."""
    if task not in TASKS:
        raise UsageError(f"task: expected one of {', '.join(TASKS)}, got {shortened(task)}")
    known = signature(TASKS[task]).parameters
    for name in arguments:
        if name not in known:
            raise UsageError(f"{name}: expected an argument of {task}, which has {', '.join(known)}")
    return TASKS[task](**{name: plain(value) for name, value in arguments.items()})


def _check(name: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise UsageError(f"{name}: expected a whole number from {low:,} to {high:,}, got {shortened(value)}")


def _check_size(count: Any, ids: Any) -> None:
    """UsageError unless these are sizes of data that fit in memory."""
    _check("count", count, 1, LARGEST_DATA)
    if count * ids > LARGEST_DATA:
        raise UsageError(f"count: expected at most {LARGEST_DATA:,} ids in all, got {count:,} x {ids:,}")


def _uniforms(seed: int, shape: tuple[int, ...], stream: int = 0) -> NDArray[np.float64]:
    """Numbers in [0, 1) of 53 bits. stream: for others of the same seed."""
    numbers = splitmix64(splitmix64(checked_seed(seed), stream), np.arange(math.prod(shape), dtype=np.uint64))
    found: NDArray[np.float64] = ((numbers >> np.uint64(11)) * 2.0**-53).reshape(shape)
    return found


def _integers(seed: int, shape: tuple[int, ...], below: int, stream: int = 0) -> NDArray[np.int64]:
    """Equally likely integers from 0 to below - 1."""
    return (_uniforms(seed, shape, stream) * below).astype(np.int64)


def _last(ids: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """A mask of the last ids of each sequence."""
    mask = np.zeros(ids.shape, np.uint8)
    mask[:, -count:] = 1
    return mask


def _documents(
    ids: NDArray[np.int64], mask: NDArray[np.uint8] | None, vocab_size: int, optimum: float
) -> IdDocuments:
    """The rows of a table as sequences."""
    flat = ids.astype(np.min_scalar_type(vocab_size - 1)).reshape(-1)
    lengths = np.full(ids.shape[0], ids.shape[1])
    sequences = sequences_of(flat, lengths, None if mask is None else mask.reshape(-1))
    return IdDocuments(sequences, max(2, vocab_size), optimum=optimum)
