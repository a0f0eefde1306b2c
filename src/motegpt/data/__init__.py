"""From files to batches: formats, documents, tokenizers, the split, and the plan of a training."""
