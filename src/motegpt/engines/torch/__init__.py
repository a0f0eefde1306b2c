"""The torch engine: PyTorch and its autograd, on a processor, a GPU or many."""
