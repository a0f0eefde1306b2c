"""The scalar engine: one graph node a number, standard library alone. The definition of right."""
