"""The native engine: a small vectorized C++ core that trains for a chunk of steps per call."""
