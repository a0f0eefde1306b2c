"""Baselines that count n-grams."""
