"""Benchmarks: what is timed (work), how (measure), and on which machine (machine)."""
