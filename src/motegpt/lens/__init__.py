"""The lens: activations of a GPT by the names of TransformerLens, read, changed and attributed."""
