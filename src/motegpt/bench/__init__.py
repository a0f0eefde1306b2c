"""Measuring: what is timed (work), how (measure), and on what (machine)."""
