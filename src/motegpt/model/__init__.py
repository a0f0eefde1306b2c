"""The model as a value: its tensors, the random numbers they start from, the learning rate."""
