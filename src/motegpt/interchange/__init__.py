"""Models in the formats of other programs: export and import.

layouts.py has what corresponds to what, as tables in both directions. The rest reads and writes files.
"""
