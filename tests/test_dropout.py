"""Dropout masks."""

from __future__ import annotations

import numpy as np
import pytest

from motegpt.model.dropout import mask_hash, mask_key, threshold


def test_masks_of_arrays_are_those_of_ints():
    documents, indices = np.arange(3, dtype=np.uint64), np.arange(5, dtype=np.uint64)
    hashes = mask_hash(mask_key(7, 2, 1, documents)[:, None], indices)
    assert hashes.tolist() == [[mask_hash(mask_key(7, 2, 1, b), i) for i in range(5)] for b in range(3)]


def test_a_worked_example():
    """The numbers of cpp/tests/test_kernels.cpp."""
    key = mask_key(7, 2, 1, 3)
    assert (key, mask_hash(key, 5)) == (0x8E6A5EB5, 0xAEC45D68)


def test_a_threshold_has_32_bits():
    assert [threshold(p) for p in (0.0, 0.5, 1 - 2**-53)] == [0, 2**31, 2**32 - 1]


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_the_share_of_dropped_numbers_is_the_probability(probability):
    hashes = mask_hash(mask_key(1, 0, 0, 0), np.arange(100_000, dtype=np.uint64))
    assert abs((hashes < threshold(probability)).mean() - probability) < 0.005


def test_masks_differ_between_seeds_steps_sites_documents_and_indices():
    at = (1, 2, 3, 4, 5)
    hashes = {mask_hash(mask_key(*place[:4]), place[4]) for place in [at, *changed(at)]}
    assert len(hashes) == 6


def changed(place):
    """The place with one number larger, for each of them."""
    return [tuple(n + (i == one) for i, n in enumerate(place)) for one in range(len(place))]
