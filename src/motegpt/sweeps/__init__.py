"""Sweeps: many trainings that differ in settings, on one machine or on many, resumable at any moment."""
