"""The native engine: a small vectorised C++ core, whole chunks of steps in one call."""
