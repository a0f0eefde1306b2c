"""Losses, baselines and novelty of a trained model; gradient checks and inspection."""
