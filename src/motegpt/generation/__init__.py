"""Generation requests in token ids, and the filters of the next-token distribution."""
