"""Synthetic data: what they are, that the optimum is what a model that knows them would have, and seeds."""

import math
from collections import Counter
from inspect import signature
from itertools import pairwise

import numpy as np
import pytest

from motegpt import GPT, UsageError
from motegpt.cli.commands.data import TASK_OPTIONS
from motegpt.data.ids.reading import read_ids
from motegpt.data.ids.tasks import TASKS, make, stationary
from motegpt.data.ids.writing import npz_bytes


def rows(documents):
    return [list(row) for row in documents.sequences]


def answers(documents):
    """The sequences up to the first unmasked id, and the unmasked ids."""
    masks = np.asarray(documents.mask).reshape(len(documents), -1)
    return [
        (row[: mask.argmax()], row[mask.argmax() :]) for row, mask in zip(rows(documents), masks, strict=True)
    ]


@pytest.mark.parametrize("task", TASKS)
def test_data_are_a_pure_function_of_the_arguments(task):
    one = make(task)
    assert one == make(task)
    assert npz_bytes(one) == npz_bytes(make(task))
    if "seed" in signature(TASKS[task]).parameters:
        assert one != make(task, seed=1)
    assert read_ids(npz_bytes(one), "a.npz", None) == one
    assert read_ids(npz_bytes(one), "a.npz", None).optimum == one.optimum
    assert max(map(max, rows(one))) < one.vocab_size == read_ids(npz_bytes(one), "a.npz", None).vocab_size


def test_the_first_numbers_stay_what_they_are():
    firsts = {task: make(task)[0] for task in TASKS if task not in ("modular", "markov")}
    assert firsts == {
        "parity": "1 1 0 1 1 0 1 0 2 1",
        "dyck": "0 2 1 0 2 1 3 0 1 3 1 0 2 3 2 3",
        "copy": "10 11 6 10 12 2 12 4 16 10 11 6 10 12 2 12 4",
        "induction": "19 12 26 11 5 29 31 7 15 8 2 27 11 5",
    }


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide"])
def test_modular(operation):
    found = rows(make("modular", modulus=7, operation=operation))
    for a, b, equals, c in found:
        assert equals == 7
        assert c == {"add": a + b, "subtract": a - b, "multiply": a * b}.get(operation, c) % 7
        assert operation != "divide" or c * b % 7 == a
    assert len({(a, b) for a, b, *_ in found}) == len(found) == (42 if operation == "divide" else 49)


def test_parity_copy_and_induction():
    assert all(sum(before[:-1]) % 2 == after[0] for before, after in answers(make("parity")))
    assert all(before[:-1] == after and before[-1] == 16 for before, after in answers(make("copy")))
    for before, after in answers(make("induction")):
        assert len(set(before)) == 12
        assert after == [before[before.index(before[-1]) + 1]]


def test_dyck_words_are_balanced_and_equally_likely():
    for row in rows(make("dyck", count=200, pairs=6, kinds=3)):
        stack = []
        for one in row:
            if one < 3:
                stack.append(one)
            else:
                assert stack.pop() == one - 3
        assert not stack
    counts = Counter(make("dyck", count=20_000, pairs=3, kinds=1))
    assert len(counts) == 5
    assert all(abs(count - 4000) < 5 * 60 for count in counts.values())


def test_the_optimum_of_dyck_is_the_entropy_after_the_first_id():
    words = Counter(map(tuple, rows(make("dyck", count=40_000, pairs=2, kinds=2))))
    assert len(words) == 8
    entropy = math.log(8) - math.log(2)
    assert make("dyck", pairs=2, kinds=2).optimum == pytest.approx(entropy / 3)


def test_the_optimum_of_a_markov_chain_is_its_entropy_rate():
    data = make("markov", count=4000, length=40, states=4)
    pairs = Counter(pair for row in rows(data) for pair in pairwise(row))
    totals = Counter()
    for (a, _), count in pairs.items():
        totals[a] += count
    loss = -sum(n * math.log(n / totals[a]) for (a, _), n in pairs.items()) / sum(pairs.values())
    assert loss == pytest.approx(data.optimum, abs=0.01)
    firsts = np.bincount([row[0] for row in rows(data)], minlength=4) / 4000
    lasts = np.bincount([row[-1] for row in rows(data)], minlength=4) / 4000
    assert np.abs(firsts - lasts).max() < 0.05  # begun in the stationary distribution


def test_stationary():
    assert stationary(np.array([[0.9, 0.1], [0.3, 0.7]])) == pytest.approx([0.75, 0.25])


def test_a_model_learns_a_chain_up_to_its_entropy_rate():
    data = make("markov", count=300, length=16, states=4)
    model = GPT.train(data, preset="microgpt", steps=150, batch_size=16, n_embd=8, engine="array", lr=0.03)
    assert data.optimum < model.records[-1].mean_loss + 0.1 < data.optimum + 0.3
    assert model.config.source.optimum == data.optimum


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("sort", {}, "expected one of modular"),
        ("modular", {"length": 3}, "modular, which has modulus, operation"),
        ("modular", {"modulus": 1}, "modulus: expected a whole number from 2"),
        ("modular", {"operation": "power"}, "add, subtract"),
        ("copy", {"count": 2**27}, "at most 268,435,456 ids"),
        ("copy", {"length": 0}, "length: expected a whole number from 1"),
        ("parity", {"length": 2.5}, "length"),
        ("induction", {"length": 40}, "vocabulary: expected a whole number from 40"),
        ("markov", {"states": "3"}, "states"),
        ("dyck", {"pairs": 0}, "pairs"),
    ],
)
def test_wrong_arguments_are_one_line(task, arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        make(task, **arguments)
    assert "\n" not in str(caught.value)


def test_the_options_of_the_command_are_the_arguments_of_the_tasks():
    defaults = {}
    for name, task in TASKS.items():
        for parameter in signature(task).parameters.values():
            defaults.setdefault(parameter.name, {})[name] = parameter.default
    assert list(defaults)
    assert set(defaults) == set(TASK_OPTIONS)
    for name, of in defaults.items():
        text, values = TASK_OPTIONS[name], list(dict.fromkeys(of.values()))
        if len(of) == len(TASKS) - 1:  # all but modular, which is every pair
            assert "(" not in text
        else:
            assert f"({', '.join(sorted(of, key=text.index))})" in text
            values = [of[task] for task in sorted(of, key=text.index)]
        assert text.endswith(f"[{', '.join(map(str, values))}]")
