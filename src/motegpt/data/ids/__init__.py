"""Data that are not text: sequences of token ids, with a mask of the targets that count in the loss.

documents.py     ids in flat memory, which are documents to everything that asks for texts
memory.py        from lists and arrays
reading.py       from files: .npz, .npy, JSON lines, streams of 16 or 32 bits
numpy_files.py   the contents of .npz and .npy, read without executing anything
writing.py       to a .npz
tasks.py         synthetic data of which the best possible loss is known
"""
