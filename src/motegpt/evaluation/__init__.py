"""How good a model is, and what happens inside it."""
