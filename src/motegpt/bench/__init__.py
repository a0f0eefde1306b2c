"""Benchmarks: workloads (work), verification and timing of steps (measure), generation, and the machine."""
