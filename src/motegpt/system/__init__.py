"""Interfaces to the operating system: files, signals, processors, optional libraries."""
