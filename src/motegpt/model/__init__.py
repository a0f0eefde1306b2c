"""The specification of a model: its tensors, random number generators, learning-rate schedule."""
