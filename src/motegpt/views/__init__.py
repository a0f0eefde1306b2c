"""Presentation of runs: summaries, formatted text, and output files."""
