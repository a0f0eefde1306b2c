"""Pictures as PNG or SVG, by matplotlib (extra `plot`), which is imported when one is drawn."""
