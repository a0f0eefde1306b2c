"""The array engine: NumPy, every backward derived by hand."""
