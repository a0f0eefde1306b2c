"""Benchmarks: workloads (work), timing and verification (measure), and the machine (machine)."""
