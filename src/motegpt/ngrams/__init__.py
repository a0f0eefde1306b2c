"""N-gram baselines."""
