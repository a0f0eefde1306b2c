"""The training loop, its validation, and the run folder."""
