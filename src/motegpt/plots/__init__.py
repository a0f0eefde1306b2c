"""Figures as PNG or SVG, by matplotlib (extra `plot`), which is imported when a figure is drawn."""
