"""Bounds that several sections share."""

LARGEST_SIZE = 2**20  # of vocabulary, width, block, batch and tries
LARGEST_ORDER = 8  # tokens of an n-gram, or of a context of the n-gram embedding
