"""The training loop, validation, and run folders."""
