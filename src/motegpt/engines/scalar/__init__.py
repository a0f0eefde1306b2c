"""The scalar engine: one graph node per number, standard library only. The definition of correct."""
